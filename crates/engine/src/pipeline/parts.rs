//! The parts of the pipeline one by one, for the stepper: what a session does with pool, timers and tasks, it does
//! by hand.

use pagemill_core::PageJob;
use pagemill_queue::{Delivery, PageQueue};
use pagemill_store::PartitionRow;

use super::{Pipeline, conclude};
pub(crate) use super::{
    attempt::{Attempt, attempt},
    conclude::{EndedJob, ReadyPage, conclude},
    delivered::DeliveredJob,
    quarantine::Permit,
};
use crate::error::ServiceError;

/// What a session does before its first delivery.
pub(crate) async fn begin<Q: PageQueue>(pipeline: &Pipeline<Q>) -> Result<(), ServiceError> {
    Ok(pipeline.quarantine.clear_start_marks(&pipeline.store).await?)
}

/// A delivery of a page job.
pub(crate) fn page_job(delivery: Delivery) -> DeliveredJob {
    let job = PageJob::decode(&delivery.body).expect("the stepper publishes page jobs only");
    DeliveredJob::new(delivery, job)
}

/// Applies what is proved once these attempts have ended.
pub(crate) async fn apply<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    ended: &[PartitionRow],
) -> Result<(), ServiceError> {
    pipeline.partitions.apply_after(ended).await
}

/// Concludes fetched pages, stream by stream. Returns the attempts that have ended.
pub(crate) async fn conclude_batch<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    mut fetched: Vec<ReadyPage>,
) -> Result<Vec<PartitionRow>, ServiceError> {
    let mut ended = Vec::new();
    while let Some(first) = fetched.first() {
        let stream = first.page.job.slice.stream.clone();
        let (batch, rest) = fetched.into_iter().partition(|ready| ready.page.job.slice.stream == stream);
        fetched = rest;
        ended.extend(conclude::conclude_batch(pipeline, batch).await?);
    }
    Ok(ended)
}
