//! Planning without writing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pagemill_core::PageRange;

use super::{
    NewPartition, RunPlanRequest, Runs,
    slices::{Decision, SliceFacts, read_facts},
    unfinished,
};
use crate::error::StoreError;

/// What [`Runs::plan`] would find now.
#[derive(Clone, Debug)]
pub struct PlanPreview {
    /// When this was read, on the database's clock.
    pub at: Timestamp,
    /// The unfinished run of the same request that would be continued.
    pub continues: Option<i64>,
    /// What would become of each wanted partition, in their order.
    pub partitions: Vec<SlicePreview>,
    /// Pages that other partitions still want of each source: they share its quota.
    pub others: BTreeMap<String, u64>,
}

/// What would become of a wanted partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePreview {
    /// What planning would do with it.
    pub decision: PlanDecision,
    /// Rows expected: its own total where one was stated, else from the newest total of the same
    /// stream and account. `None` where there is none.
    pub rows: Option<u64>,
    /// Pages still to be requested; one at least where nothing is known.
    pub pages: u64,
}

/// What planning would do with a wanted partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanDecision {
    /// It would be pulled.
    Due {
        /// When it was sealed, if it was: it may have changed since.
        sealed_at: Option<Timestamp>,
    },
    /// It is being pulled already, by this run.
    Open(i64),
    /// It is there.
    Sealed {
        /// By this run.
        run: i64,
        /// When.
        at: Timestamp,
    },
    /// It closed without a seal in the run that would be continued, and waits for that run's end.
    Incomplete(i64),
}

/// The total of the newest attempt at each wanted slice, and the newest total of its stream and account, a day.
const EXPECTED: &str = "with wanted as (\
        select * from unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::date[]) \
            with ordinality as w (source, stream, account, from_date, to_date, nth)), \
    known as (\
        select w.source, w.stream, w.account, k.per_day from (select distinct source, stream, account from wanted) w \
        cross join lateral (select p.total::float8 / (p.to_date - p.from_date + 1) as per_day from pagemill.partitions p \
            where p.source = w.source and p.stream = w.stream and p.account = w.account \
                and p.state = 'sealed' and p.total is not null and p.parent is null \
            order by p.from_date desc, p.to_date desc, p.id desc limit 1) k) \
    select newest.total, ceil(known.per_day * (w.to_date - w.from_date + 1))::bigint as expected \
    from wanted w \
    left join lateral (select p.total from pagemill.partitions p \
        where p.source = w.source and p.stream = w.stream and p.account = w.account \
            and p.from_date = w.from_date and p.to_date = w.to_date and p.parent is null \
        order by id desc limit 1) newest on true \
    left join known on known.source = w.source and known.stream = w.stream and known.account = w.account \
    order by w.nth";

const OTHERS: &str = "select source, sum(greatest(coalesce(last_page - first_page + 1, 1) - done - dead, 0))::bigint as pages \
    from pagemill.partitions where state = 'open' and source = any($1) and id <> all($2) group by source";

impl Runs {
    /// Looks at what [`Runs::plan`] would do for the same request. The database itself sees to it
    /// that nothing is written.
    pub async fn preview(
        &self,
        request: &RunPlanRequest,
        wanted: &[NewPartition],
    ) -> Result<PlanPreview, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.build_transaction().read_only(true).start().await?;
        let continues = unfinished(&tx, request).await?.map(|(run, _)| run);
        let slices = || wanted.iter().map(|w| &w.slice);
        let sources: Vec<&str> = slices().map(|s| s.source.as_str()).collect();
        let streams: Vec<&str> = slices().map(|s| s.stream.as_str()).collect();
        let accounts: Vec<&str> = slices().map(|s| s.account.as_str()).collect();
        let from: Vec<_> = slices().map(|s| s.from).collect();
        let to: Vec<_> = slices().map(|s| s.to).collect();
        let expected = tx.query(EXPECTED, &[&sources, &streams, &accounts, &from, &to]).await?;
        let facts = read_facts(&tx, wanted).await?;

        let mut open = Vec::new();
        let mut partitions = Vec::with_capacity(wanted.len());
        for ((row, wanted), facts) in expected.iter().zip(wanted).zip(&facts) {
            let (adopted, decision) = decide(facts, wanted, request.again, continues);
            let own: Option<i64> = row.get("total");
            let rows = own.or(row.get("expected")).map(|n| n as u64);
            let pages = match decision {
                PlanDecision::Due { .. } => pages(rows, wanted),
                PlanDecision::Open(_) => {
                    open.extend(adopted);
                    let attempt = facts.unclosed.iter().find(|attempt| Some(attempt.id) == adopted);
                    attempt.and_then(|attempt| attempt.remaining).unwrap_or_else(|| pages(rows, wanted))
                }
                PlanDecision::Sealed { .. } | PlanDecision::Incomplete(_) => 0,
            };
            partitions.push(SlicePreview { decision, rows, pages });
        }
        let mut named = sources;
        named.sort_unstable();
        named.dedup();
        let others = tx.query(OTHERS, &[&named, &open]).await?;
        let others = others.iter().map(|r| (r.get("source"), r.get::<_, i64>("pages") as u64)).collect();
        let at = tx.query_one("select clock_timestamp() as now", &[]).await?.get("now");
        tx.commit().await?;
        Ok(PlanPreview { at, continues, partitions, others })
    }
}

/// As [`Runs::plan`] decides; with the attempt that would be adopted.
fn decide(
    facts: &SliceFacts,
    wanted: &NewPartition,
    again: bool,
    continues: Option<i64>,
) -> (Option<i64>, PlanDecision) {
    let decision = facts.decide(wanted, again && continues.is_none());
    let sealed = facts.sealed.as_ref().map(|sealed| (sealed.run, sealed.at));
    match (decision, continues, sealed) {
        (Decision::Adopt(id), ..) => {
            let run = facts.unclosed.iter().find(|attempt| attempt.id == id).map_or(0, |attempt| attempt.run);
            (Some(id), PlanDecision::Open(run))
        }
        (Decision::Sealed, _, Some((run, at))) => (None, PlanDecision::Sealed { run, at }),
        // A run that is continued pulls only what it has open.
        (_, Some(continued), Some((run, at))) if run == continued => (None, PlanDecision::Sealed { run, at }),
        (_, Some(continued), _) => (None, PlanDecision::Incomplete(continued)),
        (_, None, sealed) => (None, PlanDecision::Due { sealed_at: sealed.map(|(_, at)| at) }),
    }
}

/// Pages of so many rows, among those requested.
fn pages(rows: Option<u64>, wanted: &NewPartition) -> u64 {
    let all = rows.unwrap_or(0).div_ceil(wanted.page_size.into()).max(1);
    match wanted.subset {
        None => all,
        Some(PageRange { first, last }) => {
            // As the ledger plans: the first page is requested in any case.
            all.min(last.into()).max(first.into()) - u64::from(first) + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use pagemill_core::{Lane, Slice};

    use super::*;

    #[test]
    fn pages_of_rows() {
        let day = date(2026, 1, 15);
        let slice = Slice {
            source: "s".into(),
            stream: "t".into(),
            account: "a".into(),
            from: day,
            to: day,
            part: BTreeMap::new(),
        };
        let wanted = |subset: Option<(u32, u32)>| NewPartition {
            slice: slice.clone(),
            row_account: "a".into(),
            date_scope: "within",
            lane: Lane::High,
            page_size: 100,
            subset: subset.map(|(first, last)| PageRange { first, last }),
            chained: false,
            due_if_requested_before: None,
        };
        for (rows, subset, expected) in [
            (None, None, 1),
            (Some(0), None, 1),
            (Some(100), None, 1),
            (Some(101), None, 2),
            (Some(1_000), Some((3, 7)), 5),
            (Some(500), Some((3, 7)), 3),
            (Some(100), Some((3, 7)), 1),
            (None, Some((3, 7)), 1),
        ] {
            assert_eq!(pages(rows, &wanted(subset)), expected, "{rows:?} {subset:?}");
        }
    }
}
