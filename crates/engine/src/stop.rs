//! The one way to stop: two signals, first no more intake, then cancel.

use std::{future::Future, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long cancelled work may take to end. Workers end within a second, and a token's refresh is waited for 5 s. What
/// takes longer waits for a PostgreSQL or RabbitMQ that is silent.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(8);

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

    /// Runs work to its end. `None` if the work hangs: it has not ended 8 s after [`Stop::cancel`]. Hanging work is
    /// dropped, as if the process had died.
    pub async fn unless_hung<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let hung = async {
            self.cancelled().await;
            sleep(CANCEL_TIMEOUT).await;
        };
        tokio::select! {
            biased;
            ended = work => Some(ended),
            () = hung => None,
        }
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

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_is_given_up_after_its_cancellation() {
        let stop = Stop::default();
        let slow = |duration| async move {
            sleep(duration).await;
            7
        };
        // Not cancelled, work takes as long as it takes.
        assert_eq!(stop.unless_hung(slow(100 * CANCEL_TIMEOUT)).await, Some(7));
        stop.drain();
        assert_eq!(stop.unless_hung(slow(100 * CANCEL_TIMEOUT)).await, Some(7));
        stop.cancel();
        assert_eq!(stop.unless_hung(slow(CANCEL_TIMEOUT / 2)).await, Some(7));
        assert_eq!(stop.unless_hung(slow(CANCEL_TIMEOUT * 2)).await, None);
    }
}
