//! The queue of outcomes: bounded while the pool works, never in the way once it is cancelled.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, watch};

use crate::{Outcome, Stopped};

pub(crate) struct Outbox<J, R> {
    buffer: Mutex<Buffer<J, R>>,
    /// A permit for every free place; closed when the bound is lifted.
    room: Semaphore,
    /// Tells the one reader that something arrived or that nothing will.
    news: Notify,
    stopped: watch::Sender<Option<Stopped>>,
}

struct Buffer<J, R> {
    outcomes: VecDeque<Outcome<J, R>>,
    accepted: usize,
    unread: bool,
    ended: bool,
}

/// What the reader finds.
pub(crate) enum Found<J, R> {
    Outcome(Outcome<J, R>),
    NothingYet,
    End,
}

impl<J, R> Outbox<J, R> {
    pub(crate) fn new(capacity: usize) -> Self {
        let buffer = Buffer { outcomes: VecDeque::new(), accepted: 0, unread: false, ended: false };
        Self {
            buffer: Mutex::new(buffer),
            room: Semaphore::new(capacity),
            news: Notify::new(),
            stopped: watch::Sender::new(None),
        }
    }

    /// Waits for room, or for the bound to be lifted. An outcome that comes after the end is dropped:
    /// it was counted as stuck.
    pub(crate) async fn deliver(&self, outcome: Outcome<J, R>) {
        if let Ok(place) = self.room.acquire().await {
            place.forget();
        }
        let mut buffer = self.lock();
        if buffer.ended {
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
            self.news.notify_one();
        }
    }

    /// Lifts the bound, and gives back the jobs that `clear` takes off their queue. They are taken
    /// under this lock, so that no end can come between.
    pub(crate) fn give_back(&self, clear: impl FnOnce() -> VecDeque<J>) {
        let mut buffer = self.lock();
        let jobs = clear();
        buffer.accepted += jobs.len();
        if buffer.unread {
            drop(buffer);
            drop(jobs);
        } else {
            buffer.outcomes.extend(jobs.into_iter().map(|job| Outcome::Returned { job }));
            drop(buffer);
        }
        self.room.close();
        self.news.notify_one();
    }

    /// Ends the results. Of `taken` jobs, those without an outcome by now are stuck.
    pub(crate) fn end(&self, taken: usize) -> Stopped {
        let mut buffer = self.lock();
        if let Some(stopped) = *self.stopped.borrow() {
            return stopped;
        }
        buffer.ended = true;
        let stopped = Stopped { stuck: taken - buffer.accepted };
        self.stopped.send_replace(Some(stopped));
        drop(buffer);
        self.news.notify_one();
        if stopped.stuck > 0 {
            tracing::error!(stuck = stopped.stuck, "the pool stopped without the outcomes of stuck jobs");
        }
        stopped
    }

    pub(crate) fn find(&self) -> Found<J, R> {
        let mut buffer = self.lock();
        match buffer.outcomes.pop_front() {
            Some(outcome) => {
                drop(buffer);
                self.room.add_permits(1);
                Found::Outcome(outcome)
            }
            None if buffer.ended => Found::End,
            None => Found::NothingYet,
        }
    }

    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// The reader has gone: outcomes are dropped from now on.
    pub(crate) fn leave_unread(&self) {
        let mut buffer = self.lock();
        buffer.unread = true;
        let unread = std::mem::take(&mut buffer.outcomes);
        drop(buffer);
        drop(unread);
    }

    pub(crate) fn stopped(&self) -> watch::Receiver<Option<Stopped>> {
        self.stopped.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Buffer<J, R>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
