//! One pool with its submitters and its reader, and the books that must balance in the end.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use shuttle::rand::{Rng, thread_rng};
use shuttle_tokio::sync::oneshot;
use shuttle_tokio::task::JoinHandle;

use super::job::{Book, Deed, Job, Marks, handle};
use crate::sync::{CancellationToken, Mutex, spawn};
use crate::{Closed, JobOutcome, Jobs, Pool, Results};

/// Deeds that come to an end by themselves.
pub(super) const FINITE: [Deed; 5] =
    [Deed::Return, Deed::Yield, Deed::Panic, Deed::PanicLater, Deed::PanicAndPanicInDrop];

/// How a job came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
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

pub(super) struct Case {
    deeds: Vec<Deed>,
    workers: usize,
    job_capacity: usize,
    result_capacity: usize,
    /// Jobs made so far.
    made: usize,
    book: Arc<Book>,
    jobs: Option<Jobs<Job>>,
    results: Option<Results<Job, usize>>,
    token: CancellationToken,
    /// Resolves when the last worker drops the handler.
    workers_gone: oneshot::Receiver<()>,
    outcomes: Vec<(usize, End)>,
    submitted: Submitted,
}

impl Case {
    /// A pool of random, small size, whose jobs do any of `deeds`.
    pub(super) fn start(deeds: &[Deed]) -> Self {
        Self::start_with(deeds, thread_rng().gen_range(1..=3))
    }

    pub(super) fn start_with(deeds: &[Deed], workers: usize) -> Self {
        let token = CancellationToken::new();
        let [job_capacity, result_capacity] = [(); 2].map(|()| thread_rng().gen_range(1..=2));
        let builder = Pool::builder().workers(workers).jobs(job_capacity).results(result_capacity);
        let (handler_dropped, workers_gone) = oneshot::channel();
        // In a lock only because a handler is `Sync`, and shuttle's sender is not.
        let handler_dropped = Mutex::new(handler_dropped);
        let Pool { jobs, results } = builder.cancellation_token(token.clone()).start(move |job| {
            let _ = &handler_dropped;
            handle(job)
        });
        Self {
            deeds: deeds.to_vec(),
            workers,
            job_capacity,
            result_capacity,
            made: 0,
            book: Arc::default(),
            jobs: Some(jobs),
            results: Some(results),
            token,
            workers_gone,
            outcomes: Vec::new(),
            submitted: Submitted::default(),
        }
    }

    /// What jobs made from now on do.
    pub(super) fn deeds(&mut self, deeds: &[Deed]) {
        self.deeds = deeds.to_vec();
    }

    pub(super) fn job(&mut self) -> Job {
        let deed = self.deeds[thread_rng().gen_range(0..self.deeds.len())];
        self.made += 1;
        Job { id: self.made - 1, deed, marks: Marks::default(), book: Arc::clone(&self.book) }
    }

    pub(super) fn jobs(&self) -> Jobs<Job> {
        self.jobs.clone().expect("the case still holds its `Jobs`")
    }

    /// The token, for a task that cancels.
    pub(super) fn token(&self) -> CancellationToken {
        self.book.cancelling.store(true, SeqCst);
        self.token.clone()
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
                let id = job.id;
                tokio::select! {
                    biased;
                    ended = jobs.submit(job) => submitted.note(id, ended),
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
        let token = self.token();
        spawn(async move { token.cancel() })
    }

    /// Cancels every other time.
    pub(super) fn sometimes_canceller(&self) -> JoinHandle<()> {
        let token = self.token();
        let cancel = thread_rng().gen_range(0..2) == 0;
        spawn(async move {
            if cancel {
                token.cancel();
            }
        })
    }

    pub(super) fn drop_jobs(&mut self) {
        self.jobs = None;
    }

    pub(super) fn drop_results(&mut self) {
        self.book.cancelling.store(true, SeqCst);
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
        let results = self.results.as_mut().expect("the case still holds its `Results`");
        let Some(outcome) = results.next().await else { return false };
        let end = checked_end(&outcome);
        self.book.read();
        self.outcomes.push((outcome.job().id, end));
        true
    }

    pub(super) fn outcome_ids(&self) -> Vec<usize> {
        self.outcomes.iter().map(|(id, _)| *id).collect()
    }

    pub(super) fn stuck(&self) -> usize {
        self.results.as_ref().expect("the case still holds its `Results`").stuck()
    }

    pub(super) async fn settle_tasks<const N: usize>(&mut self, submitters: [JoinHandle<Submitted>; N]) {
        for submitter in submitters {
            let submitted = submitter.await.unwrap();
            self.settle(submitted);
        }
    }

    pub(super) fn settle(&mut self, submitted: Submitted) {
        self.submitted.accepted.extend(submitted.accepted);
        self.submitted.refused.extend(submitted.refused);
        self.submitted.abandoned.extend(submitted.abandoned);
    }

    pub(super) fn assert_never(&self, end: End) {
        let refused = end == End::Refused && !self.submitted.refused.is_empty();
        let found = self.outcomes.iter().any(|(_, found)| *found == end);
        assert!(!refused && !found, "{end:?}: {:?}", self.outcomes);
    }

    /// After the end of the results: every accepted job but the stuck ones came back once, no other did,
    /// nothing is accepted any more, and the pool lets go of everything.
    pub(super) async fn finish(mut self, stuck: usize) {
        assert_eq!(self.stuck(), stuck, "stuck");
        if let Some(jobs) = self.jobs.take() {
            let late = submit(&jobs, self.list(1)).await;
            assert!(late.accepted.is_empty(), "accepted after the end");
        }
        let (accepted, came) = (&self.submitted.accepted, &self.outcomes);
        assert_eq!(came.len() + stuck, accepted.len(), "accepted {accepted:?}, came back: {came:?}");
        self.workers_gone().await;
        assert!(!self.read().await, "an outcome came after the end");
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
        self.workers_gone().await;
        drop((self.jobs, self.results));
        let Book { most_running, most_waiting, most_unread, dropped, .. } = &*self.book;
        // The monitor may be about to drop what it took off the queue.
        for _ in 0..1000 {
            if dropped.load(SeqCst) < self.made {
                shuttle::future::yield_now().await;
            }
        }
        assert_eq!(dropped.load(SeqCst), self.made, "jobs dropped");
        assert!(most_running.load(SeqCst) <= self.workers, "more jobs ran than there are workers");
        // A worker may hold one that it has not started yet.
        let waiting = self.job_capacity + self.workers;
        assert!(most_waiting.load(SeqCst) <= waiting, "more jobs waited than there is room");
        // A worker may hold one, and so may the reader that has not noted it yet.
        let unread = self.result_capacity + self.workers + 1;
        assert!(most_unread.load(SeqCst) <= unread, "more outcomes waited than there is room");
    }
}

pub(super) async fn submit(jobs: &Jobs<Job>, list: Vec<Job>) -> Submitted {
    let mut submitted = Submitted::default();
    for job in list {
        let id = job.id;
        let book = Arc::clone(&job.book);
        let closed = jobs.is_closed();
        let ended = jobs.submit(job).await;
        assert!(!(closed && ended.is_ok()), "job {id} was accepted after the close");
        if ended.is_ok() {
            book.accept();
        }
        submitted.note(id, ended);
    }
    submitted
}

impl Submitted {
    fn note(&mut self, id: usize, ended: Result<(), Closed<Job>>) {
        match ended {
            Ok(()) => self.accepted.push(id),
            Err(Closed(job)) => {
                assert_eq!(
                    (job.id, job.marks.started.load(SeqCst)),
                    (id, 0),
                    "refused, but another or begun"
                );
                self.refused.push(id);
            }
        }
    }
}

/// How the job ended, which must be what its handler did.
fn checked_end(outcome: &JobOutcome<Job, usize>) -> End {
    let job = outcome.job();
    let [started, returned, panicked] =
        [&job.marks.started, &job.marks.returned, &job.marks.panicked].map(|mark| mark.load(SeqCst));
    assert!(started <= 1, "job {} began {started} times", job.id);
    let (end, expected) = match outcome {
        JobOutcome::Done { result, .. } => {
            assert_eq!(*result, job.id);
            (End::Done, (1, 0))
        }
        JobOutcome::Failed { panic, .. } => {
            assert_eq!(panic.message, format!("job {}", job.id));
            (End::Failed, (0, 1))
        }
        JobOutcome::Returned { .. } => (End::Returned, (0, 0)),
    };
    assert_eq!((returned, panicked), expected, "job {}, {:?}, ended as {end:?}", job.id, job.deed);
    end
}
