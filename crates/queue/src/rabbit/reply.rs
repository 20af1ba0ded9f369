use std::{future::Future, pin::pin, time::Duration};

use lapin::{Channel, Connection};
use tokio::time::{Instant, timeout};

/// Time between checks that the connection is still there. An operation that lapin takes on just as
/// the connection falls never gets a reply.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A connection or channel that a reply comes by.
pub(super) trait Connected {
    fn is_connected(&self) -> bool;
}

impl Connected for Channel {
    fn is_connected(&self) -> bool {
        self.status().connected()
    }
}

impl Connected for Connection {
    fn is_connected(&self) -> bool {
        self.status().connected()
    }
}

/// Why there was no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoReply {
    /// The connection or channel is gone.
    Disconnected,
    /// It is there, but nothing came in time: an alarm of the broker, or a dead line.
    TimedOut,
}

/// Waits for a reply as long as it can come, and no longer than `limit`.
pub(super) async fn reply<T>(
    on: &impl Connected,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, NoReply> {
    let mut work = pin!(work);
    let start = Instant::now();
    loop {
        // What was connected before the wait and has no reply after it gets one more look: a reply
        // may have come with the end.
        let was_connected = on.is_connected();
        match timeout(CHECK_INTERVAL, work.as_mut()).await {
            Ok(reply) => return Ok(reply),
            Err(_) if !was_connected => return Err(NoReply::Disconnected),
            Err(_) if start.elapsed() >= limit => return Err(NoReply::TimedOut),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    impl Connected for bool {
        fn is_connected(&self) -> bool {
            *self
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_what_cannot_come() {
        let limit = Duration::from_secs(30);
        let start = Instant::now();
        assert_eq!(reply(&false, limit, pending::<()>()).await, Err(NoReply::Disconnected));
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_eq!(reply(&false, limit, ready(7)).await, Ok(7));
        assert_eq!(reply(&true, limit, pending::<()>()).await, Err(NoReply::TimedOut));
    }
}
