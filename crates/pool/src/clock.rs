//! Deadlines that hold even when the runtime's threads are blocked.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// The future's output, or `None` once `span` is over.
pub(crate) async fn within<T>(span: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = pause(span) => None,
    }
}

/// Waits for `span`.
///
/// Tokio's timers need a thread that drives them, and one handler that blocks can be the thread that
/// should: a multi-thread runtime then tells no time, even with threads idle. So on such a runtime a
/// thread of our own keeps this clock. On a current-thread runtime nothing runs beside a blocked
/// handler anyway, and tokio's clock is right, because tests can pause it.
pub(crate) async fn pause(span: Duration) {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if matches!(flavor, Ok(RuntimeFlavor::CurrentThread)) {
        return tokio::time::sleep(span).await;
    }
    let (ring, rung) = oneshot::channel();
    // Dropped with this future: the thread then ends at once.
    let (_still_wanted, unwanted) = mpsc::channel::<()>();
    let clock = move || {
        if unwanted.recv_timeout(span) == Err(RecvTimeoutError::Timeout) {
            let _ = ring.send(());
        }
    };
    match thread::Builder::new().name("pagemill-pool-clock".into()).spawn(clock) {
        Ok(_) => drop(rung.await),
        Err(_) => tokio::time::sleep(span).await,
    }
}
