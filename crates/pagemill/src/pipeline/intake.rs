use std::sync::Arc;

use pagemill_core::{DecodeError, PageJob};
use pagemill_pool::{Closed, Jobs};
use pagemill_queue::{Deliveries, Delivery, PageQueue};

use super::{Pipeline, Session, Work, settle};
use crate::stop::{Stage, Stop};

/// Where deliveries come from.
pub struct Intake {
    /// The subscription.
    pub deliveries: Deliveries,
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
    let mut left = intake.most.unwrap_or(usize::MAX);
    while left > 0 {
        let delivery = tokio::select! {
            biased;
            () = stop.reached(Stage::Draining) => break,
            () = session.ended() => break,
            delivery = intake.deliveries.next() => delivery,
        };
        let Some(delivery) = delivery else { break };
        left -= 1;
        match PageJob::decode(&delivery.body) {
            Ok(job) => {
                let work = Work { delivery, job, marked: false.into() };
                if let Err(Closed(work)) = jobs.submit(work).await {
                    settle::give_back(work.delivery).await;
                    break;
                }
            }
            Err(error) => not_a_job(&pipeline, delivery, &error, &session).await,
        }
    }
    intake.deliveries.close().await;
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
        session.end(trouble);
    }
}
