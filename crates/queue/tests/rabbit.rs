//! What only a broker does: deleted queues, closed connections, refusals.

mod common;

use std::{convert::Infallible, process::Command, time::Duration};

use common::{
    backdoor, config, dead, eventually, lane, message, messages, next, number, on_rabbit, retry_tiers,
    unique_source, url,
};
use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use pagemill_core::Lane;
use pagemill_queue::{
    DeadLetter, DeadLetterAction, PageQueue, QueueErrorKind, Rabbit, RabbitConfig, SweepError,
};
use tokio::{sync::mpsc, time::timeout};

async fn delete(queue: &str) {
    let (_connection, channel) = backdoor(&url()).await;
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unroutable_is_an_error_and_mended() {
    on_rabbit(|queue, source| async move {
        delete(&format!("pagemill.{source}.pages")).await;
        let to = lane(&source, Lane::High);
        let error = queue.publish(&to, messages(3)).await.unwrap_err();
        assert_eq!(error.kind(), QueueErrorKind::Unroutable);
        assert!(error.to_string().contains("3 messages") && error.to_string().contains("id-1"), "{error}");
        queue.publish(&to, messages(3)).await.unwrap();
    })
    .await;
}

/// A full queue: the broker nacks what it does not keep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_broker_nacks_is_not_published() {
    on_rabbit(|queue, source| async move {
        let name = format!("pagemill.{source}.pages");
        delete(&name).await;
        let (_connection, channel) = backdoor(&url()).await;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), 2.into());
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let (queue_name, exchange) = (name.as_str(), "pagemill");
        channel.queue_declare(queue_name.into(), QueueDeclareOptions::default(), arguments).await.unwrap();
        channel
            .queue_bind(
                queue_name.into(),
                exchange.into(),
                queue_name.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        let to = lane(&source, Lane::High);
        queue.publish(&to, messages(2)).await.unwrap();
        let error = queue.publish(&to, messages(3)).await.unwrap_err();
        assert_eq!(error.kind(), QueueErrorKind::Rejected, "{error}");
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let kept = channel.queue_declare(queue_name.into(), look, FieldTable::default()).await.unwrap();
        assert_eq!(kept.message_count(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_deleted_with_thousands_in_flight_is_no_success() {
    on_rabbit(|queue, source| async move {
        let (reached, mut signal) = mpsc::channel(1);
        let name = format!("pagemill.{source}.pages");
        let (_connection, channel) = backdoor(&url()).await;
        let unbinding = tokio::spawn(async move {
            signal.recv().await.unwrap();
            let name = name.as_str();
            channel
                .queue_unbind(name.into(), "pagemill".into(), name.into(), FieldTable::default())
                .await
                .unwrap();
        });
        let many = messages(200_000).inspect(move |m| {
            if m.id == "id-6000" {
                reached.try_send(()).unwrap();
            }
        });
        let error = queue.publish(&lane(&source, Lane::High), many).await.unwrap_err();
        assert_eq!(error.kind(), QueueErrorKind::Unroutable, "{error}");
        unbinding.await.unwrap();
        queue.publish(&lane(&source, Lane::High), messages(10)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consuming_resumes_after_its_queue_was_deleted() {
    on_rabbit(|queue, source| async move {
        let mut deliveries = queue.subscribe(&source, Lane::High, 10).await.unwrap();
        let to = lane(&source, Lane::High);
        queue.publish(&to, [message(1)]).await.unwrap();
        next(&mut deliveries).await.ack().await.unwrap();
        delete(&format!("pagemill.{source}.pages")).await;
        // The first may find no queue: that mends it.
        let publish = || async { queue.publish(&to, [message(2)]).await.is_ok() };
        eventually("published again", publish, |ok| *ok).await;
        let delivery = next(&mut deliveries).await;
        assert_eq!(number(&delivery), 2);
        delivery.ack().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_publish_does_not_wait_behind_a_large_one() {
    on_rabbit(|queue, source| async move {
        let (reached, mut signal) = mpsc::channel(1);
        let large = {
            let (queue, to) = (queue.clone(), lane(&source, Lane::High));
            let many = messages(100_000).inspect(move |m| {
                if m.id == "id-1000" {
                    reached.try_send(()).unwrap();
                }
            });
            tokio::spawn(async move { queue.publish(&to, many).await })
        };
        signal.recv().await.unwrap();
        queue.publish(&lane(&source, Lane::Low), [message(1)]).await.unwrap();
        assert!(!large.is_finished(), "the small one came first");
        large.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_exceeds_the_delivery_limit_is_a_dead_letter_with_its_reason() {
    on_rabbit(|queue, source| async move {
        queue.publish(&lane(&source, Lane::High), [message(1)]).await.unwrap();
        let mut deliveries = queue.subscribe(&source, Lane::High, 1).await.unwrap();
        for _ in 0..=1_000 {
            next(&mut deliveries).await.nack().await.unwrap();
        }
        eventually("dead", || async { queue.depth(&source).await.unwrap().dead }, |n| *n == 1).await;
        let expected = DeadLetter {
            id: "id-1".into(),
            body: b"1".to_vec(),
            note: None,
            broker_reason: Some("delivery_limit".into()),
        };
        // Kept, it is published anew, and still knows.
        for _ in 0..2 {
            let decide = |letters: Vec<DeadLetter>| {
                assert_eq!(letters, std::slice::from_ref(&expected));
                async { Ok::<_, Infallible>(vec![DeadLetterAction::Keep]) }
            };
            queue.sweep_dead(&source, decide).await.unwrap();
            eventually("kept", || async { queue.depth(&source).await.unwrap().dead }, |n| *n == 1).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sweeper_is_refused_while_one_is_under_way() {
    on_rabbit(|queue, source| async move {
        queue.publish(&dead(&source), [message(1)]).await.unwrap();
        eventually("dead", || async { queue.depth(&source).await.unwrap().dead }, |n| *n == 1).await;
        let decide = |_| async {
            let second = queue.sweep_dead(&source, |_| async { Ok::<_, Infallible>(vec![]) }).await;
            let SweepError::Queue(error) = second.unwrap_err();
            assert_eq!(error.kind(), QueueErrorKind::Busy);
            Ok::<_, Infallible>(vec![DeadLetterAction::Drop])
        };
        queue.sweep_dead(&source, decide).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn errors_of_the_first_contact_say_what_to_do() {
    let (source, url) = (unique_source(), url());
    let (scheme, rest) = url.split_once("://").unwrap();
    let server = rest.rsplit_once('@').unwrap().1;
    let (address, vhost) = server.rsplit_once('/').unwrap();
    let refused = format!("{scheme}://nobody:s3cret@{address}/{vhost}");
    let elsewhere = format!("{}/no-such-vhost", url.rsplit_once('/').unwrap().0);
    for (url, kind, says) in [
        (&*refused, QueueErrorKind::Refused, "check user and password"),
        (&*elsewhere, QueueErrorKind::Refused, "vhost no-such-vhost"),
        ("amqp://guest:s3cret@127.0.0.1:1/%2f", QueueErrorKind::Unreachable, "127.0.0.1:1"),
        ("guest:s3cret@127.0.0.1", QueueErrorKind::Invalid, "amqp://"),
    ] {
        let connecting = timeout(Duration::from_secs(8), Rabbit::connect(config(url, &source)));
        let error = connecting.await.expect("fails fast").err().expect("fails");
        let text = format!("{error} {error:?}");
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("guest:guest"), "{text}");
    }
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_named() {
    let source = unique_source();
    let name = format!("pagemill.{source}.dead");
    let (_connection, channel) = backdoor(&url()).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.unwrap();
    let error = Rabbit::connect(config(&url(), &source)).await.err().expect("fails");
    assert_eq!(error.kind(), QueueErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains(&name), "{error}");
    channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_closed_queue_says_so_and_ends_its_subscriptions() {
    on_rabbit(|queue, source| async move {
        let mut deliveries = queue.subscribe(&source, Lane::High, 10).await.unwrap();
        assert!(queue.is_healthy());
        queue.close().await;
        assert!(timeout(common::TIMEOUT, deliveries.next()).await.unwrap().is_none());
        deliveries.close().await;
        assert!(!queue.is_healthy());
        let publish = queue.publish(&lane(&source, Lane::High), [message(1)]).await;
        assert_eq!(publish.unwrap_err().kind(), QueueErrorKind::Closed);
        assert_eq!(queue.subscribe(&source, Lane::High, 1).await.unwrap_err().kind(), QueueErrorKind::Closed);
    })
    .await;
}

/// A vhost of its own, so that all its connections can be closed.
struct Vhost(String);

impl Vhost {
    fn create() -> Self {
        let vhost = Self(unique_source());
        let url = url();
        let user = url.split("://").nth(1).unwrap().split([':', '@']).next().unwrap();
        rabbitmqctl(&["add_vhost", &vhost.0]);
        rabbitmqctl(&["set_permissions", "-p", &vhost.0, user, ".*", ".*", ".*"]);
        vhost
    }

    fn url(&self) -> String {
        format!("{}/{}", url().rsplit_once('/').unwrap().0, self.0)
    }

    async fn close_all_connections(&self) {
        let vhost = self.0.clone();
        let closed = move || rabbitmqctl(&["close_all_connections", "--vhost", &vhost, "test"]);
        tokio::task::spawn_blocking(closed).await.unwrap();
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        let _ = try_rabbitmqctl(&["delete_vhost", &self.0]);
    }
}

/// Commands the broker under test. A test that needs a fault does not pass without it.
fn rabbitmqctl(arguments: &[&str]) {
    if let Err(failed) = try_rabbitmqctl(arguments) {
        panic!(
            "rabbitmqctl {arguments:?} failed: {failed}\nThis test closes connections by the rabbitmqctl of the broker \
             under test: run `make test`, or install RabbitMQ's rabbitmqctl and name it in PAGEMILL_TEST_RABBITMQCTL"
        );
    }
}

fn try_rabbitmqctl(arguments: &[&str]) -> Result<(), String> {
    let program = std::env::var("PAGEMILL_TEST_RABBITMQCTL").unwrap_or_else(|_| "rabbitmqctl".to_owned());
    match Command::new(program).arg("-q").args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_lose_nothing() {
    const COUNT: usize = 16_000;
    let vhost = Vhost::create();
    let source = unique_source();
    let rabbit =
        || RabbitConfig { url: vhost.url().into(), sources: vec![source.clone()], retry: retry_tiers() };
    let queue = Rabbit::connect(rabbit()).await.unwrap();
    let mut deliveries = queue.subscribe(&source, Lane::High, 100).await.unwrap();

    let held = {
        queue.publish(&lane(&source, Lane::High), [message(0)]).await.unwrap();
        next(&mut deliveries).await
    };
    let publishing = {
        let (queue, to) = (queue.clone(), lane(&source, Lane::High));
        // In parts, so that the connections are closed in the midst of it.
        tokio::spawn(async move {
            for part in 0..COUNT / 500 {
                let many = (part * 500..(part + 1) * 500).map(message);
                queue.publish(&to, many).await.unwrap();
            }
        })
    };
    let breaking = async {
        vhost.close_all_connections().await;
        vhost.close_all_connections().await;
    };
    let mut seen = vec![false; COUNT];
    let consuming = async {
        while seen.iter().any(|s| !s) {
            let delivery = next(&mut deliveries).await;
            seen[number(&delivery)] = true;
            // Stale: it comes again.
            if let Err(error) = delivery.ack().await {
                assert_eq!(error.kind(), QueueErrorKind::Stale, "{error}");
            }
        }
    };
    tokio::join!(breaking, consuming);
    publishing.await.unwrap();
    assert_eq!(held.ack().await.unwrap_err().kind(), QueueErrorKind::Stale);
    eventually("healthy again", || async { queue.is_healthy() }, |healthy| *healthy).await;
    queue.publish(&lane(&source, Lane::Low), [message(1)]).await.unwrap();
    queue.close().await;
}
