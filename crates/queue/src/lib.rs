//! Pagemill's page queue: one contract, [`PageQueue`], over RabbitMQ ([`Rabbit`]) and in process
//! ([`InProcess`]).
//!
//! What stands on the broker for each source (`rabbit/topology.rs` declares it and says why):
//!
//! ```text
//! exchange pagemill (direct) ──┬─> pagemill.<source>.pages        the newest day
//!                              ├─> pagemill.<source>.pages.low    backfill, lookback
//!                              └─> pagemill.<source>.dead         given up: by us, or by the delivery limit
//! exchange pagemill.<source>.retry.<delay> (fanout) ─> the queue of the same name, which after its
//!                              delay hands the message to `pagemill` under the key it came with: its lane
//! ```
//!
//! The promises, held by both and tested by the same tests:
//!
//! - A publish is done when every message was accepted **and** routed.
//! - Delivery is at least once. What was not acked comes again, marked as redelivered.
//! - A subscription survives every fault of the broker and ends only when it is closed.
//! - No subscription holds more unsettled deliveries than its prefetch.
//! - Dead letters leave their queue only by [`PageQueue::sweep_dead`], which publishes before it
//!   acks: a death midway makes copies, never losses.
#![forbid(unsafe_code)]

mod dead;
mod delivery;
mod depth;
mod error;
mod in_process;
mod message;
mod rabbit;

use std::future::Future;

use pagemill_core::Lane;

pub use dead::{DeadLetter, Fate, SweepError};
pub use delivery::{Deliveries, Delivery};
pub use depth::Depth;
pub use error::{QueueError, QueueErrorKind};
pub use in_process::InProcess;
pub use message::{Address, DeadNote, Message};
pub use rabbit::{Rabbit, RabbitConfig};

/// The queue that page jobs travel by.
pub trait PageQueue: Clone + Send + Sync + 'static {
    /// Publishes all messages. `Ok` means that each was accepted and routed. Messages are taken as
    /// they are sent, a bounded number in flight, so a million cost no more memory than a few
    /// thousand. A connection lost midway is waited for, and what was not confirmed is sent again,
    /// so a message may arrive twice. After an `Err` any part of them may have arrived.
    ///
    /// # Errors
    /// [`QueueErrorKind::Unroutable`], [`QueueErrorKind::Rejected`], [`QueueErrorKind::Unreachable`]
    /// after half a minute without progress, [`QueueErrorKind::Invalid`] for an address that is not
    /// configured.
    fn publish<M>(&self, to: &Address, messages: M) -> impl Future<Output = Result<(), QueueError>> + Send
    where
        M: IntoIterator<Item = Message, IntoIter: Send> + Send;

    /// Subscribes to a lane, holding at most `prefetch` unsettled deliveries. Does not wait for the
    /// broker: deliveries begin when it is there.
    ///
    /// # Errors
    /// [`QueueErrorKind::Invalid`] for a source that is not configured, [`QueueErrorKind::Closed`].
    fn subscribe(
        &self,
        source: &str,
        lane: Lane,
        prefetch: u16,
    ) -> impl Future<Output = Result<Deliveries, QueueError>> + Send;

    /// What waits in a source's queues.
    ///
    /// # Errors
    /// [`QueueErrorKind::Unreachable`], [`QueueErrorKind::Invalid`].
    fn depth(&self, source: &str) -> impl Future<Output = Result<Depth, QueueError>> + Send;

    /// One pass over a source's dead letters: those there at its start are shown to `decide` in
    /// batches, each letter once (a copy shares the fate of the first of its id), and leave the
    /// queue, stay, or move as it says: one [`Fate`] a letter, in order. One pass at a time.
    ///
    /// # Errors
    /// [`SweepError::Decide`] with what `decide` failed with: its batch stays;
    /// [`SweepError::Queue`] otherwise, of kind [`QueueErrorKind::Busy`] while another pass runs.
    fn sweep_dead<D, F, E>(
        &self,
        source: &str,
        decide: D,
    ) -> impl Future<Output = Result<(), SweepError<E>>> + Send
    where
        D: FnMut(Vec<DeadLetter>) -> F + Send,
        F: Future<Output = Result<Vec<Fate>, E>> + Send,
        E: std::error::Error + Send + Sync + 'static;
}
