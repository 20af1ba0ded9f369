//! Ends the results once the last worker has gone.

use std::sync::Arc;

use crate::shared::Shared;

pub(crate) async fn watch<J, R>(shared: Arc<Shared<J, R>>) {
    let end = End(shared);
    tokio::select! {
        biased;
        () = end.0.workers_gone() => {}
        () = end.0.cancel_deadline() => {}
    }
}

/// Ends the results also when the runtime shuts down and drops the monitor.
struct End<J, R>(Arc<Shared<J, R>>);

impl<J, R> Drop for End<J, R> {
    fn drop(&mut self) {
        self.0.end();
    }
}
