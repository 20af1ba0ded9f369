//! Resumes stalled partitions: their missing pages are published again, under a new generation. A run with an
//! in-process queue, which dies with its process, is continued in this way too.

use std::time::Duration;

use pagemill_core::{Failure, PageJob};
use pagemill_queue::{DeadLetter, DeadLetterAction, PageQueue, SweepError};
use pagemill_store::{RescueOrder, Store, StoreError, StoreErrorKind};

use super::{Expansion, PartitionSteps};
use crate::{app::App, error::ServiceError};

/// Rescues partitions of all sources that have made no progress for `idle` although no page job waits in
/// their lanes. While jobs wait in retry tiers, the longest delay of a tier is added to `idle`; with a slow
/// quota `idle` is at least the time of some requests.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub async fn rescue_stalled_partitions<Q: PageQueue>(
    app: &App,
    queue: &Q,
    idle: Duration,
) -> Result<(), ServiceError> {
    let steps = PartitionSteps::new(app, queue.clone(), Expansion::Immediate);
    for source in app.sources.iter() {
        let depth = queue.depth(source.name()).await?;
        if depth.pages + depth.low > 0 {
            continue;
        }
        let retries = if depth.retry > 0 { app.settings.longest_retry() } else { Duration::ZERO };
        let pace =
            source.quota.per_second().map_or(Duration::ZERO, |rate| Duration::from_secs_f64(4.0 / rate));
        let idle = (idle + retries).max(pace);
        while let Some(order) = app.store.partitions.rescue(source.name(), idle).await? {
            tracing::warn!(
                partition = order.partition.id, slice = %order.partition.slice, pages = order.jobs.len(),
                "no progress: publishing the missing pages again"
            );
            steps.resume(order).await?;
        }
    }
    Ok(())
}

impl<Q: PageQueue> PartitionSteps<Q> {
    /// Resumes a stalled partition; returns how many page jobs were published.
    async fn resume(&self, order: RescueOrder) -> Result<u64, ServiceError> {
        let id = order.partition.id;
        let resumed = self.try_resume(order).await;
        Ok(self.or_close_incomplete(id, resumed).await?.unwrap_or(0))
    }

    async fn try_resume(&self, order: RescueOrder) -> Result<u64, ServiceError> {
        let RescueOrder { partition, jobs } = order;
        if self.is_too_deep(&partition) && !partition.progress.published {
            self.split(&partition).await?;
            self.seal(partition.id, &partition.slice).await?;
            return Ok(0);
        }
        if jobs.is_empty() {
            self.seal(partition.id, &partition.slice).await?;
            return Ok(0);
        }
        self.publish(&jobs).await?;
        if partition.progress.total.is_some() || partition.progress.done > 0 {
            self.store.partitions.mark_published(partition.id).await?;
        }
        Ok(jobs.len() as u64)
    }
}

/// Publishes what one partition lacks, whatever its progress.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub async fn publish_missing<Q: PageQueue>(
    app: &App,
    queue: &Q,
    partition: i64,
) -> Result<u64, ServiceError> {
    match app.store.partitions.reorder_missing(partition).await? {
        Some(order) => PartitionSteps::new(app, queue.clone(), Expansion::Immediate).resume(order).await,
        None => Ok(0),
    }
}

/// Reconciles each source's dead-letter queue with the ledger where their counts differ: what the broker
/// dead-lettered by itself is recorded.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub async fn reconcile_dead_letters<Q: PageQueue>(app: &App, queue: &Q) -> Result<(), ServiceError> {
    for source in app.sources.iter() {
        if queue.depth(source.name()).await?.dead != app.store.dead_letters.count(source.name()).await? {
            reconcile_source(&app.store, queue, source.name()).await?;
        }
    }
    Ok(())
}

/// One pass over a source's dead-letter queue: letters that no longer wait for an operator leave
/// it, those that the ledger does not know are recorded.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub async fn reconcile_source<Q: PageQueue>(
    store: &Store,
    queue: &Q,
    source: &str,
) -> Result<(), ServiceError> {
    let decide = |letters: Vec<DeadLetter>| {
        let (store, source) = (store.clone(), source.to_owned());
        async move {
            let ids: Vec<String> = letters.iter().map(|l| l.id.clone()).collect();
            let known = store.dead_letters.known(&ids).await?;
            let mut actions = Vec::with_capacity(letters.len());
            for letter in &letters {
                actions.push(match known.iter().find(|(id, _)| *id == letter.id) {
                    Some((_, true)) => DeadLetterAction::Keep,
                    Some((_, false)) => DeadLetterAction::Drop,
                    None => record(&store, &source, letter).await?,
                });
            }
            Ok::<_, StoreError>(actions)
        }
    };
    queue.sweep_dead(source, decide).await.map_err(|error| match error {
        SweepError::Queue(error) => error.into(),
        SweepError::Decide(error) => error.into(),
    })
}

/// False for a partition of another ledger: its job is kept.
async fn known_partition(store: &Store, partition: i64) -> Result<bool, StoreError> {
    match store.partitions.get(partition).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == StoreErrorKind::Invalid => Ok(false),
        Err(error) => Err(error),
    }
}

/// A letter that the broker put there, or that lost its record.
async fn record(store: &Store, source: &str, letter: &DeadLetter) -> Result<DeadLetterAction, StoreError> {
    let reason = letter.broker_reason.as_deref().unwrap_or("unknown");
    let error = format!("the broker dead-lettered this message (reason: {reason})");
    tracing::warn!(source, message = %letter.id, %error, "recorded a dead letter");
    let job = PageJob::decode(&letter.body).ok();
    let job = match job {
        Some(job) => known_partition(store, job.partition).await?.then_some(job),
        None => None,
    };
    let Some(job) = job else {
        store.dead_letters.record_message(source, &letter.id, &letter.body, &error).await?;
        return Ok(DeadLetterAction::Keep);
    };
    match store.dead_letters.record(&job, &Failure::permanent(error)).await? {
        Some(record) => {
            if record.progress.is_some_and(|p| p.has_ended()) {
                // A dead page makes it incomplete, whatever the stream's rules are.
                store.partitions.seal(job.partition, None, 0).await?;
            }
            Ok(DeadLetterAction::Keep)
        }
        // Done meanwhile, of an older generation, or of a partition that is closed.
        None => Ok(DeadLetterAction::Drop),
    }
}
