use std::{sync::Arc, time::Duration};

use lapin::Connection;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{backoff::Backoff, dial::Dial};
use crate::QueueError;

/// How often a connection is looked at. Who works on it notices a fault by itself; this is what
/// starts the rebuilding.
const LOOK: Duration = Duration::from_millis(100);
/// How long an orderly close may take; an alarm of the broker holds it up.
const CLOSE: Duration = Duration::from_secs(3);

/// A connection that is rebuilt after every fault until the queue is closed. Clones share it.
#[derive(Clone)]
pub(super) struct Link {
    dial: Arc<Dial>,
    live: watch::Receiver<Option<Arc<Connection>>>,
    closed: CancellationToken,
}

impl Link {
    /// The first connection fails fast.
    pub(super) async fn open(
        dial: Arc<Dial>,
        name: &'static str,
        closed: CancellationToken,
    ) -> Result<Self, QueueError> {
        let first = dial.connect_and_declare(name).await?;
        let (sender, live) = watch::channel(Some(Arc::new(first)));
        let supervisor = supervise(dial.clone(), name, sender);
        tokio::spawn(closed.clone().run_until_cancelled_owned(supervisor));
        Ok(Self { dial, live, closed })
    }

    /// The standing connection, waited for if need be.
    pub(super) async fn connection(&self, patience: Duration) -> Result<Arc<Connection>, QueueError> {
        self.dial.in_time(patience, self.standing()).await
    }

    /// The standing connection, however long it takes; an error only when the queue is closed.
    pub(super) async fn standing(&self) -> Result<Arc<Connection>, QueueError> {
        let mut live = self.live.clone();
        let stands = |now: &Option<Arc<Connection>>| now.as_ref().is_some_and(|c| c.status().connected());
        let found = match live.wait_for(stands).await {
            Ok(found) => found.clone(),
            Err(_) => None,
        };
        found.filter(|_| !self.closed.is_cancelled()).ok_or_else(QueueError::closed)
    }

    pub(super) fn is_up(&self) -> bool {
        let live = self.live.borrow();
        live.as_ref().is_some_and(|c| c.status().connected() && !c.status().blocked())
    }

    /// Says good-bye to the broker. The supervisor has ended by the token.
    pub(super) async fn close(&self) {
        let connection = self.live.borrow().clone();
        if let Some(connection) = connection.filter(|c| c.status().connected()) {
            match timeout(CLOSE, connection.close(200, "OK".into())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the connection was gone before it was closed"),
                Err(_) => tracing::warn!("RabbitMQ does not answer: the connection is dropped"),
            }
        }
    }
}

/// Keeps a connection standing. Dropped, it leaves the last one to whoever holds it.
async fn supervise(dial: Arc<Dial>, name: &'static str, live: watch::Sender<Option<Arc<Connection>>>) {
    let mut backoff = Backoff::default();
    loop {
        let since = Instant::now();
        fallen(&live).await;
        live.send_replace(None);
        backoff.lasted(since.elapsed());
        tracing::warn!(connection = name, "lost the connection to RabbitMQ: rebuilding it");
        let rebuilt = loop {
            sleep(backoff.next()).await;
            match dial.connect_and_declare(name).await {
                Ok(connection) => break connection,
                Err(error) => tracing::warn!(connection = name, %error, "not yet"),
            }
        };
        tracing::info!(connection = name, "connected to RabbitMQ again");
        live.send_replace(Some(Arc::new(rebuilt)));
    }
}

async fn fallen(live: &watch::Sender<Option<Arc<Connection>>>) {
    while live.borrow().as_ref().is_some_and(|c| c.status().connected()) {
        sleep(LOOK).await;
    }
}
