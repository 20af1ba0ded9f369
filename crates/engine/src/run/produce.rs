//! The producer: plans a run, runs the partitions' first pages through the pipeline, and thereby
//! publishes every other page job.

use std::{collections::HashMap, sync::Arc};

use pagemill_core::{Lane, PageJob, Sizing, sizing};
use pagemill_queue::{Address, InProcess, PageQueue};
use pagemill_store::{PartitionRow, Planned, Runs, Store};

use crate::{
    app::App,
    error::UnavailableError,
    identity::identity,
    partition::{ExpandMode, PartitionDriver, message, rescue},
    pipeline::{Intake, Pipeline, SessionError},
    run::{plan::plan, request::RunRequest},
    sources::Source,
    stop::Stop,
};

/// The result of a producer.
#[derive(Debug)]
pub struct Produced {
    /// The plan: the run, and what is sealed already.
    pub planned: Planned,
    /// The run's own partitions, one by one.
    pub partitions: Vec<ProducedPartition>,
}

/// The result for one partition.
#[derive(Debug)]
pub struct ProducedPartition {
    /// The partition as it is now.
    pub partition: PartitionRow,
    /// Page jobs published by this producer.
    pub published: u64,
    /// True if an earlier producer had published it.
    pub published_before: bool,
}

/// First pages in flight at a time without a rate limit.
const FIRST_PAGES: u32 = 8;
/// The most first pages in flight at a time with a rate limit.
const MOST_FIRST_PAGES: u32 = 64;
/// First pages in flight at a time for the low lane, beside which others may run.
const LOW_WORKERS: u32 = 2;

/// Plans a request and publishes its page jobs to `queue`. Started twice, it continues an unfinished run
/// and doubles nothing.
///
/// # Errors
/// A request that cannot be fulfilled; PostgreSQL or the queue being away.
pub async fn produce<Q: PageQueue>(
    app: &App,
    queue: &Q,
    request: &RunRequest,
    stop: &Stop,
) -> anyhow::Result<Produced> {
    let owner = identity();
    let planned = plan(&app.store, &app.sources, request, &owner).await?;
    let (Some(run), None) = (planned.run, &planned.lease_holder) else {
        return Ok(Produced { planned, partitions: Vec::new() });
    };
    let lease = RunLease::keep(app.store.clone(), run, owner);
    let own: Vec<&PartitionRow> = planned.open.iter().filter(|o| !o.adopted).map(|o| &o.partition).collect();
    let mut first_pages = Vec::new();
    let mut republished = HashMap::new();
    for partition in own.iter().filter(|p| !p.progress.published) {
        if planned.continued && (partition.progress.total.is_some() || partition.progress.done > 0) {
            // Its producer died between the first page and the last publish.
            republished.insert(partition.id, rescue::rescue_partition(app, queue, partition.id).await?);
        } else {
            first_pages.push(partition.job(partition.progress.first_page, 0));
        }
    }
    run_first_pages(app, queue, first_pages, stop).await?;
    let mut partitions = Vec::with_capacity(own.len());
    for before in own {
        let partition = app.store.partitions.get(before.id).await?;
        let others = partition.planned().map_or(0, |planned| u64::from(planned.count()) - 1);
        let published = match republished.get(&before.id) {
            Some(missing) => *missing,
            None if before.progress.published || !partition.progress.published => 0,
            None => others,
        };
        partitions.push(ProducedPartition {
            partition,
            published,
            published_before: before.progress.published,
        });
    }
    if stop.is_draining() && partitions.iter().any(|p| p.partition.is_unpublished()) {
        // Its lease runs out; the next producer, or a rescue, goes on from there.
        return Err(UnavailableError(format!(
            "stopped before all of run {run} was published: start it again"
        ))
        .into());
    }
    lease.release().await?;
    Ok(Produced { planned, partitions })
}

/// Runs first pages through the pipeline: their rows and totals are stored; then all other pages are
/// published, those of different partitions in turn. A first page that fails is published to a retry tier.
async fn run_first_pages<Q: PageQueue>(
    app: &App,
    queue: &Q,
    jobs: Vec<PageJob>,
    stop: &Stop,
) -> anyhow::Result<()> {
    for source in app.sources.iter() {
        for lane in Lane::ALL {
            let of_lane = |job: &&PageJob| job.slice.source == source.name() && job.lane == lane;
            let jobs: Vec<&PageJob> = jobs.iter().filter(of_lane).collect();
            // A backfill's first pages leave the quota to others; and consumers need not wait for the
            // last of them.
            let (most, wave) = match lane {
                Lane::High => (None, 1_000),
                Lane::Low => (Some(LOW_WORKERS), 50),
            };
            let share = source.quota.per_second();
            let workers = most.or(share.is_none().then_some(FIRST_PAGES));
            let size = sizing(share, source.times.p95(), workers, app.settings.batch_pages);
            let size = Sizing { workers: size.workers.min(MOST_FIRST_PAGES), ..size };
            for wave in jobs.chunks(wave) {
                if stop.is_draining() {
                    return Ok(());
                }
                run_wave(app, queue, source, wave, size, stop).await?;
            }
        }
    }
    Ok(())
}

async fn run_wave<Q: PageQueue>(
    app: &App,
    queue: &Q,
    source: &Source,
    jobs: &[&PageJob],
    size: Sizing,
    stop: &Stop,
) -> anyhow::Result<()> {
    let (pipeline, mut expansions) = Pipeline::producer(app, queue.clone());
    let local = InProcess::new(app.settings.retry.clone());
    let lane = jobs.first().map(|job| job.lane).unwrap_or_default();
    let to = Address::Lane { source: source.name().to_owned(), lane };
    local.publish(&to, jobs.iter().map(|job| message(job))).await?;
    let lanes = vec![local.subscribe(source.name(), lane, size.prefetch as u16).await?];
    match pipeline.run_session(Intake { lanes, limit: Some(jobs.len()) }, size, stop).await {
        // If the quota is used up, the jobs were snoozed, for consumers.
        Ok(()) | Err(SessionError::QuotaExhausted(_)) => {}
        Err(SessionError::Failed(error)) => return Err(error.into()),
    }
    let mut partitions = Vec::new();
    while let Ok(partition) = expansions.try_recv() {
        partitions.push(partition);
    }
    PartitionDriver::new(app, queue.clone(), ExpandMode::Immediate).expand(partitions).await?;
    Ok(())
}

/// The lease of the process that publishes a run, renewed by a heartbeat. A dropped lease runs out.
pub struct RunLease {
    store: Store,
    run: i64,
    owner: Arc<str>,
    beating: tokio::task::JoinHandle<()>,
}

impl RunLease {
    /// Renews the lease that the plan has taken.
    pub fn keep(store: Store, run: i64, owner: String) -> Self {
        let owner: Arc<str> = owner.into();
        let beating = tokio::spawn({
            let (store, owner) = (store.clone(), owner.clone());
            async move {
                loop {
                    tokio::time::sleep(Runs::LEASE / 3).await;
                    match store.runs.renew_lease(run, &owner).await {
                        Ok(true) => {}
                        Ok(false) => tracing::warn!(run, "another producer has taken this run over"),
                        Err(error) => tracing::warn!(run, %error, "the run's lease could not be renewed"),
                    }
                }
            }
        });
        Self { store, run, owner, beating }
    }

    /// Releases the lease: there is nothing left to publish.
    ///
    /// # Errors
    /// PostgreSQL being away.
    pub async fn release(self) -> anyhow::Result<()> {
        Ok(self.store.runs.release_lease(self.run, &self.owner).await?)
    }
}

impl Drop for RunLease {
    fn drop(&mut self) {
        self.beating.abort();
    }
}
