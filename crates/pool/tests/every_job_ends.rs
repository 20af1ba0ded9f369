//! Whatever happens, every job ends exactly once: done, failed, returned, or handed back by `submit`.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pagemill_pool::{BoxFuture, Closed, JobOutcome, Jobs, Pool, Results};
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// No case comes near it: on the paused clock it strikes at once in a deadlock.
const DEADLOCK: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behavior {
    Return,
    Yield,
    PanicBeforeFuture,
    PanicInPoll,
    PanicInPollAndDrop,
    Never,
    NeverAndPanicInDrop,
}

impl Behavior {
    fn never_ends(self) -> bool {
        matches!(self, Self::Never | Self::NeverAndPanicInDrop)
    }

    fn may_end_as(self, end: End) -> bool {
        match end {
            End::Done => matches!(self, Self::Return | Self::Yield),
            End::Failed => {
                matches!(self, Self::PanicBeforeFuture | Self::PanicInPoll | Self::PanicInPollAndDrop)
            }
            End::Returned | End::HandedBack => true,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The last `Jobs` is dropped.
    Close,
    /// `Jobs` is closed while clones are left.
    Drain,
    Cancel,
    /// Drain, then cancel.
    Stop {
        grace: Duration,
        read_meanwhile: bool,
    },
    /// The reader goes.
    Leave,
}

#[derive(Clone, Debug)]
struct Case {
    workers: usize,
    jobs: usize,
    results: usize,
    behaviors: Vec<Behavior>,
    /// Submitted by a second task at the moment of the ending.
    latecomers: usize,
    /// When it ends: after this share, in percent, of the outcomes that must come by themselves.
    after: usize,
    ending: Ending,
    threads: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Done,
    Failed,
    Returned,
    HandedBack,
}

/// What all jobs of a case note down.
#[derive(Default)]
struct Counts {
    starts: AtomicUsize,
    running: AtomicUsize,
    most_running: AtomicUsize,
    dropped: AtomicUsize,
}

struct Job {
    id: usize,
    behavior: Behavior,
    started: AtomicUsize,
    counts: Arc<Counts>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, SeqCst);
    }
}

struct Running<'a>(&'a Counts);

impl<'a> Running<'a> {
    fn start(job: &'a Job) -> Self {
        job.started.fetch_add(1, SeqCst);
        job.counts.starts.fetch_add(1, SeqCst);
        let now = job.counts.running.fetch_add(1, SeqCst) + 1;
        job.counts.most_running.fetch_max(now, SeqCst);
        Self(&job.counts)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

/// A hand-made future that survives its own panic, and panics again when it is dropped.
struct Spiteful<'a> {
    panic_in_poll: bool,
    _running: Running<'a>,
}

impl Future for Spiteful<'_> {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<usize> {
        if self.panic_in_poll { panic!("in poll") } else { Poll::Pending }
    }
}

impl Drop for Spiteful<'_> {
    fn drop(&mut self) {
        panic!("in drop")
    }
}

fn handle(job: &Job) -> BoxFuture<'_, usize> {
    let running = Running::start(job);
    if job.behavior == Behavior::PanicBeforeFuture {
        panic!("before the future");
    }
    if let Behavior::PanicInPollAndDrop | Behavior::NeverAndPanicInDrop = job.behavior {
        let panic_in_poll = job.behavior == Behavior::PanicInPollAndDrop;
        return Box::pin(Spiteful { panic_in_poll, _running: running });
    }
    Box::pin(async move {
        let _running = running;
        match job.behavior {
            Behavior::Return => job.id,
            Behavior::Yield => {
                tokio::task::yield_now().await;
                job.id
            }
            Behavior::PanicInPoll => panic!("in poll"),
            Behavior::Never => std::future::pending().await,
            Behavior::PanicBeforeFuture | Behavior::PanicInPollAndDrop | Behavior::NeverAndPanicInDrop => {
                unreachable!()
            }
        }
    })
}

impl Case {
    /// How many outcomes come without a cancel: all jobs that end and stand before the one that would
    /// block the last worker.
    fn certain(&self) -> usize {
        let blocked = |nevers: &mut usize, behavior: &Behavior| {
            *nevers += usize::from(behavior.never_ends());
            Some((*nevers < self.workers, *behavior))
        };
        let free = self.behaviors.iter().scan(0, blocked).take_while(|(free, _)| *free);
        free.filter(|(_, behavior)| !behavior.never_ends()).count()
    }

    fn runtime(&self) -> Runtime {
        if self.threads {
            Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
        } else {
            Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
        }
    }
}

/// The ends of all jobs by their ids; a job that ended twice has two.
type Ends = BTreeMap<usize, Vec<End>>;

async fn play(case: &Case, counts: &Arc<Counts>) -> Ends {
    let token = CancellationToken::new();
    let builder = Pool::builder().workers(case.workers).jobs(case.jobs).results(case.results);
    let Pool { jobs, mut results } = builder.cancellation_token(token.clone()).start(handle);
    let new_job =
        |id, behavior| Job { id, behavior, started: AtomicUsize::new(0), counts: Arc::clone(counts) };
    let first: Vec<Job> =
        case.behaviors.iter().enumerate().map(|(id, behavior)| new_job(id, *behavior)).collect();
    let late =
        (0..case.latecomers).map(|late| new_job(case.behaviors.len() + late, Behavior::Return)).collect();

    let mut ends = Ends::new();
    let submitter = tokio::spawn(submit_waiting(jobs.clone(), first));
    for _ in 0..case.certain() * case.after / 100 {
        note(&mut ends, results.next().await.expect("the pool ended before it was stopped"));
    }
    let latecomer = tokio::spawn(submit_at_once(jobs.clone(), late));
    end(case.ending, jobs, token, results, &mut ends).await;

    for id in submitter.await.unwrap().into_iter().chain(latecomer.await.unwrap()) {
        ends.entry(id).or_default().push(End::HandedBack);
    }
    // Nobody notices that a pool without a reader has ended, but it lets go of all jobs.
    let total = case.behaviors.len() + case.latecomers;
    while matches!(case.ending, Ending::Leave) && counts.dropped.load(SeqCst) < total {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ends
}

async fn submit_waiting(jobs: Jobs<Job>, list: Vec<Job>) -> Vec<usize> {
    let mut handed_back = Vec::new();
    for job in list {
        if let Err(Closed(job)) = jobs.submit(job).await {
            handed_back.push(job.id);
        }
    }
    handed_back
}

async fn submit_at_once(jobs: Jobs<Job>, list: Vec<Job>) -> Vec<usize> {
    let mut handed_back = Vec::new();
    for job in list {
        let id = job.id;
        match pin!(jobs.submit(job)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {}
            // Without room now, the job goes with the future.
            Poll::Ready(Err(Closed(_))) | Poll::Pending => handed_back.push(id),
        }
    }
    handed_back
}

async fn end(
    ending: Ending,
    jobs: Jobs<Job>,
    token: CancellationToken,
    mut results: Results<Job, usize>,
    ends: &mut Ends,
) {
    match ending {
        Ending::Close => drop(jobs),
        Ending::Drain => jobs.close(),
        Ending::Cancel => token.cancel(),
        Ending::Stop { grace, read_meanwhile } => {
            jobs.close();
            let stopping = async {
                tokio::time::sleep(grace).await;
                token.cancel();
            };
            if read_meanwhile {
                tokio::join!(stopping, read(&mut results, ends));
            } else {
                stopping.await;
            }
        }
        Ending::Leave => return drop(results),
    }
    read(&mut results, ends).await;
    assert_eq!(results.stuck(), 0);
}

async fn read(results: &mut Results<Job, usize>, ends: &mut Ends) {
    while let Some(outcome) = results.next().await {
        note(ends, outcome);
    }
}

fn note(ends: &mut Ends, outcome: JobOutcome<Job, usize>) {
    let job = outcome.job();
    assert!(job.started.load(SeqCst) <= 1, "job {} was given to two workers", job.id);
    let end = match &outcome {
        JobOutcome::Done { result, .. } => {
            assert_eq!((*result, job.started.load(SeqCst)), (job.id, 1));
            End::Done
        }
        JobOutcome::Failed { panic, .. } => {
            assert!(["before the future", "in poll"].contains(&panic.message.as_str()), "{panic}");
            End::Failed
        }
        JobOutcome::Returned { .. } => End::Returned,
    };
    ends.entry(job.id).or_default().push(end);
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let counts = Arc::new(Counts::default());
    let runtime = case.runtime();
    let ends = runtime.block_on(async { tokio::time::timeout(DEADLOCK, play(case, &counts)).await });
    drop(runtime);
    let Ok(ends) = ends else { return Err(TestCaseError::fail("deadlock")) };

    let total = case.behaviors.len() + case.latecomers;
    for id in 0..total {
        let behavior = case.behaviors.get(id).copied().unwrap_or(Behavior::Return);
        match (ends.get(&id).map(Vec::as_slice), case.ending) {
            // Nobody was there to learn of it.
            (None, Ending::Leave) => {}
            (Some([end]), ending) => {
                prop_assert!(behavior.may_end_as(*end), "job {id}, {behavior:?}, ended as {end:?}");
                let drained = matches!(ending, Ending::Close | Ending::Drain);
                prop_assert!(!(drained && *end == End::Returned), "job {id} was cancelled by a drain");
                let refused = *end == End::HandedBack && id < case.behaviors.len();
                prop_assert!(!(matches!(ending, Ending::Close) && refused), "job {id} was refused");
            }
            (ends, _) => prop_assert!(false, "job {id}, {behavior:?}, ended as {ends:?}"),
        }
    }
    prop_assert_eq!(counts.dropped.load(SeqCst), total, "jobs dropped");
    prop_assert_eq!(counts.running.load(SeqCst), 0, "futures left");
    prop_assert!(counts.most_running.load(SeqCst) <= case.workers);
    prop_assert!(counts.starts.load(SeqCst) <= total);
    Ok(())
}

fn behavior() -> impl Strategy<Value = Behavior> {
    prop_oneof![
        4 => Just(Behavior::Return),
        4 => Just(Behavior::Yield),
        1 => Just(Behavior::PanicBeforeFuture),
        1 => Just(Behavior::PanicInPoll),
        1 => Just(Behavior::PanicInPollAndDrop),
        1 => Just(Behavior::Never),
        1 => Just(Behavior::NeverAndPanicInDrop),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    let stop = (0_u64..5, any::<bool>()).prop_map(|(grace, read_meanwhile)| Ending::Stop {
        grace: Duration::from_millis(grace),
        read_meanwhile,
    });
    prop_oneof![Just(Ending::Close), Just(Ending::Drain), Just(Ending::Cancel), stop, Just(Ending::Leave)]
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..8, 1_usize..16, 1_usize..16);
    let work = (proptest::collection::vec(behavior(), 0..60), 0_usize..8);
    (sizes, work, 0_usize..=100, ending(), any::<bool>()).prop_map(
        |((workers, jobs, results), (mut behaviors, latecomers), after, ending, threads)| {
            if let Ending::Close | Ending::Drain = ending {
                behaviors.retain(|behavior| !behavior.never_ends());
            }
            Case { workers, jobs, results, behaviors, latecomers, after, ending, threads }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_job_ends_exactly_once(case in case()) {
        check(&case)?;
    }
}
