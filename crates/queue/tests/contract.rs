//! One contract, run against the queue in process and against RabbitMQ.

mod common;

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::{dead, eventually, lane, message, messages, next, nothing, number, on_rabbit, retry_tiers};
use pagemill_core::Lane;
use pagemill_queue::{
    Address, DeadLetter, DeadLetterAction, DeadNote, Depth, InProcess, Message, PageQueue, QueueErrorKind,
    SweepError,
};

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod in_process {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(InProcess::new(retry_tiers()), "source".to_owned()).await;
            })*
        }
        mod rabbit {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                on_rabbit(super::$name).await;
            })*
        }
    };
}

contract!(
    what_is_published_is_delivered_and_acked,
    prefetch_bounds_what_is_held,
    what_is_nacked_comes_again,
    a_dropped_delivery_comes_again,
    a_dropped_subscription_returns_what_was_not_read,
    a_closed_subscription_can_still_settle,
    a_retry_returns_to_its_lane_after_its_delay,
    an_unknown_retry_tier_is_invalid,
    lanes_are_apart,
    depth_counts_by_kind,
    dead_letters_keep_their_notes,
    a_sweep_keeps_and_drops,
    copies_share_an_action,
    two_sweeps_show_each_letter_once,
    an_undecided_sweep_loses_nothing,
    ten_thousand_arrive_once,
    publishes_at_once_all_arrive,
);

async fn waiting<Q: PageQueue>(queue: &Q, source: &str, expected: u64) {
    let waiting = || async {
        let depth = queue.depth(source).await.unwrap();
        depth.pages + depth.low + depth.retry
    };
    eventually("what waits", waiting, |n| *n == expected).await;
}

async fn dead_count<Q: PageQueue>(queue: &Q, source: &str, expected: u64) {
    eventually("dead letters", || async { queue.depth(source).await.unwrap().dead }, |n| *n == expected)
        .await;
}

/// Sweeps with one action for each id, and returns the letters shown.
async fn sweep<Q: PageQueue>(
    queue: &Q,
    source: &str,
    action: impl Fn(&DeadLetter) -> DeadLetterAction + Send + Sync,
) -> Vec<DeadLetter> {
    let shown = Mutex::new(Vec::new());
    let decide = |letters: Vec<DeadLetter>| {
        let actions = letters.iter().map(&action).collect();
        shown.lock().unwrap().extend(letters);
        async move { Ok::<Vec<DeadLetterAction>, Infallible>(actions) }
    };
    queue.sweep_dead(source, decide).await.unwrap();
    shown.into_inner().unwrap()
}

async fn what_is_published_is_delivered_and_acked<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&lane(&source, Lane::High), messages(3)).await.unwrap();
    let mut deliveries = queue.subscribe(&source, Lane::High, 10).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let delivery = next(&mut deliveries).await;
        assert_eq!(
            (delivery.source.as_str(), delivery.lane, delivery.redelivered),
            (&*source, Lane::High, false)
        );
        seen.insert(number(&delivery));
        delivery.ack().await.unwrap();
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2]));
    deliveries.close().await;
    waiting(&queue, &source, 0).await;
}

async fn prefetch_bounds_what_is_held<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&lane(&source, Lane::High), messages(10)).await.unwrap();
    let mut deliveries = queue.subscribe(&source, Lane::High, 3).await.unwrap();
    let first = next(&mut deliveries).await;
    let _held = [next(&mut deliveries).await, next(&mut deliveries).await];
    nothing(&mut deliveries).await;
    waiting(&queue, &source, 7).await;
    first.ack().await.unwrap();
    let fourth = next(&mut deliveries).await;
    nothing(&mut deliveries).await;
    fourth.ack().await.unwrap();
}

async fn what_is_nacked_comes_again<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&lane(&source, Lane::High), messages(1)).await.unwrap();
    let mut deliveries = queue.subscribe(&source, Lane::High, 1).await.unwrap();
    next(&mut deliveries).await.nack().await.unwrap();
    let again = next(&mut deliveries).await;
    assert!(again.redelivered);
    again.ack().await.unwrap();
}

async fn a_dropped_delivery_comes_again<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&lane(&source, Lane::High), messages(1)).await.unwrap();
    let mut deliveries = queue.subscribe(&source, Lane::High, 1).await.unwrap();
    drop(next(&mut deliveries).await);
    let again = next(&mut deliveries).await;
    assert!(again.redelivered);
    again.ack().await.unwrap();
}

async fn a_dropped_subscription_returns_what_was_not_read<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&lane(&source, Lane::High), messages(20)).await.unwrap();
    let mut deliveries = queue.subscribe(&source, Lane::High, 10).await.unwrap();
    next(&mut deliveries).await.ack().await.unwrap();
    drop(deliveries);
    waiting(&queue, &source, 19).await;
    let mut deliveries = queue.subscribe(&source, Lane::High, 10).await.unwrap();
    for _ in 0..19 {
        next(&mut deliveries).await.ack().await.unwrap();
    }
    nothing(&mut deliveries).await;
}

async fn a_closed_subscription_can_still_settle<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&lane(&source, Lane::High), messages(250)).await.unwrap();
    let mut deliveries = queue.subscribe(&source, Lane::High, 250).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(next(&mut deliveries).await);
    }
    deliveries.close().await;
    waiting(&queue, &source, 50).await;
    held.pop().unwrap().nack().await.unwrap();
    // The channel goes with the last of them, and must not take acks along.
    for acked in held {
        acked.ack().await.unwrap();
    }
    waiting(&queue, &source, 51).await;
    let mut deliveries = queue.subscribe(&source, Lane::High, 250).await.unwrap();
    for _ in 0..51 {
        next(&mut deliveries).await.ack().await.unwrap();
    }
    nothing(&mut deliveries).await;
}

async fn a_retry_returns_to_its_lane_after_its_delay<Q: PageQueue>(queue: Q, source: String) {
    let mut low = queue.subscribe(&source, Lane::Low, 10).await.unwrap();
    let mut pages = queue.subscribe(&source, Lane::High, 10).await.unwrap();
    let begun = Instant::now();
    let retry = |lane| Address::Retry { source: source.clone(), lane, tier: 0 };
    queue.publish(&retry(Lane::Low), messages(5)).await.unwrap();
    queue.publish(&retry(Lane::High), [message(100)]).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let delivery = next(&mut low).await;
        seen.insert(number(&delivery));
        delivery.ack().await.unwrap();
    }
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(190), "{waited:?}");
    assert_eq!(seen, (0..5).collect());
    let delivery = next(&mut pages).await;
    assert_eq!(number(&delivery), 100);
    delivery.ack().await.unwrap();
    nothing(&mut low).await;
}

async fn an_unknown_retry_tier_is_invalid<Q: PageQueue>(queue: Q, source: String) {
    let tier = Address::Retry { source, lane: Lane::High, tier: 7 };
    let error = queue.publish(&tier, [message(0)]).await.unwrap_err();
    assert_eq!(error.kind(), QueueErrorKind::Invalid);
}

async fn lanes_are_apart<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&lane(&source, Lane::Low), [message(1)]).await.unwrap();
    let mut pages = queue.subscribe(&source, Lane::High, 10).await.unwrap();
    let mut low = queue.subscribe(&source, Lane::Low, 10).await.unwrap();
    let delivery = next(&mut low).await;
    assert_eq!((number(&delivery), delivery.lane), (1, Lane::Low));
    delivery.ack().await.unwrap();
    nothing(&mut pages).await;
}

async fn depth_counts_by_kind<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&lane(&source, Lane::High), messages(3)).await.unwrap();
    queue.publish(&lane(&source, Lane::Low), messages(2)).await.unwrap();
    queue.publish(&dead(&source), messages(1)).await.unwrap();
    let expected = Depth { pages: 3, low: 2, retry: 0, dead: 1, consumers: 0 };
    eventually("depth", || async { queue.depth(&source).await.unwrap() }, |d| *d == expected).await;
    let _low = queue.subscribe(&source, Lane::Low, 1).await.unwrap();
    eventually("consumers", || async { queue.depth(&source).await.unwrap().consumers }, |n| *n == 1).await;
    queue
        .publish(&Address::Retry { source: source.clone(), lane: Lane::High, tier: 0 }, messages(2))
        .await
        .unwrap();
    eventually(
        "after the retry",
        || async { queue.depth(&source).await.unwrap() },
        |d| d.pages == 5 && d.retry == 0,
    )
    .await;
}

async fn dead_letters_keep_their_notes<Q: PageQueue>(queue: Q, source: String) {
    let note = DeadNote {
        error: "HTTP 500: 账户不存在".into(),
        fingerprint: "00c0ffee".into(),
        attempts: 5,
        first_failed_at: "2026-11-23T01:00:00Z".into(),
        last_failed_at: "2026-11-23T02:00:00Z".into(),
    };
    queue.publish(&dead(&source), [Message { note: Some(note.clone()), ..message(1) }]).await.unwrap();
    dead_count(&queue, &source, 1).await;
    let expected =
        DeadLetter { id: "id-1".into(), body: b"1".to_vec(), note: Some(note), broker_reason: None };
    for _ in 0..2 {
        assert_eq!(sweep(&queue, &source, |_| DeadLetterAction::Keep).await, std::slice::from_ref(&expected));
        dead_count(&queue, &source, 1).await;
    }
}

async fn a_sweep_keeps_and_drops<Q: PageQueue>(queue: Q, source: String) {
    // More than a batch.
    queue.publish(&dead(&source), messages(600)).await.unwrap();
    dead_count(&queue, &source, 600).await;
    let shown = sweep(&queue, &source, |letter| {
        match letter.id.trim_start_matches("id-").parse::<usize>().unwrap() % 3 {
            0 => DeadLetterAction::Keep,
            _ => DeadLetterAction::Drop,
        }
    })
    .await;
    assert_eq!(shown.len(), 600);
    dead_count(&queue, &source, 200).await;
    let left = sweep(&queue, &source, |_| DeadLetterAction::Drop).await;
    assert!(left.iter().all(|l| l.id.trim_start_matches("id-").parse::<usize>().unwrap() % 3 == 0));
    dead_count(&queue, &source, 0).await;
}

async fn copies_share_an_action<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&dead(&source), [message(1), message(2), message(1), message(1)]).await.unwrap();
    dead_count(&queue, &source, 4).await;
    let shown = sweep(&queue, &source, |_| DeadLetterAction::Keep).await;
    assert_eq!(
        shown.iter().map(|l| l.id.as_str()).collect::<BTreeSet<_>>(),
        BTreeSet::from(["id-1", "id-2"])
    );
    assert_eq!(shown.len(), 2);
    dead_count(&queue, &source, 2).await;
}

async fn two_sweeps_show_each_letter_once<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&dead(&source), messages(50)).await.unwrap();
    dead_count(&queue, &source, 50).await;
    let shown: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let within = Arc::new(Mutex::new(()));
    let pass = || async {
        let decide = |letters: Vec<DeadLetter>| {
            let _alone = within.try_lock().expect("one pass at a time");
            for letter in &letters {
                *shown.lock().unwrap().entry(letter.id.clone()).or_default() += 1;
            }
            async move { Ok::<_, Infallible>(vec![DeadLetterAction::Drop; letters.len()]) }
        };
        queue.sweep_dead(&source, decide).await.unwrap();
    };
    tokio::join!(pass(), pass());
    let shown = shown.lock().unwrap();
    assert_eq!(shown.len(), 50);
    assert!(shown.values().all(|times| *times == 1), "{shown:?}");
}

async fn an_undecided_sweep_loses_nothing<Q: PageQueue>(queue: Q, source: String) {
    queue.publish(&dead(&source), messages(5)).await.unwrap();
    dead_count(&queue, &source, 5).await;
    let error = queue
        .sweep_dead(&source, |_| async {
            Err::<Vec<DeadLetterAction>, _>(std::io::Error::other("no ledger"))
        })
        .await
        .unwrap_err();
    assert!(matches!(error, SweepError::Decide(_)), "{error}");
    let error = queue
        .sweep_dead(&source, |_| async { Ok::<_, Infallible>(vec![DeadLetterAction::Drop]) })
        .await
        .unwrap_err();
    let SweepError::Queue(error) = error;
    assert_eq!(error.kind(), QueueErrorKind::Invalid, "an action is missing");
    dead_count(&queue, &source, 5).await;
}

async fn ten_thousand_arrive_once<Q: PageQueue>(queue: Q, source: String) {
    const COUNT: usize = 10_000;
    let mut deliveries = queue.subscribe(&source, Lane::High, 250).await.unwrap();
    let publishing = {
        let (queue, to) = (queue.clone(), lane(&source, Lane::High));
        tokio::spawn(async move { queue.publish(&to, messages(COUNT)).await })
    };
    let mut seen = vec![false; COUNT];
    for _ in 0..COUNT {
        let delivery = next(&mut deliveries).await;
        assert!(!std::mem::replace(&mut seen[number(&delivery)], true), "{} came twice", number(&delivery));
        delivery.ack().await.unwrap();
    }
    publishing.await.unwrap().unwrap();
    nothing(&mut deliveries).await;
    waiting(&queue, &source, 0).await;
}

async fn publishes_at_once_all_arrive<Q: PageQueue>(queue: Q, source: String) {
    let publishing = (0..40).map(|i| {
        let (queue, to) = (queue.clone(), lane(&source, Lane::High));
        async move {
            queue.publish(&to, messages(10).map(move |m| Message { id: format!("{i}-{}", m.id), ..m })).await
        }
    });
    for published in futures_util::future::join_all(publishing).await {
        published.unwrap();
    }
    waiting(&queue, &source, 400).await;
}
