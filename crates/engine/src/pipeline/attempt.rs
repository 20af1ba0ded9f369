//! The worker's part: from a job to a page that is ready to be stored.

use std::time::Instant;

use pagemill_core::{Budget, Failure, FailureClass, PageJob, PageOutcome};
use pagemill_queue::PageQueue;
use pagemill_source::Fetch;
use pagemill_store::{
    BaselinePage, PageStart, PageWrite, Progress, StoreError, StoreErrorKind, UnchangedPage,
};

use super::{Pipeline, delivered::DeliveredJob, quarantine::Permit, record};
use crate::{
    crash,
    credentials::{Token, TokenError},
    error::ServiceError,
    quota::{NoSlot, RequestSlot},
    sources::Source,
};

/// The result of a worker's attempt at a page.
pub(crate) enum Attempt {
    /// The page is to be stored; the permit is held until it is settled.
    Fetched(Box<PageWrite>, Permit),
    /// There is nothing to store. With the partition's progress, if the ledger was read.
    Ended(PageOutcome, Option<Progress>),
    /// PostgreSQL cannot be used.
    Unavailable(ServiceError),
}

pub(crate) async fn attempt<Q: PageQueue>(pipeline: &Pipeline<Q>, page: &DeliveredJob) -> Attempt {
    try_attempt(pipeline, page).await.unwrap_or_else(|otherwise| otherwise)
}

/// Looks the page up in the ledger if need be, takes a token and a slot, and sends the request. `Err` ends the
/// attempt before the request.
async fn try_attempt<Q: PageQueue>(pipeline: &Pipeline<Q>, page: &DeliveredJob) -> Result<Attempt, Attempt> {
    let job = &page.job;
    let source = pipeline.sources.get(&job.slice.source).ok_or_else(|| unknown_source(job))?;
    let table = source.tables.get(&job.slice.stream).ok_or_else(|| unknown_stream(job))?;
    let permit = admit(pipeline, page).await?;
    let token = source.credentials.token(&job.slice.account).await?;
    let known = baseline_page_of(pipeline, page).await?;
    let slot = source.quota.acquire(&job.slice).await?;
    let sent_at = *page.sent_at.get_or_init(Instant::now);
    pipeline.counters.sent();
    crash::on_page(job.page);
    let token = token.newest();
    let digest = known.as_ref().map(|page| &page.body_digest);
    let fetched = source.client.fetch_if_changed(job, token.credential(), digest).await;
    if fetched.is_ok() {
        token.accepted();
        source.times.record_fetch(sent_at.elapsed());
    }
    let keeps_responses = pipeline.settings.keep_responses;
    Ok(match fetched {
        Ok(Fetch::Page(fetched)) => {
            observe_budget(source, &slot, fetched.budget).await;
            let body = keeps_responses.then(|| pagemill_store::compress(&fetched.body));
            let write = PageWrite::new(table, job.clone(), *fetched, slot.at, body);
            Attempt::Fetched(Box::new(write), permit)
        }
        Ok(Fetch::Unchanged { request_id, budget }) => {
            observe_budget(source, &slot, budget).await;
            let rows = known.expect("only a known page can be unchanged").rows;
            let unchanged = UnchangedPage { rows, keeps_response: keeps_responses };
            let write = PageWrite::unchanged(job.clone(), unchanged, request_id, slot.at);
            Attempt::Fetched(Box::new(write), permit)
        }
        Ok(Fetch::Preparing { cursor, wait }) => ended(PageOutcome::Preparing { cursor, wait }),
        Ok(Fetch::RestartTask(failure)) => ended(PageOutcome::RestartTask(failure)),
        Err(failure) => {
            observe_failure(pipeline, source, &slot, &token, &failure).await;
            failed(failure)
        }
    })
}

/// Anything but a first delivery of a first publication may be a copy, so the ledger is read before a
/// request is spent. A page that may have killed its process waits until it is alone.
async fn admit<Q: PageQueue>(pipeline: &Pipeline<Q>, page: &DeliveredJob) -> Result<Permit, Attempt> {
    let job = &page.job;
    let redelivered = page.delivery.redelivered;
    let permit = pipeline.quarantine.shared().await;
    if !job.needs_check(redelivered) {
        return Ok(permit);
    }
    let attempts = pipeline.policy.schedule.attempts;
    match pipeline.store.pages.start(job, redelivered, attempts).await? {
        PageStart::Fetch { suspected: false } => {
            if redelivered {
                page.mark_start();
            }
            Ok(permit)
        }
        PageStart::Fetch { suspected: true } => {
            drop(permit);
            let alone = pipeline.quarantine.alone().await;
            tracing::warn!(
                partition = job.partition, page = job.page, generation = job.generation, slice = %job.slice,
                "a page suspected of killing its process runs alone"
            );
            pipeline.store.pages.start_alone(job).await?;
            page.mark_start();
            Ok(alone)
        }
        PageStart::Unwanted(reason) => {
            let (outcome, progress) = record::outcome_of(reason, job);
            Err(Attempt::Ended(outcome, progress))
        }
        PageStart::Poisoned { crashes } => Err(ended(PageOutcome::Poisoned { crashes })),
    }
}

/// The page whose response may come again unchanged.
async fn baseline_page_of<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    page: &DeliveredJob,
) -> Result<Option<BaselinePage>, StoreError> {
    match page.job.comparable_attempt(page.delivery.redelivered) {
        Some(attempt) => pipeline.store.pages.baseline_page(attempt, page.job.page).await,
        None => Ok(None),
    }
}

/// Passes the number of requests that the API states as remaining to the quota.
async fn observe_budget(source: &Source, slot: &RequestSlot, budget: Option<Budget>) {
    if let Some(budget) = budget {
        log_failure(source, source.quota.observe_budget(slot, budget).await);
    }
}

async fn observe_failure<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    source: &Source,
    slot: &RequestSlot,
    token: &Token,
    failure: &Failure,
) {
    match failure.class {
        FailureClass::Throttled => {
            pipeline.counters.throttled();
            log_failure(source, source.quota.throttled(slot, failure).await);
        }
        FailureClass::Token => token.rejected(),
        FailureClass::Transient | FailureClass::Permanent => {}
    }
}

/// Logs that the quota missed an observation. The page goes on: the next page brings another.
fn log_failure(source: &Source, observed: Result<(), StoreError>) {
    if let Err(error) = observed {
        tracing::warn!(source = source.name(), %error, "the quota could not be updated");
    }
}

fn ended(outcome: PageOutcome) -> Attempt {
    Attempt::Ended(outcome, None)
}

fn failed(failure: Failure) -> Attempt {
    ended(PageOutcome::Failed(failure))
}

fn unknown_source(job: &PageJob) -> Attempt {
    failed(Failure::permanent(format!("this consumer has no source {}", job.slice.source)))
}

/// This process's config may be older, or another's: the job waits for a consumer that pulls the stream.
fn unknown_stream(job: &PageJob) -> Attempt {
    tracing::warn!(
        partition = job.partition, page = job.page, generation = job.generation, slice = %job.slice,
        "the stream is not among this consumer's `streams`: snoozed"
    );
    ended(PageOutcome::UnknownStream)
}

impl From<StoreError> for Attempt {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::Permanent => failed(Failure::permanent(error.to_string())),
            StoreErrorKind::Unavailable
            | StoreErrorKind::Refused
            | StoreErrorKind::Retriable
            | StoreErrorKind::Schema
            | StoreErrorKind::Invalid => Self::Unavailable(error.into()),
        }
    }
}

impl From<TokenError> for Attempt {
    fn from(reason: TokenError) -> Self {
        match reason {
            TokenError::Failed(failure) => failed(failure),
            TokenError::Unavailable(error) => Self::Unavailable(error.into()),
        }
    }
}

impl From<NoSlot> for Attempt {
    fn from(reason: NoSlot) -> Self {
        match reason {
            NoSlot::Snoozed(wait) => ended(PageOutcome::QuotaWait(wait)),
            NoSlot::Exhausted(wait) => ended(PageOutcome::QuotaExhausted(wait)),
            NoSlot::Unavailable(error) => Self::Unavailable(error),
        }
    }
}
