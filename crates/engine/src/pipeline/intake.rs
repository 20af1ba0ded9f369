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

#[cfg(test)]
mod tests {
    use pagemill_core::Lane;
    use pagemill_queue::{Address, InProcess, Message};

    use super::*;

    /// While the high lane never empties, the low lane is served all the same.
    #[tokio::test]
    async fn the_low_lane_is_served_beside_a_full_high_lane() {
        let queue = InProcess::new(vec![]);
        let mut lanes = Vec::new();
        for lane in Lane::ALL {
            let to = Address::Lane { source: "test".into(), lane };
            let message = |n: usize| Message { id: n.to_string(), body: vec![], note: None };
            queue.publish(&to, (0..10 * LOW_EVERY).map(message)).await.unwrap();
            lanes.push(queue.subscribe("test", lane, u16::MAX).await.unwrap());
        }
        let mut low = 0;
        for taken in 0..4 * LOW_EVERY {
            let delivery = next(&mut lanes, taken).await.unwrap();
            low += usize::from(delivery.lane == Lane::Low);
            delivery.ack().await.unwrap();
        }
        assert_eq!(low, 4);
    }

    #[tokio::test]
    async fn the_low_lane_is_served_at_once_if_the_high_lane_is_empty() {
        let queue = InProcess::new(vec![]);
        let to = Address::Lane { source: "test".into(), lane: Lane::Low };
        queue.publish(&to, [Message { id: "1".into(), body: vec![], note: None }]).await.unwrap();
        let mut lanes = Vec::new();
        for lane in Lane::ALL {
            lanes.push(queue.subscribe("test", lane, 1).await.unwrap());
        }
        let delivery = next(&mut lanes, 0).await.unwrap();
        assert_eq!(delivery.lane, Lane::Low);
        delivery.ack().await.unwrap();
    }
}
