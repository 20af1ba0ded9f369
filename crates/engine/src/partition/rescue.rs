//! Partitions that stand still are moved on: their missing pages are published again, under a new
//! generation. The in-process queue, which dies with its process, starts by the same way.

use std::time::Duration;

use pagemill_core::{Failure, PageJob};
use pagemill_queue::{DeadLetter, Fate, PageQueue};
use pagemill_store::{Store, StoreError, StoreErrorKind};

use crate::{app::App, pipeline::Follow};

/// Rescues partitions of all sources that have made no progress for `idle` although no page job waits
/// in their lanes, nor on a rung unless for longer than any rung holds it. With a slow quota pages in
/// flight take their time, which is no standstill.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub async fn rescue_idle<Q: PageQueue>(app: &App, queue: &Q, idle: Duration) -> anyhow::Result<()> {
    for source in app.sources.iter() {
        let depth = queue.depth(source.name()).await?;
        if depth.pages + depth.low > 0 {
            continue;
        }
        let rungs = if depth.retry > 0 { app.settings.longest_retry() } else { Duration::ZERO };
        let pace =
            source.quota.per_second().map_or(Duration::ZERO, |rate| Duration::from_secs_f64(4.0 / rate));
        let idle = (idle + rungs).max(pace);
        while let Some(order) = app.store.partitions.rescue(source.name(), idle).await? {
            tracing::warn!(
                partition = order.partition.id, slice = %order.partition.slice, pages = order.jobs.len(),
                "no progress: publishing the missing pages again"
            );
            Follow::app(app, queue).rescued(order).await.map_err(anyhow::Error::from)?;
        }
    }
    Ok(())
}

/// Publishes what one partition lacks, whatever its progress.
///
/// # Errors
/// As [`rescue_idle`].
pub async fn publish_missing<Q: PageQueue>(app: &App, queue: &Q, partition: i64) -> anyhow::Result<u64> {
    match app.store.partitions.reorder_missing(partition).await? {
        Some(order) => Ok(Follow::app(app, queue).rescued(order).await?),
        None => Ok(0),
    }
}

/// Brings the dead-letter queues and the ledger together where their counts differ: what the broker
/// dead-lettered by itself is recorded.
///
/// # Errors
/// As [`rescue_idle`].
pub async fn reconcile_all<Q: PageQueue>(app: &App, queue: &Q) -> anyhow::Result<()> {
    for source in app.sources.iter() {
        if queue.depth(source.name()).await?.dead != app.store.dead_letters.count(source.name()).await? {
            reconcile_dead(&app.store, queue, source.name()).await?;
        }
    }
    Ok(())
}

/// One pass over a source's dead-letter queue: letters that no longer wait for an operator leave
/// it, those that the ledger does not know are recorded.
///
/// # Errors
/// As [`rescue_idle`].
pub async fn reconcile_dead<Q: PageQueue>(store: &Store, queue: &Q, source: &str) -> anyhow::Result<()> {
    let decide = |letters: Vec<DeadLetter>| {
        let (store, source) = (store.clone(), source.to_owned());
        async move {
            let ids: Vec<String> = letters.iter().map(|l| l.id.clone()).collect();
            let known = store.dead_letters.known(&ids).await?;
            let mut fates = Vec::with_capacity(letters.len());
            for letter in &letters {
                fates.push(match known.iter().find(|(id, _)| *id == letter.id) {
                    Some((_, true)) => Fate::Keep,
                    Some((_, false)) => Fate::Drop,
                    None => record(&store, &source, letter).await?,
                });
            }
            Ok::<_, StoreError>(fates)
        }
    };
    Ok(queue.sweep_dead(source, decide).await?)
}

/// A job of another ledger's partition is kept for whoever has that.
async fn known_partition(store: &Store, partition: i64) -> Result<bool, StoreError> {
    match store.partitions.get(partition).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == StoreErrorKind::Invalid => Ok(false),
        Err(error) => Err(error),
    }
}

/// A letter that the broker put there, or that lost its record.
async fn record(store: &Store, source: &str, letter: &DeadLetter) -> Result<Fate, StoreError> {
    let reason = letter.broker_reason.as_deref().unwrap_or("unknown");
    let error = format!("the broker gave this message up (reason: {reason})");
    tracing::warn!(source, id = %letter.id, %error, "recorded a dead letter");
    let job = PageJob::decode(&letter.body).ok();
    let job = match job {
        Some(job) => known_partition(store, job.partition).await?.then_some(job),
        None => None,
    };
    let Some(job) = job else {
        store.dead_letters.record_message(source, &letter.id, &letter.body, &error).await?;
        return Ok(Fate::Keep);
    };
    match store.dead_letters.record(&job, &Failure::permanent(error)).await? {
        Some(record) => {
            if record.progress.is_some_and(|p| p.has_ended()) {
                // A dead page makes it incomplete, whatever else its stream's rules ask.
                store.partitions.seal(job.partition, None, 0).await?;
            }
            Ok(Fate::Keep)
        }
        // Done meanwhile, of an older generation, or of a partition that is closed.
        None => Ok(Fate::Drop),
    }
}
