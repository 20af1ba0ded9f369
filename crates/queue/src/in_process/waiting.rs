use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, futures::Notified};

/// The messages that wait in one lane, and how many subscriptions it has.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    ready: Mutex<VecDeque<Entry>>,
    /// Something became ready, or a subscription may hold one more.
    changed: Notify,
    subscriptions: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) body: Vec<u8>,
    pub(super) redelivered: bool,
}

impl Waiting {
    pub(super) fn push(&self, body: Vec<u8>) {
        self.ready().push_back(Entry { body, redelivered: false });
        self.notify();
    }

    pub(super) fn pop(&self) -> Option<Entry> {
        self.ready().pop_front()
    }

    /// To the head: it has waited its turn before.
    pub(super) fn put_back(&self, body: Vec<u8>) {
        self.ready().push_front(Entry { body, redelivered: true });
    }

    pub(super) fn len(&self) -> u64 {
        self.ready().len() as u64
    }

    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn notify(&self) {
        self.changed.notify_waiters();
    }

    pub(super) fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    pub(super) fn subscribe(&self) {
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unsubscribe(&self) {
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
