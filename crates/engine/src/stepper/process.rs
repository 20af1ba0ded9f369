//! The virtual processes: each is a future, and killing it is dropping it. What a producer, a consumer, a rescue and an operator do, with the engine's own functions,
//! one gate after the other.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, pin::Pin, task::Poll, time::Duration};

use futures_util::FutureExt;
use pagemill_core::PageOutcome;
use pagemill_store::{DeadFilter, PartitionRow};
use tokio::time::timeout;

use super::queue::StepQueue;
use crate::{
    app::App,
    error::ServiceError,
    operations::requeue,
    partition::{ExpandMode, PartitionDriver, apply::apply_proved, rescue},
    pipeline::{Pipeline, parts},
    reconcile,
    run::{plan::plan, request::RunRequest},
};

/// How a process came to its next wait.
#[derive(Debug)]
pub(super) enum Progress {
    /// It waits at a gate.
    Waits,
    /// It is done.
    Ended,
    /// It failed, and said why.
    Failed(String),
    /// It was killed at a crash point.
    Killed,
    /// It neither goes on nor waits at a gate.
    Hangs,
    /// It panicked.
    Panicked,
}

/// What a server may take for one step.
const PATIENCE: Duration = Duration::from_secs(10);

/// Thrown at a crash point that the stepper has armed.
pub(super) struct Killed;

/// One run of a virtual process. Dropped, it is killed.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) queue: StepQueue,
    /// The step from which it may go on.
    pub(super) frozen_until: u32,
    future: Pin<Box<dyn Future<Output = anyhow::Result<()>>>>,
}

impl Process {
    pub(super) fn new(
        name: impl Into<String>,
        queue: &StepQueue,
        future: impl Future<Output = anyhow::Result<()>> + 'static,
    ) -> Self {
        Self { name: name.into(), queue: queue.clone(), frozen_until: 0, future: Box::pin(future) }
    }

    /// Runs the process up to its next gate. Nothing else runs meanwhile but the servers.
    pub(super) async fn step(&mut self) -> Progress {
        self.queue.gate.open();
        let gate = self.queue.gate.clone();
        let future = &mut self.future;
        let run = std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if gate.place().is_some() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match timeout(PATIENCE, AssertUnwindSafe(run).catch_unwind()).await {
            Ok(Ok(None)) => Progress::Waits,
            Ok(Ok(Some(Ok(())))) => Progress::Ended,
            Ok(Ok(Some(Err(error)))) => Progress::Failed(format!("{error:#}")),
            Ok(Err(payload)) if is_kill(&*payload) => Progress::Killed,
            Ok(Err(_)) => Progress::Panicked,
            Err(_) => Progress::Hangs,
        }
    }
}

fn is_kill(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Killed>()
}

/// A consumer: takes up to `most` deliveries, works on them, and begins again. It never ends.
pub(super) async fn consume(app: App, queue: StepQueue, most: usize) -> anyhow::Result<()> {
    let pipeline = Pipeline::consumer(&app, queue.clone());
    parts::begin(&pipeline).await?;
    loop {
        queue.gate.pass("take").await;
        let mut fetched = Vec::new();
        let mut worked = Ok(());
        for _ in 0..most {
            let Some(delivery) = queue.take() else { break };
            worked = work(&app, &pipeline, &queue, delivery, &mut fetched).await;
            if worked.is_err() {
                break;
            }
        }
        // A session that ends early returns what it has fetched.
        let concluded = match worked {
            Ok(()) => conclude_batch(&pipeline, &queue, fetched).await,
            Err(error) => Err(error),
        };
        if let Err(error) = concluded {
            queue.note_error(error.to_string());
        }
    }
}

/// Attempts one delivery. What was fetched joins the batch, anything else is concluded.
async fn work(
    app: &App,
    pipeline: &Pipeline<StepQueue>,
    queue: &StepQueue,
    delivery: pagemill_queue::Delivery,
    fetched: &mut Vec<parts::ReadyPage>,
) -> Result<(), ServiceError> {
    let page = parts::page_job(delivery);
    // A suspected page waits until it is alone, so nothing may be at hand.
    if page.job.needs_check(page.delivery.redelivered) {
        conclude_batch(pipeline, queue, std::mem::take(fetched)).await?;
    }
    for source in app.sources.iter() {
        source.quota.forget_clock().await;
    }
    queue.gate.pass("attempt").await;
    let attempt = parts::attempt(pipeline, &page).await;
    queue.gate.pass("attempted").await;
    match attempt {
        parts::Attempt::Fetched(write, permit) => {
            // No other page of the process may start before a page that is alone is settled.
            let is_alone = matches!(permit, parts::Permit::Alone(_));
            fetched.push(parts::ReadyPage { page, write: *write, permit });
            if is_alone {
                conclude_batch(pipeline, queue, std::mem::take(fetched)).await?;
            }
            Ok(())
        }
        parts::Attempt::Ended(outcome, progress) => {
            let ended = parts::conclude(pipeline, parts::EndedJob { page, outcome, progress }).await?;
            apply(pipeline, queue, &ended).await
        }
        parts::Attempt::Unavailable(error) => {
            let unstored = parts::EndedJob { page, outcome: PageOutcome::Unavailable, progress: None };
            parts::conclude(pipeline, unstored).await?;
            Err(error)
        }
    }
}

async fn conclude_batch(
    pipeline: &Pipeline<StepQueue>,
    queue: &StepQueue,
    fetched: Vec<parts::ReadyPage>,
) -> Result<(), ServiceError> {
    let ended = parts::conclude_batch(pipeline, fetched).await?;
    apply(pipeline, queue, &ended).await
}

/// The deliveries are settled; the process may die before it applies what is proved.
async fn apply(
    pipeline: &Pipeline<StepQueue>,
    queue: &StepQueue,
    ended: &[PartitionRow],
) -> Result<(), ServiceError> {
    for attempt in ended {
        queue.gate.pass("apply").await;
        parts::apply(pipeline, std::slice::from_ref(attempt)).await?;
    }
    Ok(())
}

/// A producer, as [`crate::run::produce`] is one: plans, runs the first pages, publishes all others.
pub(super) async fn produce(
    app: App,
    queue: StepQueue,
    request: RunRequest,
    owner: String,
) -> anyhow::Result<()> {
    queue.gate.pass("plan").await;
    let planned = plan(&app.store, &app.sources, &request, &owner).await?;
    let (Some(run), None) = (planned.run, &planned.lease_holder) else { return Ok(()) };
    let (pipeline, mut expansions) = Pipeline::producer(&app, queue.clone());
    let own = planned.open.iter().filter(|opened| !opened.adopted).map(|opened| &opened.partition);
    for partition in own.filter(|partition| !partition.progress.published) {
        app.store.runs.renew_lease(run, &owner).await?;
        if planned.continued && (partition.progress.total.is_some() || partition.progress.done > 0) {
            rescue::rescue_partition(&app, &queue, partition.id).await?;
            continue;
        }
        let delivery = queue.own(&partition.job(partition.progress.first_page, 0));
        let mut fetched = Vec::new();
        work(&app, &pipeline, &queue, delivery, &mut fetched).await?;
        conclude_batch(&pipeline, &queue, fetched).await?;
    }
    let expanded: Vec<PartitionRow> = std::iter::from_fn(|| expansions.try_recv().ok()).collect();
    PartitionDriver::new(&app, queue.clone(), ExpandMode::Immediate).expand(expanded).await?;
    queue.gate.pass("release").await;
    Ok(app.store.runs.release_lease(run, &owner).await.map(drop)?)
}

/// A consumer's rescue of stalled partitions.
pub(super) async fn rescue(app: App, queue: StepQueue) -> anyhow::Result<()> {
    queue.gate.pass("rescue").await;
    apply_proved(&app, &queue).await?;
    rescue::rescue_stalled_partitions(&app, &queue, app.settings.stalled_after.get()).await?;
    app.store.seals.clear_unneeded_staged().await?;
    Ok(reconcile::reconcile_sources(&app, &queue).await?)
}

/// An operator requeues all dead letters, and drops those that cannot be.
pub(super) async fn requeue_all(app: App, queue: StepQueue) -> anyhow::Result<()> {
    queue.gate.pass("requeue").await;
    let sources = app.sources.names();
    let result = requeue::requeue(&app.store, &queue, &sources, &DeadFilter::default()).await?;
    if result.refused.is_empty() {
        return Ok(());
    }
    queue.gate.pass("drop").await;
    let refused = DeadFilter {
        ids: Some(result.refused.iter().map(|refused| refused.id).collect()),
        ..DeadFilter::default()
    };
    requeue::drop_dead_letters(&app.store, &queue, &sources, &refused).await.map(drop)
}
