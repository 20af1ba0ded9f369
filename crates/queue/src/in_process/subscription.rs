use std::{
    fmt,
    future::ready,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use pagemill_core::Lane;

use super::{state::Source, waiting::Entry};
use crate::{
    delivery::Delivery,
    delivery::{self, BoxFuture},
    error::QueueError,
};

/// A subscription to one lane.
pub(super) struct Subscription {
    source: Arc<Source>,
    lane: Lane,
    prefetch: usize,
    /// Handed out and not settled.
    held: Arc<AtomicUsize>,
}

impl Subscription {
    pub(super) fn new(source: &Arc<Source>, lane: Lane, prefetch: u16) -> Self {
        source.lane(lane).subscribe();
        Self { source: source.clone(), lane, prefetch: prefetch.max(1).into(), held: Arc::default() }
    }

    fn take(&self) -> Option<Delivery> {
        if self.held.load(Ordering::Acquire) >= self.prefetch {
            return None;
        }
        let Entry { body, redelivered } = self.source.lane(self.lane).pop()?;
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
            receipt: Box::new(receipt),
        })
    }
}

impl delivery::Subscription for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        Box::pin(async {
            loop {
                // Listening begins before the look, so that nothing slips in between.
                let mut changed = pin!(self.source.lane(self.lane).changed());
                changed.as_mut().enable();
                if let Some(delivery) = self.take() {
                    return Some(delivery);
                }
                changed.await;
            }
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        Box::pin(ready(()))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.source.lane(self.lane).unsubscribe();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("source", &self.source.name).field("lane", &self.lane).finish()
    }
}

/// Holds a message until it is settled; dropped, it puts it back.
struct Receipt {
    /// `None` once acked.
    body: Option<Vec<u8>>,
    source: Arc<Source>,
    lane: Lane,
    held: Arc<AtomicUsize>,
}

impl delivery::Receipt for Receipt {
    fn ack(mut self: Box<Self>) -> BoxFuture<'static, Result<(), QueueError>> {
        self.body = None;
        drop(self);
        Box::pin(ready(Ok(())))
    }

    fn nack(self: Box<Self>) -> BoxFuture<'static, Result<(), QueueError>> {
        drop(self);
        Box::pin(ready(Ok(())))
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let lane = self.source.lane(self.lane);
        if let Some(body) = self.body.take() {
            lane.put_back(body);
        }
        self.held.fetch_sub(1, Ordering::AcqRel);
        lane.notify();
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("source", &self.source.name).field("lane", &self.lane).finish()
    }
}
