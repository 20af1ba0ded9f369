use std::sync::Arc;

use pagemill_core::{DecodeError, PageJob, PageOutcome};
use pagemill_pool::{Closed, Jobs};
use pagemill_queue::{Deliveries, Delivery, PageQueue};

use super::{Pipeline, conclude, delivered::DeliveredJob, session::Session};

/// One delivery in so many is of the low lane, even while the other lane has some.
const LOW_EVERY: usize = 50;

/// Where deliveries come from.
pub struct Intake {
    /// The subscriptions, the one that goes first first.
    pub lanes: Vec<Deliveries>,
    /// The number of deliveries after which the intake ends; `None` = at the stop.
    pub limit: Option<usize>,
}

/// Turns deliveries into page jobs for the pool until the intake ends or a stop comes. A job that was not
/// handed on returns to its queue.
pub(super) async fn take<Q: PageQueue>(
    pipeline: Arc<Pipeline<Q>>,
    mut intake: Intake,
    jobs: Jobs<DeliveredJob>,
    session: Session,
) {
    let (mut left, mut taken) = (intake.limit.unwrap_or(usize::MAX), 0);
    while left > 0 {
        let delivery = tokio::select! {
            biased;
            () = session.stop.draining() => break,
            delivery = next(&mut intake.lanes, taken) => delivery,
        };
        let Some(delivery) = delivery else { break };
        (left, taken) = (left - 1, taken + 1);
        let outcome = match PageJob::decode(&delivery.body) {
            Ok(job) => match jobs.submit(DeliveredJob::new(delivery, job)).await {
                Ok(()) => continue,
                Err(Closed(page)) => {
                    conclude::nack(page.delivery).await;
                    break;
                }
            },
            Err(error) => {
                tracing::error!(source = %delivery.source, %error, "a message is no page job of this version");
                match error {
                    DecodeError::Newer(version) => PageOutcome::NewerVersion(version),
                    DecodeError::Malformed(_) => PageOutcome::Malformed(error.to_string()),
                }
            }
        };
        if let Err(error) = conclude::conclude_message(&pipeline, delivery, outcome).await {
            session.fail(error);
        }
    }
    for lane in intake.lanes {
        lane.close().await;
    }
}

/// The next delivery, of the second lane only when the first has none at hand. One in [`LOW_EVERY`] is taken
/// from the second lane first, so that its prefetched deliveries are not held for hours.
async fn next(lanes: &mut [Deliveries], taken: usize) -> Option<Delivery> {
    let (first, second) = match lanes {
        [first] => return first.next().await,
        [first, second] => (first, second),
        _ => unreachable!("a source has two lanes"),
    };
    let (first, second) = if taken % LOW_EVERY == LOW_EVERY - 1 { (second, first) } else { (first, second) };
    tokio::select! {
        biased;
        delivery = first.next() => delivery,
        delivery = second.next() => delivery,
    }
}
