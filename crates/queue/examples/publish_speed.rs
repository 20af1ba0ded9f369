//! Measures the speed at which RabbitMQ takes and delivers page jobs:
//! `cargo run --release -p pagemill-queue --example publish_speed [amqp://…]`

use std::time::Instant;

use futures_util::{StreamExt, stream::FuturesUnordered};
use pagemill_core::Lane;
use pagemill_queue::{Address, Message, PageQueue, Rabbit, RabbitConfig};

const SOURCE: &str = "publish-speed";
const BODY: usize = 300;
const JOBS: [usize; 2] = [10_000, 100_000];
const PREFETCH: [u16; 2] = [64, 250];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "amqp://guest:guest@127.0.0.1:5672/%2f".into());
    let queue =
        Rabbit::connect(RabbitConfig { url: url.into(), sources: vec![SOURCE.into()], retry: vec![] })
            .await?;
    let lane = Address::Lane { source: SOURCE.into(), lane: Lane::High };
    let message = |n: usize| Message { id: n.to_string(), body: vec![b'x'; BODY], note: None };
    for (jobs, prefetch) in JOBS.into_iter().zip(PREFETCH) {
        let begun = Instant::now();
        queue.publish(&lane, (0..jobs).map(message)).await?;
        report(&format!("published {jobs}"), jobs, begun);
        let begun = Instant::now();
        consume(&queue, jobs, prefetch).await?;
        report(&format!("consumed and acked {jobs} at prefetch {prefetch}"), jobs, begun);
    }
    queue.close().await;
    Ok(())
}

async fn consume(queue: &Rabbit, jobs: usize, prefetch: u16) -> Result<(), pagemill_queue::QueueError> {
    let mut deliveries = queue.subscribe(SOURCE, Lane::High, prefetch).await?;
    let mut acking = FuturesUnordered::new();
    for _ in 0..jobs {
        // An open queue's subscription does not end.
        let Some(delivery) = deliveries.next().await else { break };
        acking.push(delivery.ack());
        if acking.len() >= usize::from(prefetch) / 2 {
            acking.next().await.transpose()?;
        }
    }
    while let Some(acked) = acking.next().await {
        acked?;
    }
    deliveries.close().await;
    Ok(())
}

fn report(what: &str, jobs: usize, begun: Instant) {
    let took = begun.elapsed();
    println!("{what}: {:.0} jobs/s ({took:.2?})", jobs as f64 / took.as_secs_f64());
}
