//! Where a virtual process waits until the stepper lets it go on.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// The gate of one process. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Where the process waits.
    place: Option<&'static str>,
    is_open: bool,
    waker: Option<Waker>,
}

impl Gate {
    /// Waits here until the stepper opens the gate.
    pub(super) async fn pass(&self, place: &'static str) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.is_open {
                state.is_open = false;
                state.place = None;
                return Poll::Ready(());
            }
            state.place = Some(place);
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Lets the process go on to its next wait.
    pub(super) fn open(&self) {
        let mut state = self.state();
        state.is_open = true;
        state.place = None;
        state.waker.take().into_iter().for_each(Waker::wake);
    }

    /// Where the process waits; `None` while it runs.
    pub(super) fn place(&self) -> Option<&'static str> {
        self.state().place
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
