//! Waiting for a run's end: the ledger is polled until no partition of the run is open.

use std::time::Duration;

use pagemill_store::{RunProgress, RunStatus, Store, StoreError, StoreErrorKind};
use tokio::time::Instant;

use crate::{error::UnavailableError, stop::Stop};

const POLL: Duration = Duration::from_millis(250);
/// How long PostgreSQL may be away while a run is followed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time without a consumer after which the observer is notified.
const NO_CONSUMER: Duration = Duration::from_secs(5);

/// An event while a run is followed, for its observer.
#[derive(Debug)]
pub enum FollowEvent<'a> {
    /// The run's progress, at each poll.
    Progress(RunProgress),
    /// The ledger could not be read; it is polled again.
    Waiting(&'a StoreError),
    /// No consumer of these sources has been alive for a while. Reported once.
    NoConsumer(&'a [String]),
}

/// Receives the events while a run is followed.
pub type FollowObserver<'a> = &'a mut (dyn FnMut(FollowEvent<'_>) + Send);

/// Follows a run until its last partition is closed. `sources` are those whose consumers are watched for;
/// `None` where this process does the work itself.
///
/// # Errors
/// [`UnavailableError`] when the time runs out, at a stop, or when PostgreSQL stays away.
pub async fn follow(
    store: &Store,
    run: i64,
    sources: Option<&[String]>,
    timeout: Option<Duration>,
    observe: FollowObserver<'_>,
    stop: &Stop,
) -> anyhow::Result<RunStatus> {
    let started = Instant::now();
    let mut seen = Instant::now();
    let mut consumers = ConsumerWatch { sources, seen: Instant::now(), reported: false };
    loop {
        match store.runs.progress(run).await {
            Ok(progress) => {
                seen = Instant::now();
                observe(FollowEvent::Progress(progress));
                if progress.open_partitions == 0 {
                    return Ok(store.runs.status(run).await?);
                }
            }
            Err(error) if error.kind() == StoreErrorKind::Invalid || seen.elapsed() > PATIENCE => {
                return Err(error.into());
            }
            Err(error) => observe(FollowEvent::Waiting(&error)),
        }
        consumers.look(store, observe).await;
        if timeout.is_some_and(|timeout| started.elapsed() > timeout) {
            let seconds = started.elapsed().as_secs();
            let what = format!("run {run} is not done after {seconds}s: it goes on without this command");
            return Err(UnavailableError(what).into());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = stop.draining() => {
                let what = format!("stopped while run {run} was under way: it can be continued");
                return Err(UnavailableError(what).into());
            }
        }
    }
}

/// Notices that nobody works on the run's pages.
struct ConsumerWatch<'a> {
    sources: Option<&'a [String]>,
    seen: Instant,
    reported: bool,
}

impl ConsumerWatch<'_> {
    async fn look(&mut self, store: &Store, observe: FollowObserver<'_>) {
        let Some(sources) = self.sources else { return };
        if !matches!(store.consumers.count_alive(sources).await, Ok(0)) {
            self.seen = Instant::now();
        }
        if !self.reported && self.seen.elapsed() > NO_CONSUMER {
            observe(FollowEvent::NoConsumer(sources));
            self.reported = true;
        }
    }
}
