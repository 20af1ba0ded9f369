//! One publish: a window of messages in flight on a channel of its own, drained to the end.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoff,
    broker::Broker,
    channel_pool::ChannelPool,
    connection::ManagedConnection,
    outgoing::Outgoing,
    window::{ChannelLost, Window},
};
use crate::{error::QueueError, error::QueueErrorKind, message::Address};

/// How long a publish goes on without any progress: a lost connection, an alarm of the broker.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait before a deleted queue is declared again: until the broker has cancelled its consumers, it moves
/// them to the new queue, where they get stuck.
const REDECLARE_DELAY: Duration = Duration::from_secs(1);
const REDECLARE_TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes over one connection, a few publishes at a time.
pub(super) struct Publisher {
    broker: Arc<Broker>,
    connection: ManagedConnection,
    channels: ChannelPool,
    closed: CancellationToken,
}

impl Publisher {
    pub(super) async fn open(broker: Arc<Broker>, closed: CancellationToken) -> Result<Self, QueueError> {
        let connection =
            ManagedConnection::open(broker.clone(), "pagemill publishes", closed.clone()).await?;
        Ok(Self { broker, connection, channels: ChannelPool::default(), closed })
    }

    pub(super) fn connection(&self) -> &ManagedConnection {
        &self.connection
    }

    /// Publishes all messages; see [`PageQueue::publish`](crate::PageQueue::publish).
    pub(super) async fn publish(
        &self,
        to: &Address,
        messages: impl Iterator<Item = Outgoing> + Send,
    ) -> Result<(), QueueError> {
        let mut window = Window::new(messages, self.broker.topology().route(to)?, PROGRESS_TIMEOUT);
        self.drain(&mut window).await?;
        let delivered = window.result();
        if delivered.is_err() {
            sleep(REDECLARE_DELAY).await;
            self.redeclare(to.source()).await;
        }
        delivered
    }

    /// Sends a window's messages until all are confirmed or one failed, over as many channels as it
    /// takes.
    async fn drain<M: Iterator<Item = Outgoing>>(&self, window: &mut Window<M>) -> Result<(), QueueError> {
        let mut backoff = Backoff::default();
        let mut progress = Instant::now();
        loop {
            let Err(lost) = self.drain_on_one_channel(window, &mut progress).await? else { return Ok(()) };
            window.return_unconfirmed();
            if self.closed.is_cancelled() {
                return Err(QueueError::closed());
            }
            if window.has_failed() {
                return Ok(());
            }
            if progress.elapsed() >= PROGRESS_TIMEOUT {
                let message = format!("{}: {}", self.broker.unreachable(), lost.0);
                return Err(QueueError::new(QueueErrorKind::Unreachable, message));
            }
            tracing::debug!(error = %lost.0, "a publish lost its channel: what was not confirmed is sent again");
            sleep(backoff.next_wait()).await;
            // An exchange that is gone closes the channel, not the connection.
            self.redeclare(window.source()).await;
        }
    }

    /// The outer error ends the publish.
    async fn drain_on_one_channel<M: Iterator<Item = Outgoing>>(
        &self,
        window: &mut Window<M>,
        progress: &mut Instant,
    ) -> Result<Result<(), ChannelLost>, QueueError> {
        match self.channels.acquire(&self.broker, &self.connection, PROGRESS_TIMEOUT).await {
            Ok(pooled) => {
                let drained = window.drain(&pooled.channel, progress).await;
                if drained.is_ok() {
                    pooled.release();
                }
                Ok(drained)
            }
            Err(error) if error.kind() == QueueErrorKind::Closed => Err(error),
            Err(error) => Ok(Err(ChannelLost(error.to_string()))),
        }
    }

    /// Declares again what is missing, if the connection is open; if not, the next one will.
    async fn redeclare(&self, source: &str) {
        let error = |e| self.broker.error(&e, "cannot declare the queues again");
        let declaring = async {
            let connection = self.connection.get(REDECLARE_TIMEOUT).await?;
            let declaring = async {
                let channel = connection.create_channel().await.map_err(error)?;
                self.broker.topology().declare_source(&channel, source).await.map_err(error)
            };
            self.broker.while_connected(&*connection, REDECLARE_TIMEOUT, declaring).await
        };
        if let Err(error) = declaring.await {
            tracing::warn!(%error, "cannot mend the queues");
        }
    }
}
