//! Runs the pool's own code under many schedules: at each lock, permit and signal shuttle chooses which
//! task goes on. Nothing here sleeps, and a task that waits for ever is reported as a deadlock.
//!
//! `PAGEMILL_POOL_SCHEDULES=100000` runs that many schedules of each check, `PAGEMILL_POOL_SEED=7` the
//! schedules of one seed. A check that fails prints the command that runs its seed again.

mod case;
mod job;

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::panicking;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};

use crate::sync::{DEADLINES_PASS, spawn};
use case::{Case, End, FINITE, submit};
use job::Deed;

/// Schedules of one seed.
const PER_SEED: usize = 500;
/// Schedules of each check, unless the environment says otherwise: as many random ones as PCT ones.
const SCHEDULES: usize = 8 * PER_SEED;

#[test]
fn close() {
    check("close", || async {
        let mut case = Case::start(&FINITE);
        let submitters = [case.submitter(2), case.submitter(2)];
        let (jobs, late) = (case.jobs(), case.job());
        let closer = spawn(async move {
            jobs.close();
            assert!(jobs.is_closed());
            submit(&jobs, vec![late]).await
        });
        case.read_all().await;
        let late = closer.await.unwrap();
        assert!(late.accepted.is_empty(), "accepted after the close");
        case.settle(late);
        case.settle_tasks(submitters).await;
        case.assert_never(End::Returned);
        case.finish(0).await;
    });
}

#[test]
fn drain() {
    check("drain", || async {
        let mut case = Case::start(&FINITE);
        let submitters = [case.submitter(2), case.submitter(1)];
        case.drop_jobs();
        case.read_all().await;
        case.settle_tasks(submitters).await;
        case.assert_never(End::Returned);
        case.assert_never(End::Refused);
        case.finish(0).await;
    });
}

#[test]
fn order() {
    check("order", || async {
        let mut case = Case::start_with(&FINITE, 1);
        let submitter = case.submitter(4);
        case.drop_jobs();
        case.read_all().await;
        assert_eq!(case.outcome_ids(), [0, 1, 2, 3]);
        case.settle_tasks([submitter]).await;
        case.finish(0).await;
    });
}

#[test]
fn panics() {
    check("panics", || async {
        let mut case = Case::start(&[Deed::Panic, Deed::PanicLater, Deed::PanicAndPanicInDrop]);
        // More of them than workers, so that one that is lost stops the pool.
        let submitters = [case.submitter(2), case.submitter(2)];
        case.deeds(&FINITE);
        let after = case.submitter(1);
        case.drop_jobs();
        case.read_all().await;
        case.settle_tasks(submitters).await;
        case.settle_tasks([after]).await;
        case.assert_never(End::Returned);
        case.assert_never(End::Refused);
        case.finish(0).await;
    });
}

#[test]
fn cancel() {
    check("cancel", || async {
        let mut case = Case::start(&Deed::ALL);
        let submitters = [case.submitter(2), case.submitter(2)];
        let canceller = case.canceller();
        case.read_all().await;
        canceller.await.unwrap();
        case.settle_tasks(submitters).await;
        case.finish(0).await;
    });
}

/// Nobody reads before all is over: submitters and workers get free all the same.
#[test]
fn cancel_unread() {
    check("cancel_unread", || async {
        let mut case = Case::start(&Deed::ALL);
        let submitters = [case.submitter(2), case.submitter(2)];
        case.canceller().await.unwrap();
        case.settle_tasks(submitters).await;
        case.workers_gone().await;
        case.read_all().await;
        case.finish(0).await;
    });
}

/// A drain that is cut short by a cancel.
#[test]
fn stop() {
    check("stop", || async {
        let mut case = Case::start(&Deed::ALL);
        let submitters = [case.submitter(2), case.submitter(2)];
        let (jobs, token) = (case.jobs(), case.token());
        let stopper = spawn(async move {
            jobs.close();
            token.cancel();
        });
        case.read_all().await;
        stopper.await.unwrap();
        case.settle_tasks(submitters).await;
        case.finish(0).await;
    });
}

/// The deadline passes while workers are still on their way out.
#[test]
fn deadline() {
    check("deadline", || async {
        DEADLINES_PASS.set(true);
        let mut case = Case::start(&Deed::ALL);
        let submitters = [case.submitter(2), case.submitter(2)];
        let canceller = case.canceller();
        case.read_all().await;
        canceller.await.unwrap();
        case.settle_tasks(submitters).await;
        let stuck = case.stuck();
        case.finish(stuck).await;
    });
}

/// The reader goes while jobs are under way.
#[test]
fn hand_back() {
    check("hand_back", || async {
        let mut case = Case::start(&Deed::ALL);
        let submitters = [case.submitter(2), case.submitter(2)];
        let canceller = case.sometimes_canceller();
        case.read_some().await;
        case.drop_results();
        let late = case.job();
        let late = submit(&case.jobs(), vec![late]).await;
        assert!(late.accepted.is_empty(), "accepted without a reader");
        case.settle(late);
        case.settle_tasks(submitters).await;
        canceller.await.unwrap();
        case.finish_unread().await;
    });
}

/// A `submit` or a `next` that is dropped takes nothing with it.
#[test]
fn dropped_futures() {
    check("dropped_futures", || async {
        let mut case = Case::start(&FINITE);
        let submitters = [case.submitter(2), case.impatient_submitter(3)];
        case.drop_jobs();
        case.read_all_impatiently().await;
        case.settle_tasks(submitters).await;
        case.assert_never(End::Returned);
        case.finish(0).await;
    });
}

/// Runs the schedules of a check: random ones of even seeds, of odd ones those that prefer one task to
/// another and change their mind a few times (PCT).
fn check<F: Future<Output = ()> + 'static>(name: &'static str, body: fn() -> F) {
    let seeds = match number("PAGEMILL_POOL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PAGEMILL_POOL_SCHEDULES").unwrap_or(SCHEDULES).div_ceil(PER_SEED),
    };
    for seed in seeds {
        let begun = Arc::new(AtomicUsize::new(0));
        let _replay = Replay { name, seed, begun: Arc::clone(&begun) };
        let mut config = Config::new();
        // A panic needs more than shuttle gives.
        config.stack_size = 512 * 1024;
        // A seed is enough to run a schedule again.
        config.failure_persistence = FailurePersistence::None;
        let run = move || {
            begun.fetch_add(1, SeqCst);
            DEADLINES_PASS.set(false);
            shuttle::future::block_on(body());
        };
        let random = seed as u64;
        if seed % 2 == 0 {
            Runner::new(RandomScheduler::new_from_seed(random, PER_SEED), config).run(run);
        } else {
            let changes = 2 + seed / 2 % 4;
            Runner::new(PctScheduler::new_from_seed(random, changes, PER_SEED), config).run(run);
        }
    }
}

fn number(variable: &str) -> Option<usize> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Says how to run a seed again, if it fails.
struct Replay {
    name: &'static str,
    seed: usize,
    begun: Arc<AtomicUsize>,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if panicking() {
            let Self { name, seed, begun } = self;
            eprintln!(
                "Schedule {} of seed {seed} failed. To run it again:\n\
                 PAGEMILL_POOL_SEED={seed} cargo test -p pagemill-pool --lib schedules::{name} -- --exact",
                begun.load(SeqCst)
            );
        }
    }
}
