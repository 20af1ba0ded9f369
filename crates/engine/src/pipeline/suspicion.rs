//! A start without an outcome is suspicion. Starts of jobs that were given back in good order are
//! none: their marks are taken out of the ledger, when PostgreSQL is away as soon as it is back.

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering};

use pagemill_store::{Store, StoreError};

use super::Work;

/// Pages whose start was marked in the ledger and came to nothing, through no fault of theirs.
#[derive(Default)]
pub(super) struct Innocent(Mutex<Vec<(i64, u32)>>);

impl Innocent {
    /// Notes a job that is given back, if its start was marked.
    pub(super) fn note(&self, work: &Work) {
        if work.marked.load(Ordering::Relaxed) {
            self.noted().push((work.job.partition, work.job.page));
        }
    }

    /// Takes the marks of all noted pages back.
    pub(super) async fn acquit(&self, store: &Store) -> Result<(), StoreError> {
        let pages = std::mem::take(&mut *self.noted());
        if pages.is_empty() {
            return Ok(());
        }
        let acquitted = store.pages.clear_start_marks(&pages).await;
        if acquitted.is_err() {
            self.noted().extend(pages);
        }
        acquitted
    }

    fn noted(&self) -> MutexGuard<'_, Vec<(i64, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
