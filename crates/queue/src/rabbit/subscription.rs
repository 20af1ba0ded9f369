use std::sync::Arc;

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    broker::Broker,
    connection::ManagedConnection,
    consumer::{self, Received, Target},
};
use crate::{
    delivery::Delivery,
    delivery::{self, BoxFuture, Receipt},
};

/// A subscription, from its reader's side.
#[derive(Debug)]
pub(super) struct Subscription {
    target: Arc<Target>,
    received: mpsc::Receiver<Received>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Subscription {
    pub(super) fn start(
        broker: Arc<Broker>,
        connection: ManagedConnection,
        target: Target,
        stop: CancellationToken,
    ) -> Self {
        let target = Arc::new(target);
        // Room for one: what else is prefetched waits in lapin's buffer, which prefetch bounds.
        let (sender, received) = mpsc::channel(1);
        let task = consumer::run(broker, connection, target.clone(), sender, stop.clone());
        Self { target, received, task: tokio::spawn(task), stop: stop.drop_guard() }
    }
}

impl delivery::Subscription for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        Box::pin(async {
            loop {
                let Received { body, redelivered, receipt } = self.received.recv().await?;
                // A dead connection's deliveries come again, to someone who can settle them.
                if receipt.is_live() {
                    let Target { source, lane, .. } = &*self.target;
                    let (source, lane, receipt) = (source.clone(), *lane, Box::new(receipt));
                    return Some(Delivery { body, source, lane, redelivered, receipt });
                }
            }
        })
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            drop(self.stop);
            self.received.close();
            while let Some(unread) = self.received.recv().await {
                if let Err(error) = Box::new(unread.receipt).nack().await {
                    tracing::debug!(%error, "an unread delivery");
                }
            }
            if let Err(error) = self.task.await {
                tracing::error!(%error, "a subscription failed");
            }
        })
    }
}
