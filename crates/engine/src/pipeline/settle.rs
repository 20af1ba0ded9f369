//! How deliveries end. Whatever is published is confirmed before its original is acked.

use std::time::Duration;

use futures_util::future;
use pagemill_core::{
    DecodeError, Failure, FailureClass, Outcome, PageJob, Settlement, body_id, fingerprint, settlement_for,
};
use pagemill_queue::{Address, DeadNote, Delivery, Message, PageQueue, QueueErrorKind};
use pagemill_store::{DeadRecord, PageStart, StoreErrorKind};

use super::{Pipeline, Trouble, Work, fetch, follow::Follow};

/// Ends a delivery as its outcome demands. `attempts` are those that the ledger has counted.
pub(super) async fn settle<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    work: Work,
    outcome: &Outcome,
    attempts: u32,
) -> Result<(), Trouble> {
    match settlement_for(outcome, attempts, &pipeline.schedule) {
        Settlement::Ack => ack(work.delivery).await,
        Settlement::GiveBack => returned(pipeline, vec![work]).await,
        Settlement::RetryLater { rung, attempt } => {
            let job = PageJob { attempt, ..work.job };
            pipeline.publish_job(retry(&job, rung), &job).await?;
            ack(work.delivery).await;
        }
        Settlement::DeadLetter(failure) => {
            let job = PageJob { attempt: attempts, ..work.job };
            bury(pipeline, &job, &failure).await?;
            ack(work.delivery).await;
        }
    }
    Ok(())
}

/// Ends several deliveries alike.
pub(super) async fn settle_all<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    works: Vec<Work>,
    outcome: &Outcome,
) -> Result<(), Trouble> {
    let settling = works.into_iter().map(|work| settle(pipeline, work, outcome, 0));
    future::join_all(settling).await.into_iter().collect()
}

/// A page could not be fetched or stored: recorded, then retried or buried.
pub(super) async fn failed<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    work: Work,
    failure: Failure,
) -> Result<(), Trouble> {
    let job = &work.job;
    let throttled = failure.class == FailureClass::Throttled;
    let recorded = match failure.class {
        FailureClass::Throttled => pipeline.store.pages.record_throttled(job, &failure).await?,
        FailureClass::Transient | FailureClass::Token | FailureClass::Permanent => {
            pipeline.store.pages.record_failure(job, &failure).await?
        }
    };
    let Some(attempts) = recorded else {
        return match pipeline.store.partitions.get(job.partition).await {
            Ok(_) => recheck(pipeline, work).await,
            // Of another ledger: nothing here can record it, the dead letters keep it.
            Err(error) if error.kind() == StoreErrorKind::Invalid => {
                bury_stray(pipeline, work, &failure).await
            }
            Err(error) => {
                returned(pipeline, vec![work]).await;
                Err(error.into())
            }
        };
    };
    if throttled {
        tracing::info!(partition = job.partition, page = job.page, slice = %job.slice, error = %failure, "throttled");
    } else {
        tracing::warn!(
            partition = job.partition, page = job.page, generation = job.generation, attempts, slice = %job.slice,
            error = %failure, "a page failed"
        );
    }
    settle(pipeline, work, &Outcome::Failed(failure), attempts).await
}

/// A page that kills its process is dead, with its crashes as its attempts.
pub(super) async fn convicted<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    work: Work,
    failure: Failure,
) -> Result<(), Trouble> {
    tracing::error!(partition = work.job.partition, page = work.job.page, slice = %work.job.slice, error = %failure, "a page is dead");
    settle(pipeline, work, &Outcome::Failed(failure), pipeline.schedule.attempts).await
}

/// The ledger refused an outcome: what does it know of the page?
pub(super) async fn recheck<Q: PageQueue>(pipeline: &Pipeline<Q>, work: Work) -> Result<(), Trouble> {
    let outcome = match pipeline.store.pages.start(&work.job, false, u32::MAX >> 1).await? {
        PageStart::Done(progress) => {
            Follow::pipeline(pipeline).up(&progress, &[&work.job]).await?;
            Outcome::Duplicate
        }
        PageStart::Dead(progress) => {
            ensure_dead(pipeline, &work.job).await?;
            Follow::pipeline(pipeline).up(&progress, &[&work.job]).await?;
            Outcome::Duplicate
        }
        PageStart::Obsolete => Outcome::Duplicate,
        PageStart::Unknown => {
            let failure = fetch::unknown_partition(&work.job);
            return bury_stray(pipeline, work, &failure).await;
        }
        PageStart::Fetch { .. } | PageStart::Poisoned { .. } => Outcome::Cancelled,
    };
    settle(pipeline, work, &outcome, 0).await
}

/// The quota is used up: the job waits on a rung, so that others go on; no attempt is spent. Rather too
/// short than too long, so that it is there when the quota opens.
pub(super) async fn park<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    work: Work,
    wait: Duration,
) -> Result<(), Trouble> {
    let rung = pipeline.schedule.rung_within(wait);
    acquit(pipeline, std::slice::from_ref(&work)).await;
    pipeline.publish_job(retry(&work.job, rung), &work.job).await?;
    ack(work.delivery).await;
    Ok(())
}

/// The API prepares the report: the job comes back with its task; no attempt is spent.
pub(super) async fn later<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    work: Work,
    cursor: String,
    wait: Duration,
) -> Result<(), Trouble> {
    let job = PageJob { cursor: Some(cursor), ..work.job.clone() };
    park(pipeline, Work { job, ..work }, wait).await
}

/// Given back before they were done, by no fault of theirs.
pub(super) async fn returned<Q: PageQueue>(pipeline: &Pipeline<Q>, works: Vec<Work>) {
    acquit(pipeline, &works).await;
    future::join_all(works.into_iter().map(|work| give_back(work.delivery))).await;
}

/// Their starts are no suspicion.
async fn acquit<Q: PageQueue>(pipeline: &Pipeline<Q>, works: &[Work]) {
    works.iter().for_each(|work| pipeline.innocent.note(work));
    if let Err(error) = pipeline.innocent.acquit(&pipeline.store).await {
        tracing::debug!(%error, "starts stay marked until PostgreSQL is back");
    }
}

/// Records a page as dead, hands it to the dead-letter queue, and closes its partition if that was
/// its last.
async fn bury<Q: PageQueue>(pipeline: &Pipeline<Q>, job: &PageJob, failure: &Failure) -> Result<(), Trouble> {
    match pipeline.store.dead_letters.record(job, failure).await? {
        Some(record) => {
            publish_dead(pipeline, &job.slice.source, job.id(), job.encode(), &failure.message, &record)
                .await?;
            if let Some(progress) = &record.progress {
                Follow::pipeline(pipeline).up(progress, &[job]).await?;
            }
        }
        None => ensure_dead(pipeline, job).await?,
    }
    Ok(())
}

/// A page that the ledger has as dead must be in the dead-letter queue, where a copy does no harm:
/// copies are told by their id.
pub(super) async fn ensure_dead<Q: PageQueue>(pipeline: &Pipeline<Q>, job: &PageJob) -> Result<(), Trouble> {
    let known = pipeline.store.dead_letters.known(&[job.id()]).await?;
    let waits = known.first().is_some_and(|(_, waits)| *waits);
    if let (true, Some(record)) = (waits, pipeline.store.dead_letters.find(&job.id()).await?) {
        publish_dead(pipeline, &job.slice.source, job.id(), job.encode(), "see the ledger", &record).await?;
    }
    Ok(())
}

/// A job of a partition that this ledger does not know.
async fn bury_stray<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    work: Work,
    failure: &Failure,
) -> Result<(), Trouble> {
    let (source, id, body) = (&work.job.slice.source, work.job.id(), work.job.encode());
    let record = pipeline.store.dead_letters.record_message(source, &id, &body, &failure.message).await?;
    publish_dead(pipeline, source, id, body, &failure.message, &record).await?;
    ack(work.delivery).await;
    Ok(())
}

/// A message that is no page job goes to the dead letters, with the reason.
pub(super) async fn bury_message<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    delivery: Delivery,
    error: &DecodeError,
) -> Result<(), Trouble> {
    let id = body_id("undecoded", &delivery.body);
    tracing::error!(source = %delivery.source, %error, %id, "a message is no page job: dead-lettered");
    let error = error.to_string();
    let record =
        pipeline.store.dead_letters.record_message(&delivery.source, &id, &delivery.body, &error).await?;
    publish_dead(pipeline, &delivery.source, id, delivery.body.to_vec(), &error, &record).await?;
    ack(delivery).await;
    Ok(())
}

/// A message of a newer version waits unchanged on the longest rung, for a newer consumer.
pub(super) async fn park_newer<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    delivery: Delivery,
    error: &DecodeError,
) -> Result<(), Trouble> {
    tracing::warn!(source = %delivery.source, %error, "parked: update this consumer");
    let rung = pipeline.schedule.delays.len() - 1;
    let to = Address::Retry { source: delivery.source.clone(), lane: delivery.lane, rung };
    let message = Message { id: body_id("newer", &delivery.body), body: delivery.body.to_vec(), note: None };
    pipeline.queue.publish(&to, [message]).await?;
    ack(delivery).await;
    Ok(())
}

async fn publish_dead<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    source: &str,
    id: String,
    body: Vec<u8>,
    error: &str,
    record: &DeadRecord,
) -> Result<(), Trouble> {
    let note = DeadNote {
        error: error.to_owned(),
        fingerprint: fingerprint(error),
        attempts: record.attempts,
        first_failed_at: record.first_failed_at.clone(),
        last_failed_at: record.last_failed_at.clone(),
    };
    let message = Message { id: id.clone(), body, note: Some(note) };
    pipeline.queue.publish(&Address::Dead { source: source.to_owned() }, [message]).await?;
    Ok(pipeline.store.dead_letters.confirm(&id).await?)
}

fn retry(job: &PageJob, rung: usize) -> Address {
    Address::Retry { source: job.slice.source.clone(), lane: job.lane, rung }
}

async fn ack(delivery: Delivery) {
    noticed(delivery.ack().await, "ack");
}

/// Returns a delivery to its queue as it was.
pub(super) async fn give_back(delivery: Delivery) {
    noticed(delivery.give_back().await, "return");
}

/// A delivery whose connection is gone comes again, and the ledger knows what became of it.
fn noticed(settled: Result<(), pagemill_queue::QueueError>, what: &str) {
    match settled {
        Ok(()) => {}
        Err(error) if error.kind() == QueueErrorKind::Stale => {
            tracing::debug!(%error, "{what}: it will be delivered again")
        }
        Err(error) => tracing::warn!(%error, "{what}: it will be delivered again"),
    }
}
