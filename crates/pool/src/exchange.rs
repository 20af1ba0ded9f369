//! What all parts of one pool share: the jobs' queue, the outcomes' queue, and the signals between them.

use std::sync::Arc;

use tokio::sync::watch;

use crate::Stopped;
use crate::outbox::Outbox;
use crate::queue::Queue;
use crate::stopper::Stages;

pub(crate) struct Exchange<J, R> {
    pub(crate) queue: Arc<Queue<J>>,
    pub(crate) outbox: Outbox<J, R>,
    cancelled: watch::Sender<bool>,
    on_duty: watch::Sender<usize>,
}

impl<J, R> Exchange<J, R> {
    pub(crate) fn new(jobs: usize, results: usize) -> Self {
        Self {
            queue: Arc::new(Queue::new(jobs)),
            outbox: Outbox::new(results),
            cancelled: watch::Sender::new(false),
            on_duty: watch::Sender::new(0),
        }
    }

    /// Resolves once the pool is cancelled.
    pub(crate) async fn cancelled(&self) {
        // An error says that the sender has gone: it lives in `self`.
        let _ = self.cancelled.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    /// Resolves once no worker is on duty.
    pub(crate) async fn deserted(&self) {
        let _ = self.on_duty.subscribe().wait_for(|workers| *workers == 0).await;
    }
}

impl<J: Send, R: Send> Stages for Exchange<J, R> {
    fn drain(&self) {
        self.queue.close();
    }

    fn cancel(&self) {
        self.outbox.give_back(|| self.queue.clear());
        self.cancelled.send_replace(true);
    }

    fn end(&self) -> Stopped {
        self.cancel();
        self.outbox.end(self.queue.taken())
    }

    fn stopped(&self) -> watch::Receiver<Option<Stopped>> {
        self.outbox.stopped()
    }
}

/// One worker's presence, given up however its task ends.
pub(crate) struct OnDuty<J, R>(Arc<Exchange<J, R>>);

impl<J, R> OnDuty<J, R> {
    pub(crate) fn new(exchange: &Arc<Exchange<J, R>>) -> Self {
        exchange.on_duty.send_modify(|workers| *workers += 1);
        Self(Arc::clone(exchange))
    }

    pub(crate) fn exchange(&self) -> &Exchange<J, R> {
        &self.0
    }
}

impl<J, R> Drop for OnDuty<J, R> {
    fn drop(&mut self) {
        self.0.on_duty.send_modify(|workers| *workers -= 1);
    }
}
