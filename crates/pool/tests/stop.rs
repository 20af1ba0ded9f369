//! Deadlines, blocked threads, and the way for work that blocks.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use pagemill_pool::{Jobs, Outcome, Pool, Refused, Stopped, blocking};
use tokio::runtime::Builder;
use tokio::sync::Notify;

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
async fn stop_waits_for_the_grace_and_not_longer() {
    let Pool { jobs, mut results, stopper } =
        Pool::builder().workers(1).start(|_: &u32| Box::pin(std::future::pending::<()>()));
    jobs.submit(0).await.unwrap();
    jobs.submit(1).await.unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(stopper.stop(GRACE).await, Stopped { stuck: 0 });
    let waited = start.elapsed();
    assert!(waited >= GRACE && waited < GRACE + Duration::from_millis(10), "{waited:?}");
    let mut returned = [*results.next().await.unwrap().job(), *results.next().await.unwrap().job()];
    returned.sort();
    assert_eq!(returned, [0, 1]);
    assert_eq!(results.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn stop_returns_early_when_the_work_is_done() {
    let Pool { jobs, mut results, stopper } =
        Pool::builder().start(|_: &u32| Box::pin(tokio::time::sleep(Duration::from_secs(3))));
    jobs.submit(0).await.unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(stopper.stop(GRACE).await, Stopped { stuck: 0 });
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(matches!(results.next().await, Some(Outcome::Done { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_cuts_the_grace_short() {
    let Pool { jobs, results: _results, stopper } =
        Pool::builder().start(|_: &u32| Box::pin(std::future::pending::<()>()));
    jobs.submit(0).await.unwrap();
    let start = tokio::time::Instant::now();
    let second = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stopper.cancel();
    };
    let (stopped, ()) = tokio::join!(stopper.stop(GRACE), second);
    assert_eq!(stopped, Stopped { stuck: 0 });
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn stop_holds_its_deadline_though_every_thread_is_blocked() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let door = Door::closed();
    let (arrive, arrived) = mpsc::channel();
    let (stopped, outcomes, took) = runtime.block_on(async {
        let threads = door.clone();
        let Pool { jobs, mut results, stopper } = Pool::builder().workers(4).start(move |job: &u32| {
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
        let stopped = stopper.stop(Duration::from_millis(50)).await;
        let mut outcomes = Vec::new();
        while let Some(outcome) = results.next().await {
            outcomes.push(outcome);
        }
        (stopped, outcomes, start.elapsed())
    });
    door.open();
    assert!(took < Duration::from_millis(1050), "{took:?}");
    assert_eq!(stopped, Stopped { stuck: 2 });
    assert_eq!(outcomes.len(), 4);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Returned { .. })));
}

#[test]
fn the_results_end_though_a_thread_is_blocked_and_nobody_waits_in_stop() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let door = Door::closed();
    let (arrive, arrived) = mpsc::channel();
    let stopped = runtime.block_on(async {
        let threads = door.clone();
        let Pool { jobs, mut results, stopper } = Pool::builder().workers(2).start(move |_: &u32| {
            let (door, arrive) = (threads.clone(), arrive.clone());
            Box::pin(async move {
                arrive.send(()).unwrap();
                door.wait();
            })
        });
        jobs.submit(0).await.unwrap();
        arrived.recv().unwrap();
        stopper.cancel();
        assert_eq!(results.next().await, None);
        stopper.stopped().await
    });
    door.open();
    assert_eq!(stopped, Stopped { stuck: 1 });
}

#[test]
fn a_handler_that_blocks_within_the_half_second_still_delivers() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let door = Door::closed();
    let (arrive, arrived) = mpsc::channel();
    runtime.block_on(async {
        let threads = door.clone();
        let Pool { jobs, mut results, stopper } = Pool::builder().workers(1).start(move |_: &u32| {
            let (door, arrive) = (threads.clone(), arrive.clone());
            Box::pin(async move {
                arrive.send(()).unwrap();
                door.wait();
            })
        });
        jobs.submit(0).await.unwrap();
        arrived.recv().unwrap();
        stopper.cancel();
        door.open();
        assert_eq!(results.next().await, Some(Outcome::Done { job: 0, result: () }));
        assert_eq!(stopper.stopped().await, Stopped { stuck: 0 });
    });
}

const LINE: u32 = line!() + 2;
fn curse(job: u32) -> u32 {
    if job == 0 { panic!("page {job} is cursed") } else { job }
}

#[tokio::test]
async fn a_panic_in_blocking_work_keeps_its_message_and_place() {
    let Pool { jobs, mut results, .. } = Pool::builder().workers(1).start(|job: &u32| {
        let job = *job;
        Box::pin(blocking(move || curse(job)))
    });
    jobs.submit(0).await.unwrap();
    jobs.submit(1).await.unwrap();
    let Some(Outcome::Failed { job: 0, panic }) = results.next().await else { panic!("0 did not fail") };
    assert_eq!(panic.message, "page 0 is cursed");
    let location = panic.location.unwrap();
    assert!(location.starts_with(&format!("{}:{LINE}:", file!())), "{location}");
    assert_eq!(results.next().await, Some(Outcome::Done { job: 1, result: 1 }));
}

#[tokio::test]
async fn a_cancelled_blocking_job_comes_back_while_its_thread_runs_on() {
    let (door, begun, ended) = (Door::closed(), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let thread = (door.clone(), Arc::clone(&begun), Arc::clone(&ended));
    let Pool { jobs, mut results, stopper } = Pool::builder().workers(1).start(move |_: &u32| {
        let (door, begun, ended) = thread.clone();
        Box::pin(blocking(move || {
            begun.notify_one();
            door.wait();
            ended.notify_one();
        }))
    });
    jobs.submit(0).await.unwrap();
    begun.notified().await;
    stopper.cancel();
    assert_eq!(results.next().await, Some(Outcome::Returned { job: 0 }));
    assert_eq!(results.next().await, None);
    assert_eq!(stopper.stopped().await, Stopped { stuck: 0 });
    door.open();
    ended.notified().await;
}

#[test]
fn cancelled_blocking_work_that_has_not_begun_never_begins() {
    let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
    let (door, begun, starts) = (Door::closed(), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let thread = (door.clone(), Arc::clone(&begun), Arc::clone(&starts));
    runtime.block_on(async {
        let Pool { jobs, mut results, stopper } = Pool::builder().workers(2).start(move |_: &u32| {
            let (door, begun, starts) = thread.clone();
            Box::pin(blocking(move || {
                starts.fetch_add(1, SeqCst);
                begun.notify_one();
                door.wait();
            }))
        });
        jobs.submit(0).await.unwrap();
        jobs.submit(1).await.unwrap();
        begun.notified().await;
        stopper.cancel();
        assert!(matches!(results.next().await, Some(Outcome::Returned { .. })));
        assert!(matches!(results.next().await, Some(Outcome::Returned { .. })));
        assert_eq!(results.next().await, None);
    });
    door.open();
    // Waits for the threads of the runtime.
    drop(runtime);
    assert_eq!(starts.load(SeqCst), 1);
}

#[tokio::test]
async fn outside_a_pool_blocking_work_panics_as_usual() {
    let panic = tokio::spawn(blocking(|| panic!("no pool here"))).await.unwrap_err().into_panic();
    let message = panic.downcast::<String>().unwrap();
    assert!(message.starts_with("no pool here at ") && message.contains("stop.rs:"), "{message}");
}

/// A race, run often: it can miss a fault, but what it finds is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_submit_that_races_a_cancel_is_accepted_or_refused_never_lost() {
    for round in 0..2000 {
        let Pool { jobs, mut results, stopper } =
            Pool::builder().workers(2).jobs(64).results(1).start(|_: &u32| Box::pin(async {}));
        let submit = |jobs: Jobs<u32>| async move {
            let mut accepted = 0;
            loop {
                match jobs.try_submit(0) {
                    Ok(()) => accepted += 1,
                    Err(Refused::Full(_)) => tokio::task::yield_now().await,
                    Err(Refused::Closed(_)) => return accepted,
                }
            }
        };
        let submitters = [tokio::spawn(submit(jobs.clone())), tokio::spawn(submit(jobs))];
        let mut outcomes = 0;
        for _ in 0..round % 8 {
            results.next().await.unwrap();
            outcomes += 1;
        }
        stopper.cancel();
        while results.next().await.is_some() {
            outcomes += 1;
        }
        let [first, second] = submitters;
        assert_eq!(outcomes, first.await.unwrap() + second.await.unwrap(), "round {round}");
        assert_eq!(stopper.stopped().await, Stopped { stuck: 0 });
    }
}
