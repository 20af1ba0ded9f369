//! Forecasts a producer that were started now: no request is sent, no run is written.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use pagemill_core::{Lane, TimeOfDay};
use pagemill_source::Rate;
use pagemill_store::{NewPartition, PlanDecision, Store};
use serde::Serialize;

use super::{deadline::after, plan::resolve, request::RunRequest};
use crate::sources::Sources;

/// Requests, partitions and end of a run that were started now. The JSON of `pagemill plan --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// When this was forecast, on the database's clock.
    pub at: Timestamp,
    /// The unfinished run of the same request, which would be continued.
    pub continues: Option<String>,
    /// Requests that would be sent.
    pub requests: u64,
    /// True if there may be more requests: a partition of which nothing is known counts one.
    pub at_least: bool,
    /// True if every source ends before its deadline; null without a deadline, or while it is unknown.
    pub on_time: Option<bool>,
    /// Source by source: they are pulled side by side.
    pub sources: Vec<SourceForecast>,
    /// Partition by partition, in the order in which they would go.
    pub partitions: Vec<PartitionForecast>,
}

/// The forecast of one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceForecast {
    /// The source's name.
    pub source: String,
    /// Partitions that would be pulled.
    pub due: usize,
    /// Partitions that are being pulled already.
    pub open: usize,
    /// Partitions that are complete already.
    pub sealed: usize,
    /// Requests that would be sent, those of open partitions among them.
    pub requests: u64,
    /// True if there may be more requests.
    pub at_least: bool,
    /// Requests of the source's other open partitions: they share its quota.
    pub others: u64,
    /// Requests a second that its quota permits, over all its windows; null without a limit.
    pub per_second: Option<f64>,
    /// Seconds that all these requests take at the quota; null without a limit.
    pub seconds: Option<f64>,
    /// When it would end.
    pub ends_at: Option<Timestamp>,
    /// When the data is needed.
    pub deadline: Option<Timestamp>,
    /// True if it would end before the deadline.
    pub on_time: Option<bool>,
    /// The zone of its deadline, and of its dates where there is none.
    #[serde(skip)]
    pub zone: TimeZone,
}

/// The forecast of one partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartitionForecast {
    /// The source's name.
    pub source: String,
    /// The stream's name.
    pub stream: String,
    /// The account whose data it is.
    pub account: String,
    /// First day.
    pub from: Date,
    /// Last day.
    pub to: Date,
    /// `pages`, or `low`: after the newest.
    pub lane: Lane,
    /// `due`, `open` (a run pulls it already), `sealed`, or `incomplete` (it closed so in the run
    /// that would be continued: due once that one has ended).
    pub state: &'static str,
    /// The run that pulls it, sealed it or left it incomplete.
    pub run: Option<String>,
    /// When it was sealed. A partition that is due all the same is pulled again.
    pub sealed_at: Option<Timestamp>,
    /// True if the report is not final yet (`ready_at`): a seal made now will not hold.
    pub provisional: bool,
    /// Rows expected, from the newest total of its own or of the same stream and account.
    pub rows: Option<u64>,
    /// Requests expected.
    pub requests: u64,
}

/// The rate of a source, and when its data is needed.
struct SourceTerms<'a> {
    name: &'a str,
    rate: &'a Rate,
    deadline: Option<&'a TimeOfDay>,
    zone: &'a TimeZone,
}

/// Forecasts what a producer would do with a request now. `by` goes over the deadlines of the config.
///
/// # Errors
/// A request that cannot be fulfilled; a credential or PostgreSQL that cannot be used.
pub async fn forecast(
    store: &Store,
    sources: &Sources,
    request: &RunRequest,
    by: Option<&TimeOfDay>,
) -> anyhow::Result<Forecast> {
    let (resolved, wanted) = resolve(store, sources, request, "").await?;
    let seen = store.runs.preview(&resolved, &wanted).await?;
    let terms =
        sources.iter().filter(|s| request.source.as_ref().is_none_or(|name| name == s.name())).map(|s| {
            SourceTerms {
                name: s.name(),
                rate: s.definition.rate(),
                deadline: by.or(s.deadline.as_ref()),
                zone: &s.zone,
            }
        });
    Ok(forecast_of(&seen, &wanted, terms))
}

fn forecast_of<'a>(
    seen: &pagemill_store::PlanPreview,
    wanted: &[NewPartition],
    terms: impl Iterator<Item = SourceTerms<'a>>,
) -> Forecast {
    let partitions: Vec<_> = wanted
        .iter()
        .zip(&seen.partitions)
        .map(|(wanted, known)| {
            let (state, run, sealed_at) = match known.decision {
                PlanDecision::Due { sealed_at } => ("due", None, sealed_at),
                PlanDecision::Open(run) => ("open", Some(run), None),
                PlanDecision::Sealed { run, at } => ("sealed", Some(run), Some(at)),
                PlanDecision::Incomplete(run) => ("incomplete", Some(run), None),
            };
            let slice = wanted.slice.clone();
            PartitionForecast {
                source: slice.source,
                stream: slice.stream,
                account: slice.account,
                from: slice.from,
                to: slice.to,
                lane: wanted.lane,
                state,
                run: run.map(|run| run.to_string()),
                sealed_at,
                provisional: wanted.due_if_requested_before.is_some_and(|due| due > seen.at),
                rows: known.rows,
                requests: known.pages,
            }
        })
        .collect();
    let sources: Vec<_> = terms.map(|terms| of_source(&terms, seen.at, &partitions, &seen.others)).collect();
    let late = sources.iter().any(|s| s.on_time == Some(false));
    let with_deadline = sources.iter().filter(|s| s.deadline.is_some());
    let all_known =
        with_deadline.clone().next().is_some() && with_deadline.clone().all(|s| s.on_time.is_some());
    Forecast {
        at: seen.at,
        continues: seen.continues.map(|run| run.to_string()),
        requests: sources.iter().map(|s| s.requests).sum(),
        at_least: sources.iter().any(|s| s.at_least),
        on_time: (late || all_known).then_some(!late),
        sources,
        partitions,
    }
}

fn of_source(
    terms: &SourceTerms<'_>,
    at: Timestamp,
    partitions: &[PartitionForecast],
    others: &BTreeMap<String, u64>,
) -> SourceForecast {
    let own = || partitions.iter().filter(|p| p.source == terms.name);
    let count = |state: &str| own().filter(|p| p.state == state).count();
    let requests: u64 = own().map(|p| p.requests).sum();
    let others = others.get(terms.name).copied().unwrap_or(0);
    let ahead = if requests == 0 { 0 } else { requests + others };
    let average = terms.rate.average(ahead);
    let seconds = match average {
        _ if ahead == 0 => Some(0.0),
        rate => rate.map(|rate| ahead as f64 / rate),
    };
    let ends_at = if ahead == 0 { Some(at) } else { average.and_then(|rate| after(at, ahead, rate)) };
    let deadline = terms.deadline.and_then(|deadline| deadline.next(at, terms.zone));
    let at_least = own().any(|p| matches!(p.state, "due" | "open") && p.rows.is_none());
    SourceForecast {
        source: terms.name.to_owned(),
        due: count("due"),
        open: count("open"),
        sealed: count("sealed"),
        requests,
        at_least,
        others,
        per_second: terms.rate.sustained(),
        seconds,
        ends_at,
        deadline,
        on_time: ends_at.zip(deadline).map(|(end, deadline)| end <= deadline),
        zone: terms.deadline.map_or(terms.zone, |d| d.zone_or(terms.zone)).clone(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use pagemill_core::Slice;
    use pagemill_store::SlicePreview;

    use super::*;

    const AT: &str = "2026-03-05T00:00:00Z";

    fn wanted(source: &str, day: i8, due: Option<&str>) -> NewPartition {
        NewPartition {
            slice: Slice {
                source: source.into(),
                stream: "t".into(),
                account: "a".into(),
                from: date(2026, 3, day),
                to: date(2026, 3, day),
                part: BTreeMap::new(),
            },
            row_account: "a".into(),
            date_scope: "within",
            lane: Lane::High,
            page_size: 100,
            subset: None,
            chained: false,
            due_if_requested_before: due.map(|d| d.parse().unwrap()),
        }
    }

    fn known(decision: PlanDecision, rows: Option<u64>, pages: u64) -> SlicePreview {
        SlicePreview { decision, rows, pages }
    }

    /// Three partitions of source `s` and none of `t`, at one request a second.
    fn example(rows: Option<u64>, pages: u64, deadline: Option<&str>, per_second: Option<f64>) -> Forecast {
        let at: Timestamp = AT.parse().unwrap();
        let seen = pagemill_store::PlanPreview {
            at,
            continues: None,
            partitions: vec![
                known(PlanDecision::Due { sealed_at: None }, rows, pages),
                known(PlanDecision::Open(3), Some(1_000), 4),
                known(PlanDecision::Sealed { run: 1, at }, Some(700), 0),
            ],
            others: BTreeMap::from([("s".to_owned(), 6)]),
        };
        let wanted =
            [wanted("s", 4, Some("2026-03-05T02:15:00Z")), wanted("s", 3, None), wanted("s", 2, None)];
        let (deadline, zone) = (deadline.map(|d| d.parse().unwrap()), TimeZone::UTC);
        let rate = &Rate { per_second, ..Rate::default() };
        let terms =
            ["s", "t"].map(|name| SourceTerms { name, rate, deadline: deadline.as_ref(), zone: &zone });
        forecast_of(&seen, &wanted, terms.into_iter())
    }

    #[test]
    fn requests_share_the_quota_with_what_is_under_way() {
        let forecast = example(Some(3_590_000), 3_590, Some("01:00"), Some(1.0));
        let source = &forecast.sources[0];
        assert_eq!((source.due, source.open, source.sealed), (1, 1, 1));
        assert_eq!((source.requests, source.others, source.seconds), (3_594, 6, Some(3_600.0)));
        assert_eq!(source.ends_at, source.deadline);
        assert_eq!((forecast.on_time, forecast.at_least), (Some(true), false));
        let late = example(Some(3_591_000), 3_591, Some("01:00"), Some(1.0));
        assert_eq!(
            (late.on_time, late.sources[0].on_time, late.sources[1].on_time),
            (Some(false), Some(false), Some(true))
        );
    }

    #[test]
    fn an_unknown_total_makes_the_forecast_a_minimum() {
        let forecast = example(None, 1, None, Some(1.0));
        assert_eq!((forecast.at_least, forecast.on_time, forecast.requests), (true, None, 5));
        let unlimited = example(Some(100), 1, Some("01:00"), None);
        assert_eq!(
            (unlimited.sources[0].seconds, unlimited.sources[0].on_time, unlimited.on_time),
            (None, None, None)
        );
        // Nothing to do is done at once, whatever the rate.
        assert_eq!(unlimited.sources[1].on_time, Some(true));
        let provisional: Vec<bool> = forecast.partitions.iter().map(|p| p.provisional).collect();
        assert_eq!(provisional, [true, false, false]);
    }
}
