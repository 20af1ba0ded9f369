use std::{fmt, future::Future, sync::Arc, time::Duration};

use lapin::{
    Acker, Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
use tokio::runtime::Handle;

use super::reply::{NoReply, reply};
use crate::{
    delivery::{self, BoxFuture},
    error::QueueError,
    error::QueueErrorKind,
};

/// AMQP has no reply to an ack: this is the time to write it.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEUE: BasicNackOptions = BasicNackOptions { multiple: false, requeue: true };

/// Settles one delivery; dropped, it nacks it. Keeps the channel open, on which alone it can be
/// settled.
pub(super) struct Receipt {
    /// `None` once settled.
    acker: Option<Acker>,
    channel: Arc<Channel>,
}

impl Receipt {
    pub(super) fn new(acker: Acker, channel: Arc<Channel>) -> Self {
        Self { acker: Some(acker), channel }
    }

    /// True while the channel on which the delivery can be settled is open.
    pub(super) fn is_live(&self) -> bool {
        self.acker.as_ref().is_some_and(Acker::usable) && self.channel.status().connected()
    }
}

impl delivery::Receipt for Receipt {
    fn ack(mut self: Box<Self>) -> BoxFuture<'static, Result<(), QueueError>> {
        Box::pin(async move {
            let acker = self.acker.take().ok_or_else(stale)?;
            settle(&self.channel, acker.ack(BasicAckOptions::default())).await
        })
    }

    fn nack(mut self: Box<Self>) -> BoxFuture<'static, Result<(), QueueError>> {
        Box::pin(async move {
            let acker = self.acker.take().ok_or_else(stale)?;
            settle(&self.channel, acker.nack(REQUEUE)).await
        })
    }
}

/// lapin returns `Ok(false)` when the channel is gone.
async fn settle(
    channel: &Channel,
    settling: impl Future<Output = lapin::Result<bool>>,
) -> Result<(), QueueError> {
    match reply(channel, SETTLE_TIMEOUT, settling).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false) | Err(_)) | Err(NoReply::Disconnected) => Err(stale()),
        Err(NoReply::TimedOut) => Err(QueueError::new(
            QueueErrorKind::Unreachable,
            "RabbitMQ takes no acks: if it has not seen this one, the message comes again",
        )),
    }
}

fn stale() -> QueueError {
    QueueError::new(QueueErrorKind::Stale, "the delivery's connection is gone: it will be delivered again")
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let Some(acker) = self.acker.take().filter(Acker::usable) else { return };
        // Without a runtime the process is ending, and its connections with it.
        if let Ok(runtime) = Handle::try_current() {
            let channel = self.channel.clone();
            runtime.spawn(async move {
                if let Err(error) = settle(&channel, acker.nack(REQUEUE)).await {
                    tracing::debug!(%error, "a dropped delivery");
                }
            });
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("channel", &self.channel.id()).field("live", &self.is_live()).finish()
    }
}
