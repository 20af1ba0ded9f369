//! A pool with its submitters and its reader, and the counts that must agree at the end.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle_tokio::sync::oneshot;
use shuttle_tokio::task::JoinHandle;

use super::counts::{Bounds, Counts};
use super::job::{Behavior, Job, handle};
use crate::sync::{CancellationToken, DEADLINES_PASS, Mutex, spawn, watch};
use crate::{Closed, JobOutcome, Jobs, Pool, Results};

/// What jobs do that end by themselves.
pub(super) const FINITE: [Behavior; 5] =
    [Behavior::Return, Behavior::Yield, Behavior::Panic, Behavior::PanicLater, Behavior::PanicAndPanicInDrop];

/// How a job came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    Done,
    Failed,
    Returned,
    /// In [`Closed`].
    Refused,
}

/// What became of the jobs of one submitter.
#[derive(Default)]
pub(super) struct Submitted {
    pub(super) accepted: Vec<usize>,
    pub(super) refused: Vec<usize>,
    /// Their `submit` was dropped before it ended.
    pub(super) abandoned: Vec<usize>,
}

pub(super) struct TestPool {
    behaviors: Vec<Behavior>,
    workers: usize,
    counts: Arc<Counts>,
    jobs: Option<Jobs<Job>>,
    results: Option<Results<Job, usize>>,
    token: CancellationToken,
    /// Resolves when the last worker drops the handler.
    workers_gone: oneshot::Receiver<()>,
    /// Fails when the last task of the pool drops what the pool shares.
    shared: watch::Receiver<usize>,
    outcomes: Vec<(usize, JobEnd)>,
    submitted: Submitted,
}

impl TestPool {
    /// A pool of random, small size, whose jobs do any of `behaviors`.
    pub(super) fn start(behaviors: &[Behavior]) -> Self {
        Self::start_with(behaviors, thread_rng().gen_range(1..=3))
    }

    pub(super) fn start_with(behaviors: &[Behavior], workers: usize) -> Self {
        let token = CancellationToken::new();
        let [jobs, results] = [(); 2].map(|()| thread_rng().gen_range(1..=2));
        let counts = Arc::new(Counts::new(Bounds { workers, jobs, results }));
        let builder = Pool::builder().workers(workers).jobs(jobs).results(results);
        let (handler_dropped, workers_gone) = oneshot::channel();
        // In a lock only because a handler is `Sync`, and shuttle's sender is not.
        let handler_dropped = Mutex::new(handler_dropped);
        let Pool { jobs, results } = builder.cancellation_token(token.clone()).start(move |job| {
            let _ = &handler_dropped;
            handle(job)
        });
        Self {
            behaviors: behaviors.to_vec(),
            workers,
            counts,
            shared: results.shared.workers.subscribe(),
            jobs: Some(jobs),
            results: Some(results),
            token,
            workers_gone,
            outcomes: Vec::new(),
            submitted: Submitted::default(),
        }
    }

    /// What jobs made from now on do.
    pub(super) fn set_behaviors(&mut self, behaviors: &[Behavior]) {
        self.behaviors = behaviors.to_vec();
    }

    pub(super) fn job(&mut self) -> Job {
        let behavior = self.behaviors[thread_rng().gen_range(0..self.behaviors.len())];
        Job { id: self.counts.add(), behavior, counts: Arc::clone(&self.counts) }
    }

    pub(super) fn jobs(&self) -> Jobs<Job> {
        self.jobs.clone().expect("the test still holds its `Jobs`")
    }

    /// Cancels the pool when called.
    pub(super) fn cancel(&self) -> impl FnOnce() + Send + 'static {
        let (token, counts) = (self.token.clone(), Arc::clone(&self.counts));
        move || {
            counts.cancel();
            token.cancel();
        }
    }

    /// A task that submits so many jobs, one after another, even once one is refused.
    pub(super) fn submitter(&mut self, count: usize) -> JoinHandle<Submitted> {
        let (jobs, list) = (self.jobs(), self.list(count));
        spawn(async move { submit(&jobs, list).await })
    }

    /// A task that waits for room no longer than a yield.
    pub(super) fn impatient_submitter(&mut self, count: usize) -> JoinHandle<Submitted> {
        let (jobs, list) = (self.jobs(), self.list(count));
        spawn(async move {
            let mut submitted = Submitted::default();
            for job in list {
                let (id, counts) = (job.id, Arc::clone(&job.counts));
                tokio::select! {
                    biased;
                    ended = jobs.submit(job) => submitted.add(id, ended, &counts),
                    () = shuttle::future::yield_now() => submitted.abandoned.push(id),
                }
            }
            submitted
        })
    }

    fn list(&mut self, count: usize) -> Vec<Job> {
        (0..count).map(|_| self.job()).collect()
    }

    pub(super) fn canceller(&self) -> JoinHandle<()> {
        let cancel = self.cancel();
        spawn(async move { cancel() })
    }

    /// Cancels every other time.
    pub(super) fn sometimes_canceller(&self) -> JoinHandle<()> {
        let cancel = self.cancel();
        let wanted = thread_rng().gen_range(0..2) == 0;
        spawn(async move {
            if wanted {
                cancel();
            }
        })
    }

    pub(super) fn drop_jobs(&mut self) {
        self.jobs = None;
    }

    pub(super) fn drop_results(&mut self) {
        self.counts.cancel();
        self.results = None;
    }

    pub(super) async fn workers_gone(&mut self) {
        // An error says that the sender was dropped, which is what is waited for.
        let _ = (&mut self.workers_gone).await;
    }

    pub(super) async fn read_all(&mut self) {
        while self.read().await {}
    }

    pub(super) async fn read_some(&mut self) {
        for _ in 0..thread_rng().gen_range(0..3) {
            // Jobs that never end may leave nothing to read: then this reader would wait for ever.
            tokio::select! {
                biased;
                more = self.read() => assert!(more || self.token.is_cancelled()),
                () = shuttle::future::yield_now() => {}
            }
        }
    }

    /// Drops two `next` that wait, then waits, and so on.
    pub(super) async fn read_all_impatiently(&mut self) {
        loop {
            for _ in 0..2 {
                tokio::select! {
                    biased;
                    more = self.read() => if !more { return },
                    () = shuttle::future::yield_now() => {}
                }
            }
            if !self.read().await {
                return;
            }
        }
    }

    /// Reads one outcome; false at the end.
    async fn read(&mut self) -> bool {
        let results = self.results.as_mut().expect("the test still holds its `Results`");
        let Some(outcome) = results.next().await else { return false };
        let id = outcome.job().id;
        self.counts.count(id, |job| job.read = true);
        self.outcomes.push((id, checked_end(&outcome)));
        true
    }

    pub(super) fn outcome_ids(&self) -> Vec<usize> {
        self.outcomes.iter().map(|(id, _)| *id).collect()
    }

    pub(super) fn stuck(&self) -> usize {
        self.results.as_ref().expect("the test still holds its `Results`").stuck()
    }

    /// Waits for submitters.
    pub(super) async fn join<const N: usize>(&mut self, submitters: [JoinHandle<Submitted>; N]) {
        for submitter in submitters {
            let submitted = submitter.await.unwrap();
            self.add_submitted(submitted);
        }
    }

    pub(super) fn add_submitted(&mut self, submitted: Submitted) {
        self.submitted.accepted.extend(submitted.accepted);
        self.submitted.refused.extend(submitted.refused);
        self.submitted.abandoned.extend(submitted.abandoned);
    }

    pub(super) fn assert_never(&self, end: JobEnd) {
        let refused = end == JobEnd::Refused && !self.submitted.refused.is_empty();
        let found = self.outcomes.iter().any(|(_, found)| *found == end);
        assert!(!refused && !found, "{end:?}: {:?}", self.outcomes);
    }

    /// After the end of the results. Every accepted job came back once, and no other job did. Only if a
    /// deadline passed, a job of each worker may be missing: the pool counts it as stuck. The pool
    /// accepts nothing any more, and drops everything.
    pub(super) async fn finish(mut self) {
        if let Some(jobs) = self.jobs.take() {
            let late = submit(&jobs, self.list(1)).await;
            assert!(late.accepted.is_empty(), "accepted after the end");
        }
        let came = self.outcome_ids();
        let accepted = self.submitted.accepted.iter();
        let missing: Vec<usize> = accepted.copied().filter(|id| !came.contains(id)).collect();
        let most_stuck = if DEADLINES_PASS.get() { self.workers } else { 0 };
        assert!(missing.len() <= most_stuck, "accepted, and never came back: {missing:?}");
        assert_eq!(self.stuck(), missing.len(), "stuck, of {missing:?}");
        self.workers_gone().await;
        assert!(!self.read().await, "an outcome came after the end");
        assert_eq!(self.stuck(), missing.len(), "stuck, after the last worker");
        self.finish_unread().await;
    }

    /// The part of [`finish`](Self::finish) that also holds if the reader went before the end.
    pub(super) async fn finish_unread(mut self) {
        let mut came = self.outcome_ids();
        came.sort_unstable();
        came.dedup();
        assert_eq!(came.len(), self.outcomes.len(), "a job came back twice: {:?}", self.outcomes);
        let never_accepted = came.iter().find(|id| !self.submitted.accepted.contains(id));
        assert_eq!(never_accepted, None, "came back, and was never accepted");
        drop((self.jobs, self.results));
        // Of the pool's own tasks, the workers and the monitor hold it.
        while self.shared.changed().await.is_ok() {}
        self.counts.assert_all_dropped();
        self.counts.assert_bounds();
    }
}

pub(super) async fn submit(jobs: &Jobs<Job>, list: Vec<Job>) -> Submitted {
    let mut submitted = Submitted::default();
    for job in list {
        let (id, counts) = (job.id, Arc::clone(&job.counts));
        let closed = jobs.is_closed();
        let ended = jobs.submit(job).await;
        assert!(!(closed && ended.is_ok()), "job {id} was accepted after the close");
        submitted.add(id, ended, &counts);
    }
    submitted
}

impl Submitted {
    fn add(&mut self, id: usize, ended: Result<(), Closed<Job>>, counts: &Counts) {
        match ended {
            Ok(()) => {
                counts.count(id, |job| job.accepted = true);
                self.accepted.push(id);
            }
            Err(Closed(job)) => {
                assert_eq!(job.id, id, "another job was refused");
                assert_eq!(counts.job(id).started, 0, "job {id} was refused, and started");
                self.refused.push(id);
            }
        }
    }
}

/// How the job ended, which must be what its handler did.
fn checked_end(outcome: &JobOutcome<Job, usize>) -> JobEnd {
    let job = outcome.job();
    let counts = job.counts.job(job.id);
    assert!(counts.started <= 1, "job {} started {} times", job.id, counts.started);
    let (end, expected) = match outcome {
        JobOutcome::Done { result, .. } => {
            assert_eq!(*result, job.id);
            (JobEnd::Done, (1, 0))
        }
        JobOutcome::Failed { panic, .. } => {
            assert_eq!(panic.message, format!("job {}", job.id));
            (JobEnd::Failed, (0, 1))
        }
        JobOutcome::Returned { .. } => (JobEnd::Returned, (0, 0)),
    };
    let Job { id, behavior, .. } = job;
    assert_eq!((counts.returned, counts.panicked), expected, "job {id}, {behavior:?}, ended as {end:?}");
    end
}
