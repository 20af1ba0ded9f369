use std::{sync::Arc, time::Duration};

use lapin::Connection;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{backoff::Backoff, broker::Broker};
use crate::error::QueueError;

/// How often a connection is checked. Work on it notices a fault by itself; this is what starts the
/// rebuilding.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long an orderly close may take; an alarm of the broker holds it up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that is rebuilt after every fault until the queue is closed. Clones share it.
#[derive(Clone)]
pub(super) struct ManagedConnection {
    broker: Arc<Broker>,
    live: watch::Receiver<Option<Arc<Connection>>>,
    closed: CancellationToken,
}

impl ManagedConnection {
    /// The first connection fails fast.
    pub(super) async fn open(
        broker: Arc<Broker>,
        name: &'static str,
        closed: CancellationToken,
    ) -> Result<Self, QueueError> {
        let first = broker.connect_and_declare(name).await?;
        let (sender, live) = watch::channel(Some(Arc::new(first)));
        let supervisor = supervise(broker.clone(), name, sender);
        tokio::spawn(closed.clone().run_until_cancelled_owned(supervisor));
        Ok(Self { broker, live, closed })
    }

    /// The open connection, waited for no longer than `limit`.
    pub(super) async fn get(&self, limit: Duration) -> Result<Arc<Connection>, QueueError> {
        self.broker.with_timeout(limit, self.wait_until_open()).await
    }

    /// The open connection, however long it takes; an error only when the queue is closed.
    pub(super) async fn wait_until_open(&self) -> Result<Arc<Connection>, QueueError> {
        let mut live = self.live.clone();
        let is_open = |now: &Option<Arc<Connection>>| now.as_ref().is_some_and(|c| c.status().connected());
        let found = match live.wait_for(is_open).await {
            Ok(found) => found.clone(),
            Err(_) => None,
        };
        found.filter(|_| !self.closed.is_cancelled()).ok_or_else(QueueError::closed)
    }

    pub(super) fn is_up(&self) -> bool {
        let live = self.live.borrow();
        live.as_ref().is_some_and(|c| c.status().connected() && !c.status().blocked())
    }

    /// Closes the connection in order. The supervisor has ended by the token.
    pub(super) async fn close(&self) {
        let connection = self.live.borrow().clone();
        if let Some(connection) = connection.filter(|c| c.status().connected()) {
            match timeout(CLOSE_TIMEOUT, connection.close(200, "OK".into())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the connection was gone before it was closed"),
                Err(_) => tracing::warn!("RabbitMQ does not reply: the connection is dropped"),
            }
        }
    }
}

/// Keeps a connection open. Dropped, it leaves the last one to whoever holds it.
async fn supervise(broker: Arc<Broker>, name: &'static str, live: watch::Sender<Option<Arc<Connection>>>) {
    let mut backoff = Backoff::default();
    loop {
        let since = Instant::now();
        until_lost(&live).await;
        live.send_replace(None);
        backoff.reset_if_healthy(since.elapsed());
        tracing::warn!(connection = name, "lost the connection to RabbitMQ: rebuilding it");
        let rebuilt = loop {
            sleep(backoff.next_wait()).await;
            match broker.connect_and_declare(name).await {
                Ok(connection) => break connection,
                Err(error) => tracing::warn!(connection = name, %error, "not yet"),
            }
        };
        tracing::info!(connection = name, "connected to RabbitMQ again");
        live.send_replace(Some(Arc::new(rebuilt)));
    }
}

async fn until_lost(live: &watch::Sender<Option<Arc<Connection>>>) {
    while live.borrow().as_ref().is_some_and(|c| c.status().connected()) {
        sleep(CHECK_INTERVAL).await;
    }
}
