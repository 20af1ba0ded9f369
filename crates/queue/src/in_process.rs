//! The queue of the embedded default: in memory, gone with its process. The ledger brings its jobs
//! back.

mod lane;
mod state;

use std::{future::Future, sync::Arc, time::Duration};

use pagemill_core::{Lane, Span};
use tokio::time::timeout;

pub(crate) use lane::{Receipt, Subscription};
use state::{Source, State};

use crate::{
    Address, DeadLetter, Deliveries, Depth, Fate, Message, PageQueue, QueueError, QueueErrorKind, SweepError,
    dead::{SWEEP_BATCH, Seen, check_fates},
    delivery,
};

/// How long a sweep waits for another one.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);

/// A [`PageQueue`] within this process. Its sources are those that are named to it. Cheap to clone:
/// clones are the same queue.
#[derive(Clone, Debug)]
pub struct InProcess {
    state: Arc<State>,
    retry: Arc<[Span]>,
}

impl InProcess {
    /// An empty queue with this ladder of retry delays.
    pub fn new(retry: Vec<Span>) -> Self {
        Self { state: Arc::default(), retry: retry.into() }
    }

    fn put(&self, to: &Address, message: Message) -> Result<(), QueueError> {
        let source = self.state.source(to.source());
        match to {
            Address::Lane { lane, .. } => source.lane(*lane).push(message.body),
            Address::Dead { .. } => source.bury(message),
            Address::Retry { lane, rung, .. } => {
                let delay = self.retry.get(*rung).ok_or_else(|| no_rung(*rung, self.retry.len()))?.get();
                retry_later(&source, *lane, message.body, delay);
            }
        }
        Ok(())
    }
}

/// An address beyond the ladder.
pub(crate) fn no_rung(rung: usize, rungs: usize) -> QueueError {
    QueueError::invalid(format!("there is no rung {rung}: the ladder of retry delays has {rungs}"))
}

/// The timer holds the source weakly, so that a queue that was dropped is gone.
fn retry_later(source: &Arc<Source>, lane: Lane, body: Vec<u8>, delay: Duration) {
    source.retry_begins();
    let source = Arc::downgrade(source);
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        if let Some(source) = source.upgrade() {
            source.lane(lane).push(body);
            source.retry_ends();
        }
    });
}

impl PageQueue for InProcess {
    async fn publish<M>(&self, to: &Address, messages: M) -> Result<(), QueueError>
    where
        M: IntoIterator<Item = Message, IntoIter: Send> + Send,
    {
        messages.into_iter().try_for_each(|message| self.put(to, message))
    }

    async fn subscribe(&self, source: &str, lane: Lane, prefetch: u16) -> Result<Deliveries, QueueError> {
        let source = self.state.source(source);
        Ok(Deliveries(delivery::Subscription::InProcess(Subscription::new(&source, lane, prefetch))))
    }

    async fn depth(&self, source: &str) -> Result<Depth, QueueError> {
        Ok(self.state.source(source).depth())
    }

    async fn sweep_dead<D, F, E>(&self, source: &str, mut decide: D) -> Result<(), SweepError<E>>
    where
        D: FnMut(Vec<DeadLetter>) -> F + Send,
        F: Future<Output = Result<Vec<Fate>, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        let name = source;
        let source = self.state.source(name);
        let _lock = timeout(SWEEP_PATIENCE, source.sweeping.lock()).await.map_err(|_| busy(name))?;
        let mut left = source.dead_count();
        let mut seen = Seen::default();
        while left > 0 {
            let batch = source.first_dead(left.min(SWEEP_BATCH));
            let taken = batch.len();
            let letters = seen.firsts(batch);
            let fates = decide(letters.clone()).await.map_err(SweepError::Decide)?;
            check_fates(letters.len(), fates.len())?;
            for (letter, fate) in letters.into_iter().zip(fates) {
                match fate {
                    Fate::Keep => source.keep(letter),
                    Fate::Requeue(to, message) => self.put(&to, message)?,
                    Fate::Drop => {}
                }
            }
            fail::fail_point!("requeue-before-ack");
            source.forget_dead(taken);
            left -= taken;
        }
        Ok(())
    }
}

/// The lock is held elsewhere.
pub(crate) fn busy(source: &str) -> QueueError {
    let message =
        format!("another pass over the dead letters of {source} is under way: try again when it has ended");
    QueueError::new(QueueErrorKind::Busy, message)
}
