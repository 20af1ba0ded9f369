use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lapin::{Channel, options::ConfirmSelectOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{broker::Broker, connection::ManagedConnection};
use crate::error::QueueError;

/// Publishes at a time; further ones wait their turn.
const MAX_CHANNELS: usize = 16;

/// Channels for publishing. Each publish has one to itself, so that a small one does not wait behind
/// a large one, and so that all that is returned on it is its own.
pub(super) struct ChannelPool {
    idle: Mutex<Vec<Channel>>,
    permits: Semaphore,
}

/// A channel, used by one publish alone.
pub(super) struct PooledChannel<'a> {
    pub(super) channel: Channel,
    pool: &'a ChannelPool,
    _permit: SemaphorePermit<'a>,
}

impl Default for ChannelPool {
    fn default() -> Self {
        Self { idle: Mutex::default(), permits: Semaphore::new(MAX_CHANNELS) }
    }
}

impl ChannelPool {
    /// A channel with nothing in flight, on an open connection.
    pub(super) async fn acquire(
        &self,
        broker: &Broker,
        connection: &ManagedConnection,
        limit: Duration,
    ) -> Result<PooledChannel<'_>, QueueError> {
        let acquiring = async {
            let permit = self.permits.acquire().await.map_err(|_| QueueError::closed())?;
            let channel = match self.idle_one() {
                Some(channel) => channel,
                None => {
                    let error = |e| broker.error(&e, "cannot open a channel");
                    let connection = connection.wait_until_open().await?;
                    let opening = async {
                        let channel = connection.create_channel().await.map_err(error)?;
                        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(error)?;
                        Ok(channel)
                    };
                    broker.while_connected(&*connection, limit, opening).await?
                }
            };
            Ok(PooledChannel { channel, pool: self, _permit: permit })
        };
        broker.with_timeout(limit, acquiring).await
    }

    fn idle_one(&self) -> Option<Channel> {
        let mut idle = self.idle();
        idle.retain(|channel| channel.status().connected());
        idle.pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PooledChannel<'_> {
    /// Leaves it to the next publish. Only for a channel with nothing in flight; any other is dropped.
    pub(super) fn release(self) {
        self.pool.idle().push(self.channel);
    }
}
