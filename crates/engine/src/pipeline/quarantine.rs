//! Keeps a page that kills its process from taking others along.
//!
//! The ledger marks the start of each redelivered job. After two starts without an end the page is suspected, and
//! runs alone in its process: only a crash while alone counts as an attempt. A job that is returned in good
//! order loses its mark; while PostgreSQL is away the mark stays noted here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pagemill_store::{Store, StoreError};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::delivered::DeliveredJob;

/// Lets pages run side by side, and a suspected page alone.
#[derive(Default)]
pub(crate) struct Quarantine {
    lock: Arc<RwLock<()>>,
    /// Partition and page of jobs that were returned, and whose start marks are still to be cleared.
    returned: Mutex<Vec<(i64, u32)>>,
}

/// Leave to run, held until the page is settled.
#[derive(Debug)]
pub(crate) enum Permit {
    Shared(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held, not read")] OwnedRwLockWriteGuard<()>),
}

impl Quarantine {
    pub(crate) async fn shared(&self) -> Permit {
        Permit::Shared(self.lock.clone().read_owned().await)
    }

    pub(crate) async fn alone(&self) -> Permit {
        Permit::Alone(self.lock.clone().write_owned().await)
    }

    /// Clears the start marks of jobs that return to their queue; now if possible, otherwise with the next call.
    pub(crate) async fn forget_starts(&self, store: &Store, pages: &[DeliveredJob]) {
        let marked = pages.iter().filter(|page| page.is_start_marked());
        self.returned().extend(marked.map(|page| (page.job.partition, page.job.page)));
        if let Err(error) = self.clear_start_marks(store).await {
            tracing::debug!(%error, "starts stay marked until PostgreSQL is back");
        }
    }

    /// Clears the start marks of all returned jobs in the ledger.
    pub(crate) async fn clear_start_marks(&self, store: &Store) -> Result<(), StoreError> {
        let pages = std::mem::take(&mut *self.returned());
        if pages.is_empty() {
            return Ok(());
        }
        let cleared = store.pages.clear_start_marks(&pages).await;
        if cleared.is_err() {
            self.returned().extend(pages);
        }
        cleared
    }

    fn returned(&self) -> MutexGuard<'_, Vec<(i64, u32)>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
