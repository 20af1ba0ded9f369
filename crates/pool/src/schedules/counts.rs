//! Counts of what happens to each job, and the bounds that hold at every moment.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The settings of a pool that bound how many jobs it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) workers: usize,
    pub(super) jobs: usize,
    pub(super) results: usize,
}

/// What happened to one job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JobCounts {
    /// Its `submit` returned `Ok`.
    pub(super) accepted: bool,
    pub(super) started: usize,
    pub(super) running: bool,
    pub(super) returned: usize,
    pub(super) panicked: usize,
    /// The reader got its outcome.
    pub(super) read: bool,
    pub(super) dropped: bool,
}

/// Counts over all jobs of a pool. The lock is std's, so shuttle does not switch to another task there.
/// Shuttle switches before a permit is given back, not after: the reader counts an outcome before a
/// worker can use its place.
pub(super) struct Counts {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jobs: Vec<JobCounts>,
    /// Set right before a cancel: from then on outcomes wait beyond their bound.
    cancelled: bool,
    /// The first moment at which a bound was exceeded. It is not asserted at once, because the pool
    /// contains panics.
    exceeded: Option<String>,
}

impl Counts {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::default() }
    }

    /// Adds a job, and returns its id.
    pub(super) fn add(&self) -> usize {
        let mut state = self.lock();
        state.jobs.push(JobCounts::default());
        state.jobs.len() - 1
    }

    pub(super) fn job(&self, id: usize) -> JobCounts {
        self.lock().jobs[id]
    }

    /// Counts what just happened to a job.
    pub(super) fn count(&self, id: usize, change: impl FnOnce(&mut JobCounts)) {
        let mut state = self.lock();
        change(&mut state.jobs[id]);
        state.check(self.bounds);
    }

    pub(super) fn cancel(&self) {
        self.lock().cancelled = true;
    }

    pub(super) fn assert_all_dropped(&self) {
        let state = self.lock();
        assert!(state.jobs.iter().all(|job| job.dropped), "the pool still holds jobs: {:?}", state.jobs);
    }

    pub(super) fn assert_bounds(&self) {
        let exceeded = self.lock().exceeded.take();
        assert_eq!(exceeded, None, "a bound was exceeded");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&mut self, bounds: Bounds) {
        if self.exceeded.is_none() && !self.is_within(bounds) {
            self.exceeded = Some(format!("{bounds:?}, {self:?}"));
        }
    }

    fn is_within(&self, Bounds { workers, jobs, results }: Bounds) -> bool {
        let held = || self.jobs.iter().filter(|job| !job.read && !job.dropped);
        let waiting = held().filter(|job| job.accepted && job.started == 0).count();
        let running = held().filter(|job| job.running).count();
        let ended = held().filter(|job| job.started > 0 && !job.running).count();
        if self.cancelled {
            // Jobs that never started are among the outcomes too, so only the sum is known.
            return running <= workers && waiting + running + ended <= jobs + workers + results;
        }
        // A worker holds one job: before its start, while it runs, or until its outcome has room.
        waiting.saturating_sub(jobs) + running + ended.saturating_sub(results) <= workers
    }
}
