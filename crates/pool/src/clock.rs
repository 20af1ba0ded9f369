//! Deadlines that hold even when the runtime's threads are blocked.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// Waits for `wait`.
///
/// Tokio's timers need a thread that drives them, and one handler that blocks can be the thread that
/// should: a multi-thread runtime then tells no time, even with threads idle. So on such a runtime a
/// thread of our own keeps this clock. On a current-thread runtime nothing runs beside a blocked
/// handler anyway, and tokio's clock is right, because tests can pause it.
pub(crate) async fn sleep(wait: Duration) {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if matches!(flavor, Ok(RuntimeFlavor::CurrentThread)) {
        return tokio::time::sleep(wait).await;
    }
    let (alarm, alarmed) = oneshot::channel();
    // Dropped with this future: the thread then ends at once.
    let (_still_wanted, unwanted) = mpsc::channel::<()>();
    let clock = move || {
        if unwanted.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            let _ = alarm.send(());
        }
    };
    match thread::Builder::new().name("pagemill-pool-clock".into()).spawn(clock) {
        Ok(_) => drop(alarmed.await),
        Err(_) => tokio::time::sleep(wait).await,
    }
}
