//! Dead pages and messages: recorded in the ledger, then published to the dead-letter queue.

use pagemill_core::{Failure, PageJob};
use pagemill_queue::{Message, PageQueue};
use pagemill_store::PartitionRow;

use super::Pipeline;
use crate::{error::ServiceError, partition::message, reconcile::publish_letter};

/// Records a page as dead, publishes it to the dead-letter queue, and closes its partition if that was
/// its last page. Returns the whole attempt if that has ended.
pub(super) async fn dead_letter<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    job: &PageJob,
    failure: &Failure,
) -> Result<Option<PartitionRow>, ServiceError> {
    let Some(record) = pipeline.store.dead_letters.record(job, failure).await? else {
        return ensure_letter_queued(pipeline, job).await.map(|()| None);
    };
    publish_letter(&pipeline.store, &pipeline.queue, &job.slice.source, message(job), &record).await?;
    match &record.progress {
        Some(progress) => pipeline.partitions.advance(progress, &[job]).await,
        None => Ok(None),
    }
}

/// Records a message that belongs to no partition of this ledger, and publishes it to the dead-letter queue.
pub(super) async fn dead_letter_message<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    source: &str,
    message: Message,
    reason: &str,
) -> Result<(), ServiceError> {
    let record =
        pipeline.store.dead_letters.record_message(source, &message.id, &message.body, reason).await?;
    publish_letter(&pipeline.store, &pipeline.queue, source, message, &record).await
}

/// Publishes a page that the ledger has as dead, if its letter waits for an operator.
pub(super) async fn ensure_letter_queued<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    job: &PageJob,
) -> Result<(), ServiceError> {
    match pipeline.store.dead_letters.find_open(&job.id()).await? {
        Some(record) => {
            publish_letter(&pipeline.store, &pipeline.queue, &job.slice.source, message(job), &record).await
        }
        None => Ok(()),
    }
}
