//! The queue of the embedded default: in memory, gone with its process. The ledger brings its jobs
//! back.

mod state;
mod subscription;
mod waiting;

use std::{future::Future, sync::Arc, time::Duration};

use pagemill_core::{ConfigDuration, Lane};
use tokio::time::timeout;

use self::{
    state::{Source, State},
    subscription::Subscription,
};
use crate::{
    dead_letter::DeadLetter,
    dead_letter::DeadLetterAction,
    dead_letter::SweepError,
    dead_letter::{SWEEP_BATCH, Seen, check_actions},
    delivery::Deliveries,
    depth::Depth,
    error::QueueError,
    message::Address,
    message::Message,
    page_queue::PageQueue,
};

/// How long a sweep waits for another one.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(10);

/// A [`PageQueue`] within this process. Its sources are those that are named to it. Cheap to clone:
/// clones are the same queue.
#[derive(Clone, Debug)]
pub struct InProcess {
    state: Arc<State>,
    retry: Arc<[ConfigDuration]>,
}

impl InProcess {
    /// An empty queue with these retry tiers.
    pub fn new(retry: Vec<ConfigDuration>) -> Self {
        Self { state: Arc::default(), retry: retry.into() }
    }

    fn put(&self, to: &Address, message: Message) -> Result<(), QueueError> {
        let source = self.state.source(to.source());
        match to {
            Address::Lane { lane, .. } => source.lane(*lane).push(message.body),
            Address::Dead { .. } => source.dead_letter(message),
            Address::Retry { lane, tier, .. } => {
                let delay = self.retry.get(*tier);
                let delay = delay.ok_or_else(|| QueueError::no_retry_tier(*tier, self.retry.len()))?;
                retry_after(&source, *lane, message.body, delay.get());
            }
        }
        Ok(())
    }
}

/// The timer holds the source weakly, so that a queue that was dropped is gone.
fn retry_after(source: &Arc<Source>, lane: Lane, body: Vec<u8>, delay: Duration) {
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
        Ok(Deliveries(Box::new(Subscription::new(&source, lane, prefetch))))
    }

    async fn depth(&self, source: &str) -> Result<Depth, QueueError> {
        Ok(self.state.source(source).depth())
    }

    async fn sweep_dead<D, F, E>(&self, source: &str, mut decide: D) -> Result<(), SweepError<E>>
    where
        D: FnMut(Vec<DeadLetter>) -> F + Send,
        F: Future<Output = Result<Vec<DeadLetterAction>, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        let name = source;
        let source = self.state.source(name);
        let _lock = timeout(SWEEP_TIMEOUT, source.sweeping.lock())
            .await
            .map_err(|_| QueueError::sweep_is_busy(name))?;
        let mut left = source.dead_count();
        let mut seen = Seen::default();
        while left > 0 {
            let batch = source.first_dead(left.min(SWEEP_BATCH));
            let taken = batch.len();
            let letters = seen.first_copies(batch);
            let actions = decide(letters.clone()).await.map_err(SweepError::Decide)?;
            check_actions(letters.len(), actions.len())?;
            for (letter, action) in letters.into_iter().zip(actions) {
                match action {
                    DeadLetterAction::Keep => source.keep(letter),
                    DeadLetterAction::Drop => {}
                }
            }
            fail::fail_point!("requeue-before-ack");
            source.forget_dead(taken);
            left -= taken;
        }
        Ok(())
    }
}
