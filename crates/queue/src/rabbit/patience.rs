use std::{future::Future, pin::pin, time::Duration};

use lapin::{Channel, Connection};
use tokio::time::{Instant, timeout};

/// How often to look whether what is waited on is still there. An operation that lapin takes on just
/// as the connection falls is never answered.
const LOOK: Duration = Duration::from_millis(100);

/// What work on the broker hangs on.
pub(super) trait Standing {
    fn stands(&self) -> bool;
}

impl Standing for Channel {
    fn stands(&self) -> bool {
        self.status().connected()
    }
}

impl Standing for Connection {
    fn stands(&self) -> bool {
        self.status().connected()
    }
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The connection or channel is gone.
    Gone,
    /// It stands, but nothing came in time: an alarm of the broker, or a dead line.
    TimedOut,
}

/// Waits for an answer as long as it can come, and no longer than `patience`.
pub(super) async fn answered<T>(
    on: &impl Standing,
    patience: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Silence> {
    let mut work = pin!(work);
    let begun = Instant::now();
    loop {
        // What stood before the wait and has no answer after it gets one more look: an answer may
        // have come with the end.
        let stood = on.stands();
        match timeout(LOOK, work.as_mut()).await {
            Ok(answer) => return Ok(answer),
            Err(_) if !stood => return Err(Silence::Gone),
            Err(_) if begun.elapsed() >= patience => return Err(Silence::TimedOut),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    impl Standing for bool {
        fn stands(&self) -> bool {
            *self
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_what_cannot_come() {
        let patience = Duration::from_secs(30);
        let begun = Instant::now();
        assert_eq!(answered(&false, patience, pending::<()>()).await, Err(Silence::Gone));
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(answered(&false, patience, ready(7)).await, Ok(7));
        assert_eq!(answered(&true, patience, pending::<()>()).await, Err(Silence::TimedOut));
    }
}
