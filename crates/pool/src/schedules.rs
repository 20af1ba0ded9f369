//! Runs the pool's own code under many schedules: at each lock, permit and signal shuttle chooses which
//! task goes on. Nothing here sleeps, and a task that waits for ever is reported as a deadlock.
//!
//! `PAGEMILL_POOL_SCHEDULES=100000` runs that many schedules of each check, `PAGEMILL_POOL_SEED=7` the
//! schedules of one seed. A check that fails prints the command that runs its seed again.

mod counts;
mod job;
mod test_pool;

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::panicking;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};

use crate::sync::{DEADLINES_PASS, spawn};
use job::Behavior;
use test_pool::{FINITE, JobEnd, TestPool, submit};

/// Schedules of one seed.
const PER_SEED: usize = 500;
/// Schedules of each check, unless the environment says otherwise: as many random ones as PCT ones.
const SCHEDULES: usize = 8 * PER_SEED;

#[test]
fn close() {
    check("close", || async {
        let mut pool = TestPool::start(&FINITE);
        let submitters = [pool.submitter(2), pool.submitter(2)];
        let (jobs, late) = (pool.jobs(), pool.job());
        let closer = spawn(async move {
            jobs.close();
            assert!(jobs.is_closed());
            submit(&jobs, vec![late]).await
        });
        pool.read_all().await;
        let late = closer.await.unwrap();
        assert!(late.accepted.is_empty(), "accepted after the close");
        pool.add_submitted(late);
        pool.join(submitters).await;
        pool.assert_never(JobEnd::Returned);
        pool.finish().await;
    });
}

#[test]
fn drain() {
    check("drain", || async {
        let mut pool = TestPool::start(&FINITE);
        let submitters = [pool.submitter(2), pool.submitter(1)];
        pool.drop_jobs();
        pool.read_all().await;
        pool.join(submitters).await;
        pool.assert_never(JobEnd::Returned);
        pool.assert_never(JobEnd::Refused);
        pool.finish().await;
    });
}

#[test]
fn order() {
    check("order", || async {
        let mut pool = TestPool::start_with(&FINITE, 1);
        let submitter = pool.submitter(4);
        pool.drop_jobs();
        pool.read_all().await;
        assert_eq!(pool.outcome_ids(), [0, 1, 2, 3]);
        pool.join([submitter]).await;
        pool.finish().await;
    });
}

#[test]
fn panics() {
    check("panics", || async {
        let mut pool =
            TestPool::start(&[Behavior::Panic, Behavior::PanicLater, Behavior::PanicAndPanicInDrop]);
        // More of them than workers, so that one that is lost stops the pool.
        let submitters = [pool.submitter(2), pool.submitter(2)];
        pool.set_behaviors(&FINITE);
        let after = pool.submitter(1);
        pool.drop_jobs();
        pool.read_all().await;
        pool.join(submitters).await;
        pool.join([after]).await;
        pool.assert_never(JobEnd::Returned);
        pool.assert_never(JobEnd::Refused);
        pool.finish().await;
    });
}

#[test]
fn cancel() {
    check("cancel", || async {
        let mut pool = TestPool::start(&Behavior::ALL);
        let submitters = [pool.submitter(2), pool.submitter(2)];
        let canceller = pool.canceller();
        pool.read_all().await;
        canceller.await.unwrap();
        pool.join(submitters).await;
        pool.finish().await;
    });
}

/// Nobody reads before all is over: submitters and workers get free all the same.
#[test]
fn cancel_unread() {
    check("cancel_unread", || async {
        let mut pool = TestPool::start(&Behavior::ALL);
        // More of them than the smallest pool holds.
        let submitters = [pool.submitter(3), pool.submitter(3)];
        pool.canceller().await.unwrap();
        pool.join(submitters).await;
        pool.workers_gone().await;
        pool.read_all().await;
        pool.finish().await;
    });
}

/// A drain that is cut short by a cancel.
#[test]
fn stop() {
    check("stop", || async {
        let mut pool = TestPool::start(&Behavior::ALL);
        let submitters = [pool.submitter(2), pool.submitter(2)];
        let (jobs, cancel) = (pool.jobs(), pool.cancel());
        let stopper = spawn(async move {
            jobs.close();
            cancel();
        });
        pool.read_all().await;
        stopper.await.unwrap();
        pool.join(submitters).await;
        pool.finish().await;
    });
}

/// The deadline passes while workers are still on their way out.
#[test]
fn deadline() {
    check("deadline", || async {
        DEADLINES_PASS.set(true);
        let mut pool = TestPool::start(&Behavior::ALL);
        let submitters = [pool.submitter(2), pool.submitter(2)];
        let canceller = pool.canceller();
        pool.read_all().await;
        canceller.await.unwrap();
        pool.join(submitters).await;
        pool.finish().await;
    });
}

/// The reader goes while jobs are under way.
#[test]
fn hand_back() {
    check("hand_back", || async {
        let mut pool = TestPool::start(&Behavior::ALL);
        let submitters = [pool.submitter(2), pool.submitter(2)];
        let canceller = pool.sometimes_canceller();
        pool.read_some().await;
        pool.drop_results();
        let late = pool.job();
        let late = submit(&pool.jobs(), vec![late]).await;
        assert!(late.accepted.is_empty(), "accepted without a reader");
        pool.add_submitted(late);
        pool.join(submitters).await;
        canceller.await.unwrap();
        pool.finish_unread().await;
    });
}

/// A `submit` or a `next` that is dropped takes nothing with it.
#[test]
fn dropped_futures() {
    check("dropped_futures", || async {
        let mut pool = TestPool::start(&FINITE);
        let submitters = [pool.submitter(2), pool.impatient_submitter(3)];
        pool.drop_jobs();
        pool.read_all_impatiently().await;
        pool.join(submitters).await;
        pool.assert_never(JobEnd::Returned);
        pool.finish().await;
    });
}

/// Runs the schedules of a check: random ones for even seeds, PCT ones for odd seeds.
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
