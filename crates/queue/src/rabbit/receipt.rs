use std::{fmt, future::Future, sync::Arc, time::Duration};

use lapin::{
    Acker, Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
use tokio::runtime::Handle;

use super::patience::{Silence, answered};
use crate::{QueueError, QueueErrorKind};

/// AMQP has no answer to an ack: this is the time to write it.
const SETTLE: Duration = Duration::from_secs(10);
const RETURN: BasicNackOptions = BasicNackOptions { multiple: false, requeue: true };

/// Settles one delivery; dropped, it gives it back. Keeps the channel open, on which alone it can be
/// settled.
pub(crate) struct Receipt {
    /// `None` once settled.
    acker: Option<Acker>,
    channel: Arc<Channel>,
}

impl Receipt {
    pub(super) fn new(acker: Acker, channel: Arc<Channel>) -> Self {
        Self { acker: Some(acker), channel }
    }

    /// Whether the channel is there on which it can be settled.
    pub(super) fn is_live(&self) -> bool {
        self.acker.as_ref().is_some_and(Acker::usable) && self.channel.status().connected()
    }

    pub(crate) async fn ack(mut self) -> Result<(), QueueError> {
        let acker = self.acker.take().ok_or_else(stale)?;
        settled(&self.channel, acker.ack(BasicAckOptions::default())).await
    }

    pub(crate) async fn give_back(mut self) -> Result<(), QueueError> {
        let acker = self.acker.take().ok_or_else(stale)?;
        settled(&self.channel, acker.nack(RETURN)).await
    }
}

/// `Ok(false)` is lapin's word for a channel that is gone.
async fn settled(
    channel: &Channel,
    settling: impl Future<Output = lapin::Result<bool>>,
) -> Result<(), QueueError> {
    match answered(channel, SETTLE, settling).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false) | Err(_)) | Err(Silence::Gone) => Err(stale()),
        Err(Silence::TimedOut) => Err(QueueError::new(
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
                if let Err(error) = settled(&channel, acker.nack(RETURN)).await {
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
