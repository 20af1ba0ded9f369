//! Applies proved attempts: puts their rows into the tables and seals them.

use pagemill_queue::PageQueue;
use pagemill_store::{Applied, DataTable, PartitionRow, SealReport};

use super::{ExpandMode, PartitionDriver};
use crate::{app::App, error::ServiceError};

/// Applies all proved attempts at what an app pulls: their processes died, or they had to wait for others.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub async fn apply_proved<Q: PageQueue>(app: &App, queue: &Q) -> Result<(), ServiceError> {
    let driver = PartitionDriver::new(app, queue.clone(), ExpandMode::Immediate);
    for attempt in app.store.seals.proved(&app.sources.names()).await? {
        let (partition, slice) = (attempt.id, attempt.slice.clone());
        // One that fails does not keep the others waiting; it is tried again.
        if let Err(error) = driver.apply_all(vec![attempt]).await {
            tracing::warn!(partition, %slice, %error, "a proved partition could not be applied");
        }
    }
    Ok(())
}

impl<Q: PageQueue> PartitionDriver<Q> {
    /// Applies what is proved of the streams and accounts of these attempts, which have ended: themselves, and those that
    /// waited for them.
    pub(crate) async fn apply_after(&self, ended: &[PartitionRow]) -> Result<(), ServiceError> {
        for attempt in ended {
            // Whoever finds another at work on the stream and account leaves its own to that one.
            while self.apply_all(self.store.seals.proved_beside(attempt).await?).await? {}
        }
        Ok(())
    }

    /// Applies attempts, the oldest first. Returns whether any was applied.
    async fn apply_all(&self, proved: Vec<PartitionRow>) -> Result<bool, ServiceError> {
        let mut any = false;
        for attempt in proved {
            if let Some(table) = self.table(&attempt.slice) {
                let applied = self.apply(table, &attempt).await;
                any |= self.or_close_incomplete(attempt.id, applied).await?.unwrap_or(true);
            }
        }
        Ok(any)
    }

    async fn apply(&self, table: &DataTable, attempt: &PartitionRow) -> Result<bool, ServiceError> {
        fail::fail_point!("before-apply");
        match self.store.seals.apply(table, attempt.id, self.apply_at_most).await? {
            Some(Applied::Sealed(report)) => {
                fail::fail_point!("after-apply");
                log_sealed(&report);
                self.store.seals.record_digest(table, attempt.id).await?;
                self.store.seals.clear_staged(table, attempt.id).await?;
            }
            Some(Applied::Superseded(partition, run)) => {
                tracing::warn!(partition = partition.id, slice = %partition.slice, by = run, "superseded by newer data");
            }
            Some(Applied::Restage(reissued)) => {
                self.publish_restaged(&reissued, "what is staged no longer fits the table").await?;
            }
            Some(Applied::Waiting) | None => return Ok(false),
        }
        Ok(true)
    }
}

fn log_sealed(SealReport { partition, rows, replaced }: &SealReport) {
    tracing::info!(
        partition = partition.id, slice = %partition.slice, rows, added = replaced.added, changed = replaced.changed,
        gone = replaced.gone, "sealed"
    );
}
