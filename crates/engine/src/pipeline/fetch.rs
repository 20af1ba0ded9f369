//! The worker's part: from a job to a page that is ready to be stored.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pagemill_core::{Budget, Failure, FailureClass, PageJob};
use pagemill_queue::PageQueue;
use pagemill_source::Fetch;
use pagemill_store::{PageStart, PageWrite, Progress, SamePage, StandingPage, StoreError, StoreErrorKind};

use super::{Pipeline, Work, gate::Pass};
use crate::{
    config::Raw,
    crash,
    credentials::NoToken,
    quota::{NoSlot, Permit},
    sources::Source,
};

/// How a worker's part ended.
pub(super) enum Fetched {
    /// To be stored; the pass is held until it is settled.
    Page(Box<PageWrite>, Pass),
    /// It failed.
    Failed(Failure),
    /// The ledger has it done already.
    Done(Progress),
    /// The ledger has it dead already.
    Dead(Progress),
    /// The ledger no longer wants it.
    Obsolete,
    /// It killed its process too often: dead.
    Convicted(Failure),
    /// The API prepares the report: to come back with this cursor after so long.
    Later(String, Duration),
    /// The report that the API was to prepare is to be ordered anew.
    Anew(Failure),
    /// Nothing of its account or stream can be sent for so long: others go on.
    Parked(Duration),
    /// Nothing of its source can be.
    Shut(Duration),
    /// PostgreSQL cannot be used.
    Unavailable(String),
}

pub(super) async fn fetch_page<Q: PageQueue>(pipeline: &Pipeline<Q>, work: &Work) -> Fetched {
    let job = &work.job;
    let Some(source) = pipeline.sources.get(&job.slice.source) else {
        return Fetched::Failed(Failure::permanent(format!(
            "this consumer has no source {}",
            job.slice.source
        )));
    };
    let Some(table) = source.tables.get(&job.slice.stream) else {
        // Its config may be older, or another's: the job waits for a consumer that pulls it.
        tracing::warn!(source = source.name(), stream = %job.slice.stream, "not among this consumer's `streams`: parked");
        return Fetched::Parked(pipeline.settings.longest_retry());
    };
    let pass = match admit(pipeline, work).await {
        Ok(pass) => pass,
        Err(otherwise) => return otherwise,
    };
    let token = match source.credentials.token(&job.slice.account).await {
        Ok(token) => token,
        Err(NoToken::Failed(failure)) => return Fetched::Failed(failure),
        Err(NoToken::Unavailable(why)) => return Fetched::Unavailable(why),
    };
    let known = match known_page(pipeline, work).await {
        Ok(known) => known,
        Err(error) => return unavailable(error),
    };
    let permit = match source.quota.acquire(&job.slice).await {
        Ok(permit) => permit,
        Err(NoSlot::Parked(wait)) => return Fetched::Parked(wait),
        Err(NoSlot::Shut(wait)) => return Fetched::Shut(wait),
        Err(NoSlot::Unavailable(why)) => return Fetched::Unavailable(why),
    };
    let sent = *work.sent.get_or_init(Instant::now);
    pipeline.counters.sent();
    crash::on_page(job.page);
    let token = token.newest();
    let imprint = known.as_ref().map(|page| &page.imprint);
    let fetched = source.client.fetch_if_changed(job, token.credential(), imprint).await;
    if fetched.is_ok() {
        token.worked();
        source.times.fetched(sent.elapsed());
    }
    match fetched {
        Ok(Fetch::Page(page)) => {
            let body = (pipeline.settings.raw == Raw::Page).then(|| pagemill_store::compress(&page.body));
            heed(source, &permit, page.budget).await;
            let write = PageWrite::new(table, job.clone(), *page, permit.at, body);
            Fetched::Page(Box::new(write), pass)
        }
        Ok(Fetch::Unchanged { request_id, budget }) => {
            heed(source, &permit, budget).await;
            let rows = known.expect("only what is known can be the same").rows;
            let same = SamePage { rows, answer: pipeline.settings.raw == Raw::Page };
            let write = PageWrite::same(job.clone(), same, request_id, permit.at);
            Fetched::Page(Box::new(write), pass)
        }
        Ok(Fetch::Preparing { cursor, wait }) => Fetched::Later(cursor, wait),
        Ok(Fetch::RestartTask(failure)) => Fetched::Anew(failure),
        Err(failure) => {
            if failure.class == FailureClass::Throttled {
                pipeline.counters.throttled();
                noticed(source, source.quota.throttled(&permit, &failure).await);
            }
            if failure.class == FailureClass::Token {
                token.refused();
            }
            Fetched::Failed(failure)
        }
    }
}

/// Anything but a first delivery of a first ordering may be a copy, so the ledger is asked before a
/// request is spent; a page that may have killed its process waits until it is alone.
async fn admit<Q: PageQueue>(pipeline: &Pipeline<Q>, work: &Work) -> Result<Pass, Fetched> {
    let job = &work.job;
    let redelivered = work.delivery.redelivered;
    let pass = pipeline.gate.shared().await;
    if !job.needs_check(redelivered) {
        return Ok(pass);
    }
    let start =
        pipeline.store.start_page(job, redelivered, pipeline.schedule.attempts).await.map_err(unavailable)?;
    match start {
        PageStart::Fetch { suspect: false } => {
            work.marked.store(redelivered, Ordering::Relaxed);
            Ok(pass)
        }
        PageStart::Fetch { suspect: true } => {
            drop(pass);
            let alone = pipeline.gate.alone().await;
            tracing::warn!(
                partition = job.partition,
                page = job.page,
                "a page suspected of killing its process runs alone"
            );
            pipeline.store.start_alone(job).await.map_err(unavailable)?;
            work.marked.store(true, Ordering::Relaxed);
            Ok(alone)
        }
        PageStart::Done(progress) => Err(Fetched::Done(progress)),
        PageStart::Dead(progress) => Err(Fetched::Dead(progress)),
        PageStart::Obsolete => Err(Fetched::Obsolete),
        PageStart::Convicted { crashes } => {
            let what = format!("killed its process {crashes} times while it ran alone");
            Err(Fetched::Convicted(Failure::permanent(what)))
        }
        PageStart::Unknown => Err(Fetched::Failed(unknown_partition(job))),
    }
}

/// The page that this one's answer may say again.
async fn known_page<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    work: &Work,
) -> Result<Option<StandingPage>, StoreError> {
    match work.job.may_stand_on(work.delivery.redelivered) {
        Some(attempt) => pipeline.store.standing_page(attempt, work.job.page).await,
        None => Ok(None),
    }
}

pub(super) fn unknown_partition(job: &PageJob) -> Failure {
    Failure::permanent(format!("the ledger has no partition {}: is this the right database?", job.partition))
}

fn unavailable(error: StoreError) -> Fetched {
    match error.kind() {
        StoreErrorKind::Permanent => Fetched::Failed(Failure::permanent(error.to_string())),
        _ => Fetched::Unavailable(error.to_string()),
    }
}

/// What the API says is left of its quota.
async fn heed(source: &Source, permit: &Permit, budget: Option<Budget>) {
    if let Some(budget) = budget {
        noticed(source, source.quota.told(permit, budget).await);
    }
}

/// The page is what counts: the quota learns it from the next one.
fn noticed(source: &Source, told: Result<(), StoreError>) {
    if let Err(error) = told {
        tracing::warn!(source = source.name(), %error, "the quota could not be told");
    }
}
