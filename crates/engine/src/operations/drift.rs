//! Compares the stored responses of a pull with those of the pull that it replaced: how much restated data moved.

use std::collections::{HashMap, hash_map::Entry};

use jiff::civil::Date;
use pagemill_core::{Column, ColumnShape, Kind, Rows};
use pagemill_store::{AttemptResponses, PartitionState, Store, decompress};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::operations::slice_filter::SelectedStream;

/// Rows read at a time, unless one page has more.
const ROWS: u32 = 10_000;

/// The newest attempt at one slice, compared with the attempt that it replaced.
#[derive(Debug, Serialize)]
pub struct Drift {
    /// The slice as text.
    pub slice: String,
    /// The slice's source.
    pub source: String,
    /// The slice's stream.
    pub stream: String,
    /// The slice's account.
    pub account: String,
    /// First day.
    pub from: Date,
    /// Last day.
    pub to: Date,
    /// The attempt that was replaced.
    pub before: Option<ComparedAttempt>,
    /// The newest attempt.
    pub after: Option<ComparedAttempt>,
    /// What moved between them; `None` if they cannot be compared.
    pub moved: Option<RowChanges>,
    /// Why they cannot be compared.
    pub reason: Option<String>,
    /// True if a stored response cannot be decoded.
    #[serde(skip)]
    pub unreadable: bool,
}

/// One of the attempts.
#[derive(Debug, Serialize)]
pub struct ComparedAttempt {
    /// The attempt's run.
    pub run: String,
    /// The partition.
    pub partition: i64,
    /// `sealed`, or `incomplete`.
    pub state: PartitionState,
}

/// Rows and metrics that differ. Rows are matched by their keys; of a key on two pages the row of the later
/// request counts.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct RowChanges {
    /// Rows of the replaced attempt.
    pub rows_before: u64,
    /// Rows of the newest attempt.
    pub rows_after: u64,
    /// Rows that only the newest has.
    pub rows_added: u64,
    /// Rows that the newest no longer has.
    pub rows_gone: u64,
    /// Rows of both with another value.
    pub rows_changed: u64,
    /// The numeric columns outside the key, in the table's order.
    pub metrics: Vec<MetricChange>,
}

/// Sums of a column, as exact decimals; NULL counts as nothing.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct MetricChange {
    /// The column.
    pub name: String,
    /// Over the replaced attempt's rows; `None` (here and below) beyond 28 digits.
    pub before: Option<String>,
    /// Over the newest's.
    pub after: Option<String>,
    /// After less before.
    pub difference: Option<String>,
    /// The difference in percent of `before`, to two places; `None` if that is 0.
    pub percent: Option<String>,
}

/// Compares the newest attempt at each slice of a stream with the one that it replaced.
///
/// # Errors
/// PostgreSQL being away.
pub async fn drift(store: &Store, stream: &SelectedStream<'_>) -> anyhow::Result<Vec<Drift>> {
    let mut attempts = store.responses.whole_attempts(&stream.table, &stream.slices).await?;
    // Stable: of each slice the older attempt stays first.
    attempts.sort_by(|a, b| a.partition.slice.cmp(&b.partition.slice));
    let mut drifts = Vec::new();
    for attempts_of_slice in attempts.chunk_by(|a, b| a.partition.slice == b.partition.slice) {
        drifts.push(compare_slice(store, stream, attempts_of_slice).await?);
    }
    Ok(drifts)
}

async fn compare_slice(
    store: &Store,
    stream: &SelectedStream<'_>,
    attempts: &[AttemptResponses],
) -> anyhow::Result<Drift> {
    let (newest, older) = attempts.split_last().expect("a group has a member");
    let of = &newest.partition.slice;
    let mut drift = Drift {
        slice: of.to_string(),
        source: of.source.clone(),
        stream: of.stream.clone(),
        account: of.account.clone(),
        from: of.from,
        to: of.to,
        before: older.last().map(ComparedAttempt::of),
        after: Some(ComparedAttempt::of(newest)),
        moved: None,
        reason: None,
        unreadable: false,
    };
    let Some(replaced) = older.last() else {
        let run = newest.partition.run;
        drift.reason = Some(match newest.partition.older_pruned_at {
            Some(at) => format!("the pulls before run {run} were pruned on {}", at.strftime("%F")),
            None => format!("run {run} alone has pulled it: nothing was replaced"),
        });
        return Ok(drift);
    };
    let pruned = |a: &&AttemptResponses| a.partition.responses_pruned_at.map(|at| (a.partition.run, at));
    if let Some((run, at)) = [replaced, newest].iter().find_map(pruned) {
        drift.reason = Some(format!("the responses of run {run} were pruned on {}", at.strftime("%F")));
        return Ok(drift);
    }
    if let Some(lacking) = [replaced, newest].into_iter().find(|a| a.responses < a.pages) {
        let run = lacking.partition.run;
        let gone = lacking.pages - lacking.responses;
        drift.reason = Some(format!(
            "the responses of run {run} are gone ({gone} of {} pages): they were not kept (keep_responses = false), or were deleted since",
            lacking.pages
        ));
        return Ok(drift);
    }
    let mut comparison =
        Comparison::new(&stream.definition.stream(stream.table.stream())?.table_shape().columns);
    for (attempt, side) in
        [(replaced, Comparison::add_before as fn(&mut Comparison, &Rows)), (newest, Comparison::add_after)]
    {
        if let Err(problem) = read(store, stream, attempt, |rows| side(&mut comparison, rows)).await? {
            (drift.reason, drift.unreadable) = (Some(problem), true);
            return Ok(drift);
        }
    }
    drift.moved = Some(comparison.finish());
    Ok(drift)
}

/// Hands all rows of an attempt on that belong to its slice, those of the latest request first. The inner error is a
/// response that cannot be decoded.
async fn read(
    store: &Store,
    stream: &SelectedStream<'_>,
    attempt: &AttemptResponses,
    mut rows: impl FnMut(&Rows),
) -> anyhow::Result<Result<(), String>> {
    let partition = &attempt.partition;
    let shape = stream.definition.stream(stream.table.stream())?.table_shape();
    let at_once = (ROWS / partition.page_size).clamp(1, 100) as usize;
    for pages in store.responses.pages(partition.id).await?.chunks(at_once) {
        for stored in store.responses.get(partition.id, pages).await? {
            let job = partition.job(stored.page, 0);
            let body = decompress(&stored.body).map_err(|e| format!("the stored response is damaged: {e}"));
            let read = body.and_then(|body| {
                stream.definition.decode(&job, body.into()).map_err(|failure| failure.message)
            });
            match read {
                Ok(mut page) => {
                    // They were never stored.
                    page.rows.take_outside(shape, &partition.slice);
                    rows(&page.rows);
                }
                Err(why) => return Ok(Err(format!("page {} of run {}: {why}", stored.page, partition.run))),
            }
        }
    }
    Ok(Ok(()))
}

/// Both attempts' rows by the hashes of their keys, and the sums of their columns.
struct Comparison {
    key: Vec<usize>,
    rest: Vec<usize>,
    metrics: Vec<(usize, String)>,
    rows: HashMap<i64, Seen>,
    moved: RowChanges,
    before: Vec<Option<Decimal>>,
    after: Vec<Option<Decimal>>,
}

/// Where a key was seen.
enum Seen {
    /// Before only, with this hash of its other values.
    Before(i64),
    /// After.
    After,
}

impl Comparison {
    fn new(columns: &[ColumnShape]) -> Self {
        let (key, rest): (Vec<usize>, Vec<usize>) = (0..columns.len()).partition(|&i| columns[i].key);
        let metrics: Vec<(usize, String)> = (rest.iter())
            .filter(|&&i| matches!(columns[i].kind, Kind::Bigint | Kind::Numeric))
            .map(|&i| (i, columns[i].name.clone()))
            .collect();
        let zero = vec![Some(Decimal::ZERO); metrics.len()];
        let moved = RowChanges {
            rows_before: 0,
            rows_after: 0,
            rows_added: 0,
            rows_gone: 0,
            rows_changed: 0,
            metrics: Vec::new(),
        };
        Self { key, rest, metrics, rows: HashMap::new(), moved, before: zero.clone(), after: zero }
    }

    fn add_before(&mut self, rows: &Rows) {
        let (keys, hashes) = (rows.key_hashes(&self.key), rows.key_hashes(&self.rest));
        for (row, (key, hash)) in keys.into_iter().zip(hashes).enumerate().rev() {
            if let Entry::Vacant(vacant) = self.rows.entry(key) {
                vacant.insert(Seen::Before(hash));
                self.moved.rows_before += 1;
                add(&mut self.before, &self.metrics, rows, row);
            }
        }
    }

    fn add_after(&mut self, rows: &Rows) {
        let (keys, hashes) = (rows.key_hashes(&self.key), rows.key_hashes(&self.rest));
        for (row, (key, hash)) in keys.into_iter().zip(hashes).enumerate().rev() {
            match self.rows.insert(key, Seen::After) {
                Some(Seen::After) => continue,
                Some(Seen::Before(before)) => self.moved.rows_changed += u64::from(before != hash),
                None => self.moved.rows_added += 1,
            }
            self.moved.rows_after += 1;
            add(&mut self.after, &self.metrics, rows, row);
        }
    }

    fn finish(self) -> RowChanges {
        let gone = self.rows.values().filter(|seen| matches!(seen, Seen::Before(_))).count() as u64;
        let sums = self.before.into_iter().zip(self.after);
        let metrics = self.metrics.into_iter().zip(sums).map(|((_, name), (before, after))| {
            let difference = before.zip(after).and_then(|(before, after)| after.checked_sub(before));
            let percent = difference.zip(before).and_then(|(difference, before)| {
                let ratio = difference.checked_div(before.abs())?;
                Some(ratio.checked_mul(Decimal::ONE_HUNDRED)?.round_dp(2))
            });
            let text = |n: Option<Decimal>| n.map(|n| n.normalize().to_string());
            MetricChange {
                name,
                before: text(before),
                after: text(after),
                difference: text(difference),
                percent: text(percent),
            }
        });
        RowChanges { rows_gone: gone, metrics: metrics.collect(), ..self.moved }
    }
}

fn add(sums: &mut [Option<Decimal>], metrics: &[(usize, String)], rows: &Rows, row: usize) {
    for (sum, (column, _)) in sums.iter_mut().zip(metrics) {
        let value = match &rows.columns()[*column] {
            Column::Bigint(values) => values[row].map(Decimal::from),
            Column::Numeric(values) => values[row],
            Column::Text(_) | Column::Boolean(_) | Column::Date(_) | Column::Timestamptz(_) => None,
        };
        if let Some(value) = value {
            *sum = sum.and_then(|sum| sum.checked_add(value));
        }
    }
}

impl ComparedAttempt {
    fn of(attempt: &AttemptResponses) -> Self {
        let p = &attempt.partition;
        Self { run: p.run.to_string(), partition: p.id, state: p.state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[(i64, Option<&str>)]) -> Rows {
        let fee = |(_, fee): &(i64, Option<&str>)| fee.map(|fee| fee.parse().unwrap());
        let ids = of.iter().map(|(id, _)| Some(*id)).collect();
        Rows::new(of.len(), vec![Column::Bigint(ids), Column::Numeric(of.iter().map(fee).collect())])
    }

    #[test]
    fn rows_are_matched_by_their_keys() {
        let column = |name: &str, kind, key| ColumnShape { name: name.into(), kind, key };
        let mut comparison =
            Comparison::new(&[column("id", Kind::Bigint, true), column("fee", Kind::Numeric, false)]);
        comparison.add_before(&rows(&[(1, Some("0.10")), (2, Some("0.20"))]));
        // Of an earlier request: row 2 came on both pages.
        comparison.add_before(&rows(&[(2, Some("9")), (3, None)]));
        comparison.add_after(&rows(&[(1, Some("0.1")), (3, Some("0.5")), (4, Some("1.00"))]));
        comparison.add_after(&rows(&[(4, Some("7"))]));
        let moved = comparison.finish();
        let text = |t: &str| Some(t.to_owned());
        let fee = MetricChange {
            name: "fee".into(),
            before: text("0.3"),
            after: text("1.6"),
            difference: text("1.3"),
            percent: text("433.33"),
        };
        let expected = RowChanges {
            rows_before: 3,
            rows_after: 3,
            rows_added: 1,
            rows_gone: 1,
            rows_changed: 1,
            metrics: vec![fee],
        };
        assert_eq!(moved, expected);
    }
}
