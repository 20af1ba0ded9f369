//! The collector: gathers fetched pages and stores them in batches, a few transactions at a time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use pagemill_core::{Failure, Outcome, PageJob};
use pagemill_pool as pool;
use pagemill_queue::PageQueue;
use pagemill_store::{DataTable, Next, PageWrite, StoreError, StoreErrorKind, Written};
use tokio::{task::JoinSet, time::Instant};

use super::{
    End, Pipeline, Session, Trouble, Work, Working, fetch::Fetched, follow::Follow, gate::Pass, settle,
};

/// Few large transactions cost PostgreSQL much less than many small ones: while others are on their way, a
/// page waits for them.
const LINGER: Duration = Duration::from_millis(50);
/// Where a rate sets the pace, longer: nothing is gained by haste.
const LINGER_PACED: Duration = Duration::from_millis(500);
/// Where something waits for the page: the next of its chain, or the end if no other is on its way.
const LINGER_HURRIED: Duration = Duration::from_millis(5);

/// A fetched page on its way into a batch.
struct Ready {
    work: Work,
    write: PageWrite,
    pass: Pass,
}

/// Pages that wait for a transaction, by stream.
#[derive(Default)]
struct Waiting {
    streams: HashMap<(String, String), Vec<Ready>>,
    count: usize,
    since: Option<Instant>,
    /// The shortest that one of them may wait.
    patience: Duration,
}

pub(super) async fn collect<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    mut results: pool::Results<Work, Fetched>,
    working: &Working,
    session: &Session,
) {
    let most = pipeline.settings.batch_pages as usize;
    let mut tasks: JoinSet<Result<(), Trouble>> = JoinSet::new();
    let mut waiting = Waiting::default();
    let mut open = true;
    while open || waiting.count > 0 || !tasks.is_empty() {
        let patience = if working.any() { waiting.patience } else { LINGER_HURRIED };
        let linger = waiting.since.map(|since| since + patience);
        let due = waiting.count >= most
            || (waiting.count > 0 && !open)
            || linger.is_some_and(|at| at <= Instant::now());
        tokio::select! {
            outcome = results.next(), if open && waiting.count < 2 * most => match outcome {
                Some(pool::JobOutcome::Done { job: work, result: Fetched::Page(write, pass) }) => {
                    let patience = match write.next {
                        Next::Is(_) => LINGER_HURRIED,
                        _ if pipeline.is_paced(&work.job.slice.source) => LINGER_PACED,
                        _ => LINGER,
                    };
                    waiting.push(Ready { work, write: *write, pass }, patience);
                }
                Some(pool::JobOutcome::Done { job: work, result }) => {
                    tasks.spawn(finish(pipeline.clone(), work, result, session.clone()));
                }
                Some(pool::JobOutcome::Failed { job: work, panic }) => {
                    tasks.spawn(panicked(pipeline.clone(), work, panic));
                }
                Some(pool::JobOutcome::Returned { job: work }) => {
                    tasks.spawn(cancelled(pipeline.clone(), work));
                }
                None => open = false,
            },
            permit = pipeline.writers.clone().acquire_owned(), if due => {
                if let Some(batch) = waiting.take(most) {
                    let pipeline = pipeline.clone();
                    tasks.spawn(async move {
                        let stored = store(&pipeline, batch).await;
                        drop(permit);
                        stored
                    });
                }
            }
            () = tokio::time::sleep_until(linger.unwrap_or_else(Instant::now)), if linger.is_some() && !due => {}
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(trouble)) => session.end(trouble.into()),
                // A bug of ours; ending the session returns what the task held.
                Err(error) => session.end(End::Unavailable(format!("a collector's task failed: {error}"))),
            },
        }
    }
}

impl Waiting {
    fn push(&mut self, ready: Ready, patience: Duration) {
        let slice = &ready.work.job.slice;
        self.patience = if self.count == 0 { patience } else { self.patience.min(patience) };
        self.count += 1;
        self.since.get_or_insert_with(Instant::now);
        self.streams.entry((slice.source.clone(), slice.stream.clone())).or_default().push(ready);
    }

    /// Takes up to `most` pages of the stream that has most.
    fn take(&mut self, most: usize) -> Option<Vec<Ready>> {
        let pages = self.streams.values_mut().max_by_key(|pages| pages.len())?;
        let batch: Vec<Ready> = pages.drain(..pages.len().min(most)).collect();
        self.streams.retain(|_, pages| !pages.is_empty());
        self.count -= batch.len();
        self.since = (self.count > 0).then(Instant::now);
        Some(batch)
    }
}

/// One transaction, then what follows from it, then the acks. A batch with one bad page is stored
/// page by page, so that only the page that fails alone is charged.
async fn store<Q: PageQueue>(pipeline: &Pipeline<Q>, batch: Vec<Ready>) -> Result<(), Trouble> {
    let slice = &batch[0].work.job.slice;
    let source = pipeline.sources.get(&slice.source).expect("a fetched page has its source");
    let table = &source.tables[&slice.stream];
    let (mut works, mut pages, mut passes) = (Vec::new(), Vec::new(), Vec::new());
    for Ready { work, write, pass } in batch {
        works.push(work);
        pages.push(write);
        passes.push(pass);
    }
    match write(pipeline, table, &pages).await {
        Ok(written) => stored(pipeline, works, &pages, written).await?,
        Err(error) if error.kind() == StoreErrorKind::Permanent => {
            store_each(pipeline, table, works, pages).await?
        }
        Err(error) => return away(pipeline, works, error).await,
    }
    drop(passes);
    Ok(())
}

/// Each page in a transaction of its own; the first trouble ends it, and returns the rest.
async fn store_each<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    table: &DataTable,
    works: Vec<Work>,
    pages: Vec<PageWrite>,
) -> Result<(), Trouble> {
    let mut rest = works.into_iter().zip(pages);
    while let Some((work, page)) = rest.next() {
        let page = [page];
        let ended = match write(pipeline, table, &page).await {
            Ok(written) => stored(pipeline, vec![work], &page, written).await,
            Err(error) if error.kind() == StoreErrorKind::Permanent => {
                settle::failed(pipeline, work, Failure::permanent(error.to_string())).await
            }
            Err(error) => away(pipeline, vec![work], error).await,
        };
        if ended.is_err() {
            settle::returned(pipeline, rest.map(|(work, _)| work).collect()).await;
            return ended;
        }
    }
    Ok(())
}

/// Writes a batch, again for as long as a moment's trouble lasts. Repeating is safe also when the
/// answer to a commit was lost: the ledger then refuses the pages as already stored.
async fn write<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    table: &DataTable,
    pages: &[PageWrite],
) -> Result<Written, StoreError> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(8)
        .with_jitter();
    (|| pipeline.store.write(table, pages))
        .retry(backoff)
        .when(|e| matches!(e.kind(), StoreErrorKind::Retriable | StoreErrorKind::Unavailable))
        .notify(|error, wait| tracing::warn!(%error, ?wait, "storing a batch again"))
        .await
}

/// PostgreSQL is away for longer: the jobs go back, the session ends.
async fn away<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    works: Vec<Work>,
    error: StoreError,
) -> Result<(), Trouble> {
    settle::returned(pipeline, works).await;
    Err(error.into())
}

async fn stored<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    works: Vec<Work>,
    pages: &[PageWrite],
    written: Written,
) -> Result<(), Trouble> {
    let mut kept = Vec::with_capacity(works.len());
    for ((work, page), stored) in works.into_iter().zip(pages).zip(written.stored) {
        if stored {
            pipeline.counters.stored(page.len());
            kept.push(work);
        } else {
            settle::recheck(pipeline, work).await?;
        }
    }
    let follow = Follow::pipeline(pipeline);
    for progress in &written.progress {
        let pages: Vec<&PageJob> =
            kept.iter().map(|w| &w.job).filter(|j| j.partition == progress.partition).collect();
        follow.up(progress, &pages).await?;
    }
    fail::fail_point!("before-ack");
    let sent: Vec<_> = kept.iter().filter_map(|work| work.sent.get().copied()).collect();
    settle::settle_all(pipeline, kept, &Outcome::Stored).await?;
    if let Some(source) = pages.first().and_then(|page| pipeline.sources.get(&page.job.slice.source)) {
        sent.iter().for_each(|sent| source.times.acked(sent.elapsed()));
    }
    Ok(())
}

/// The ways that end without a page to store.
async fn finish<Q: PageQueue>(
    pipeline: Arc<Pipeline<Q>>,
    work: Work,
    fetched: Fetched,
    session: Session,
) -> Result<(), Trouble> {
    let pipeline = &*pipeline;
    match fetched {
        Fetched::Page(..) => unreachable!("pages go into batches"),
        Fetched::Failed(failure) => settle::failed(pipeline, work, failure).await,
        Fetched::Convicted(failure) => settle::convicted(pipeline, work, failure).await,
        Fetched::Done(progress) => {
            Follow::pipeline(pipeline).up(&progress, &[&work.job]).await?;
            settle::settle(pipeline, work, &Outcome::Duplicate, 0).await
        }
        Fetched::Dead(progress) => {
            settle::ensure_dead(pipeline, &work.job).await?;
            Follow::pipeline(pipeline).up(&progress, &[&work.job]).await?;
            settle::settle(pipeline, work, &Outcome::Duplicate, 0).await
        }
        Fetched::Obsolete => settle::settle(pipeline, work, &Outcome::Duplicate, 0).await,
        Fetched::Anew(failure) => {
            let job = PageJob { cursor: None, ..work.job.clone() };
            settle::failed(pipeline, Work { job, ..work }, failure).await
        }
        Fetched::Later(cursor, wait) => settle::later(pipeline, work, cursor, wait).await,
        Fetched::Parked(wait) => settle::park(pipeline, work, wait).await,
        // A producer hands on to the consumers what would keep it.
        Fetched::Shut(wait) if pipeline.held_back.is_some() => settle::park(pipeline, work, wait).await,
        Fetched::Shut(wait) => {
            session.end(End::Shut(wait));
            settle::settle(pipeline, work, &Outcome::Unavailable, 0).await
        }
        Fetched::Unavailable(why) => {
            settle::settle(pipeline, work, &Outcome::Unavailable, 0).await?;
            Err(Trouble(why))
        }
    }
}

/// Cancelled by the stop: returned.
async fn cancelled<Q: PageQueue>(pipeline: Arc<Pipeline<Q>>, work: Work) -> Result<(), Trouble> {
    settle::settle(&pipeline, work, &Outcome::Cancelled, 0).await
}

/// A panic is a failure like any other: recorded with its message and place.
async fn panicked<Q: PageQueue>(
    pipeline: Arc<Pipeline<Q>>,
    work: Work,
    panic: pool::Panic,
) -> Result<(), Trouble> {
    let place = panic.location.as_deref().unwrap_or("an unknown place");
    let failure = Failure::transient(format!("panicked at {place}: {}", panic.message));
    settle::failed(&pipeline, work, failure).await
}
