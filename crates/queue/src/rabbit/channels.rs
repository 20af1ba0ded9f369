use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lapin::{Channel, options::ConfirmSelectOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{dial::Dial, link::Link};
use crate::QueueError;

/// Publishes at a time; further ones wait their turn.
const MOST: usize = 16;

/// Channels for publishing. Each publish has one to itself, so that a small one does not wait behind
/// a large one, and so that all that is returned on it is its own.
pub(super) struct Channels {
    idle: Mutex<Vec<Channel>>,
    permits: Semaphore,
}

/// A channel, held alone.
pub(super) struct Lease<'a> {
    pub(super) channel: Channel,
    channels: &'a Channels,
    _permit: SemaphorePermit<'a>,
}

impl Default for Channels {
    fn default() -> Self {
        Self { idle: Mutex::default(), permits: Semaphore::new(MOST) }
    }
}

impl Channels {
    /// A channel with nothing in flight, on a standing connection.
    pub(super) async fn lease(
        &self,
        dial: &Dial,
        link: &Link,
        patience: Duration,
    ) -> Result<Lease<'_>, QueueError> {
        let leasing = async {
            let permit = self.permits.acquire().await.map_err(|_| QueueError::closed())?;
            let channel = match self.idle_one() {
                Some(channel) => channel,
                None => {
                    let fault = |e| dial.fault(&e, "cannot open a channel");
                    let connection = link.standing().await?;
                    let opening = async {
                        let channel = connection.create_channel().await.map_err(fault)?;
                        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(fault)?;
                        Ok(channel)
                    };
                    dial.on(&*connection, patience, opening).await?
                }
            };
            Ok(Lease { channel, channels: self, _permit: permit })
        };
        dial.in_time(patience, leasing).await
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

impl Lease<'_> {
    /// For the next one. Only a channel with nothing in flight may go back; any other is dropped.
    pub(super) fn give_back(self) {
        self.channels.idle().push(self.channel);
    }
}
