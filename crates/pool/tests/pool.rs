//! One behaviour of the pool per test.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use pagemill_pool::{Closed, JobOutcome, Panic, Pool};
use tokio::runtime::Builder;
use tokio::sync::{Barrier, Semaphore};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// On the paused clock a sleep ends when nobody has anything left to do.
async fn until_idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Fails where the test would hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(10 * SECOND, future).await.expect("a deadlock")
}

fn failure<J, R>(outcome: Option<JobOutcome<J, R>>) -> Panic {
    match outcome {
        Some(JobOutcome::Failed { panic, .. }) => panic,
        Some(JobOutcome::Done { .. } | JobOutcome::Returned { .. }) | None => panic!("not a failure"),
    }
}

#[tokio::test(start_paused = true)]
async fn workers_run_side_by_side() {
    let everyone = Arc::new(Barrier::new(5));
    let Pool { jobs, mut results, .. } = Pool::builder().workers(5).start(move |_: &u32| {
        let everyone = Arc::clone(&everyone);
        Box::pin(async move { everyone.wait().await.is_leader() })
    });
    for job in 0..5 {
        jobs.submit(job).await.unwrap();
    }
    let mut leaders = 0;
    for _ in 0..5 {
        let outcome =
            tokio::time::timeout(SECOND, results.next()).await.expect("all five are needed at once");
        leaders += usize::from(matches!(outcome, Some(JobOutcome::Done { result: true, .. })));
    }
    assert_eq!(leaders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_job_goes_to_two_workers() {
    let starts: Arc<Vec<AtomicUsize>> = Arc::new((0..1000).map(|_| AtomicUsize::new(0)).collect());
    let counted = Arc::clone(&starts);
    let Pool { jobs, mut results, .. } = Pool::builder().workers(8).jobs(16).start(move |job: &usize| {
        let starts = Arc::clone(&counted);
        Box::pin(async move {
            starts[*job].fetch_add(1, SeqCst);
            tokio::task::yield_now().await;
        })
    });
    for quarter in 0..4 {
        let jobs = jobs.clone();
        tokio::spawn(async move {
            for job in quarter * 250..(quarter + 1) * 250 {
                jobs.submit(job).await.unwrap();
            }
        });
    }
    drop(jobs);
    let mut outcomes = 0;
    while soon(results.next()).await.is_some() {
        outcomes += 1;
    }
    assert_eq!(outcomes, 1000);
    assert!(starts.iter().all(|starts| starts.load(SeqCst) == 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_submit_wait() {
    let permits = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&permits);
    let Pool { jobs, results: _results, .. } = Pool::builder().workers(1).jobs(2).start(move |_: &u32| {
        let gate = Arc::clone(&gate);
        Box::pin(async move { gate.acquire().await.unwrap().forget() })
    });
    jobs.submit(0).await.unwrap();
    until_idle().await;
    jobs.submit(1).await.unwrap();
    jobs.submit(2).await.unwrap();
    let mut fourth = pin!(jobs.submit(3));
    assert!(fourth.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    permits.add_permits(1);
    fourth.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn full_results_make_the_workers_wait() {
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    let Pool { jobs, mut results, .. } = Pool::builder().workers(1).results(2).start(move |_: &u32| {
        counted.fetch_add(1, SeqCst);
        Box::pin(async {})
    });
    for job in 0..10 {
        jobs.submit(job).await.unwrap();
    }
    until_idle().await;
    assert_eq!(starts.load(SeqCst), 3, "two outcomes in the buffer, one in the worker's hands");
    results.next().await.unwrap();
    until_idle().await;
    assert_eq!(starts.load(SeqCst), 4);
}

#[tokio::test]
async fn close_drains_what_is_buffered_and_refuses_the_rest() {
    let Pool { jobs, mut results, .. } =
        Pool::builder().workers(1).jobs(3).start(|job: &u32| Box::pin(async move { job * 2 }));
    for job in 0..3 {
        jobs.submit(job).await.unwrap();
    }
    let mut waiting = pin!(jobs.submit(3));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    jobs.close();
    assert_eq!(waiting.await, Err(Closed(3)));
    assert_eq!(jobs.submit(4).await, Err(Closed(4)));
    assert!(jobs.is_closed());
    for job in 0..3 {
        assert_eq!(soon(results.next()).await, Some(JobOutcome::Done { job, result: job * 2 }));
    }
    assert_eq!(soon(results.next()).await, None);
}

const LINE: u32 = line!() + 2;
fn curse(job: u32) -> u32 {
    if job == 7 { panic!("page {job} is cursed") } else { job }
}

#[tokio::test]
async fn a_panic_is_recorded_with_its_message_and_place() {
    let Pool { jobs, mut results, .. } =
        Pool::builder().workers(1).start(|job: &u32| Box::pin(async move { curse(*job) }));
    jobs.submit(7).await.unwrap();
    jobs.submit(8).await.unwrap();
    let Some(JobOutcome::Failed { job: 7, panic }) = soon(results.next()).await else {
        panic!("7 did not fail")
    };
    assert_eq!(panic.message, "page 7 is cursed");
    let location = panic.location.unwrap();
    assert!(location.starts_with(&format!("{}:{LINE}:", file!())), "{location}");
    assert_eq!(soon(results.next()).await, Some(JobOutcome::Done { job: 8, result: 8 }));
}

#[tokio::test]
async fn a_panic_before_the_future_is_contained() {
    let Pool { jobs, mut results, .. } = Pool::builder().workers(1).start(|job: &u32| {
        assert_ne!(*job, 0, "no page 0");
        Box::pin(async move { *job })
    });
    jobs.submit(0).await.unwrap();
    jobs.submit(1).await.unwrap();
    assert!(failure(soon(results.next()).await).message.contains("no page 0"));
    assert_eq!(soon(results.next()).await, Some(JobOutcome::Done { job: 1, result: 1 }));
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in drop")
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_a_cancelled_future_does_no_harm() {
    let token = CancellationToken::new();
    let builder = Pool::builder().workers(2).cancellation_token(token.clone());
    let Pool { jobs, mut results } = builder.start(|_: &u32| {
        let bomb = PanicsInDrop;
        Box::pin(async move {
            let _bomb = bomb;
            std::future::pending::<()>().await
        })
    });
    for job in 0..3 {
        jobs.submit(job).await.unwrap();
    }
    until_idle().await;
    token.cancel();
    let mut returned = Vec::new();
    while let Some(outcome) = soon(results.next()).await {
        assert!(matches!(outcome, JobOutcome::Returned { .. }));
        returned.push(*outcome.job());
    }
    returned.sort();
    assert_eq!(returned, [0, 1, 2]);
    assert_eq!(results.stuck(), 0);
}

#[test]
fn a_contained_panic_is_logged_once() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let Pool { jobs, mut results, .. } =
                Pool::builder().start(|job: &u32| Box::pin(async move { assert_eq!(*job, 0, "said once") }));
            jobs.submit(1).await.unwrap();
            failure(soon(results.next()).await);
        });
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("said once").count(), 1, "{log}");
    assert!(log.contains("ERROR") && log.contains("tests/pool.rs:"), "{log}");
}

#[test]
fn the_results_end_when_the_runtime_shuts_down() {
    let first = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let begun = Arc::new(Semaphore::new(0));
    let begin = Arc::clone(&begun);
    let Pool { jobs, mut results } = first.block_on(async {
        let pool = Pool::builder().workers(1).start(move |_: &u32| {
            begin.add_permits(1);
            Box::pin(std::future::pending::<()>())
        });
        pool.jobs.submit(0).await.unwrap();
        pool.jobs.submit(1).await.unwrap();
        begun.acquire().await.unwrap().forget();
        pool
    });
    drop(first);
    let second = Builder::new_current_thread().build().unwrap();
    second.block_on(async {
        let mut outcomes = 0;
        while let Some(outcome) = results.next().await {
            assert!(matches!(outcome, JobOutcome::Returned { .. }));
            outcomes += 1;
        }
        // The job that was under way went down with its worker, unless the worker was quicker.
        assert_eq!(results.stuck() + outcomes, 2);
        assert_eq!(jobs.submit(2).await, Err(Closed(2)));
    });
}

#[tokio::test(start_paused = true)]
async fn dropping_the_reader_cancels_the_pool() {
    let token = CancellationToken::new();
    let builder = Pool::builder().workers(1).jobs(1).cancellation_token(token.clone());
    let Pool { jobs, results } = builder.start(|_: &Arc<()>| Box::pin(std::future::pending::<()>()));
    let job = Arc::new(());
    jobs.submit(Arc::clone(&job)).await.unwrap();
    until_idle().await;
    jobs.submit(Arc::clone(&job)).await.unwrap();
    drop(results);
    assert_eq!(jobs.submit(Arc::clone(&job)).await, Err(Closed(Arc::clone(&job))));
    until_idle().await;
    assert_eq!(Arc::strong_count(&job), 1, "the pool let go of its jobs");
    assert!(!token.is_cancelled(), "a token that is given to a pool is never cancelled by it");
}

#[test]
fn a_panic_reads_as_message_and_place() {
    let panic = Panic { message: "lost".into(), location: None };
    assert_eq!(panic.to_string(), "lost");
    let panic = Panic { message: "lost".into(), location: Some("a.rs:1:2".into()) };
    assert_eq!(panic.to_string(), "lost at a.rs:1:2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_takes_less_than_a_second_with_every_worker_blocked_and_results_full() {
    let arrived = Arc::new(Barrier::new(5));
    let everyone = Arc::clone(&arrived);
    let token = CancellationToken::new();
    let builder = Pool::builder().workers(4).jobs(8).results(1).cancellation_token(token.clone());
    let Pool { jobs, mut results } = builder.start(move |job: &u32| {
        let everyone = Arc::clone(&everyone);
        Box::pin(async move {
            if *job < 2 {
                return;
            }
            everyone.wait().await;
            std::future::pending().await
        })
    });
    // One outcome fills the results, one waits in a worker's hands: three workers are left for 2, 3, 4.
    for job in 0..13 {
        jobs.submit(job).await.unwrap();
    }
    let blocked = async {
        // The reader's place: a fourth job blocks only once the waiting outcome was handed over.
        results.next().await.unwrap();
        arrived.wait().await;
    };
    soon(blocked).await;
    let start = Instant::now();
    token.cancel();
    let mut rest = Vec::new();
    while let Some(outcome) = results.next().await {
        rest.push(*outcome.job());
    }
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(results.stuck(), 0);
    rest.sort();
    assert_eq!(rest.len(), 12);
    assert_eq!(rest[1..], (2..13).collect::<Vec<_>>());
}
