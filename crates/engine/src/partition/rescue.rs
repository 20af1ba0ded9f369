//! Resumes stalled partitions: their missing pages are published again, under a new generation. A run with an
//! in-process queue, which dies with its process, is continued in this way too.

use std::time::Duration;

use pagemill_queue::PageQueue;
use pagemill_store::Republish;

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
    async fn resume(&self, order: Republish) -> Result<u64, ServiceError> {
        let id = order.partition.id;
        let resumed = self.try_resume(order).await;
        Ok(self.or_close_incomplete(id, resumed).await?.unwrap_or(0))
    }

    async fn try_resume(&self, order: Republish) -> Result<u64, ServiceError> {
        let Republish { partition, jobs } = order;
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
