//! One pass over a source's dead letters, on a connection of its own, which holds the lock.

use std::{future::Future, iter, time::Duration};

use futures_util::StreamExt;
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    broker::Broker,
    headers,
    outgoing::Outgoing,
    publisher::Publisher,
    topology::{self, dead_queue},
};
use crate::{
    dead_letter::DeadLetter,
    dead_letter::DeadLetterAction,
    dead_letter::SweepError,
    dead_letter::{SWEEP_BATCH, Seen, check_actions},
    error::QueueError,
    error::QueueErrorKind,
    message::Address,
};

/// How long to wait for another pass to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(200);
/// A letter that was counted and does not come within this is gone: purged by someone.
const LETTER_TIMEOUT: Duration = Duration::from_secs(5);
/// For each step with the broker.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn sweep<D, F, E>(
    publisher: &Publisher,
    broker: &Broker,
    source: &str,
    decide: D,
) -> Result<(), SweepError<E>>
where
    D: FnMut(Vec<DeadLetter>) -> F,
    F: Future<Output = Result<Vec<DeadLetterAction>, E>>,
    E: std::error::Error + 'static,
{
    let connection = broker.connect("pagemill sweeps").await?;
    let swept = locked_pass(publisher, broker, &connection, source, decide).await;
    let closing =
        async { connection.close(200, "OK".into()).await.map_err(|e| broker.error(&e, "cannot close")) };
    if let Err(error) = broker.with_timeout(LOCK_TIMEOUT, closing).await {
        // The lock goes with the connection, at the latest after two heartbeats.
        tracing::warn!(%error, "the sweep's connection was not closed in order");
    }
    swept
}

async fn locked_pass<D, F, E>(
    publisher: &Publisher,
    broker: &Broker,
    connection: &Connection,
    source: &str,
    mut decide: D,
) -> Result<(), SweepError<E>>
where
    D: FnMut(Vec<DeadLetter>) -> F,
    F: Future<Output = Result<Vec<DeadLetterAction>, E>>,
    E: std::error::Error + 'static,
{
    let pass = Pass { publisher, broker, channel: lock(broker, connection, source).await?, source };
    let mut left = pass.count().await?;
    let mut seen = Seen::default();
    let mut consumer = pass.consume().await?;
    while left > 0 {
        let mut batch = pass.take(&mut consumer, left.min(SWEEP_BATCH)).await?;
        let Some(last) = batch.last().map(|d| d.delivery_tag) else { break };
        left -= batch.len();
        let letters = seen.first_copies(batch.iter_mut().map(headers::dead_letter));
        let actions = decide(letters.clone()).await.map_err(SweepError::Decide)?;
        check_actions(letters.len(), actions.len())?;
        pass.apply(letters, actions).await?;
        fail::fail_point!("requeue-before-ack");
        pass.ack_up_to(last).await?;
    }
    pass.end(consumer).await?;
    Ok(())
}

/// Declares the lock on a channel, which a refusal closes; another pass is waited for a while.
async fn lock(broker: &Broker, connection: &Connection, source: &str) -> Result<Channel, QueueError> {
    let start = Instant::now();
    loop {
        let error = |e| broker.error(&e, "cannot lock the dead letters");
        let locking = async {
            let channel = connection.create_channel().await.map_err(error)?;
            topology::declare_lock(&channel, source).await.map_err(error)?;
            Ok(channel)
        };
        match broker.while_connected(connection, STEP_TIMEOUT, locking).await {
            Err(error) if error.kind() == QueueErrorKind::Busy => {}
            other => return other,
        }
        if start.elapsed() >= LOCK_TIMEOUT {
            return Err(QueueError::sweep_is_busy(source));
        }
        sleep(LOCK_RETRY).await;
    }
}

/// The steps of a pass. The channel holds the letters that were taken: closed, it returns them.
struct Pass<'a> {
    publisher: &'a Publisher,
    broker: &'a Broker,
    channel: Channel,
    source: &'a str,
}

impl Pass<'_> {
    /// Letters there now; what is kept goes to the tail, beyond them.
    async fn count(&self) -> Result<usize, QueueError> {
        let counting = async {
            let depth = self.broker.topology().declare_source(&self.channel, self.source).await;
            Ok(depth.map_err(|e| self.broker.error(&e, "cannot count the dead letters"))?.dead as usize)
        };
        self.broker.while_connected(&self.channel, STEP_TIMEOUT, counting).await
    }

    /// A consumer that is given a batch and nothing more until that is acked. Not `basic.get`, by which
    /// each letter would be acked by itself, of which a quorum queue forgets what exceeds 32 when the
    /// channel closes.
    async fn consume(&self) -> Result<Consumer, QueueError> {
        let consuming = async {
            self.channel.basic_qos(SWEEP_BATCH as u16, BasicQosOptions::default()).await?;
            let queue = dead_queue(self.source).into();
            self.channel
                .basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default())
                .await
        };
        let consuming =
            async { consuming.await.map_err(|e| self.broker.error(&e, "cannot read the dead letters")) };
        self.broker.while_connected(&self.channel, STEP_TIMEOUT, consuming).await
    }

    /// Up to so many letters; fewer when no more come.
    async fn take(&self, consumer: &mut Consumer, count: usize) -> Result<Vec<Delivery>, QueueError> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            match timeout(LETTER_TIMEOUT, consumer.next()).await {
                Ok(Some(Ok(letter))) => taken.push(letter),
                Ok(Some(Err(error))) => {
                    return Err(self.broker.error(&error, "cannot read the dead letters"));
                }
                Ok(None) => return Err(self.broker.unreachable()),
                Err(_) => break,
            }
        }
        Ok(taken)
    }

    /// Publishes what stays to the queue's tail, confirmed.
    async fn apply(
        &self,
        letters: Vec<DeadLetter>,
        actions: Vec<DeadLetterAction>,
    ) -> Result<(), QueueError> {
        let kept: Vec<Outgoing> = iter::zip(letters, actions)
            .filter(|(_, action)| *action == DeadLetterAction::Keep)
            .map(|(letter, _)| letter.into())
            .collect();
        let tail = Address::Dead { source: self.source.to_owned() };
        self.publisher.publish(&tail, kept.into_iter()).await
    }

    async fn ack_up_to(&self, tag: u64) -> Result<(), QueueError> {
        let acking = async {
            let acked = self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await;
            acked.map_err(|e| self.broker.error(&e, "cannot ack dead letters"))
        };
        self.broker.while_connected(&self.channel, STEP_TIMEOUT, acking).await
    }

    /// The reply to the cancel comes after the queue has taken the acks before it.
    async fn end(&self, consumer: Consumer) -> Result<(), QueueError> {
        let ending = async {
            let cancelled = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await;
            cancelled.map_err(|e| self.broker.error(&e, "cannot end the pass"))
        };
        self.broker.while_connected(&self.channel, STEP_TIMEOUT, ending).await
    }
}
