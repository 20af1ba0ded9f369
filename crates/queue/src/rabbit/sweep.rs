//! One pass over a source's dead letters, on a connection of its own, which holds the lock.

use std::{collections::HashMap, future::Future, time::Duration};

use futures_util::StreamExt;
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Rabbit,
    dial::Dial,
    headers,
    publish::{self, Parcel},
    topology::{self, dead_queue},
};
use crate::{
    Address, DeadLetter, Fate, Message, PageQueue, QueueError, QueueErrorKind, SweepError,
    dead::{SWEEP_BATCH, Seen, check_fates},
    in_process::busy,
};

/// How long to wait for another pass to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(200);
/// A letter that was counted and does not come within this is gone: purged by someone.
const NO_MORE: Duration = Duration::from_secs(5);
/// For each step with the broker.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn sweep<D, F, E>(
    rabbit: &Rabbit,
    dial: &Dial,
    source: &str,
    decide: D,
) -> Result<(), SweepError<E>>
where
    D: FnMut(Vec<DeadLetter>) -> F,
    F: Future<Output = Result<Vec<Fate>, E>>,
    E: std::error::Error + 'static,
{
    let connection = dial.connect("pagemill sweeps").await?;
    let swept = locked_pass(rabbit, dial, &connection, source, decide).await;
    let closing =
        async { connection.close(200, "OK".into()).await.map_err(|e| dial.fault(&e, "cannot close")) };
    if let Err(error) = dial.in_time(LOCK_PATIENCE, closing).await {
        // The lock goes with the connection, at the latest after two heartbeats.
        tracing::warn!(%error, "the sweep's connection was not closed in order");
    }
    swept
}

async fn locked_pass<D, F, E>(
    rabbit: &Rabbit,
    dial: &Dial,
    connection: &Connection,
    source: &str,
    mut decide: D,
) -> Result<(), SweepError<E>>
where
    D: FnMut(Vec<DeadLetter>) -> F,
    F: Future<Output = Result<Vec<Fate>, E>>,
    E: std::error::Error + 'static,
{
    let pass = Pass { rabbit, dial, channel: lock(dial, connection, source).await?, source };
    let mut left = pass.count().await?;
    let mut seen = Seen::default();
    let mut consumer = pass.consume().await?;
    while left > 0 {
        let mut batch = pass.take(&mut consumer, left.min(SWEEP_BATCH)).await?;
        let Some(last) = batch.last().map(|d| d.delivery_tag) else { break };
        left -= batch.len();
        let letters = seen.firsts(batch.iter_mut().map(headers::letter));
        let fates = decide(letters.clone()).await.map_err(SweepError::Decide)?;
        check_fates(letters.len(), fates.len())?;
        pass.carry_out(letters, fates).await?;
        fail::fail_point!("requeue-before-ack");
        pass.forget_up_to(last).await?;
    }
    pass.end(consumer).await?;
    Ok(())
}

/// Declares the lock on a channel, which a refusal closes; another pass is waited for a while.
async fn lock(dial: &Dial, connection: &Connection, source: &str) -> Result<Channel, QueueError> {
    let begun = Instant::now();
    loop {
        let fault = |e| dial.fault(&e, "cannot lock the dead letters");
        let locking = async {
            let channel = connection.create_channel().await.map_err(fault)?;
            topology::declare_lock(&channel, source).await.map_err(fault)?;
            Ok(channel)
        };
        match dial.on(connection, PATIENCE, locking).await {
            Err(error) if error.kind() == QueueErrorKind::Busy => {}
            other => return other,
        }
        if begun.elapsed() >= LOCK_PATIENCE {
            return Err(busy(source));
        }
        sleep(LOCK_RETRY).await;
    }
}

/// The steps of a pass. The channel holds the letters that were taken: closed, it returns them.
struct Pass<'a> {
    rabbit: &'a Rabbit,
    dial: &'a Dial,
    channel: Channel,
    source: &'a str,
}

impl Pass<'_> {
    /// Letters there now; what is kept goes to the tail, beyond them.
    async fn count(&self) -> Result<usize, QueueError> {
        let counting = async {
            let depth = self.dial.topology().declare_source(&self.channel, self.source).await;
            Ok(depth.map_err(|e| self.dial.fault(&e, "cannot count the dead letters"))?.dead as usize)
        };
        self.dial.on(&self.channel, PATIENCE, counting).await
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
            async { consuming.await.map_err(|e| self.dial.fault(&e, "cannot read the dead letters")) };
        self.dial.on(&self.channel, PATIENCE, consuming).await
    }

    /// Up to so many letters; fewer when no more come.
    async fn take(&self, consumer: &mut Consumer, count: usize) -> Result<Vec<Delivery>, QueueError> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            match timeout(NO_MORE, consumer.next()).await {
                Ok(Some(Ok(letter))) => taken.push(letter),
                Ok(Some(Err(error))) => return Err(self.dial.fault(&error, "cannot read the dead letters")),
                Ok(None) => return Err(self.dial.silent()),
                Err(_) => break,
            }
        }
        Ok(taken)
    }

    /// Publishes what stays and what moves, confirmed.
    async fn carry_out(&self, letters: Vec<DeadLetter>, fates: Vec<Fate>) -> Result<(), QueueError> {
        let mut kept = Vec::new();
        let mut moved: HashMap<Address, Vec<Message>> = HashMap::new();
        for (letter, fate) in letters.into_iter().zip(fates) {
            match fate {
                Fate::Keep => kept.push(Parcel::from(letter)),
                Fate::Requeue(to, message) => moved.entry(to).or_default().push(message),
                Fate::Drop => {}
            }
        }
        for (to, messages) in moved {
            self.rabbit.publish(&to, messages).await?;
        }
        let tail = self.dial.topology().route(&Address::Dead { source: self.source.to_owned() })?;
        publish::publish(&self.rabbit.0, &tail, kept.into_iter()).await
    }

    async fn forget_up_to(&self, tag: u64) -> Result<(), QueueError> {
        let acking = async {
            let acked = self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await;
            acked.map_err(|e| self.dial.fault(&e, "cannot ack dead letters"))
        };
        self.dial.on(&self.channel, PATIENCE, acking).await
    }

    /// The answer to the cancel comes after the queue has taken the acks before it.
    async fn end(&self, consumer: Consumer) -> Result<(), QueueError> {
        let ending = async {
            let cancelled = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await;
            cancelled.map_err(|e| self.dial.fault(&e, "cannot end the pass"))
        };
        self.dial.on(&self.channel, PATIENCE, ending).await
    }
}
