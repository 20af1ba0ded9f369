use std::{fmt, future::Future, pin::Pin};

use pagemill_core::Lane;

use crate::error::QueueError;

/// One message handed out, to be settled exactly once: [`ack`](Delivery::ack) or
/// [`nack`](Delivery::nack). Dropped unsettled, it is nacked.
#[derive(Debug)]
#[must_use = "a delivery that is not acked comes again"]
pub struct Delivery {
    /// The message.
    pub body: Vec<u8>,
    /// The source whose lane it came by.
    pub source: String,
    /// The lane it came by.
    pub lane: Lane,
    /// True if the message was delivered before, to anyone.
    pub redelivered: bool,
    /// Settles it.
    pub receipt: Box<dyn Receipt>,
}

/// A subscription. Dropped, it closes itself in the background.
#[derive(Debug)]
pub struct Deliveries(pub(crate) Box<dyn Subscription>);

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Settles one delivery of one kind of queue; dropped, it nacks.
pub trait Receipt: fmt::Debug + Send + Sync {
    /// See [`Delivery::ack`].
    fn ack(self: Box<Self>) -> BoxFuture<'static, Result<(), QueueError>>;
    /// See [`Delivery::nack`].
    fn nack(self: Box<Self>) -> BoxFuture<'static, Result<(), QueueError>>;
}

/// The subscription of one kind of queue.
pub(crate) trait Subscription: fmt::Debug + Send {
    /// See [`Deliveries::next`].
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>>;
    /// See [`Deliveries::close`].
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

impl Delivery {
    /// Done with it: it will not come again.
    ///
    /// # Errors
    /// [`Stale`](crate::QueueErrorKind::Stale) when its connection is gone: it will come again.
    pub async fn ack(self) -> Result<(), QueueError> {
        self.receipt.ack().await
    }

    /// Returns it to its lane as it was, marked as redelivered.
    ///
    /// # Errors
    /// [`Stale`](crate::QueueErrorKind::Stale) when its connection is gone; it returns to its lane
    /// either way.
    pub async fn nack(self) -> Result<(), QueueError> {
        self.receipt.nack().await
    }
}

impl Deliveries {
    /// The next delivery; waits for one, through any fault. `None` once the queue is closed. May be
    /// dropped while waiting without losing a delivery.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.0.next().await
    }

    /// Ends the subscription: what was not taken by [`Deliveries::next`] returns to the lane. What
    /// was can still be settled afterwards.
    pub async fn close(self) {
        self.0.close().await;
    }
}
