//! The one way to stop: two signals, first no more intake, then cancel.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// A stop that can be requested and waited for. Clones are the same stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    draining: CancellationToken,
    cancelled: CancellationToken,
}

impl Stop {
    /// Ends the intake; running pages may finish.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Cancels running pages, which return to their queue. Also drains.
    pub fn cancel(&self) {
        self.draining.cancel();
        self.cancelled.cancel();
    }

    /// Returns once [`Stop::drain`] was requested.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Returns once [`Stop::cancel`] was requested.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// True once the stop was requested.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// The token that [`Stop::cancel`] cancels.
    pub fn cancellation(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// A stop for a part: it follows this one, and can come earlier.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { draining: self.draining.child_token(), cancelled: self.cancelled.child_token() }
    }

    /// Follows SIGINT and SIGTERM: the first drains; after `grace`, or on the second, cancels.
    pub fn on_signals(&self, grace: Duration) {
        let stop = self.clone();
        tokio::spawn(async move {
            signal().await;
            tracing::info!(grace = ?grace, "stopping: running pages may finish; another signal cancels them");
            stop.drain();
            let _ = tokio::time::timeout(grace, signal()).await;
            stop.cancel();
            // Listening goes on, so that a third signal does not kill what is being returned.
            loop {
                signal().await;
            }
        });
    }
}

async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            },
            Err(_) => drop(tokio::signal::ctrl_c().await),
        }
    }
    #[cfg(not(unix))]
    drop(tokio::signal::ctrl_c().await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_follows_and_can_come_earlier() {
        let stop = Stop::default();
        let (early, late) = (stop.child(), stop.child());
        early.drain();
        assert!(early.is_draining() && !stop.is_draining() && !late.is_draining());
        stop.cancel();
        late.draining().await;
        late.cancelled().await;
        early.cancelled().await;
    }
}
