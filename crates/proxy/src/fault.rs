use std::time::Duration;

use tokio::{sync::watch, time::timeout};

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// A fault of a connection, until it is mended or another takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes arrive so much later, in both directions. At most 16 KiB wait at a time, so this limits the bandwidth too.
    Delay(Duration),
    /// So many bytes at a time are passed on, with this pause before them, in both directions.
    Drip {
        /// Bytes at a time.
        bytes: usize,
        /// The pause.
        every: Duration,
    },
    /// Bytes of one direction are held. The other direction passes.
    Stall(Direction),
    /// Bytes of both directions are held.
    Silence,
    /// Both sides see the end of the stream (FIN). What was held is lost.
    Close,
    /// Both sides see a reset (RST). What was held is lost.
    Reset,
}

/// The fault of a connection, as one of its directions sees it.
#[derive(Clone)]
pub(crate) struct Watch(pub(crate) watch::Receiver<Option<Fault>>);

impl Watch {
    /// Waits until bytes may be passed on; returns how many of those that wait.
    pub(crate) async fn admit(&mut self, direction: Direction, waiting: usize) -> usize {
        loop {
            let fault = *self.0.borrow_and_update();
            let (pause, bytes) = match fault {
                Some(Fault::Delay(pause)) => (pause, waiting),
                Some(Fault::Drip { bytes, every }) => (every, waiting.min(bytes.max(1))),
                Some(Fault::Stall(stalled)) if stalled == direction => (Duration::MAX, waiting),
                Some(Fault::Silence) => (Duration::MAX, waiting),
                Some(Fault::Stall(_) | Fault::Close | Fault::Reset) | None => return waiting,
            };
            // A change is looked at at once.
            if timeout(pause, self.0.changed()).await.is_err() {
                return bytes;
            }
        }
    }

    /// Waits until the connection is to end, and returns whether with a reset.
    pub(crate) async fn end(&mut self) -> bool {
        let ends = |fault: &Option<Fault>| matches!(fault, Some(Fault::Close | Fault::Reset));
        *self.0.wait_for(ends).await.expect("`Shared` holds the sender, and each connection `Shared`")
            == Some(Fault::Reset)
    }
}
