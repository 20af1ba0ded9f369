//! One publish: a window of messages in flight on a channel of its own, drained to the end.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use futures_util::future::join_all;
use lapin::{Channel, Confirmation, PublisherConfirm, options::BasicPublishOptions};
use tokio::time::{Instant, sleep};

use super::{Inner, backoff::Backoff, headers, patience::answered, topology::Route};
use crate::{DeadLetter, Message, QueueError, QueueErrorKind};

/// Most messages in flight, which bounds a publish's memory. The window's size, more than the queue's
/// type, is what makes publishing fast.
const WINDOW: usize = 5_000;
/// Messages handed to lapin at once: awaiting each alone costs a change of thread each.
const BURST: usize = 100;
/// How long a publish goes on without any progress: a lost connection, an alarm of the broker.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before a queue is declared that was deleted: its consumers must have been told, or the broker
/// moves them to the new queue, where they get stuck.
const MEND_AFTER: Duration = Duration::from_secs(1);
/// For declaring again what is missing.
const REDECLARE: Duration = Duration::from_secs(10);
/// Ids named in an error.
const NAMED: usize = 5;

/// A message, and what a dead letter carries besides.
pub(super) struct Parcel {
    message: Message,
    broker_reason: Option<String>,
}

pub(super) async fn publish(
    inner: &Inner,
    route: &Route,
    messages: impl Iterator<Item = Parcel> + Send,
) -> Result<(), QueueError> {
    let mut window = Window {
        messages,
        route,
        unsent: VecDeque::new(),
        flying: VecDeque::new(),
        failed: Failed::default(),
    };
    let mut backoff = Backoff::default();
    let mut progress = Instant::now();
    loop {
        let lease = inner.channels.lease(&inner.dial, &inner.publishing, PATIENCE).await;
        let lost = match lease {
            Ok(lease) => match window.drain(&lease.channel, &mut progress).await {
                Ok(()) => {
                    lease.give_back();
                    break;
                }
                Err(lost) => lost,
            },
            Err(error) if error.kind() == QueueErrorKind::Closed => return Err(error),
            Err(error) => Lost(error.to_string()),
        };
        window.land();
        if inner.closed.is_cancelled() {
            return Err(QueueError::closed());
        }
        if !window.failed.is_empty() {
            break;
        }
        if progress.elapsed() >= PATIENCE {
            return Err(QueueError::new(
                QueueErrorKind::Unreachable,
                format!("{}: {}", inner.dial.silent(), lost.0),
            ));
        }
        tracing::debug!(error = %lost.0, "a publish lost its channel: what was not confirmed is sent again");
        sleep(backoff.next()).await;
        // An exchange that is gone closes the channel, not the connection.
        redeclare(inner, &route.source).await;
    }
    match window.failed.verdict(route) {
        Ok(()) => Ok(()),
        Err(error) => {
            sleep(MEND_AFTER).await;
            redeclare(inner, &route.source).await;
            Err(error)
        }
    }
}

impl From<Message> for Parcel {
    fn from(message: Message) -> Self {
        Self { message, broker_reason: None }
    }
}

impl From<DeadLetter> for Parcel {
    fn from(DeadLetter { id, body, note, broker_reason }: DeadLetter) -> Self {
        Self { message: Message { id, body, note }, broker_reason }
    }
}

/// What is missing is declared again, if the connection stands; if not, it will be with the next.
async fn redeclare(inner: &Inner, source: &str) {
    let fault = |e| inner.dial.fault(&e, "cannot declare the queues again");
    let declaring = async {
        let connection = inner.publishing.connection(REDECLARE).await?;
        let declaring = async {
            let channel = connection.create_channel().await.map_err(fault)?;
            inner.dial.topology().declare_source(&channel, source).await.map_err(fault)
        };
        inner.dial.on(&*connection, REDECLARE, declaring).await
    };
    if let Err(error) = declaring.await {
        tracing::warn!(%error, "cannot mend the queues");
    }
}

/// Messages on their way.
struct Window<'a, M> {
    messages: M,
    route: &'a Route,
    /// Taken from `messages`, not on their way: a lost channel's.
    unsent: VecDeque<Parcel>,
    flying: VecDeque<Flying>,
    failed: Failed,
}

struct Flying {
    parcel: Parcel,
    confirm: PublisherConfirm,
}

/// The channel is of no use any more, for this reason.
struct Lost(String);

impl<M: Iterator<Item = Parcel>> Window<'_, M> {
    /// Sends all and waits until all is confirmed; after the first failure sends no more. `Ok` means
    /// that nothing is in flight, so the returned messages are complete: the broker returns a message
    /// before it acks it.
    async fn drain(&mut self, channel: &Channel, progress: &mut Instant) -> Result<(), Lost> {
        loop {
            while self.flying.len() < WINDOW {
                let burst = self.next_burst();
                if burst.is_empty() {
                    break;
                }
                self.send(channel, burst).await?;
            }
            if self.flying.is_empty() {
                return Ok(());
            }
            fail::fail_point!("publish-before-confirm");
            // A full window is drained by half, so that the broker never runs dry.
            let settle = if self.flying.len() < WINDOW { self.flying.len() } else { WINDOW / 2 };
            for _ in 0..settle {
                self.settle_first(channel).await?;
            }
            *progress = Instant::now();
        }
    }

    fn next_burst(&mut self) -> Vec<Parcel> {
        if !self.failed.is_empty() {
            return Vec::new();
        }
        let again = self.unsent.len().min(BURST);
        if again > 0 {
            return self.unsent.drain(..again).collect();
        }
        self.messages.by_ref().take(BURST).collect()
    }

    async fn send(&mut self, channel: &Channel, burst: Vec<Parcel>) -> Result<(), Lost> {
        let sending = join_all(burst.iter().map(|parcel| send(channel, self.route, parcel)));
        let Ok(sent) = answered(channel, PATIENCE, sending).await else {
            self.unsent.extend(burst);
            return Err(Lost("cannot write".into()));
        };
        let mut lost = None;
        for (parcel, sent) in burst.into_iter().zip(sent) {
            match sent {
                Ok(confirm) => self.flying.push_back(Flying { parcel, confirm }),
                Err(error) => {
                    self.unsent.push_back(parcel);
                    lost = Some(Lost(error.to_string()));
                }
            }
        }
        lost.map_or(Ok(()), Err)
    }

    /// Waits for the confirm of the message longest in flight. A returned message that comes with it
    /// may be another one: lapin hands it to whichever confirm is next.
    async fn settle_first(&mut self, channel: &Channel) -> Result<(), Lost> {
        let Some(first) = self.flying.front_mut() else { return Ok(()) };
        let confirmation = match answered(channel, PATIENCE, &mut first.confirm).await {
            Ok(Ok(confirmation)) => confirmation,
            Ok(Err(error)) => return Err(Lost(error.to_string())),
            Err(_) => return Err(Lost("no confirm".into())),
        };
        let returned = match confirmation {
            Confirmation::Ack(returned) => returned,
            Confirmation::Nack(returned) => {
                self.failed.rejected.insert(first.parcel.message.id.clone());
                returned
            }
            Confirmation::NotRequested => return Err(Lost("the channel does not confirm".into())),
        };
        if let Some(returned) = returned {
            let id = returned.properties.message_id().as_ref().map_or("?", |id| id.as_str());
            self.failed.returned.insert(id.to_owned());
        }
        self.flying.pop_front();
        Ok(())
    }

    /// What was in flight on a lost channel is to be sent again.
    fn land(&mut self) {
        self.unsent.extend(self.flying.drain(..).map(|flying| flying.parcel));
    }
}

async fn send(channel: &Channel, route: &Route, parcel: &Parcel) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = headers::of(&parcel.message, parcel.broker_reason.as_deref());
    channel
        .basic_publish(route.exchange.clone(), route.key.clone(), options, &parcel.message.body, properties)
        .await
}

/// Ids of messages that did not arrive.
#[derive(Default)]
struct Failed {
    returned: HashSet<String>,
    rejected: HashSet<String>,
}

impl Failed {
    fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.rejected.is_empty()
    }

    fn verdict(&self, route: &Route) -> Result<(), QueueError> {
        let (kind, ids, what) = if !self.returned.is_empty() {
            (
                QueueErrorKind::Unroutable,
                &self.returned,
                "reached no queue: it was deleted, and is declared again",
            )
        } else if !self.rejected.is_empty() {
            (QueueErrorKind::Rejected, &self.rejected, "rejected: the queue is full, or has lost its quorum")
        } else {
            return Ok(());
        };
        let named: Vec<&str> = ids.iter().take(NAMED).map(String::as_str).collect();
        let message =
            format!("publishing to {}: {} messages {what} (ids {}…)", route.key, ids.len(), named.join(", "));
        Err(QueueError::new(kind, message))
    }
}
