//! Draining, cancelling, deadlines and blocked threads.

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use pagemill_pool::{Closed, JobOutcome, Jobs, Pool};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

const GRACE: Duration = Duration::from_secs(30);

/// A door that threads wait at, without any runtime. No test comes near the time when it opens by
/// itself, so that a deadline missed is a failure and not a hang.
#[derive(Clone)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn closed() -> Self {
        let door = Self(Arc::default());
        let late = door.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(10));
            late.open();
        });
        door
    }

    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_and_a_cancel_does_not() {
    let token = CancellationToken::new();
    let builder = Pool::builder().workers(1).cancellation_token(token.clone());
    let Pool { jobs, mut results } = builder.start(|_: &u32| Box::pin(std::future::pending::<()>()));
    jobs.submit(0).await.unwrap();
    jobs.submit(1).await.unwrap();
    let start = tokio::time::Instant::now();
    jobs.close();
    assert!(tokio::time::timeout(GRACE, results.next()).await.is_err(), "the job still runs");
    token.cancel();
    let mut returned = [*results.next().await.unwrap().job(), *results.next().await.unwrap().job()];
    returned.sort();
    assert_eq!(returned, [0, 1]);
    assert_eq!(results.next().await, None);
    assert_eq!(results.stuck(), 0);
    let waited = start.elapsed();
    assert!(waited >= GRACE && waited < GRACE + Duration::from_millis(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_early_when_the_work_is_done() {
    let Pool { jobs, mut results } =
        Pool::builder().start(|_: &u32| Box::pin(tokio::time::sleep(Duration::from_secs(3))));
    jobs.submit(0).await.unwrap();
    let start = tokio::time::Instant::now();
    jobs.close();
    assert!(matches!(results.next().await, Some(JobOutcome::Done { .. })));
    assert_eq!(results.next().await, None);
    assert_eq!(results.stuck(), 0);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_frees_a_waiting_submitter_though_nobody_reads() {
    let token = CancellationToken::new();
    let builder = Pool::builder().workers(1).jobs(1).results(1).cancellation_token(token.clone());
    let Pool { jobs, results: _results } = builder.start(|_: &u32| Box::pin(async {}));
    // One outcome in the buffer, one in the worker's hands, one job in the queue.
    for job in 0..3 {
        jobs.submit(job).await.unwrap();
    }
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        token.cancel();
    };
    let (submitted, ()) = tokio::join!(jobs.submit(3), cancel);
    assert_eq!(submitted, Err(Closed(3)));
}

#[test]
fn a_cancel_holds_its_deadline_though_every_thread_is_blocked() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let door = Door::closed();
    let (arrive, arrived) = mpsc::channel();
    let (stuck, outcomes, took) = runtime.block_on(async {
        let threads = door.clone();
        let token = CancellationToken::new();
        let builder = Pool::builder().workers(4).cancellation_token(token.clone());
        let Pool { jobs, mut results } = builder.start(move |job: &u32| {
            let (door, arrive) = (threads.clone(), arrive.clone());
            Box::pin(async move {
                arrive.send(*job).unwrap();
                door.wait();
            })
        });
        for job in 0..6 {
            jobs.submit(job).await.unwrap();
        }
        for _ in 0..2 {
            arrived.recv().unwrap();
        }
        let start = Instant::now();
        token.cancel();
        let mut outcomes = Vec::new();
        while let Some(outcome) = results.next().await {
            outcomes.push(outcome);
        }
        (results.stuck(), outcomes, start.elapsed())
    });
    door.open();
    assert!(took < Duration::from_millis(1000), "{took:?}");
    assert_eq!(stuck, 2);
    assert_eq!(outcomes.len(), 4);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, JobOutcome::Returned { .. })));
}

#[test]
fn the_results_end_though_a_thread_is_blocked() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let door = Door::closed();
    let (arrive, arrived) = mpsc::channel();
    let stuck = runtime.block_on(async {
        let threads = door.clone();
        let token = CancellationToken::new();
        let builder = Pool::builder().workers(2).cancellation_token(token.clone());
        let Pool { jobs, mut results } = builder.start(move |_: &u32| {
            let (door, arrive) = (threads.clone(), arrive.clone());
            Box::pin(async move {
                arrive.send(()).unwrap();
                door.wait();
            })
        });
        jobs.submit(0).await.unwrap();
        arrived.recv().unwrap();
        token.cancel();
        assert_eq!(results.next().await, None);
        results.stuck()
    });
    door.open();
    assert_eq!(stuck, 1);
}

#[test]
fn a_dropped_reader_drops_jobs_though_a_handler_blocks() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let door = Door::closed();
    let (arrive, arrived) = mpsc::channel();
    let threads = door.clone();
    runtime.block_on(async {
        let builder = Pool::builder().workers(2).jobs(1);
        let Pool { jobs, results } = builder.start(move |(_, blocks): &(Arc<()>, bool)| {
            let (door, arrive, blocks) = (threads.clone(), arrive.clone(), *blocks);
            Box::pin(async move {
                arrive.send(()).unwrap();
                if blocks {
                    door.wait();
                }
                std::future::pending::<()>().await
            })
        });
        let job = Arc::new(());
        jobs.submit((Arc::new(()), true)).await.unwrap();
        for _running_or_buffered in 0..2 {
            jobs.submit((Arc::clone(&job), false)).await.unwrap();
        }
        for _begun in 0..2 {
            arrived.recv().unwrap();
        }
        drop(results);
        // This thread is not one of the runtime's, and needs no timer of it.
        let start = Instant::now();
        while Arc::strong_count(&job) > 1 && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let held = Arc::strong_count(&job) - 1;
        door.open();
        assert_eq!(held, 0, "jobs are held while the handler of another job blocks");
    });
}

#[test]
fn a_handler_that_blocks_within_the_half_second_still_delivers() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let door = Door::closed();
    let (arrive, arrived) = mpsc::channel();
    runtime.block_on(async {
        let threads = door.clone();
        let token = CancellationToken::new();
        let builder = Pool::builder().workers(1).cancellation_token(token.clone());
        let Pool { jobs, mut results } = builder.start(move |_: &u32| {
            let (door, arrive) = (threads.clone(), arrive.clone());
            Box::pin(async move {
                arrive.send(()).unwrap();
                door.wait();
            })
        });
        jobs.submit(0).await.unwrap();
        arrived.recv().unwrap();
        token.cancel();
        door.open();
        assert_eq!(results.next().await, Some(JobOutcome::Done { job: 0, result: () }));
        assert_eq!(results.next().await, None);
        assert_eq!(results.stuck(), 0);
    });
}

#[tokio::test]
async fn a_cancelled_blocking_job_comes_back_while_its_thread_runs_on() {
    let (door, begun, ended) = (Door::closed(), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let thread = (door.clone(), Arc::clone(&begun), Arc::clone(&ended));
    let token = CancellationToken::new();
    let builder = Pool::builder().workers(1).cancellation_token(token.clone());
    let Pool { jobs, mut results } = builder.start(move |_: &u32| {
        let (door, begun, ended) = thread.clone();
        Box::pin(async {
            let work = move || {
                begun.notify_one();
                door.wait();
                ended.notify_one();
            };
            spawn_blocking(work).await.unwrap();
        })
    });
    jobs.submit(0).await.unwrap();
    begun.notified().await;
    token.cancel();
    assert_eq!(results.next().await, Some(JobOutcome::Returned { job: 0 }));
    assert_eq!(results.next().await, None);
    assert_eq!(results.stuck(), 0);
    door.open();
    ended.notified().await;
}

/// A race, run often: it can miss a fault, but what it finds is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_submit_that_races_a_cancel_is_accepted_or_refused_never_lost() {
    for round in 0..2000 {
        let token = CancellationToken::new();
        let builder = Pool::builder().workers(2).jobs(64).results(1).cancellation_token(token.clone());
        let Pool { jobs, mut results } = builder.start(|_: &u32| Box::pin(async {}));
        let submit = |jobs: Jobs<u32>| async move {
            let mut accepted = 0;
            while let Ok(()) = jobs.submit(0).await {
                accepted += 1;
            }
            accepted
        };
        let submitters = [tokio::spawn(submit(jobs.clone())), tokio::spawn(submit(jobs))];
        let mut outcomes = 0;
        for _ in 0..round % 8 {
            results.next().await.unwrap();
            outcomes += 1;
        }
        token.cancel();
        while results.next().await.is_some() {
            outcomes += 1;
        }
        let [first, second] = submitters;
        assert_eq!(outcomes, first.await.unwrap() + second.await.unwrap(), "round {round}");
        assert_eq!(results.stuck(), 0);
    }
}
