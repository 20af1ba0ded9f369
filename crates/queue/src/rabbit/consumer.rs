//! The consumer of one subscription: opened, watched, opened again after every fault.

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
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoff, broker::Broker, connection::ManagedConnection, receipt::Receipt, reply::reply, topology,
};
use crate::{error::QueueError, error::QueueErrorKind};

/// Quorum queues refuse more.
const MAX_PREFETCH: u16 = 2_000;
/// For opening a consumer, and for cancelling it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Between the last ack and the end of its channel. A quorum queue takes acks 32 at a time and forgets
/// the rest when the channel closes: their messages would come again.
pub(super) const ACK_FLUSH_DELAY: Duration = Duration::from_millis(250);

/// A consumer that has had nothing for so long is opened again. RabbitMQ 3.10 moves a consumer whose
/// queue is deleted and declared again at once to the new queue, where its messages are stuck, and
/// tells nobody.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The lane that is consumed.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) source: String,
    pub(super) lane: Lane,
    pub(super) prefetch: u16,
}

/// A message from the broker, and what settles it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) body: Vec<u8>,
    pub(super) redelivered: bool,
    pub(super) receipt: Receipt,
}

/// Keeps a consumer going until the stop, or until the queue is closed.
pub(super) async fn run(
    broker: Arc<Broker>,
    connection: ManagedConnection,
    target: Arc<Target>,
    sender: mpsc::Sender<Received>,
    stop: CancellationToken,
) {
    Supervisor { broker, connection, target, sender, stop }.run().await;
}

struct Supervisor {
    broker: Arc<Broker>,
    connection: ManagedConnection,
    target: Arc<Target>,
    sender: mpsc::Sender<Received>,
    stop: CancellationToken,
}

/// A consumer on its channel.
struct OpenConsumer {
    channel: Arc<Channel>,
    consumer: Consumer,
}

/// Why a healthy consumer ended.
enum End {
    Stopped,
    /// Nothing came for a while.
    Idle,
}

impl Supervisor {
    async fn run(self) {
        let Target { source, lane, .. } = &*self.target;
        let mut backoff = Backoff::default();
        loop {
            let Some(opened) = self.stop.run_until_cancelled(self.open()).await else { return };
            let error = match opened {
                Ok(mut open) => {
                    let since = Instant::now();
                    let ended = self.forward(&mut open).await;
                    backoff.reset_if_healthy(since.elapsed());
                    match ended {
                        Ok(End::Stopped) => return cancel_consumer(open).await,
                        Ok(End::Idle) => {
                            cancel_consumer(open).await;
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) if error.kind() == QueueErrorKind::Closed => return,
                Err(error) => error,
            };
            tracing::warn!(source, ?lane, %error, "consuming was interrupted: starting again");
            if self.stop.run_until_cancelled(sleep(backoff.next_wait())).await.is_none() {
                return;
            }
        }
    }

    /// Waits for the connection as long as it takes; declares again what may have been deleted.
    async fn open(&self) -> Result<OpenConsumer, QueueError> {
        let connection = self.connection.wait_until_open().await?;
        let error = |e| self.broker.error(&e, "cannot consume");
        let opening = async {
            let Target { source, lane, prefetch } = &*self.target;
            let channel = connection.create_channel().await.map_err(error)?;
            self.broker.topology().declare_source(&channel, source).await.map_err(error)?;
            // 0 would mean without limit.
            let prefetch = (*prefetch).clamp(1, MAX_PREFETCH);
            channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(error)?;
            let queue = topology::lane_queue(source, *lane).into();
            let consumer = channel
                .basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default())
                .await
                .map_err(error)?;
            Ok(OpenConsumer { channel: Arc::new(channel), consumer })
        };
        self.broker.while_connected(&*connection, TIMEOUT, opening).await
    }

    /// Hands deliveries on until the stop, or a fault.
    async fn forward(
        &self,
        OpenConsumer { channel, consumer }: &mut OpenConsumer,
    ) -> Result<End, QueueError> {
        loop {
            // Room first, so that no delivery is held by a future that may be dropped.
            let Some(Ok(room)) = self.stop.run_until_cancelled(self.sender.reserve()).await else {
                return Ok(End::Stopped);
            };
            let next = timeout(IDLE_TIMEOUT, consumer.next());
            let Some(next) = self.stop.run_until_cancelled(next).await else {
                return Ok(End::Stopped);
            };
            match next {
                Ok(Some(Ok(delivery))) => room.send(Received {
                    body: delivery.data,
                    redelivered: delivery.redelivered,
                    receipt: Receipt::new(delivery.acker, channel.clone()),
                }),
                Ok(Some(Err(error))) => return Err(self.broker.error(&error, "the consumer failed")),
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
}

/// Cancels a consumer and returns what it had prefetched. The channel stays until the receipts that
/// were handed out are settled.
async fn cancel_consumer(OpenConsumer { channel, mut consumer }: OpenConsumer) {
    let cancelling = async {
        channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
        while let Some(unread) = consumer.next().await {
            let requeue = BasicNackOptions { multiple: false, requeue: true };
            // `false`: the channel is gone, and the broker returns the rest.
            if !unread?.acker.nack(requeue).await? {
                break;
            }
        }
        Ok::<_, lapin::Error>(())
    };
    // If not, the broker returns them when the connection goes.
    match reply(&*channel, TIMEOUT, cancelling).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a consumer was gone before it was cancelled"),
        Err(reason) => tracing::debug!(?reason, "a consumer was not cancelled"),
    }
    tokio::spawn(keep_until_settled(channel));
}

/// Keeps a channel until what was handed out is settled, and the broker has seen it.
async fn keep_until_settled(channel: Arc<Channel>) {
    while Arc::strong_count(&channel) > 1 && channel.status().connected() {
        sleep(ACK_FLUSH_DELAY).await;
    }
    sleep(ACK_FLUSH_DELAY).await;
}
