//! Jobs that count what happens to them, and a handler that does what they say.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::counts::{Counts, JobCounts};
use crate::worker::BoxFuture;

/// What the handler does with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behavior {
    Return,
    Yield,
    Panic,
    PanicLater,
    PanicAndPanicInDrop,
    Never,
    NeverAndPanicInDrop,
}

impl Behavior {
    pub(super) const ALL: [Self; 7] = [
        Self::Return,
        Self::Yield,
        Self::Panic,
        Self::PanicLater,
        Self::PanicAndPanicInDrop,
        Self::Never,
        Self::NeverAndPanicInDrop,
    ];
}

pub(super) struct Job {
    pub(super) id: usize,
    pub(super) behavior: Behavior,
    pub(super) counts: Arc<Counts>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.count(|job| job.dropped = true);
    }
}

pub(super) fn handle(job: &Job) -> BoxFuture<'_, usize> {
    let running = Running::start(job);
    if job.behavior == Behavior::Panic {
        job.panic();
    }
    Box::pin(Handler { job, polled: false, _running: running })
}

impl Job {
    fn count(&self, change: impl FnOnce(&mut JobCounts)) {
        self.counts.count(self.id, change);
    }

    fn panic(&self) -> ! {
        self.count(|job| job.panicked += 1);
        panic!("job {}", self.id)
    }
}

struct Running<'a>(&'a Job);

impl<'a> Running<'a> {
    fn start(job: &'a Job) -> Self {
        job.count(|job| {
            job.started += 1;
            job.running = true;
        });
        Self(job)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.count(|job| job.running = false);
    }
}

/// By hand, because no other task may go on within a poll: the pool's panic hook looks at the thread,
/// and under shuttle all tasks share one.
struct Handler<'a> {
    job: &'a Job,
    polled: bool,
    _running: Running<'a>,
}

impl Future for Handler<'_> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
        let again = std::mem::replace(&mut self.polled, true);
        match self.job.behavior {
            Behavior::Never | Behavior::NeverAndPanicInDrop => return Poll::Pending,
            Behavior::PanicAndPanicInDrop => self.job.panic(),
            Behavior::Yield | Behavior::PanicLater if !again => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Behavior::PanicLater => self.job.panic(),
            Behavior::Return | Behavior::Yield | Behavior::Panic => {}
        }
        self.job.count(|job| job.returned += 1);
        Poll::Ready(self.job.id)
    }
}

impl Drop for Handler<'_> {
    fn drop(&mut self) {
        if let Behavior::PanicAndPanicInDrop | Behavior::NeverAndPanicInDrop = self.job.behavior {
            panic!("in drop");
        }
    }
}
