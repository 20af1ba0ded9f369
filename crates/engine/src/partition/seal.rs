use pagemill_core::{Slice, Verdict};
use pagemill_queue::PageQueue;
use pagemill_store::{Reissued, SealReport, Sealing};

use super::PartitionDriver;
use crate::error::ServiceError;

impl<Q: PageQueue> PartitionDriver<Q> {
    /// Closes a partition that has ended, and the split partitions that waited for it; or publishes pages
    /// again where that may complete it.
    pub(super) async fn seal(&self, id: i64, slice: &Slice) -> Result<(), ServiceError> {
        let mut next = Some(id);
        while let Some(id) = next {
            next = match self.store.partitions.seal(id, self.table(slice), self.repair_rounds).await? {
                Some(Sealing::Closed(report)) => {
                    log_closed(&report);
                    report.partition.parent
                }
                Some(Sealing::Repair(Reissued { partition, jobs }, reason)) => {
                    tracing::warn!(
                        partition = id, slice = %partition.slice, error = %reason, round = partition.repair_rounds,
                        pages = jobs.len(), "fetching pages again"
                    );
                    fail::fail_point!("after-repair");
                    self.publish(&jobs).await?;
                    None
                }
                None => None,
            };
        }
        Ok(())
    }

    /// Passes a step's result on. A permanent error closes the partition as incomplete, so that its run ends;
    /// the result is then `None`.
    pub(super) async fn or_close_incomplete<T>(
        &self,
        id: i64,
        result: Result<T, ServiceError>,
    ) -> Result<Option<T>, ServiceError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_permanent() => self.close_incomplete(id, &error).await.map(|()| None),
            Err(error) => Err(error),
        }
    }

    async fn close_incomplete(&self, id: i64, error: &ServiceError) -> Result<(), ServiceError> {
        let Some(partition) = self.store.partitions.close_incomplete(id, &error.to_string()).await? else {
            return Ok(());
        };
        tracing::error!(partition = id, slice = %partition.slice, %error, "closed as incomplete");
        match partition.parent {
            Some(parent) => self.seal(parent, &partition.slice).await,
            None => Ok(()),
        }
    }
}

fn log_closed(report: &SealReport) {
    let (partition, slice) = (report.partition.id, &report.partition.slice);
    for warning in &report.warnings {
        tracing::warn!(partition, %slice, error = %warning, "sealed with a warning");
    }
    match &report.verdict {
        Verdict::Sealed => tracing::info!(partition, %slice, rows = report.rows, "sealed"),
        Verdict::Incomplete(reason) => {
            tracing::warn!(partition, %slice, error = %reason, "closed as incomplete")
        }
    }
}
