use std::{
    collections::VecDeque,
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use pagemill_core::Lane;
use tokio::sync::Notify;

use super::state::Source;
use crate::{Delivery, delivery};

/// What waits in one lane.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    ready: Mutex<VecDeque<Entry>>,
    /// Something became ready, or a subscription may hold one more.
    changed: Notify,
    subscriptions: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    body: Vec<u8>,
    redelivered: bool,
}

impl Waiting {
    pub(super) fn push(&self, body: Vec<u8>) {
        self.ready().push_back(Entry { body, redelivered: false });
        self.changed.notify_waiters();
    }

    pub(super) fn len(&self) -> u64 {
        self.ready().len() as u64
    }

    pub(super) fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// To the head: it has waited its turn before.
    fn put_back(&self, body: Vec<u8>) {
        self.ready().push_front(Entry { body, redelivered: true });
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscription to one lane.
pub(crate) struct Subscription {
    source: Arc<Source>,
    lane: Lane,
    prefetch: usize,
    /// Handed out and not settled.
    held: Arc<AtomicUsize>,
}

impl Subscription {
    pub(super) fn new(source: &Arc<Source>, lane: Lane, prefetch: u16) -> Self {
        source.lane(lane).subscriptions.fetch_add(1, Ordering::Relaxed);
        Self { source: source.clone(), lane, prefetch: prefetch.max(1).into(), held: Arc::default() }
    }

    pub(crate) async fn next(&mut self) -> Delivery {
        loop {
            // Listening begins before the look, so that nothing slips in between.
            let mut changed = pin!(self.source.lane(self.lane).changed.notified());
            changed.as_mut().enable();
            if let Some(delivery) = self.take() {
                return delivery;
            }
            changed.await;
        }
    }

    fn take(&self) -> Option<Delivery> {
        if self.held.load(Ordering::Acquire) >= self.prefetch {
            return None;
        }
        let Entry { body, redelivered } = self.source.lane(self.lane).ready().pop_front()?;
        self.held.fetch_add(1, Ordering::AcqRel);
        let receipt = Receipt {
            body: Some(body.clone()),
            source: self.source.clone(),
            lane: self.lane,
            held: self.held.clone(),
        };
        Some(Delivery {
            body,
            source: self.source.name.clone(),
            lane: self.lane,
            redelivered,
            receipt: delivery::Receipt::InProcess(receipt),
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.source.lane(self.lane).subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("source", &self.source.name).field("lane", &self.lane).finish()
    }
}

/// Holds a message until it is settled; dropped, it puts it back.
pub(crate) struct Receipt {
    /// `None` once acked.
    body: Option<Vec<u8>>,
    source: Arc<Source>,
    lane: Lane,
    held: Arc<AtomicUsize>,
}

impl Receipt {
    pub(crate) fn ack(mut self) {
        self.body = None;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let lane = self.source.lane(self.lane);
        if let Some(body) = self.body.take() {
            lane.put_back(body);
        }
        self.held.fetch_sub(1, Ordering::AcqRel);
        lane.changed.notify_waiters();
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("source", &self.source.name).field("lane", &self.lane).finish()
    }
}
