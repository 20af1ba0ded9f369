//! Jobs that note what happens to them, and a handler that does what they say.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use crate::worker::BoxFuture;

/// What the handler does with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Return,
    Yield,
    Panic,
    PanicLater,
    PanicAndPanicInDrop,
    Never,
    NeverAndPanicInDrop,
}

impl Deed {
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

/// Counts over all jobs of a case. Its atomics are std's: what the checks note down is no place where
/// another task may go on.
#[derive(Default)]
pub(super) struct Book {
    accepted: AtomicUsize,
    started: AtomicUsize,
    running: AtomicUsize,
    read: AtomicUsize,
    pub(super) dropped: AtomicUsize,
    /// Set before a cancel: then jobs come back unstarted, and outcomes wait beyond their bound.
    pub(super) cancelling: AtomicBool,
    pub(super) most_running: AtomicUsize,
    /// Jobs that are accepted and not started, before a cancel.
    pub(super) most_waiting: AtomicUsize,
    /// Jobs that are started and not read, before a cancel.
    pub(super) most_unread: AtomicUsize,
}

impl Book {
    pub(super) fn accept(&self) {
        let accepted = self.accepted.fetch_add(1, SeqCst) + 1;
        if !self.cancelling.load(SeqCst) {
            self.most_waiting.fetch_max(accepted.saturating_sub(self.started.load(SeqCst)), SeqCst);
        }
    }

    pub(super) fn read(&self) {
        self.read.fetch_add(1, SeqCst);
    }

    fn start(&self) -> Running<'_> {
        let started = self.started.fetch_add(1, SeqCst) + 1;
        if !self.cancelling.load(SeqCst) {
            self.most_unread.fetch_max(started - self.read.load(SeqCst), SeqCst);
        }
        let running = self.running.fetch_add(1, SeqCst) + 1;
        self.most_running.fetch_max(running, SeqCst);
        Running(self)
    }
}

#[derive(Default)]
pub(super) struct Marks {
    pub(super) started: AtomicUsize,
    pub(super) returned: AtomicUsize,
    pub(super) panicked: AtomicUsize,
}

pub(super) struct Job {
    pub(super) id: usize,
    pub(super) deed: Deed,
    pub(super) marks: Marks,
    pub(super) book: Arc<Book>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.book.dropped.fetch_add(1, SeqCst);
    }
}

pub(super) fn handle(job: &Job) -> BoxFuture<'_, usize> {
    job.marks.started.fetch_add(1, SeqCst);
    let running = job.book.start();
    if job.deed == Deed::Panic {
        job.panic();
    }
    Box::pin(Handler { job, polled: false, _running: running })
}

impl Job {
    fn panic(&self) -> ! {
        self.marks.panicked.fetch_add(1, SeqCst);
        panic!("job {}", self.id)
    }
}

struct Running<'a>(&'a Book);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
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
        match self.job.deed {
            Deed::Never | Deed::NeverAndPanicInDrop => return Poll::Pending,
            Deed::PanicAndPanicInDrop => self.job.panic(),
            Deed::Yield | Deed::PanicLater if !again => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Deed::PanicLater => self.job.panic(),
            Deed::Return | Deed::Yield | Deed::Panic => {}
        }
        self.job.marks.returned.fetch_add(1, SeqCst);
        Poll::Ready(self.job.id)
    }
}

impl Drop for Handler<'_> {
    fn drop(&mut self) {
        if let Deed::PanicAndPanicInDrop | Deed::NeverAndPanicInDrop = self.job.deed {
            panic!("in drop");
        }
    }
}
