//! The producer: plans a run, runs the partitions' first pages through the pipeline, and thereby
//! publishes every other page job.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pagemill_core::{Lane, PageJob, sizing};
use pagemill_queue::{Address, InProcess, PageQueue};
use pagemill_store::{PartitionRow, Planned, Store};

use crate::{
    app::App,
    exit::Unavailable,
    pipeline::{Ended, Intake, Pipeline, message},
    plan::{Asked, plan},
    rescue,
    stop::{Stage, Stop},
};

/// What a producer did.
#[derive(Debug)]
pub struct Produced {
    /// The plan: the run, and what is sealed already.
    pub planned: Planned,
    /// The run's own partitions, one by one.
    pub partitions: Vec<ProducedPartition>,
}

/// What a producer did for one partition.
#[derive(Debug)]
pub struct ProducedPartition {
    /// As it stands now.
    pub partition: PartitionRow,
    /// Page jobs published by this producer.
    pub published: u64,
    /// Whether an earlier producer had published it.
    pub before: bool,
}

/// First pages in flight at a time where no rate says how many.
const FIRST_PAGES: u32 = 8;

/// Plans what was asked and publishes it to `queue`. Started twice, it continues an unfinished run
/// and doubles nothing.
///
/// # Errors
/// What cannot be asked for, and PostgreSQL or the queue being away.
pub async fn produce<Q: PageQueue>(
    app: &App,
    queue: &Q,
    asked: &Asked,
    stop: &Stop,
) -> anyhow::Result<Produced> {
    let owner = crate::consume::identity();
    let planned = plan(&app.store, &app.sources, asked, &owner).await?;
    let (Some(run), None) = (planned.run, &planned.busy) else {
        return Ok(Produced { planned, partitions: Vec::new() });
    };
    let lease = Lease::keep(app.store.clone(), run, owner);
    let own: Vec<&PartitionRow> = planned.open.iter().filter(|o| !o.adopted).map(|o| &o.partition).collect();
    let mut first_pages = Vec::new();
    let mut republished = HashMap::new();
    for partition in own.iter().filter(|p| !p.progress.published) {
        if planned.continued && (partition.progress.total.is_some() || partition.progress.done > 0) {
            // Its producer died between the first page and the last publish.
            republished.insert(partition.id, rescue::publish_missing(app, queue, partition.id).await?);
        } else {
            first_pages.push(partition.job(partition.progress.first_page, 0));
        }
    }
    run_first_pages(app, queue, first_pages, stop).await?;
    let mut partitions = Vec::with_capacity(own.len());
    for before in own {
        let partition = app.store.partition(before.id).await?;
        let others = partition.planned().map_or(0, |planned| u64::from(planned.count()) - 1);
        let published = match republished.get(&before.id) {
            Some(missing) => *missing,
            None if before.progress.published || !partition.progress.published => 0,
            None => others,
        };
        partitions.push(ProducedPartition { partition, published, before: before.progress.published });
    }
    if stop.is(Stage::Draining) && partitions.iter().any(|p| p.partition.is_unpublished()) {
        // Its lease runs out; the next producer, or a rescue, goes on from there.
        return Err(
            Unavailable(format!("stopped before all of run {run} was published: start it again")).into()
        );
    }
    lease.release().await?;
    Ok(Produced { planned, partitions })
}

/// Runs first pages through the pipeline: their rows are stored, their totals learnt, all other
/// pages published. One that fails is published like any job and takes the ordinary way.
async fn run_first_pages<Q: PageQueue>(
    app: &App,
    queue: &Q,
    jobs: Vec<PageJob>,
    stop: &Stop,
) -> anyhow::Result<()> {
    let pipeline = Pipeline::new(app, queue.clone());
    let local = InProcess::new(app.settings.retry.clone());
    let mut intakes = Vec::new();
    let mut rate = None;
    for source in app.sources.iter() {
        for lane in Lane::ALL {
            let of_lane: Vec<_> = jobs
                .iter()
                .filter(|j| j.slice.source == source.name() && j.lane == lane)
                .map(message)
                .collect();
            if of_lane.is_empty() {
                continue;
            }
            rate = source.quota.per_second();
            let most = Some(of_lane.len());
            local.publish(&Address::Lane { source: source.name().to_owned(), lane }, of_lane).await?;
            let deliveries = local.subscribe(source.name(), lane, FIRST_PAGES as u16 * 2).await?;
            intakes.push(Intake { deliveries, most });
        }
    }
    if intakes.is_empty() {
        return Ok(());
    }
    let second = Duration::from_secs(1);
    let size = sizing(rate, second, second, Some(FIRST_PAGES), app.settings.batch_pages);
    match pipeline.run(intakes, size, stop).await {
        Ended::Drained => Ok(()),
        Ended::Unavailable(why) => Err(Unavailable(why).into()),
    }
}

/// The heartbeat lease of whoever publishes a run. Dropped, it runs out.
pub struct Lease {
    store: Store,
    run: i64,
    owner: Arc<str>,
    beating: tokio::task::JoinHandle<()>,
}

impl Lease {
    /// Renews the lease that the plan has taken.
    pub fn keep(store: Store, run: i64, owner: String) -> Self {
        let owner: Arc<str> = owner.into();
        let beating = tokio::spawn({
            let (store, owner) = (store.clone(), owner.clone());
            async move {
                loop {
                    tokio::time::sleep(store.lease() / 3).await;
                    match store.renew_lease(run, &owner).await {
                        Ok(true) => {}
                        Ok(false) => tracing::warn!(run, "another producer has taken this run over"),
                        Err(error) => tracing::warn!(run, %error, "the run's lease could not be renewed"),
                    }
                }
            }
        });
        Self { store, run, owner, beating }
    }

    /// Gives it back: there is nothing left to publish.
    ///
    /// # Errors
    /// As any query.
    pub async fn release(self) -> anyhow::Result<()> {
        Ok(self.store.release_lease(self.run, &self.owner).await?)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.beating.abort();
    }
}
