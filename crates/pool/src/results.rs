//! The way out.

use std::fmt;
use std::sync::Arc;

use crate::Outcome;
use crate::exchange::Exchange;
use crate::outbox::Found;
use crate::stopper::Stages;

/// The outcomes of a pool, for one reader, in the order in which they came about.
///
/// Read it to its end: once its buffer is full the workers wait for the reader. Dropping it
/// [cancels](crate::Stopper::cancel) the pool, because nobody would learn how a job ended; the jobs
/// that were under way are dropped.
#[must_use = "dropping the results cancels the pool"]
pub struct Results<J: Send, R: Send> {
    exchange: Arc<Exchange<J, R>>,
}

impl<J: Send, R: Send> Results<J, R> {
    pub(crate) fn new(exchange: Arc<Exchange<J, R>>) -> Self {
        Self { exchange }
    }

    /// The next outcome; `None` once the last worker has gone and everything was handed over, or, if
    /// workers are stuck, half a second after the cancel
    /// (see [`Stopped::stuck`](crate::Stopped::stuck)).
    ///
    /// Cancel safe: a dropped `next` loses nothing.
    pub async fn next(&mut self) -> Option<Outcome<J, R>> {
        loop {
            match self.exchange.outbox.find() {
                Found::Outcome(outcome) => return Some(outcome),
                Found::End => return None,
                Found::NothingYet => self.exchange.outbox.news().await,
            }
        }
    }

    /// The next outcome if there is one now: for a reader that gathers a batch after [`Results::next`].
    pub fn try_next(&mut self) -> Option<Outcome<J, R>> {
        match self.exchange.outbox.find() {
            Found::Outcome(outcome) => Some(outcome),
            Found::End | Found::NothingYet => None,
        }
    }
}

impl<J: Send, R: Send> Drop for Results<J, R> {
    fn drop(&mut self) {
        self.exchange.outbox.leave_unread();
        self.exchange.cancel();
    }
}

impl<J: Send, R: Send> fmt::Debug for Results<J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").finish_non_exhaustive()
    }
}
