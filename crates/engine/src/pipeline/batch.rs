//! Gathers fetched pages into batches, a transaction each, and concludes them a few at a time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pagemill_core::{Failure, PageOutcome};
use pagemill_pool as pool;
use pagemill_queue::PageQueue;
use pagemill_store::{Next, PageWrite, PartitionRow};
use tokio::{task::JoinSet, time::Instant};

use super::{
    Pipeline,
    attempt::Attempt,
    conclude::{self, EndedJob, ReadyPage},
    delivered::DeliveredJob,
    session::{BusyWorkers, Session},
};
use crate::{error::ServiceError, stop::Stop};

/// Few large transactions cost PostgreSQL much less than many small ones: while others are on their way, a
/// page waits for them.
const LINGER: Duration = Duration::from_millis(50);
/// Where a rate sets the pace, longer: nothing is gained by haste.
const LINGER_PACED: Duration = Duration::from_millis(500);
/// Where something waits for the page: the next of its chain, or the end if no other is on its way.
const LINGER_HURRIED: Duration = Duration::from_millis(5);

/// Pages that wait for a transaction, by stream.
#[derive(Default)]
struct Waiting {
    streams: HashMap<(String, String), Vec<ReadyPage>>,
    count: usize,
    since: Option<Instant>,
    /// The shortest time that any of them may wait.
    linger: Duration,
}

/// The batches and single pages that are being concluded.
type Concluding = JoinSet<Result<(), ServiceError>>;

/// Takes the pool's results until the pool has closed them and everything is concluded.
pub(super) async fn gather<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    mut results: pool::Results<DeliveredJob, Attempt>,
    busy: &BusyWorkers,
    session: &Session,
) {
    let most = pipeline.settings.batch_pages as usize;
    let mut concluding = Concluding::new();
    let mut waiting = Waiting::default();
    let mut open = true;
    while open || waiting.count > 0 || !concluding.is_empty() {
        let linger_until = waiting.linger_until(busy);
        let due = waiting.count >= most
            || (waiting.count > 0 && !open)
            || linger_until.is_some_and(|at| at <= Instant::now());
        tokio::select! {
            outcome = results.next(), if open && waiting.count < 2 * most => match outcome {
                Some(outcome) => take(pipeline, outcome, &mut waiting, &mut concluding, session),
                None => open = false,
            },
            writer = pipeline.writers.clone().acquire_owned(), if due => {
                if let Some(batch) = waiting.take(most) {
                    let (pipeline, stop) = (pipeline.clone(), session.stop.clone());
                    concluding.spawn(async move {
                        let concluded = conclude::conclude_batch(&pipeline, batch).await;
                        drop(writer);
                        apply(&pipeline, concluded?, &stop).await
                    });
                }
            }
            () = tokio::time::sleep_until(linger_until.unwrap_or_else(Instant::now)), if linger_until.is_some() && !due => {}
            Some(concluded) = concluding.join_next(), if !concluding.is_empty() => match concluded {
                Ok(Ok(())) => {}
                Ok(Err(error)) => session.fail(error),
                // A bug of ours; ending the session returns what the task held.
                Err(error) => session.fail(ServiceError::Broken(format!("concluding a page failed: {error}"))),
            },
        }
    }
}

/// Puts a fetched page into the waiting batch, and concludes any other outcome at once.
fn take<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    outcome: pool::JobOutcome<DeliveredJob, Attempt>,
    waiting: &mut Waiting,
    concluding: &mut Concluding,
    session: &Session,
) {
    let ended = match outcome {
        pool::JobOutcome::Done { job: page, result: Attempt::Fetched(write, permit) } => {
            let linger = linger(pipeline, &write);
            return waiting.push(ReadyPage { page, write: *write, permit }, linger);
        }
        pool::JobOutcome::Done { job: page, result: Attempt::Ended(outcome, progress) } => {
            EndedJob { page, outcome, progress }
        }
        pool::JobOutcome::Done { job: page, result: Attempt::Unavailable(error) } => {
            session.fail(error);
            EndedJob { page, outcome: PageOutcome::Unavailable, progress: None }
        }
        pool::JobOutcome::Failed { job: page, panic } => {
            EndedJob { page, outcome: panicked(&panic), progress: None }
        }
        pool::JobOutcome::Returned { job: page } => {
            EndedJob { page, outcome: PageOutcome::Cancelled, progress: None }
        }
    };
    if let PageOutcome::QuotaExhausted(wait) = ended.outcome
        && !pipeline.policy.snooze_exhausted
    {
        session.exhaust_quota(wait);
    }
    let (pipeline, stop) = (pipeline.clone(), session.stop.clone());
    concluding.spawn(async move {
        let ended = conclude::conclude(&pipeline, ended).await?;
        apply(&pipeline, ended, &stop).await
    });
}

/// Applies what is proved once these attempts have ended; their last deliveries are settled. A cancelled process leaves it
/// to the others.
async fn apply<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    ended: Vec<PartitionRow>,
    stop: &Stop,
) -> Result<(), ServiceError> {
    tokio::select! {
        applied = pipeline.partitions.apply_after(&ended) => applied,
        () = stop.cancelled() => Ok(()),
    }
}

/// The longest time that a page may wait for others.
fn linger<Q: PageQueue>(pipeline: &Pipeline<Q>, page: &PageWrite) -> Duration {
    let source = pipeline.sources.get(&page.job.slice.source);
    let is_paced = source.is_some_and(|source| source.quota.per_second().is_some());
    match page.next {
        Next::Is(_) => LINGER_HURRIED,
        _ if is_paced => LINGER_PACED,
        _ => LINGER,
    }
}

/// A panic is a failure like any other: recorded with its message and place.
fn panicked(panic: &pool::Panic) -> PageOutcome {
    let place = panic.location.as_deref().unwrap_or("an unknown place");
    PageOutcome::Failed(Failure::transient(format!("panicked at {place}: {}", panic.message)))
}

impl Waiting {
    fn push(&mut self, page: ReadyPage, linger: Duration) {
        let slice = &page.page.job.slice;
        self.linger = if self.count == 0 { linger } else { self.linger.min(linger) };
        self.count += 1;
        self.since.get_or_insert_with(Instant::now);
        self.streams.entry((slice.source.clone(), slice.stream.clone())).or_default().push(page);
    }

    /// Takes up to `most` pages of the stream that has most.
    fn take(&mut self, most: usize) -> Option<Vec<ReadyPage>> {
        let pages = self.streams.values_mut().max_by_key(|pages| pages.len())?;
        let batch: Vec<ReadyPage> = pages.drain(..pages.len().min(most)).collect();
        self.streams.retain(|_, pages| !pages.is_empty());
        self.count -= batch.len();
        self.since = (self.count > 0).then(Instant::now);
        Some(batch)
    }

    /// Until when a batch waits for more pages; not for long if no worker is busy. `None` without pages.
    fn linger_until(&self, busy: &BusyWorkers) -> Option<Instant> {
        let linger = if busy.any() { self.linger } else { LINGER_HURRIED };
        self.since.map(|since| since + linger)
    }
}
