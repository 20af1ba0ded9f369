use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Lets pages run side by side, and a suspect alone in its process: only a crash while alone
/// convicts a page. The pass is held until the page is settled.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<RwLock<()>>);

/// Leave to run.
#[derive(Debug)]
pub(super) enum Pass {
    Shared(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held, not read")] OwnedRwLockWriteGuard<()>),
}

impl Gate {
    pub(super) async fn shared(&self) -> Pass {
        Pass::Shared(self.0.clone().read_owned().await)
    }

    pub(super) async fn alone(&self) -> Pass {
        Pass::Alone(self.0.clone().write_owned().await)
    }
}
