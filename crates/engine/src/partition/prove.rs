use pagemill_core::{Slice, Verdict};
use pagemill_queue::PageQueue;
use pagemill_store::{PartitionRow, ProofReport, Proving, Reissued};

use super::PartitionDriver;
use crate::error::ServiceError;

impl<Q: PageQueue> PartitionDriver<Q> {
    /// Proves a partition that has ended, and the split partitions that waited for it; or publishes pages again where that
    /// may complete it. Returns the whole attempt if that has ended: what is proved of its stream and account is to be
    /// applied.
    pub(super) async fn prove(&self, id: i64, slice: &Slice) -> Result<Option<PartitionRow>, ServiceError> {
        let mut next = id;
        loop {
            match self.store.seals.prove(next, self.table(slice), self.repair_rounds).await? {
                Some(Proving::Ended(report)) => {
                    log_ended(&report);
                    match report.partition.parent {
                        Some(parent) => next = parent,
                        None => return Ok(Some(report.partition)),
                    }
                }
                Some(Proving::Repair(Reissued { partition, jobs }, reason)) => {
                    tracing::warn!(
                        partition = next, slice = %partition.slice, error = %reason, round = partition.repair_rounds,
                        pages = jobs.len(), "fetching pages again"
                    );
                    fail::fail_point!("after-repair");
                    self.publish(&jobs).await?;
                    return Ok(None);
                }
                Some(Proving::Restage(reissued)) => {
                    let why = "the database's clock has stepped back";
                    self.publish_restaged(&reissued, why).await?;
                    return Ok(None);
                }
                None => return Ok(None),
            }
        }
    }

    /// Publishes all pages of an attempt again, whose rows are to be staged.
    pub(super) async fn publish_restaged(
        &self,
        reissued: &[Reissued],
        why: &str,
    ) -> Result<(), ServiceError> {
        for Reissued { partition, jobs } in reissued {
            tracing::warn!(
                partition = partition.id, slice = %partition.slice, pages = jobs.len(), error = why,
                "fetching all pages again"
            );
            self.publish(jobs).await?;
        }
        Ok(())
    }

    /// Passes a step's result on. A permanent error closes the partition as incomplete, so that its run ends;
    /// the result is then `Err` of the whole attempt, if that has ended thereby.
    pub(super) async fn or_close_incomplete<T>(
        &self,
        id: i64,
        result: Result<T, ServiceError>,
    ) -> Result<Result<T, Option<PartitionRow>>, ServiceError> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(error) if error.is_permanent() => self.close_incomplete(id, &error).await.map(Err),
            Err(error) => Err(error),
        }
    }

    async fn close_incomplete(
        &self,
        id: i64,
        error: &ServiceError,
    ) -> Result<Option<PartitionRow>, ServiceError> {
        let Some(partition) = self.store.partitions.close_incomplete(id, &error.to_string()).await? else {
            return Ok(None);
        };
        tracing::error!(partition = id, slice = %partition.slice, %error, "closed as incomplete");
        match partition.parent {
            Some(parent) => self.prove(parent, &partition.slice).await,
            None => Ok(Some(partition)),
        }
    }
}

fn log_ended(report: &ProofReport) {
    let (partition, slice) = (report.partition.id, &report.partition.slice);
    for warning in &report.warnings {
        tracing::warn!(partition, %slice, error = %warning, "proved with a warning");
    }
    match &report.verdict {
        Verdict::Complete => tracing::debug!(partition, %slice, rows = report.rows, "proved"),
        Verdict::Incomplete(reason) => {
            tracing::warn!(partition, %slice, error = %reason, "closed as incomplete")
        }
    }
}
