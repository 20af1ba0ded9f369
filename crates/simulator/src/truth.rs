use std::io::{self, Write};

use jiff::civil::Date;
use md5::{Digest, Md5};

use crate::{
    config::SimulatorConfig,
    dataset::Dataset,
    fault::{Fault, FaultKind},
    level::Level,
    metrics::Metrics,
    row::Row,
};

/// The query whose result is [`truth_digest`] when a table holds exactly the truth. `{table}` and
/// `{where}` are placeholders; put `true` for the latter if the table holds nothing else. It does not
/// depend on the order of rows, and a NULL in any column makes it differ.
pub const TRUTH_SQL: &str = "\
select count(*) || ':' || coalesce(sum(('x' || substr(md5(concat_ws('|', \
\"time\", creativity_id, campaign_id, unit_id, note_id, trim_scale(fee::numeric), impression, click, \
trim_scale(ctr::numeric), \"like\", \"comment\")), 1, 15))::bit(60)::bigint), 0) \
from {table} where {where}";

/// The rows that the account has on the day, in ascending order of `creativity_id`: those that are there
/// once the `insert`, `remove` and `swap` among the faults have come to pass.
pub fn truth(config: &SimulatorConfig, account: &str, date: Date) -> impl Iterator<Item = Row> + use<> {
    dataset(config, Level::Creative, account, date).by_id()
}

/// The day's own rows of a level, once all changes have come to pass.
fn dataset(config: &SimulatorConfig, level: Level, account: &str, date: Date) -> Dataset {
    let of_the_day = |fault: &&Fault| fault.kind != FaultKind::NeighbourDay;
    let changes: Vec<_> = config.faults.iter().filter(of_the_day).copied().collect();
    Dataset::new(config, account, level, date, &changes)
}

/// Writes the truth as tab-separated lines: `time`, `creativity_id`, `campaign_id`, `unit_id`, `note_id`,
/// `fee`, `impression`, `click`, `ctr`, `like`, `comment`. Decimals are exact and end in no zero.
pub fn truth_csv(config: &SimulatorConfig, account: &str, date: Date, mut out: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    for row in truth(config, account, date) {
        line.clear();
        push_line(&mut line, &row, b'\t');
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.flush()
}

/// How many rows the account has on the day, and the sum of their lines' hashes: `COUNT:SUM`, as
/// [`TRUTH_SQL`] returns it.
pub fn truth_digest(config: &SimulatorConfig, account: &str, date: Date) -> String {
    let mut line = Vec::new();
    let dataset = dataset(config, Level::Creative, account, date);
    let sum: u128 = dataset
        .rows()
        .map(|row| {
            line.clear();
            push_line(&mut line, &row, b'|');
            weight(&line)
        })
        .sum();
    format!("{}:{sum}", dataset.count())
}

/// What every platform's report of the day has in common: how many rows of the level there are, and the
/// sum of the hashes of `id|spend in hundredths|impressions|clicks`: `COUNT:SUM`, as the query of
/// [`core_truth_sql`] returns it. The id of an account's only row is 0.
pub fn core_truth(config: &SimulatorConfig, level: Level, account: &str, date: Date) -> String {
    let dataset = dataset(config, level, account, date);
    let rows = dataset.count();
    let sum: u128 = dataset
        .rows()
        .map(|row| {
            let Metrics { fee, impression, click, .. } = row.metrics;
            weight(format!("{}|{fee}|{impression}|{click}", row.id(level)).as_bytes())
        })
        .sum();
    format!("{rows}:{sum}")
}

/// The query whose result is [`core_truth`] when the table holds exactly one account's day. `columns`
/// are expressions: the id, the spend in hundredths, the impressions, the clicks. A NULL in any of
/// them makes it differ.
pub fn core_truth_sql(table: &str, columns: [&str; 4]) -> String {
    let [id, metrics @ ..] = columns;
    let metrics = metrics.map(|column| format!("trim_scale(({column})::numeric)")).join(", ");
    format!(
        "select count(*) || ':' || coalesce(sum(('x' || substr(md5(concat_ws('|', ({id})::text, {metrics})), 1, 15))::bit(60)::bigint), 0) \
         from {table}"
    )
}

/// The first 60 bits of the line's MD5.
pub(crate) fn weight(line: &[u8]) -> u128 {
    Md5::digest(line).iter().take(8).fold(0, |bits, byte| bits << 8 | u128::from(*byte)) >> 4
}

fn push_line(out: &mut Vec<u8>, row: &Row, separator: u8) {
    let mut digits = itoa::Buffer::new();
    let metrics = &row.metrics;
    // Writing into a vector cannot fail.
    let _ = write!(out, "{}", row.time);
    for id in [row.creativity_id, row.campaign_id, row.unit_id] {
        out.push(separator);
        out.extend_from_slice(digits.format(id).as_bytes());
    }
    out.push(separator);
    out.extend_from_slice(&row.note_id);
    out.push(separator);
    push_decimal(out, metrics.fee, 2);
    for count in [metrics.impression, metrics.click] {
        out.push(separator);
        out.extend_from_slice(digits.format(count).as_bytes());
    }
    out.push(separator);
    push_decimal(out, metrics.ctr(), 4);
    for count in [metrics.like, metrics.comment] {
        out.push(separator);
        out.extend_from_slice(digits.format(count).as_bytes());
    }
}

/// The number divided by ten to the power of `scale`, without trailing zeros.
fn push_decimal(out: &mut Vec<u8>, number: u64, scale: u32) {
    let one = 10u64.pow(scale);
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(number / one).as_bytes());
    let (mut rest, mut unit) = (number % one, one / 10);
    if rest > 0 {
        out.push(b'.');
    }
    while rest > 0 {
        out.push(b'0' + (rest / unit) as u8);
        rest %= unit;
        unit /= 10;
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn decimals_are_exact_and_end_in_no_zero() {
        for (number, scale, text) in [
            (0, 2, "0"),
            (5, 2, "0.05"),
            (50, 2, "0.5"),
            (5_326, 2, "53.26"),
            (100, 2, "1"),
            (359, 4, "0.0359"),
        ] {
            let mut out = Vec::new();
            push_decimal(&mut out, number, scale);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn lines_ascend_and_are_as_many_as_rows() {
        let config = SimulatorConfig { rows: 300, ..Default::default() };
        let mut out = Vec::new();
        truth_csv(&config, "1001", date(2026, 11, 23), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let ids: Vec<u64> =
            text.lines().map(|line| line.split('\t').nth(1).unwrap().parse().unwrap()).collect();
        assert!(ids.is_sorted() && ids.len() == 300);
        assert!(text.lines().all(|line| line.split('\t').count() == 11));
        assert_eq!(
            ids,
            truth(&config, "1001", date(2026, 11, 23)).map(|row| row.creativity_id).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_digest_is_stable() {
        let config = SimulatorConfig { rows: 0, ..Default::default() };
        assert_eq!(truth_digest(&config, "1001", date(2026, 11, 23)), "0:0");
        assert_eq!(weight(b""), 0xd41d8cd98f00b20);
    }
}
