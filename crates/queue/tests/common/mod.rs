//! A broker to test against, and what both test files need.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use lapin::{
    Connection, ConnectionProperties,
    options::{ExchangeDeleteOptions, QueueDeleteOptions},
};
use pagemill_core::{Lane, Span};
use pagemill_queue::{Address, Deliveries, Delivery, Message, Rabbit, RabbitConfig};
use tokio::time::timeout;

/// Longer than anything takes that works.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How long something that must not happen is given to happen.
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);

pub(crate) fn url() -> String {
    std::env::var("PAGEMILL_TEST_AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".into())
}

pub(crate) fn retry_tiers() -> Vec<Span> {
    vec!["200ms".parse().unwrap()]
}

/// A source that no other test has.
pub(crate) fn unique_source() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn config(url: &str, source: &str) -> RabbitConfig {
    RabbitConfig { url: url.into(), sources: vec![source.into()], retry: retry_tiers() }
}

/// Runs a test on a source of its own and removes what it declared, also when it fails.
pub(crate) async fn on_rabbit<F>(test: impl FnOnce(Rabbit, String) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let source = unique_source();
    let queue = Rabbit::connect(config(&url(), &source)).await.unwrap();
    let ended = tokio::spawn(test(queue.clone(), source.clone())).await;
    queue.close().await;
    clean(&source).await;
    if let Err(error) = ended {
        std::panic::resume_unwind(error.into_panic());
    }
}

pub(crate) fn queue_names(source: &str) -> [String; 4] {
    ["pages", "pages.low", "dead", "retry.200ms"].map(|queue| format!("pagemill.{source}.{queue}"))
}

/// A look behind the queue's back.
pub(crate) async fn backdoor(url: &str) -> (Connection, lapin::Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn clean(source: &str) {
    let (_connection, channel) = backdoor(&url()).await;
    for name in queue_names(source) {
        channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    }
    let tier = format!("pagemill.{source}.retry.200ms");
    channel.exchange_delete(tier.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
}

pub(crate) fn lane(source: &str, lane: Lane) -> Address {
    Address::Lane { source: source.into(), lane }
}

pub(crate) fn dead(source: &str) -> Address {
    Address::Dead { source: source.into() }
}

pub(crate) fn message(n: usize) -> Message {
    Message { id: format!("id-{n}"), body: n.to_string().into_bytes(), note: None }
}

pub(crate) fn messages(count: usize) -> impl Iterator<Item = Message> + Send {
    (0..count).map(message)
}

pub(crate) fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.body).unwrap().parse().unwrap()
}

/// The next delivery, which must come.
pub(crate) async fn next(deliveries: &mut Deliveries) -> Delivery {
    timeout(TIMEOUT, deliveries.next()).await.expect("a delivery in time").expect("an open subscription")
}

/// No delivery comes.
pub(crate) async fn nothing(deliveries: &mut Deliveries) {
    if let Ok(Some(delivery)) = timeout(A_WHILE, deliveries.next()).await {
        panic!("came although it must not: {delivery:?}");
    }
}

/// Looks again until it holds; fails with what it saw last.
pub(crate) async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F, holds: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
    F: Future<Output = T>,
{
    let begun = std::time::Instant::now();
    loop {
        let seen = look().await;
        if holds(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < TIMEOUT, "{what}: {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
