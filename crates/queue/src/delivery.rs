use pagemill_core::Lane;

use crate::{QueueError, in_process, rabbit};

/// One message handed out, to be settled exactly once: [`ack`](Delivery::ack) or
/// [`give_back`](Delivery::give_back). Dropped unsettled it is given back.
#[derive(Debug)]
#[must_use = "a delivery that is not acked comes again"]
pub struct Delivery {
    /// The message.
    pub body: Vec<u8>,
    /// The source whose lane it came by.
    pub source: String,
    /// The lane it came by.
    pub lane: Lane,
    /// Whether it was handed out before, to anyone.
    pub redelivered: bool,
    pub(crate) receipt: Receipt,
}

/// What settles a delivery.
#[derive(Debug)]
pub(crate) enum Receipt {
    Rabbit(rabbit::Receipt),
    InProcess(in_process::Receipt),
}

impl Delivery {
    /// Done with it: it will not come again.
    ///
    /// # Errors
    /// [`QueueErrorKind::Stale`](crate::QueueErrorKind::Stale) when its connection is gone: it will
    /// come again.
    pub async fn ack(self) -> Result<(), QueueError> {
        match self.receipt {
            Receipt::Rabbit(receipt) => receipt.ack().await,
            Receipt::InProcess(receipt) => {
                receipt.ack();
                Ok(())
            }
        }
    }

    /// Returns it to its lane as it was, marked as redelivered.
    ///
    /// # Errors
    /// As [`Delivery::ack`]; it returns to its lane either way.
    pub async fn give_back(self) -> Result<(), QueueError> {
        match self.receipt {
            Receipt::Rabbit(receipt) => receipt.give_back().await,
            Receipt::InProcess(receipt) => {
                drop(receipt);
                Ok(())
            }
        }
    }
}

/// A subscription. Dropped, it closes itself in the background.
#[derive(Debug)]
pub struct Deliveries(pub(crate) Subscription);

#[derive(Debug)]
pub(crate) enum Subscription {
    Rabbit(rabbit::Subscription),
    InProcess(in_process::Subscription),
}

impl Deliveries {
    /// The next delivery; waits for one, through any fault. `None` once the queue is closed. May be
    /// dropped while waiting without losing a delivery.
    pub async fn next(&mut self) -> Option<Delivery> {
        match &mut self.0 {
            Subscription::Rabbit(subscription) => subscription.next().await,
            Subscription::InProcess(subscription) => Some(subscription.next().await),
        }
    }

    /// Ends the subscription: what was not taken by [`Deliveries::next`] returns to the lane. What
    /// was can still be settled afterwards.
    pub async fn close(self) {
        match self.0 {
            Subscription::Rabbit(subscription) => subscription.close().await,
            Subscription::InProcess(subscription) => drop(subscription),
        }
    }
}
