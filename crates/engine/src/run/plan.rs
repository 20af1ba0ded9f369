//! From what was asked to the partitions to be opened.

use std::{cmp::Reverse, str::FromStr};

use jiff::civil::Date;
use pagemill_core::{DateWord, Lane, PageRange, Slice};
use pagemill_source::Paging;
use pagemill_store::{NewPartition, Planned, RunRequest, Store};
use serde_json::json;

use crate::{
    run::days::StreamDays,
    sources::{Source, Sources},
};

/// What a run is asked to pull.
#[derive(Clone, Debug)]
pub struct Asked {
    /// First day.
    pub from: DateWord,
    /// Last day.
    pub to: DateWord,
    /// How far before the first one as well.
    pub lookback: Lookback,
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

/// How far back a run looks beyond the days asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookback {
    /// So many days before the first.
    Days(u32),
    /// As far as the API still changes each stream's days: its longest restatement window.
    Restate,
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
            lookback: Lookback::default(),
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
    let (request, wanted) = request(store, sources, asked, owner).await?;
    Ok(store.runs.plan(&request, &wanted).await?)
}

/// What was asked, as the ledger takes it.
pub(crate) async fn request(
    store: &Store,
    sources: &Sources,
    asked: &Asked,
    owner: &str,
) -> anyhow::Result<(RunRequest, Vec<NewPartition>)> {
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
        requested: json!({
            "days": days, "streams": asked.streams, "accounts": asked.accounts, "again": asked.again,
            "pages": asked.pages.map(|p| [p.first, p.last]),
            "partitions": wanted.iter().map(|w| w.slice.to_string()).collect::<Vec<_>>(),
        }),
        again: asked.again,
        owner: owner.to_owned(),
    };
    Ok((request, wanted))
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
    let mut cells = Vec::new();
    for stream in &streams {
        let definition = source.definition.stream(stream).map_err(|e| PlanError(e.to_string()))?;
        let chained = definition.paging() != Paging::Numbered;
        if chained && asked.pages.is_some_and(|pages| pages.first > 1) {
            let what = format!("--pages: the pages of stream {stream} follow one another, begin with 1");
            return Err(PlanError(what).into());
        }
        let days = StreamDays::of(source, definition);
        let of_stream = days.partitions(from, to, asked.lookback, today);
        cells.extend(of_stream.into_iter().enumerate().map(|(nth, (first, last))| NewPartition {
            slice: Slice {
                source: source.name().to_owned(),
                stream: (*stream).clone(),
                account: String::new(),
                from: first,
                to: last,
                part: Default::default(),
            },
            // The newest goes first.
            lane: if nth == 0 { Lane::Pages } else { Lane::Low },
            page_size: definition.page_size(),
            chained,
            subset: asked.pages,
            due_if_sealed_before: days.due_if_sealed_before(last, today),
        }));
    }
    if wanted.len() + cells.len().saturating_mul(accounts.len()) > MOST_PARTITIONS {
        let what = format!("more than {MOST_PARTITIONS} partitions: ask for fewer days at a time");
        return Err(PlanError(what).into());
    }
    cells.sort_by_key(|cell| Reverse(cell.slice.to));
    for cell in &cells {
        wanted.extend(accounts.iter().map(|account| {
            let mut partition = cell.clone();
            partition.slice.account = (*account).clone();
            partition
        }));
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

impl Default for Lookback {
    fn default() -> Self {
        Self::Days(0)
    }
}

impl FromStr for Lookback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "restate" => Ok(Self::Restate),
            days => days
                .parse()
                .map(Self::Days)
                .map_err(|_| format!("'{days}' is neither a number of days nor \"restate\"")),
        }
    }
}
