use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use futures_util::future::join_all;
use lapin::{Channel, Confirmation, PublisherConfirm, options::BasicPublishOptions};
use tokio::time::Instant;

use super::{headers, outgoing::Outgoing, reply::reply, topology::Route};
use crate::{error::QueueError, error::QueueErrorKind};

/// Most messages in flight, which bounds a publish's memory. The window's size, more than the queue's
/// type, is what makes publishing fast.
const MAX_IN_FLIGHT: usize = 5_000;
/// Messages handed to lapin at once: awaiting each alone costs a change of thread each.
const BURST: usize = 100;
/// Ids named in an error.
const NAMED_IDS: usize = 5;

/// The messages of one publish: to be sent, in flight, failed.
pub(super) struct Window<M> {
    messages: M,
    route: Route,
    /// For one reply of the broker.
    limit: Duration,
    /// Taken from `messages`, not in flight: a lost channel's.
    unsent: VecDeque<Outgoing>,
    in_flight: VecDeque<InFlight>,
    failed: Failed,
}

struct InFlight {
    outgoing: Outgoing,
    confirm: PublisherConfirm,
}

/// The channel is of no use any more, for this reason.
pub(super) struct ChannelLost(pub(super) String);

impl<M: Iterator<Item = Outgoing>> Window<M> {
    pub(super) fn new(messages: M, route: Route, limit: Duration) -> Self {
        let (unsent, in_flight) = (VecDeque::new(), VecDeque::new());
        Self { messages, route, limit, unsent, in_flight, failed: Failed::default() }
    }

    pub(super) fn source(&self) -> &str {
        &self.route.source
    }

    /// Sends all and waits until all is confirmed; after the first failure sends no more. `Ok` means
    /// that nothing is in flight, so the returned messages are complete: the broker returns a message
    /// before it acks it.
    pub(super) async fn drain(
        &mut self,
        channel: &Channel,
        progress: &mut Instant,
    ) -> Result<(), ChannelLost> {
        loop {
            while self.in_flight.len() < MAX_IN_FLIGHT {
                let burst = self.next_burst();
                if burst.is_empty() {
                    break;
                }
                self.send(channel, burst).await?;
            }
            if self.in_flight.is_empty() {
                return Ok(());
            }
            fail::fail_point!("publish-before-confirm");
            // A full window is drained by half, so that the broker never runs dry.
            let in_flight = self.in_flight.len();
            let confirms = if in_flight < MAX_IN_FLIGHT { in_flight } else { MAX_IN_FLIGHT / 2 };
            for _ in 0..confirms {
                self.confirm_first(channel).await?;
            }
            *progress = Instant::now();
        }
    }

    /// What was in flight on a lost channel is to be sent again.
    pub(super) fn return_unconfirmed(&mut self) {
        self.unsent.extend(self.in_flight.drain(..).map(|in_flight| in_flight.outgoing));
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// `Ok` if all messages arrived, once the window is drained.
    pub(super) fn result(&self) -> Result<(), QueueError> {
        self.failed.result(&self.route)
    }

    fn next_burst(&mut self) -> Vec<Outgoing> {
        if self.has_failed() {
            return Vec::new();
        }
        let again = self.unsent.len().min(BURST);
        if again > 0 {
            return self.unsent.drain(..again).collect();
        }
        self.messages.by_ref().take(BURST).collect()
    }

    async fn send(&mut self, channel: &Channel, burst: Vec<Outgoing>) -> Result<(), ChannelLost> {
        let sending = join_all(burst.iter().map(|outgoing| send(channel, &self.route, outgoing)));
        let Ok(sent) = reply(channel, self.limit, sending).await else {
            self.unsent.extend(burst);
            return Err(ChannelLost("cannot write".into()));
        };
        let mut lost = None;
        for (outgoing, sent) in burst.into_iter().zip(sent) {
            match sent {
                Ok(confirm) => self.in_flight.push_back(InFlight { outgoing, confirm }),
                Err(error) => {
                    self.unsent.push_back(outgoing);
                    lost = Some(ChannelLost(error.to_string()));
                }
            }
        }
        lost.map_or(Ok(()), Err)
    }

    /// Waits for the confirm of the message longest in flight. A returned message that comes with it
    /// may be another one: lapin hands it to whichever confirm is next.
    async fn confirm_first(&mut self, channel: &Channel) -> Result<(), ChannelLost> {
        let Some(first) = self.in_flight.front_mut() else { return Ok(()) };
        let confirmation = match reply(channel, self.limit, &mut first.confirm).await {
            Ok(Ok(confirmation)) => confirmation,
            Ok(Err(error)) => return Err(ChannelLost(error.to_string())),
            Err(_) => return Err(ChannelLost("no confirm".into())),
        };
        let returned = match confirmation {
            Confirmation::Ack(returned) => returned,
            Confirmation::Nack(returned) => {
                self.failed.rejected.insert(first.outgoing.message.id.clone());
                returned
            }
            Confirmation::NotRequested => return Err(ChannelLost("the channel does not confirm".into())),
        };
        if let Some(returned) = returned {
            let id = returned.properties.message_id().as_ref().map_or("?", |id| id.as_str());
            self.failed.returned.insert(id.to_owned());
        }
        self.in_flight.pop_front();
        Ok(())
    }
}

async fn send(channel: &Channel, route: &Route, outgoing: &Outgoing) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let body = &outgoing.message.body;
    channel
        .basic_publish(
            route.exchange.clone(),
            route.key.clone(),
            options,
            body,
            headers::properties(outgoing),
        )
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

    fn result(&self, route: &Route) -> Result<(), QueueError> {
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
        let named: Vec<&str> = ids.iter().take(NAMED_IDS).map(String::as_str).collect();
        let message =
            format!("publishing to {}: {} messages {what} (ids {}…)", route.key, ids.len(), named.join(", "));
        Err(QueueError::new(kind, message))
    }
}
