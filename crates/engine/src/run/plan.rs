//! Resolves a request into the partitions to be opened.

use std::cmp::Reverse;

use jiff::civil::Date;
use pagemill_core::{Lane, Slice, TableShape};
use pagemill_source::Paging;
use pagemill_store::{NewPartition, Planned, Store};
use serde_json::json;

use super::{days::StreamDays, request::RunRequest};
use crate::sources::{Source, Sources};

/// The most partitions that one run may have: beyond this a typo is likely.
const MOST_PARTITIONS: usize = 1_000_000;

/// A request that cannot be fulfilled.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(pub String);

/// Records the run that is requested, or continues it; see [`pagemill_store::Runs::plan`].
///
/// # Errors
/// [`PlanError`] for a request that cannot be fulfilled; a credential or PostgreSQL that cannot be used.
pub async fn plan(
    store: &Store,
    sources: &Sources,
    request: &RunRequest,
    owner: &str,
) -> anyhow::Result<Planned> {
    let (request, wanted) = resolve(store, sources, request, owner).await?;
    Ok(store.runs.plan(&request, &wanted).await?)
}

/// The request as the ledger takes it: days for words, and a partition for each slice.
pub(super) async fn resolve(
    store: &Store,
    sources: &Sources,
    request: &RunRequest,
    owner: &str,
) -> anyhow::Result<(pagemill_store::RunPlanRequest, Vec<NewPartition>)> {
    let mut wanted = Vec::new();
    let mut days = Vec::new();
    for source in selected(sources, request)? {
        let today = store.today_in(&source.zone).await?;
        let (from, to) = range(request, today)?;
        days.push(json!([source.name(), from.to_string(), to.to_string()]));
        let known = source.credentials.accounts().await?;
        let accounts = chosen(&request.accounts, &known, "account", source.name())?;
        let cells = cells(source, request, from, to, today)?;
        if wanted.len() + cells.len().saturating_mul(accounts.len()) > MOST_PARTITIONS {
            let what = format!("more than {MOST_PARTITIONS} partitions: request fewer days at a time");
            return Err(PlanError(what).into());
        }
        for cell in &cells {
            let shape = source.definition.stream(&cell.slice.stream)?.table_shape();
            if known.len() > 1 && shape.account.is_none() {
                return Err(PlanError(without_account_column(source.name(), &cell.slice.stream)).into());
            }
            wanted.extend(accounts.iter().map(|account| of_account(cell, account, shape)));
        }
    }
    let request = pagemill_store::RunPlanRequest {
        requested: json!({
            "days": days, "streams": request.streams, "accounts": request.accounts, "again": request.repull_sealed,
            "pages": request.pages.map(|p| [p.first, p.last]),
            "partitions": wanted.iter().map(|w| w.slice.to_string()).collect::<Vec<_>>(),
        }),
        again: request.repull_sealed,
        owner: owner.to_owned(),
    };
    Ok((request, wanted))
}

fn selected<'a>(sources: &'a Sources, request: &RunRequest) -> Result<Vec<&'a Source>, PlanError> {
    let Some(name) = &request.source else { return Ok(sources.iter().collect()) };
    let known = || sources.names().join(", ");
    let source = sources
        .get(name)
        .ok_or_else(|| PlanError(format!("unknown source '{name}': the config has {}", known())))?;
    Ok(vec![source])
}

fn range(request: &RunRequest, today: Date) -> Result<(Date, Date), PlanError> {
    let (from, to) = (request.from.resolve(today), request.to.resolve(today));
    if from > to {
        return Err(PlanError(format!("--from {from} is after --to {to}")));
    }
    if to > today {
        return Err(PlanError(format!("{to} has not come yet: it is {today} in the source's time zone")));
    }
    Ok((from, to))
}

/// The partitions of a source without their accounts, the newest first.
fn cells(
    source: &Source,
    request: &RunRequest,
    from: Date,
    to: Date,
    today: Date,
) -> Result<Vec<NewPartition>, PlanError> {
    let mut cells = Vec::new();
    for stream in chosen(&request.streams, &source.streams, "stream", source.name())? {
        let definition = source.definition.stream(stream).map_err(|e| PlanError(e.to_string()))?;
        let chained = definition.paging() != Paging::Numbered;
        if chained && request.pages.is_some_and(|pages| pages.first > 1) {
            let what = format!("--pages: the pages of stream {stream} follow one another, begin with 1");
            return Err(PlanError(what));
        }
        let days = StreamDays::of(source, definition);
        let of_stream = days.partitions(from, to, request.lookback, today);
        cells.extend(of_stream.into_iter().enumerate().map(|(nth, (first, last))| NewPartition {
            slice: Slice {
                source: source.name().to_owned(),
                stream: stream.clone(),
                account: String::new(),
                from: first,
                to: last,
                part: Default::default(),
            },
            row_account: String::new(),
            date_scope: definition.table_shape().dates.name(),
            // The newest goes first.
            lane: if nth == 0 { Lane::High } else { Lane::Low },
            page_size: definition.page_size(),
            chained,
            subset: request.pages,
            due_if_requested_before: days.due_if_requested_before(last, today),
        }));
    }
    cells.sort_by_key(|cell| Reverse(cell.slice.to));
    Ok(cells)
}

fn of_account(cell: &NewPartition, account: &str, shape: &TableShape) -> NewPartition {
    let mut partition = cell.clone();
    account.clone_into(&mut partition.slice.account);
    shape.row_account(account).clone_into(&mut partition.row_account);
    partition
}

fn without_account_column(source: &str, stream: &str) -> String {
    format!(
        "{source}.{stream}: several accounts, but no column of its table holds the account, so the rows of one would replace \
         those of another: add a column to the definition, such as {{ name = \"account\", param = \"account\", key = true }}"
    )
}

/// Those requested, each of which the config must name; or all that it names.
fn chosen<'a>(
    requested: &'a [String],
    named: &'a [String],
    what: &str,
    source: &str,
) -> Result<Vec<&'a String>, PlanError> {
    if requested.is_empty() {
        return Ok(named.iter().collect());
    }
    match requested.iter().find(|name| !named.contains(name)) {
        Some(unknown) => Err(PlanError(format!(
            "unknown {what} '{unknown}' of source {source}: the config has {}",
            named.join(", ")
        ))),
        None => Ok(requested.iter().collect()),
    }
}
