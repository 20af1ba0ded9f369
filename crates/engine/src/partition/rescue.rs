//! Rescues stalled partitions: their missing pages are issued again, under a new generation. A run whose queue
//! died with its process is continued in the same way.

use std::time::Duration;

use pagemill_queue::PageQueue;
use pagemill_store::{PartitionRow, Reissued};

use super::{ExpandMode, PartitionDriver};
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
    let driver = PartitionDriver::new(app, queue.clone(), ExpandMode::Immediate);
    for source in app.sources.iter() {
        let depth = queue.depth(source.name()).await?;
        if depth.pages + depth.low > 0 {
            continue;
        }
        let retries = if depth.retry > 0 { app.settings.longest_retry() } else { Duration::ZERO };
        let pace =
            source.quota.per_second().map_or(Duration::ZERO, |rate| Duration::from_secs_f64(4.0 / rate));
        let idle = (idle + retries).max(pace);
        while let Some(reissued) = app.store.partitions.rescue(source.name(), idle).await? {
            tracing::warn!(
                partition = reissued.partition.id, slice = %reissued.partition.slice, pages = reissued.jobs.len(),
                "no progress: publishing the missing pages again"
            );
            driver.rescue(reissued).await?;
        }
    }
    Ok(())
}

impl<Q: PageQueue> PartitionDriver<Q> {
    /// Publishes a partition's reissued pages, or takes the step that it lacks instead: its split, its proof.
    /// Returns how many page jobs were published.
    async fn rescue(&self, reissued: Reissued) -> Result<u64, ServiceError> {
        let id = reissued.partition.id;
        let rescued = self.try_rescue(reissued).await;
        let (published, ended) =
            self.or_close_incomplete(id, rescued).await?.unwrap_or_else(|ended| (0, ended));
        self.apply_after(ended.as_slice()).await?;
        Ok(published)
    }

    async fn try_rescue(&self, reissued: Reissued) -> Result<(u64, Option<PartitionRow>), ServiceError> {
        let Reissued { partition, jobs } = reissued;
        if self.is_too_deep(&partition) && !partition.progress.published {
            self.split(&partition).await?;
            return Ok((0, self.prove(partition.id, &partition.slice).await?));
        }
        if jobs.is_empty() {
            return Ok((0, self.prove(partition.id, &partition.slice).await?));
        }
        self.publish(&jobs).await?;
        if partition.progress.total.is_some() || partition.progress.done > 0 {
            self.store.partitions.mark_published(partition.id).await?;
        }
        Ok((jobs.len() as u64, None))
    }
}

/// Rescues one partition, however recent its progress: after a crash that took its page jobs along. Returns how
/// many page jobs were published.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub async fn rescue_partition<Q: PageQueue>(
    app: &App,
    queue: &Q,
    partition: i64,
) -> Result<u64, ServiceError> {
    match app.store.partitions.reissue_missing(partition).await? {
        Some(reissued) => {
            PartitionDriver::new(app, queue.clone(), ExpandMode::Immediate).rescue(reissued).await
        }
        None => Ok(0),
    }
}
