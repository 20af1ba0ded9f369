//! Concludes pages in four steps: record how they ended, advance their partitions, decide how each delivery
//! is settled, and apply that.
//!
//! A retry, a dead letter or a next page is confirmed by the broker before its delivery is acked. When a step
//! fails the deliveries return to their queue.

use std::{collections::BTreeMap, iter};

use futures_util::future;
use pagemill_core::{PageJob, PageOutcome, Settlement, body_id, settlement_for};
use pagemill_queue::{Address, Delivery, Message, PageQueue, QueueError, QueueErrorKind};
use pagemill_store::{PageWrite, PartitionRow, Progress};

use super::{
    Pipeline, dead_letters,
    delivered::DeliveredJob,
    quarantine::Permit,
    record::{self, RecordedOutcome},
};
use crate::{error::ServiceError, partition::message};

/// A fetched page on its way into a batch.
pub(crate) struct ReadyPage {
    pub(crate) page: DeliveredJob,
    pub(crate) write: PageWrite,
    /// Held until the page is settled.
    pub(crate) permit: Permit,
}

/// A page whose attempt ended with nothing to store.
pub(crate) struct EndedJob {
    pub(crate) page: DeliveredJob,
    pub(crate) outcome: PageOutcome,
    /// The partition's progress, if the ledger was read.
    pub(crate) progress: Option<Progress>,
}

/// Concludes a page that has nothing to store. Returns the attempts that have ended, to be applied.
pub(crate) async fn conclude<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    ended: EndedJob,
) -> Result<Vec<PartitionRow>, ServiceError> {
    let EndedJob { page, outcome, progress } = ended;
    let recorded = record::record_outcome(pipeline, &page.job, outcome, progress).await;
    conclude_recorded(pipeline, vec![page], recorded.map(|recorded| vec![recorded])).await
}

/// Concludes fetched pages of one stream: one transaction records them all. Returns the attempts that have ended, to be
/// applied.
pub(crate) async fn conclude_batch<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    batch: Vec<ReadyPage>,
) -> Result<Vec<PartitionRow>, ServiceError> {
    let (mut pages, mut writes, mut permits) = (Vec::new(), Vec::new(), Vec::new());
    for ReadyPage { page, write, permit } in batch {
        pages.push(page);
        writes.push(write);
        permits.push(permit);
    }
    let recorded = record::record_batch(pipeline, &writes).await;
    let ended = conclude_recorded(pipeline, pages, recorded).await?;
    drop(permits);
    Ok(ended)
}

/// Concludes a message that is no page job: there is no page to record and no partition to advance.
pub(crate) async fn conclude_message<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    delivery: Delivery,
    outcome: PageOutcome,
) -> Result<(), ServiceError> {
    let id = body_id("undecoded", &delivery.body);
    let message = Message { id, body: delivery.body.clone(), note: None };
    match settlement_for(&outcome, 0, &pipeline.policy) {
        Settlement::Snooze(wait) => {
            let tier = pipeline.policy.schedule.tier_within(wait);
            retry(pipeline, &delivery, message, tier).await?;
        }
        Settlement::DeadLetterMessage(reason) => {
            dead_letters::dead_letter_message(pipeline, &delivery.source, message, &reason).await?;
        }
        Settlement::Ack | Settlement::Retry { .. } | Settlement::DeadLetter(_) | Settlement::Nack => {
            nack(delivery).await;
            return Ok(());
        }
    }
    ack(delivery).await;
    Ok(())
}

/// The steps after recording. Pages and their recorded outcomes are in the same order.
async fn conclude_recorded<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    pages: Vec<DeliveredJob>,
    recorded: Result<Vec<RecordedOutcome>, ServiceError>,
) -> Result<Vec<PartitionRow>, ServiceError> {
    let advanced = match recorded {
        Ok(outcomes) => advance(pipeline, &pages, &outcomes).await.map(|ended| (outcomes, ended)),
        Err(error) => Err(error),
    };
    let (outcomes, mut ended) = match advanced {
        Ok(advanced) => advanced,
        Err(error) => {
            pipeline.quarantine.forget_starts(&pipeline.store, &pages).await;
            future::join_all(pages.into_iter().map(|page| nack(page.delivery))).await;
            return Err(error);
        }
    };
    fail::fail_point!("before-ack");
    let settling =
        iter::zip(pages, outcomes).map(|(page, RecordedOutcome { outcome, attempts, .. })| async move {
            let settlement = settlement_for(&outcome, attempts, &pipeline.policy);
            apply(pipeline, page, &outcome, attempts, settlement).await
        });
    for settled in future::join_all(settling).await {
        ended.extend(settled?);
    }
    Ok(ended)
}

/// Advances each partition whose progress a page has changed, or may have. Returns the attempts that have ended.
async fn advance<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    pages: &[DeliveredJob],
    outcomes: &[RecordedOutcome],
) -> Result<Vec<PartitionRow>, ServiceError> {
    let mut partitions: BTreeMap<i64, (&Progress, Vec<&PageJob>)> = BTreeMap::new();
    for (page, recorded) in iter::zip(pages, outcomes) {
        let Some(progress) = &recorded.progress else { continue };
        let (newest, jobs) = partitions.entry(progress.partition).or_insert((progress, Vec::new()));
        if progress.done + progress.dead > newest.done + newest.dead {
            *newest = progress;
        }
        jobs.push(&page.job);
    }
    let mut ended = Vec::new();
    for (progress, jobs) in partitions.into_values() {
        ended.extend(pipeline.partitions.advance(progress, &jobs).await?);
    }
    Ok(ended)
}

/// Settles a delivery as was decided. Returns the whole attempt if that has ended thereby.
async fn apply<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    page: DeliveredJob,
    outcome: &PageOutcome,
    attempts: u32,
    settlement: Settlement,
) -> Result<Option<PartitionRow>, ServiceError> {
    let schedule = &pipeline.policy.schedule;
    if matches!(settlement, Settlement::Snooze(_) | Settlement::Nack) {
        pipeline.quarantine.forget_starts(&pipeline.store, std::slice::from_ref(&page)).await;
    }
    let DeliveredJob { delivery, job, sent_at, .. } = page;
    let job = outcome.next_job(job, attempts);
    let mut ended = None;
    match settlement {
        Settlement::Ack => {}
        Settlement::Retry { tier } => retry(pipeline, &delivery, message(&job), tier).await?,
        Settlement::Snooze(wait) => {
            retry(pipeline, &delivery, message(&job), schedule.tier_within(wait)).await?;
        }
        Settlement::DeadLetter(failure) => {
            ended = dead_letters::dead_letter(pipeline, &job, &failure).await?
        }
        Settlement::DeadLetterMessage(reason) => {
            dead_letters::dead_letter_message(pipeline, &job.slice.source, message(&job), &reason).await?;
        }
        Settlement::Nack => {
            nack(delivery).await;
            return Ok(None);
        }
    }
    ack(delivery).await;
    if let (PageOutcome::Stored, Some(sent_at)) = (outcome, sent_at.get())
        && let Some(source) = pipeline.sources.get(&job.slice.source)
    {
        source.times.record_page(sent_at.elapsed());
    }
    Ok(ended)
}

/// Publishes a message to a retry tier, from which it returns to its delivery's lane.
async fn retry<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    delivery: &Delivery,
    message: Message,
    tier: usize,
) -> Result<(), ServiceError> {
    let to = Address::Retry { source: delivery.source.clone(), lane: delivery.lane, tier };
    Ok(pipeline.queue.publish(&to, [message]).await?)
}

async fn ack(delivery: Delivery) {
    log_unsettled(delivery.ack().await, "ack");
}

/// Returns a delivery to its queue as it was.
pub(crate) async fn nack(delivery: Delivery) {
    log_unsettled(delivery.nack().await, "nack");
}

/// A delivery whose connection is gone comes again, and the ledger knows what became of it.
fn log_unsettled(settled: Result<(), QueueError>, what: &str) {
    match settled {
        Ok(()) => {}
        Err(error) if error.kind() == QueueErrorKind::Stale => {
            tracing::debug!(%error, "{what}: it will be delivered again")
        }
        Err(error) => tracing::warn!(%error, "{what}: it will be delivered again"),
    }
}
