use std::sync::{Arc, OnceLock};

use pagemill_core::{DecodeError, PageJob};
use pagemill_pool::{Closed, Jobs};
use pagemill_queue::{Deliveries, Delivery, PageQueue};

use super::{Pipeline, Session, Work, settle};
use crate::stop::{Stage, Stop};

/// One in so many deliveries is of the low lane even while the other has some.
const LATER_EVERY: usize = 50;

/// Where deliveries come from.
pub struct Intake {
    /// The subscriptions, the one that goes first first.
    pub lanes: Vec<Deliveries>,
    /// End after so many, instead of when stopped.
    pub most: Option<usize>,
}

/// Turns deliveries into work for the pool until the intake ends or a stop comes. What was not
/// handed on returns to the queue.
pub(super) async fn take<Q: PageQueue>(
    pipeline: Arc<Pipeline<Q>>,
    mut intake: Intake,
    jobs: Jobs<Work>,
    session: Session,
    stop: Stop,
) {
    let (mut left, mut taken) = (intake.most.unwrap_or(usize::MAX), 0);
    while left > 0 {
        let delivery = tokio::select! {
            biased;
            () = stop.reached(Stage::Draining) => break,
            () = session.ended() => break,
            delivery = next(&mut intake.lanes, taken) => delivery,
        };
        let Some(delivery) = delivery else { break };
        (left, taken) = (left - 1, taken + 1);
        match PageJob::decode(&delivery.body) {
            Ok(job) => {
                let work = Work { delivery, job, marked: false.into(), sent: OnceLock::new() };
                if let Err(Closed(work)) = jobs.submit(work).await {
                    settle::give_back(work.delivery).await;
                    break;
                }
            }
            Err(error) => not_a_job(&pipeline, delivery, &error, &session).await,
        }
    }
    for lane in intake.lanes {
        lane.close().await;
    }
}

/// The next delivery, of a later lane only when the lanes before it have none at hand. One in so many
/// is taken the other way round: what the broker handed over of a later lane is not held for hours.
async fn next(lanes: &mut [Deliveries], taken: usize) -> Option<Delivery> {
    let (first, second) = match lanes {
        [first] => return first.next().await,
        [first, second] => (first, second),
        _ => unreachable!("a source has two lanes"),
    };
    let (first, second) =
        if taken % LATER_EVERY == LATER_EVERY - 1 { (second, first) } else { (first, second) };
    tokio::select! {
        biased;
        delivery = first.next() => delivery,
        delivery = second.next() => delivery,
    }
}

async fn not_a_job<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    delivery: Delivery,
    error: &DecodeError,
    session: &Session,
) {
    let settled = match error {
        DecodeError::Newer(_) => settle::park_newer(pipeline, delivery, error).await,
        DecodeError::Malformed(_) => settle::bury_message(pipeline, delivery, error).await,
    };
    if let Err(trouble) = settled {
        session.end(trouble.into());
    }
}
