use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::FieldTable,
};
use pagemill_core::Lane;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{backoff::Backoff, dial::Dial, link::Link, patience::answered, receipt::Receipt, topology};
use crate::{Delivery, QueueError, QueueErrorKind, delivery};

/// Quorum queues refuse more.
const MOST_PREFETCH: u16 = 2_000;
/// For opening a consumer, and for cancelling it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between the last ack and the end of its channel. A quorum queue takes acks 32 at a time and forgets
/// the rest when the channel closes: their messages would come again.
pub(super) const LINGER: Duration = Duration::from_millis(250);

/// A consumer that has had nothing for so long is opened anew. RabbitMQ 3.10 moves a consumer whose
/// queue is deleted and declared again at once to the new queue, where its messages are stuck, and
/// tells nobody.
const IDLE: Duration = Duration::from_secs(60);

/// A subscription, from its reader's side.
#[derive(Debug)]
pub(crate) struct Subscription {
    deliveries: mpsc::Receiver<Delivery>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

/// What is subscribed to.
pub(super) struct Place {
    pub(super) source: String,
    pub(super) lane: Lane,
    pub(super) prefetch: u16,
}

impl Subscription {
    pub(super) fn start(dial: Arc<Dial>, link: Link, place: Place, stop: CancellationToken) -> Self {
        // Room for one: what else is prefetched waits in lapin's buffer, which prefetch bounds.
        let (sender, deliveries) = mpsc::channel(1);
        let supervisor = Supervisor { dial, link, place, sender, stop: stop.clone() };
        Self { deliveries, task: tokio::spawn(supervisor.run()), stop: stop.drop_guard() }
    }

    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.deliveries.recv().await?;
            // A dead connection's deliveries come again, to someone who can settle them.
            match &delivery.receipt {
                delivery::Receipt::Rabbit(receipt) if !receipt.is_live() => {}
                _ => return Some(delivery),
            }
        }
    }

    pub(crate) async fn close(mut self) {
        drop(self.stop);
        self.deliveries.close();
        while let Some(unread) = self.deliveries.recv().await {
            if let Err(error) = unread.give_back().await {
                tracing::debug!(%error, "an unread delivery");
            }
        }
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a subscription failed");
        }
    }
}

/// Keeps a consumer going.
struct Supervisor {
    dial: Arc<Dial>,
    link: Link,
    place: Place,
    sender: mpsc::Sender<Delivery>,
    stop: CancellationToken,
}

/// A consumer on its channel.
struct Consuming {
    channel: Arc<Channel>,
    consumer: Consumer,
}

/// Why a sound consumer ended.
enum End {
    Stopped,
    /// Nothing came for a while.
    Idle,
}

impl Supervisor {
    async fn run(self) {
        let Place { source, lane, .. } = &self.place;
        let mut backoff = Backoff::default();
        loop {
            let Some(opened) = self.stop.run_until_cancelled(self.open()).await else { return };
            let error = match opened {
                Ok(mut consuming) => {
                    let since = Instant::now();
                    let ended = self.forward(&mut consuming).await;
                    backoff.lasted(since.elapsed());
                    match ended {
                        Ok(End::Stopped) => return retire(consuming).await,
                        Ok(End::Idle) => {
                            retire(consuming).await;
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) if error.kind() == QueueErrorKind::Closed => return,
                Err(error) => error,
            };
            tracing::warn!(source, ?lane, %error, "consuming was interrupted: starting again");
            if self.stop.run_until_cancelled(sleep(backoff.next())).await.is_none() {
                return;
            }
        }
    }

    /// Waits for the connection as long as it takes; declares anew what may have been deleted.
    async fn open(&self) -> Result<Consuming, QueueError> {
        let connection = self.link.standing().await?;
        let fault = |e| self.dial.fault(&e, "cannot consume");
        let opening = async {
            let Place { source, lane, prefetch } = &self.place;
            let channel = connection.create_channel().await.map_err(fault)?;
            self.dial.topology().declare_source(&channel, source).await.map_err(fault)?;
            // 0 would mean without limit.
            let prefetch = (*prefetch).clamp(1, MOST_PREFETCH);
            channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(fault)?;
            let queue = topology::lane_queue(source, *lane).into();
            let consumer = channel
                .basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default())
                .await
                .map_err(fault)?;
            Ok(Consuming { channel: Arc::new(channel), consumer })
        };
        self.dial.on(&*connection, PATIENCE, opening).await
    }

    /// Hands deliveries on until the stop, or a fault.
    async fn forward(&self, Consuming { channel, consumer }: &mut Consuming) -> Result<End, QueueError> {
        loop {
            // Room first, so that no delivery is held by a future that may be dropped.
            let Some(Ok(room)) = self.stop.run_until_cancelled(self.sender.reserve()).await else {
                return Ok(End::Stopped);
            };
            let Some(next) = self.stop.run_until_cancelled(timeout(IDLE, consumer.next())).await else {
                return Ok(End::Stopped);
            };
            match next {
                Ok(Some(Ok(delivery))) => room.send(self.delivery(delivery, channel)),
                Ok(Some(Err(error))) => return Err(self.dial.fault(&error, "the consumer failed")),
                // What is handed out keeps a handle.
                Err(_) if Arc::strong_count(channel) == 1 => return Ok(End::Idle),
                Err(_) => {}
                Ok(None) => {
                    let ended = "RabbitMQ ended the consumer: its queue was deleted, or moved";
                    return Err(QueueError::new(QueueErrorKind::Unreachable, ended));
                }
            }
        }
    }

    fn delivery(&self, delivery: lapin::message::Delivery, channel: &Arc<Channel>) -> Delivery {
        Delivery {
            body: delivery.data,
            source: self.place.source.clone(),
            lane: self.place.lane,
            redelivered: delivery.redelivered,
            receipt: delivery::Receipt::Rabbit(Receipt::new(delivery.acker, channel.clone())),
        }
    }
}

/// Cancels a consumer and returns what it had prefetched. The channel stays until the receipts that
/// were handed out are settled.
async fn retire(Consuming { channel, mut consumer }: Consuming) {
    let retiring = async {
        channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
        while let Some(unread) = consumer.next().await {
            unread?.acker.nack(BasicNackOptions { multiple: false, requeue: true }).await?;
        }
        Ok::<_, lapin::Error>(())
    };
    // If not, the broker returns them when the connection goes.
    match answered(&*channel, PATIENCE, retiring).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a consumer was gone before it was cancelled"),
        Err(silence) => tracing::debug!(?silence, "a consumer was not cancelled"),
    }
    tokio::spawn(linger(channel));
}

/// Keeps a channel until what was handed out is settled, and the broker has seen it.
async fn linger(channel: Arc<Channel>) {
    while Arc::strong_count(&channel) > 1 && channel.status().connected() {
        sleep(LINGER).await;
    }
    sleep(LINGER).await;
}
