//! The queue of outcomes: bounded while the pool works, never in the way once it is cancelled.

use std::collections::VecDeque;
use std::sync::PoisonError;

use crate::job_outcome::JobOutcome;
use crate::sync::{Mutex, MutexGuard, Notify, Semaphore};

pub(crate) struct OutcomeQueue<J, R> {
    buffer: Mutex<Buffer<J, R>>,
    /// A permit for every free place; closed when the bound is lifted.
    room: Semaphore,
    /// Tells the one reader that something arrived or that nothing will.
    changed: Notify,
}

struct Buffer<J, R> {
    outcomes: VecDeque<JobOutcome<J, R>>,
    /// Outcomes that came in time.
    accepted: usize,
    unread: bool,
    /// Once it has ended: how many jobs have no outcome.
    stuck: Option<usize>,
}

/// What the reader gets.
pub(crate) enum Popped<J, R> {
    Outcome(JobOutcome<J, R>),
    Empty,
    Ended,
}

impl<J, R> OutcomeQueue<J, R> {
    pub(crate) fn new(capacity: usize) -> Self {
        let buffer = Buffer { outcomes: VecDeque::new(), accepted: 0, unread: false, stuck: None };
        Self { buffer: Mutex::new(buffer), room: Semaphore::new(capacity), changed: Notify::new() }
    }

    /// Waits for room, or for the bound to be lifted. An outcome that comes after the end is dropped:
    /// it was counted as stuck.
    pub(crate) async fn push(&self, outcome: JobOutcome<J, R>) {
        if let Ok(place) = self.room.acquire().await {
            place.forget();
        }
        let mut buffer = self.lock();
        if buffer.stuck.is_some() {
            drop(buffer);
            tracing::warn!("a stuck job ended after its pool had stopped: its outcome is lost");
            return;
        }
        buffer.accepted += 1;
        if buffer.unread {
            drop(buffer);
            drop(outcome);
        } else {
            buffer.outcomes.push_back(outcome);
            drop(buffer);
            self.changed.notify_one();
        }
    }

    /// Lifts the bound, and returns the jobs that `clear` takes off their queue. They are taken
    /// under this lock, so that no end can come between.
    pub(crate) fn return_jobs(&self, clear: impl FnOnce() -> VecDeque<J>) {
        let mut buffer = self.lock();
        let jobs = clear();
        buffer.accepted += jobs.len();
        if buffer.unread {
            drop(buffer);
            drop(jobs);
        } else {
            buffer.outcomes.extend(jobs.into_iter().map(|job| JobOutcome::Returned { job }));
            drop(buffer);
        }
        self.room.close();
        self.changed.notify_one();
    }

    /// Ends the results, once. Of `taken` jobs, those without an outcome by now are stuck.
    pub(crate) fn end(&self, taken: usize) {
        let mut buffer = self.lock();
        if buffer.stuck.is_some() {
            return;
        }
        let stuck = taken - buffer.accepted;
        buffer.stuck = Some(stuck);
        drop(buffer);
        self.changed.notify_one();
        if stuck > 0 {
            tracing::error!(stuck, "the pool stopped without the outcomes of stuck jobs");
        }
    }

    pub(crate) fn pop(&self) -> Popped<J, R> {
        let mut buffer = self.lock();
        match buffer.outcomes.pop_front() {
            Some(outcome) => {
                drop(buffer);
                self.room.add_permits(1);
                Popped::Outcome(outcome)
            }
            None if buffer.stuck.is_some() => Popped::Ended,
            None => Popped::Empty,
        }
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The reader has gone: outcomes are dropped from now on.
    pub(crate) fn leave_unread(&self) {
        let mut buffer = self.lock();
        buffer.unread = true;
        let unread = std::mem::take(&mut buffer.outcomes);
        drop(buffer);
        drop(unread);
    }

    /// The number of jobs without an outcome; 0 before the end.
    pub(crate) fn stuck(&self) -> usize {
        self.lock().stuck.unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Buffer<J, R>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
