//! Records in the ledger how pages ended, and returns their outcomes as the ledger has them.

use std::slice;

use backon::{ExponentialBuilder, Retryable};
use pagemill_core::{Failure, PageJob, PageOutcome};
use pagemill_queue::PageQueue;
use pagemill_store::{DataTable, PageWrite, Progress, StoreError, StoreErrorKind, Unwanted, Written};
use std::time::Duration;

use super::{Pipeline, dead_letters};
use crate::error::ServiceError;

/// Before a batch is written again. The stepper's time is virtual, and it waits for nothing.
const FIRST_WAIT: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 50 });
const LONGEST_WAIT: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 2_000 });

/// The outcome of a page as the ledger has it.
pub(super) struct RecordedOutcome {
    pub(super) outcome: PageOutcome,
    /// Failed attempts so far, this one included.
    pub(super) attempts: u32,
    /// The partition's progress, if the page has changed it, or may have.
    pub(super) progress: Option<Progress>,
}

/// Stores a batch of pages of one stream in one transaction. A batch with a page that fails is stored page by page, so
/// that only the page that fails alone is charged.
pub(super) async fn record_batch<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    pages: &[PageWrite],
) -> Result<Vec<RecordedOutcome>, ServiceError> {
    let slice = &pages[0].job.slice;
    let source = pipeline.sources.get(&slice.source).expect("a fetched page has its source");
    let table = &source.tables[&slice.stream];
    match write(pipeline, table, pages).await {
        Ok(written) => record_written(pipeline, pages, written).await,
        Err(error) if error.kind() == StoreErrorKind::Permanent => {
            let mut recorded = Vec::with_capacity(pages.len());
            for page in pages {
                recorded.extend(record_alone(pipeline, table, page).await?);
            }
            Ok(recorded)
        }
        Err(error) => Err(error.into()),
    }
}

async fn record_alone<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    table: &DataTable,
    page: &PageWrite,
) -> Result<Vec<RecordedOutcome>, ServiceError> {
    match write(pipeline, table, slice::from_ref(page)).await {
        Ok(written) => record_written(pipeline, slice::from_ref(page), written).await,
        Err(error) if error.kind() == StoreErrorKind::Permanent => {
            let failure = Failure::permanent(error.to_string());
            Ok(vec![
                record_failure(pipeline, &page.job, PageOutcome::Failed(failure.clone()), &failure).await?,
            ])
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a batch, again while the error is transient. Repeating is safe also when the
/// response to a commit was lost: the ledger then refuses the pages as already stored.
async fn write<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    table: &DataTable,
    pages: &[PageWrite],
) -> Result<Written, StoreError> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .with_max_times(8)
        .with_jitter();
    (|| pipeline.store.pages.write(table, pages))
        .retry(backoff)
        .when(|e| matches!(e.kind(), StoreErrorKind::Retriable | StoreErrorKind::Unavailable))
        .notify(|error, wait| tracing::warn!(%error, ?wait, "storing a batch again"))
        .await
}

/// The pages that the transaction stored, and what the ledger has of those that it refused.
async fn record_written<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    pages: &[PageWrite],
    written: Written,
) -> Result<Vec<RecordedOutcome>, ServiceError> {
    let mut recorded = Vec::with_capacity(pages.len());
    for (page, stored) in pages.iter().zip(written.stored) {
        recorded.push(if stored {
            pipeline.counters.stored(page.len());
            let progress = written.progress.iter().find(|p| p.partition == page.job.partition).cloned();
            RecordedOutcome { outcome: PageOutcome::Stored, attempts: 0, progress }
        } else {
            look_up(pipeline, &page.job).await?
        });
    }
    Ok(recorded)
}

/// Records how a page ended that has nothing to store.
pub(super) async fn record_outcome<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    job: &PageJob,
    outcome: PageOutcome,
    progress: Option<Progress>,
) -> Result<RecordedOutcome, ServiceError> {
    match &outcome {
        PageOutcome::Failed(failure) | PageOutcome::RestartTask(failure) => {
            let failure = failure.clone();
            record_failure(pipeline, job, outcome, &failure).await
        }
        PageOutcome::Poisoned { crashes } => {
            tracing::error!(
                partition = job.partition, page = job.page, generation = job.generation, slice = %job.slice, crashes,
                "a poisoned page is dead"
            );
            Ok(RecordedOutcome { attempts: *crashes, outcome, progress })
        }
        PageOutcome::Stored
        | PageOutcome::AlreadyDone
        | PageOutcome::AlreadyDead
        | PageOutcome::Obsolete
        | PageOutcome::Preparing { .. }
        | PageOutcome::QuotaWait(_)
        | PageOutcome::QuotaExhausted(_)
        | PageOutcome::UnknownStream
        | PageOutcome::UnknownPartition(_)
        | PageOutcome::Malformed(_)
        | PageOutcome::NewerVersion(_)
        | PageOutcome::StillWanted
        | PageOutcome::Unavailable
        | PageOutcome::Cancelled => without_recording(pipeline, job, outcome, progress).await,
    }
}

/// Counts a failed attempt. If the ledger no longer wants the page, the ledger's state replaces the failure.
async fn record_failure<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    job: &PageJob,
    outcome: PageOutcome,
    failure: &Failure,
) -> Result<RecordedOutcome, ServiceError> {
    let costs_attempt = failure.class.costs_attempt();
    let counted = match costs_attempt {
        true => pipeline.store.pages.record_failure(job, failure).await?,
        false => pipeline.store.pages.record_throttled(job, failure).await?,
    };
    let Some(attempts) = counted else { return look_up(pipeline, job).await };
    let (partition, page, generation) = (job.partition, job.page, job.generation);
    if !costs_attempt {
        tracing::info!(partition, page, generation, slice = %job.slice, error = %failure, "throttled");
    } else {
        tracing::warn!(partition, page, generation, attempts, slice = %job.slice, error = %failure, "a page failed");
    }
    Ok(RecordedOutcome { outcome, attempts, progress: None })
}

/// The outcome of a page that the ledger refused to record.
async fn look_up<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    job: &PageJob,
) -> Result<RecordedOutcome, ServiceError> {
    let (outcome, progress) = match pipeline.store.pages.look_up(job).await? {
        Some(reason) => outcome_of(reason, job),
        None => (PageOutcome::StillWanted, None),
    };
    without_recording(pipeline, job, outcome, progress).await
}

/// An outcome of which the ledger need not be told: only a dead page's letter may be missing in its queue.
async fn without_recording<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    job: &PageJob,
    outcome: PageOutcome,
    progress: Option<Progress>,
) -> Result<RecordedOutcome, ServiceError> {
    if outcome == PageOutcome::AlreadyDead {
        dead_letters::ensure_letter_queued(pipeline, job).await?;
    }
    Ok(RecordedOutcome { outcome, attempts: 0, progress })
}

/// The outcome of a job for which the ledger wants no request, and the partition's progress.
pub(super) fn outcome_of(reason: Unwanted, job: &PageJob) -> (PageOutcome, Option<Progress>) {
    match reason {
        Unwanted::Done(progress) => (PageOutcome::AlreadyDone, Some(progress)),
        Unwanted::Dead(progress) => (PageOutcome::AlreadyDead, Some(progress)),
        Unwanted::Obsolete => (PageOutcome::Obsolete, None),
        Unwanted::UnknownPartition => (PageOutcome::UnknownPartition(job.partition), None),
    }
}
