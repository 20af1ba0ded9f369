//! A session: from the first delivery that the pipeline takes until everything is settled.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{error::ServiceError, stop::Stop};

/// Why a session ended before its intake did, without a stop.
#[derive(Debug)]
pub enum SessionError {
    /// An error ended the session: PostgreSQL, the broker or the token endpoint cannot be used, or a part of this
    /// process broke.
    Failed(ServiceError),
    /// The source's quota is used up for so long.
    QuotaExhausted(Duration),
}

/// A session as seen by what runs in it: any part can end it early.
#[derive(Clone)]
pub(super) struct Session {
    /// Follows the stop of the session's caller, and comes early when a part ends the session.
    pub(super) stop: Stop,
    error: Arc<Mutex<Option<SessionError>>>,
}

/// Counts the workers that have a job.
#[derive(Clone, Default)]
pub(super) struct BusyWorkers(Arc<AtomicUsize>);

/// One of the busy workers.
pub(super) struct BusyWorker(BusyWorkers);

impl Session {
    pub(super) fn new(stop: &Stop) -> Self {
        Self { stop: stop.child(), error: Arc::default() }
    }

    /// Ends the session: nothing more is taken, and what runs is cancelled and returned.
    pub(super) fn fail(&self, error: ServiceError) {
        let mut end = self.error();
        if !matches!(*end, Some(SessionError::Failed(_))) {
            *end = Some(SessionError::Failed(error));
        }
        self.stop.cancel();
    }

    /// Ends the session: nothing more is taken. A worker that has its slot may finish.
    pub(super) fn exhaust_quota(&self, wait: Duration) {
        self.error().get_or_insert(SessionError::QuotaExhausted(wait));
        self.stop.drain();
    }

    /// The result of the session, once everything in it is settled.
    pub(super) fn result(self) -> Result<(), SessionError> {
        self.error().take().map_or(Ok(()), Err)
    }

    fn error(&self) -> MutexGuard<'_, Option<SessionError>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BusyWorkers {
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    pub(super) fn begin(&self) -> BusyWorker {
        self.0.fetch_add(1, Ordering::Relaxed);
        BusyWorker(self.clone())
    }
}

impl Drop for BusyWorker {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
