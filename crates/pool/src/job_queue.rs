//! The bounded queue of jobs that the workers compete for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;

use crate::sync::{Mutex, MutexGuard, Semaphore};

/// Jobs in the order of their submission. `room` holds a permit for every free place and `ready` one
/// for every job, so both sides wait in turn, and closing wakes everyone.
///
/// Not the crate `async-channel`: there a newcomer may overtake a submitter that waits, and no lock
/// covers the job that leaves and the count of those that left, which tells how many jobs are stuck.
pub(crate) struct JobQueue<J> {
    buffer: Mutex<Buffer<J>>,
    room: Semaphore,
    ready: Semaphore,
}

struct Buffer<J> {
    jobs: VecDeque<J>,
    closed: bool,
    taken: usize,
}

impl<J> JobQueue<J> {
    pub(crate) fn new(capacity: usize) -> Self {
        let buffer = Buffer { jobs: VecDeque::new(), closed: false, taken: 0 };
        Self { buffer: Mutex::new(buffer), room: Semaphore::new(capacity), ready: Semaphore::new(0) }
    }

    /// Waits for room.
    pub(crate) async fn submit(&self, job: J) -> Result<(), Closed<J>> {
        match self.room.acquire().await {
            Ok(place) => {
                place.forget();
                self.push(job)
            }
            Err(_) => Err(Closed(job)),
        }
    }

    fn push(&self, job: J) -> Result<(), Closed<J>> {
        let mut buffer = self.lock();
        if buffer.closed {
            return Err(Closed(job));
        }
        buffer.jobs.push_back(job);
        drop(buffer);
        self.ready.add_permits(1);
        Ok(())
    }

    /// The oldest job, for one worker only; `None` once the queue is closed and empty.
    pub(crate) async fn take(&self) -> Option<J> {
        loop {
            // Closed: the workers take what is left without waiting.
            if let Ok(job) = self.ready.acquire().await {
                job.forget();
            }
            let mut buffer = self.lock();
            if let Some(job) = buffer.jobs.pop_front() {
                buffer.taken += 1;
                drop(buffer);
                self.room.add_permits(1);
                return Some(job);
            }
            if buffer.closed {
                return None;
            }
        }
    }

    /// Ends the intake. What is buffered stays, and submitters that wait for room get their jobs back.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.ready.close();
    }

    /// Ends the intake and takes what is buffered.
    pub(crate) fn clear(&self) -> VecDeque<J> {
        self.close();
        let mut buffer = self.lock();
        buffer.taken += buffer.jobs.len();
        std::mem::take(&mut buffer.jobs)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The number of jobs that have left the queue; final once it was cleared.
    pub(crate) fn taken(&self) -> usize {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, Buffer<J>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool takes no more jobs. Holds the job that was not accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed<J>(pub J);

impl<J> fmt::Debug for Closed<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closed").finish_non_exhaustive()
    }
}

impl<J> fmt::Display for Closed<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pool takes no more jobs")
    }
}

impl<J> std::error::Error for Closed<J> {}
