//! From what was asked to the partitions to be opened.

use std::time::Duration;

use jiff::{ToSpan, civil::Date};
use pagemill_core::{DateWord, Lane, PageRange, Slice};
use pagemill_store::{NewPartition, Planned, RunRequest, Store};
use serde_json::json;

use crate::sources::{Source, Sources};

/// What a run is asked to pull.
#[derive(Clone, Debug)]
pub struct Asked {
    /// First day.
    pub from: DateWord,
    /// Last day.
    pub to: DateWord,
    /// So many days before the first one as well.
    pub lookback: u32,
    /// Only this source.
    pub source: Option<String>,
    /// Only these streams; empty = all that the config names.
    pub streams: Vec<String>,
    /// Only these accounts; empty = all that the config names.
    pub accounts: Vec<String>,
    /// Only these pages.
    pub pages: Option<PageRange>,
    /// Pull again what is sealed.
    pub again: bool,
}

/// What was asked cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(pub String);

impl Asked {
    /// A range of days, and nothing else in particular.
    pub fn days(from: DateWord, to: DateWord) -> Self {
        Self {
            from,
            to,
            lookback: 0,
            source: None,
            streams: vec![],
            accounts: vec![],
            pages: None,
            again: false,
        }
    }
}

/// The most partitions that one run may have: beyond this a typo is likelier than a wish.
const MOST_PARTITIONS: usize = 1_000_000;

/// Records the run that was asked for, or continues it; see [`Store::plan`].
///
/// # Errors
/// [`PlanError`] for what cannot be, otherwise as any query.
pub async fn plan(store: &Store, sources: &Sources, asked: &Asked, owner: &str) -> anyhow::Result<Planned> {
    let mut wanted = Vec::new();
    let mut days = Vec::new();
    for source in selected(sources, asked)? {
        let today = store.today_in(&source.zone).await?;
        let (from, to) = range(asked, today)?;
        days.push(json!([source.name(), from.to_string(), to.to_string()]));
        let accounts = source.credentials.accounts().await?;
        partitions(source, &accounts, asked, from, to, today, &mut wanted)?;
    }
    let request = RunRequest {
        asked: json!({
            "days": days, "streams": asked.streams, "accounts": asked.accounts, "again": asked.again,
            "pages": asked.pages.map(|p| [p.first, p.last]),
            "partitions": wanted.iter().map(|w| w.slice.to_string()).collect::<Vec<_>>(),
        }),
        again: asked.again,
        owner: owner.to_owned(),
    };
    Ok(store.plan(&request, &wanted).await?)
}

fn selected<'a>(sources: &'a Sources, asked: &Asked) -> Result<Vec<&'a Source>, PlanError> {
    let Some(name) = &asked.source else { return Ok(sources.iter().collect()) };
    let known = || sources.names().join(", ");
    let source = sources
        .get(name)
        .ok_or_else(|| PlanError(format!("unknown source '{name}': the config has {}", known())))?;
    Ok(vec![source])
}

fn range(asked: &Asked, today: Date) -> Result<(Date, Date), PlanError> {
    let (from, to) = (asked.from.resolve(today), asked.to.resolve(today));
    if from > to {
        return Err(PlanError(format!("--from {from} is after --to {to}")));
    }
    if to > today {
        return Err(PlanError(format!("{to} has not come yet: it is {today} in the source's time zone")));
    }
    let from = from
        .checked_sub(i64::from(asked.lookback).days())
        .map_err(|e| PlanError(format!("--lookback: {e}")))?;
    Ok((from, to))
}

fn partitions(
    source: &Source,
    accounts: &[String],
    asked: &Asked,
    from: Date,
    to: Date,
    today: Date,
    wanted: &mut Vec<NewPartition>,
) -> anyhow::Result<()> {
    let streams = chosen(&asked.streams, &source.streams, "stream", source.name())?;
    let accounts = chosen(&asked.accounts, accounts, "account", source.name())?;
    // The newest day first, and its pages on the lane that goes first.
    let days: Vec<Date> = from.series(1.day()).take_while(|day| *day <= to).collect();
    for &day in days.iter().rev() {
        for stream in &streams {
            let page_size =
                source.definition.stream(stream).map_err(|e| PlanError(e.to_string()))?.page_size();
            for account in &accounts {
                if wanted.len() == MOST_PARTITIONS {
                    return Err(PlanError(format!(
                        "more than {MOST_PARTITIONS} partitions: ask for fewer days at a time"
                    ))
                    .into());
                }
                let slice = Slice {
                    source: source.name().to_owned(),
                    stream: (*stream).clone(),
                    account: (*account).clone(),
                    from: day,
                    to: day,
                    part: Default::default(),
                };
                let lane = if day == to { Lane::Pages } else { Lane::Low };
                wanted.push(NewPartition {
                    due_if_sealed_before: due_if_sealed_before(source, day, today),
                    slice,
                    lane,
                    page_size,
                    subset: asked.pages,
                });
            }
        }
    }
    Ok(())
}

/// Those asked for, each of which the config must name; or all that it names.
fn chosen<'a>(
    asked: &'a [String],
    named: &'a [String],
    what: &str,
    source: &str,
) -> Result<Vec<&'a String>, PlanError> {
    if asked.is_empty() {
        return Ok(named.iter().collect());
    }
    match asked.iter().find(|a| !named.contains(a)) {
        Some(unknown) => Err(PlanError(format!(
            "unknown {what} '{unknown}' of source {source}: the config has {}",
            named.join(", ")
        ))),
        None => Ok(asked.iter().collect()),
    }
}

/// A seal older than this is not the last word on the day: it was made before the source's
/// `ready_at`, or before today while the day lies within `restate`.
fn due_if_sealed_before(source: &Source, day: Date, today: Date) -> Option<jiff::Timestamp> {
    let ready = source.ready_at.as_ref().and_then(|(time, zone)| {
        let next = day.tomorrow().ok()?;
        Some(next.to_datetime(*time).to_zoned(zone.clone()).ok()?.timestamp())
    });
    let restated = source.restate.and_then(|window: Duration| {
        let days = i64::try_from(window.as_secs() / 86_400).unwrap_or(i64::MAX);
        let oldest = today.checked_sub(days.days()).ok()?;
        let within = day >= oldest;
        within
            .then(|| today.to_zoned(source.zone.clone()).ok().map(|midnight| midnight.timestamp()))
            .flatten()
    });
    ready.max(restated)
}
