//! Ends the results once the last worker has gone.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::pause;
use crate::exchange::Exchange;
use crate::stopper::Stages;

/// How long a cancelled pool waits for its workers. One that polls a blocked future takes longer, and
/// is not waited for.
pub(crate) const LET_GO: Duration = Duration::from_millis(500);

pub(crate) async fn watch<J: Send, R: Send>(exchange: Arc<Exchange<J, R>>) {
    let last = End(exchange);
    tokio::select! {
        biased;
        () = last.0.deserted() => {}
        () = async {
            last.0.cancelled().await;
            pause(LET_GO).await;
        } => {}
    }
}

/// Ends the results also when the runtime shuts down and drops the monitor.
struct End<J: Send, R: Send>(Arc<Exchange<J, R>>);

impl<J: Send, R: Send> Drop for End<J, R> {
    fn drop(&mut self) {
        self.0.end();
    }
}
