//! The primitives that the pool is built on: locks, semaphores, signals, tasks, time.
//!
//! They are std's and tokio's. The unit tests build the same pool on shuttle's, which run one task at a
//! time and choose the next one at every lock, permit and signal (`schedules`). All other tests, and
//! everyone who uses this crate, run on the real ones.

#[cfg(not(test))]
pub(crate) use real::*;
#[cfg(test)]
pub(crate) use shuttled::*;

#[cfg(not(test))]
mod real {
    pub(crate) use std::sync::{Mutex, MutexGuard};

    pub(crate) use tokio::spawn;
    pub(crate) use tokio::sync::{Notify, Semaphore, watch};
    pub(crate) use tokio_util::sync::CancellationToken;

    pub(crate) use crate::clock::sleep;
}

#[cfg(test)]
mod shuttled {
    use std::cell::Cell;
    use std::time::Duration;

    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
    pub(crate) use shuttle_tokio::spawn;
    pub(crate) use shuttle_tokio::sync::{Notify, Semaphore, watch};
    pub(crate) use shuttle_tokio_util::sync::CancellationToken;

    thread_local! {
        /// Whether deadlines pass. If they don't, whoever needs one to get on is a deadlock.
        pub(crate) static DEADLINES_PASS: Cell<bool> = const { Cell::new(false) };
    }

    /// Time is not modelled: a sleep takes as long as the schedule keeps its task waiting, or for ever.
    /// It does not yield: to PCT, a task that yields is the last one to go on.
    pub(crate) async fn sleep(_: Duration) {
        if !DEADLINES_PASS.get() {
            std::future::pending().await
        }
    }
}
