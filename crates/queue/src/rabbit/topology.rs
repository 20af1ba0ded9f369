//! Everything that is declared on the broker, and why. Declaring it again changes nothing and mends
//! what was deleted. The arguments of a queue follow from its name alone: other retry delays make
//! other retry tiers, never a conflict.

use lapin::{
    Channel, ExchangeKind, Queue, Result,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use pagemill_core::{ConfigDuration, Lane};

use crate::{depth::Depth, error::QueueError, message::Address};

/// Routes by queue name: the routing key of a lane or of the dead letters is its name.
const EXCHANGE: &str = "pagemill";
/// A safety net: real attempts are counted in PostgreSQL. Each lost connection charges one to every
/// prefetched message, so it is high; and it is positive, because −1 means "at once" before 4.0.
const DELIVERY_LIMIT: i64 = 1_000;
/// Dead letters have nowhere further to go. 4.x would drop them after 20 broken sweeps.
const DEAD_DELIVERY_LIMIT: i64 = i32::MAX as i64;
/// The broker keeps a TTL in 32 bits.
const LONGEST_DELAY: u128 = u32::MAX as u128;

/// Sources and retry delays, as configured.
#[derive(Debug)]
pub(super) struct Topology {
    sources: Vec<String>,
    retry: Vec<ConfigDuration>,
}

/// Where an address is on the broker.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) source: String,
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
}

impl Topology {
    pub(super) fn new(
        sources: Vec<String>,
        retry: Vec<ConfigDuration>,
    ) -> std::result::Result<Self, QueueError> {
        if let Some(delay) = retry.iter().find(|d| d.get().as_millis() > LONGEST_DELAY || d.get().is_zero()) {
            return Err(QueueError::invalid(format!(
                "a retry delay of {delay}: it must be between 1ms and 49d"
            )));
        }
        let topology = Self { sources, retry };
        // The lock is the longest fixed name; a retry tier's is longer only by digits.
        for name in topology.sources.iter().flat_map(|s| topology.names(s)) {
            if name.len() > 255 {
                return Err(QueueError::invalid(format!("the queue name {name} is longer than 255 bytes")));
            }
        }
        Ok(topology)
    }

    pub(super) fn check_source(&self, source: &str) -> std::result::Result<(), QueueError> {
        if self.sources.iter().any(|s| s == source) {
            return Ok(());
        }
        let known = self.sources.join(", ");
        Err(QueueError::invalid(format!(
            "the queue was not configured for the source {source}, only for: {known}"
        )))
    }

    pub(super) fn route(&self, to: &Address) -> std::result::Result<Route, QueueError> {
        self.check_source(to.source())?;
        let (exchange, key) = match to {
            Address::Lane { source, lane } => (EXCHANGE.into(), lane_queue(source, *lane)),
            Address::Dead { source } => (EXCHANGE.into(), dead_queue(source)),
            Address::Retry { source, lane, tier } => {
                let delay = self.retry.get(*tier);
                let delay = delay.ok_or_else(|| QueueError::no_retry_tier(*tier, self.retry.len()))?;
                (retry_queue(source, delay), lane_queue(source, *lane))
            }
        };
        Ok(Route { source: to.source().to_owned(), exchange: exchange.into(), key: key.into() })
    }

    /// Declares everything.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<()> {
        for source in &self.sources {
            self.declare_source(channel, source).await?;
        }
        Ok(())
    }

    /// Declares a source's queues, and counts what is in them.
    pub(super) async fn declare_source(&self, channel: &Channel, source: &str) -> Result<Depth> {
        exchange(channel, EXCHANGE, ExchangeKind::Direct).await?;
        // The dead letters first: from then on the others have where to give messages up to.
        let dead = declare_dead(channel, source).await?;
        let pages = declare_lane(channel, source, Lane::High).await?;
        let low = declare_lane(channel, source, Lane::Low).await?;
        let mut retry = 0;
        for delay in &self.retry {
            retry += u64::from(declare_retry_tier(channel, source, delay).await?.message_count());
        }
        Ok(Depth {
            pages: pages.message_count().into(),
            low: low.message_count().into(),
            retry,
            dead: dead.message_count().into(),
            consumers: u64::from(pages.consumer_count()) + u64::from(low.consumer_count()),
        })
    }

    fn names(&self, source: &str) -> Vec<String> {
        let tiers = self.retry.iter().map(|delay| retry_queue(source, delay));
        tiers.chain([lane_queue(source, Lane::Low), dead_lock(source)]).collect()
    }
}

pub(super) fn lane_queue(source: &str, lane: Lane) -> String {
    match lane {
        Lane::High => format!("pagemill.{source}.pages"),
        Lane::Low => format!("pagemill.{source}.pages.low"),
    }
}

pub(super) fn dead_queue(source: &str) -> String {
    format!("pagemill.{source}.dead")
}

/// Exclusive to the connection that sweeps the dead letters.
pub(super) fn dead_lock(source: &str) -> String {
    format!("pagemill.{source}.dead.lock")
}

fn retry_queue(source: &str, delay: &ConfigDuration) -> String {
    format!("pagemill.{source}.retry.{}", delay.canonical())
}

/// The lock is gone with its connection; the broker refuses it to any other meanwhile.
pub(super) async fn declare_lock(channel: &Channel, source: &str) -> Result<()> {
    let options =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(dead_lock(source).into(), options, FieldTable::default()).await.map(drop)
}

/// A lane gives up what exceeds the delivery limit to the dead letters.
async fn declare_lane(channel: &Channel, source: &str, lane: Lane) -> Result<Queue> {
    let name = lane_queue(source, lane);
    let mut arguments = quorum(DELIVERY_LIMIT);
    dead_letter_to(&mut arguments, Some(&dead_queue(source)));
    let queue = queue(channel, &name, arguments).await?;
    bind(channel, &name, EXCHANGE, &name).await?;
    Ok(queue)
}

/// A retry tier holds messages for its delay and hands them on under the key they were published with,
/// which is their lane. The fanout exchange before it is what leaves that key free. One queue a
/// delay, with the TTL on the queue: quorum queues expire only at the head.
async fn declare_retry_tier(channel: &Channel, source: &str, delay: &ConfigDuration) -> Result<Queue> {
    let name = retry_queue(source, delay);
    let mut arguments = quorum(DELIVERY_LIMIT);
    dead_letter_to(&mut arguments, None);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(delay.get().as_millis() as i64));
    let queue = queue(channel, &name, arguments).await?;
    exchange(channel, &name, ExchangeKind::Fanout).await?;
    bind(channel, &name, &name, "").await?;
    Ok(queue)
}

/// Nothing leaves it by itself: no TTL, no dead-letter exchange, a limit that is never reached.
async fn declare_dead(channel: &Channel, source: &str) -> Result<Queue> {
    let name = dead_queue(source);
    let queue = queue(channel, &name, quorum(DEAD_DELIVERY_LIMIT)).await?;
    bind(channel, &name, EXCHANGE, &name).await?;
    Ok(queue)
}

/// Quorum: replicated, written to disk before it confirms. `reject-publish`, so that a length limit
/// set by a policy nacks what is new instead of dropping what is old; at-least-once dead-lettering
/// demands it too.
fn quorum(delivery_limit: i64) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(delivery_limit));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

/// At-least-once: a message leaves only when its new queue has confirmed it. Without a key it keeps
/// its own.
fn dead_letter_to(arguments: &mut FieldTable, key: Option<&str>) {
    arguments.insert("x-dead-letter-exchange".into(), text(EXCHANGE));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    if let Some(key) = key {
        arguments.insert("x-dead-letter-routing-key".into(), text(key));
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await
}

async fn queue(channel: &Channel, name: &str, arguments: FieldTable) -> Result<Queue> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, arguments).await
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<()> {
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::QueueErrorKind;

    fn topology() -> Topology {
        Topology::new(vec!["xhs".into()], ["1s", "10s"].map(|d| d.parse().unwrap()).to_vec()).unwrap()
    }

    #[test]
    fn every_address_has_its_route() {
        let source = || "xhs".to_owned();
        for (to, exchange, key) in [
            (Address::Lane { source: source(), lane: Lane::High }, "pagemill", "pagemill.xhs.pages"),
            (Address::Lane { source: source(), lane: Lane::Low }, "pagemill", "pagemill.xhs.pages.low"),
            (
                Address::Retry { source: source(), lane: Lane::Low, tier: 1 },
                "pagemill.xhs.retry.10s",
                "pagemill.xhs.pages.low",
            ),
            (Address::Dead { source: source() }, "pagemill", "pagemill.xhs.dead"),
        ] {
            let route = topology().route(&to).unwrap();
            assert_eq!((route.exchange.as_str(), route.key.as_str()), (exchange, key));
        }
    }

    #[test]
    fn one_delay_has_one_queue_however_it_is_written() {
        let queue = |delay: &str| retry_queue("xhs", &delay.parse().unwrap());
        assert_eq!(queue("1h 30m"), "pagemill.xhs.retry.1h30m");
        assert_eq!(queue("90m"), "pagemill.xhs.retry.1h30m");
    }

    #[test]
    fn what_is_not_configured_is_invalid() {
        let of = |to: &Address| topology().route(to).unwrap_err().kind();
        assert_eq!(of(&Address::Dead { source: "other".into() }), QueueErrorKind::Invalid);
        let beyond = Address::Retry { source: "xhs".into(), lane: Lane::High, tier: 2 };
        assert_eq!(of(&beyond), QueueErrorKind::Invalid);
        assert!(Topology::new(vec![], vec!["50d".parse().unwrap()]).is_err());
        assert!(Topology::new(vec!["x".repeat(250)], vec![]).is_err());
    }
}
