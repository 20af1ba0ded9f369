use std::future::Future;

use pagemill_core::Lane;

use crate::{
    dead_letter::DeadLetter, dead_letter::DeadLetterAction, dead_letter::SweepError, delivery::Deliveries,
    depth::Depth, error::QueueError, message::Address, message::Message,
};

/// The queue that page jobs travel by.
pub trait PageQueue: Clone + Send + Sync + 'static {
    /// Publishes all messages. `Ok` means that each was accepted and routed. Messages are taken as
    /// they are sent, a bounded number in flight, so a million cost no more memory than a few
    /// thousand. A connection lost midway is waited for, and what was not confirmed is sent again,
    /// so a message may arrive twice. After an `Err` any part of them may have arrived.
    ///
    /// # Errors
    /// [`Unroutable`](crate::QueueErrorKind::Unroutable), [`Rejected`](crate::QueueErrorKind::Rejected),
    /// [`Unreachable`](crate::QueueErrorKind::Unreachable) after half a minute without progress,
    /// [`Invalid`](crate::QueueErrorKind::Invalid) for an address that is not configured.
    fn publish<M>(&self, to: &Address, messages: M) -> impl Future<Output = Result<(), QueueError>> + Send
    where
        M: IntoIterator<Item = Message, IntoIter: Send> + Send;

    /// Subscribes to a lane, holding at most `prefetch` unsettled deliveries. Does not wait for the
    /// broker: deliveries begin when it is there.
    ///
    /// # Errors
    /// [`Invalid`](crate::QueueErrorKind::Invalid) for a source that is not configured,
    /// [`Closed`](crate::QueueErrorKind::Closed).
    fn subscribe(
        &self,
        source: &str,
        lane: Lane,
        prefetch: u16,
    ) -> impl Future<Output = Result<Deliveries, QueueError>> + Send;

    /// Counts the messages that wait in a source's queues.
    ///
    /// # Errors
    /// [`Unreachable`](crate::QueueErrorKind::Unreachable), [`Invalid`](crate::QueueErrorKind::Invalid).
    fn depth(&self, source: &str) -> impl Future<Output = Result<Depth, QueueError>> + Send;

    /// One pass over a source's dead letters: those there at its start are shown to `decide` in
    /// batches, each letter once (a copy shares the action of the first of its id), and leave the
    /// queue, stay, or move as it says: one [`DeadLetterAction`] a letter, in order. One pass at a time.
    ///
    /// # Errors
    /// [`SweepError::Decide`] with what `decide` failed with: its batch stays;
    /// [`SweepError::Queue`] otherwise, of kind [`Busy`](crate::QueueErrorKind::Busy) while another
    /// pass runs.
    fn sweep_dead<D, F, E>(
        &self,
        source: &str,
        decide: D,
    ) -> impl Future<Output = Result<(), SweepError<E>>> + Send
    where
        D: FnMut(Vec<DeadLetter>) -> F + Send,
        F: Future<Output = Result<Vec<DeadLetterAction>, E>> + Send,
        E: std::error::Error + Send + Sync + 'static;
}
