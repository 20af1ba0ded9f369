//! The queue over RabbitMQ: one connection publishes, another consumes, because an alarm of the
//! broker stops everything on a connection that publishes, acks included. Each is supervised.

mod backoff;
mod broker;
mod channel_pool;
mod connection;
mod consumer;
mod errors;
mod headers;
mod outgoing;
mod publisher;
mod receipt;
mod reply;
mod subscription;
mod sweep;
mod topology;
mod window;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pagemill_core::{ConfigDuration, Lane};
use secrecy::SecretString;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    broker::Broker,
    connection::ManagedConnection,
    consumer::{ACK_FLUSH_DELAY, Target},
    publisher::Publisher,
    subscription::Subscription,
    topology::Topology,
};
use crate::{
    dead_letter::DeadLetter, dead_letter::DeadLetterAction, dead_letter::SweepError, delivery::Deliveries,
    depth::Depth, error::QueueError, message::Address, message::Message, page_queue::PageQueue,
};

/// How long [`PageQueue::depth`] waits for the broker.
const DEPTH_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the broker is and what is declared on it.
#[derive(Clone, Debug)]
pub struct RabbitConfig {
    /// `amqp://user:password@host:port/vhost`, or `amqps://…`. Unless it says otherwise, the
    /// heartbeat is 15 s and a connection attempt takes at most 10 s.
    pub url: SecretString,
    /// The sources whose queues are declared.
    pub sources: Vec<String>,
    /// The delays of the retry tiers, shortest first.
    pub retry: Vec<ConfigDuration>,
}

/// A [`PageQueue`] on a RabbitMQ broker. Cheap to clone: clones share the connections, which close
/// with the last of them.
#[derive(Clone)]
pub struct Rabbit(Arc<Inner>);

struct Inner {
    broker: Arc<Broker>,
    publisher: Publisher,
    consuming: ManagedConnection,
    /// True once anything was taken from a queue.
    has_consumed: AtomicBool,
    closed: CancellationToken,
    /// Closes with the last clone.
    _close: DropGuard,
}

impl Rabbit {
    /// Connects twice and declares the queues of all sources. From then on lost connections are
    /// rebuilt without end.
    ///
    /// # Errors
    /// [`QueueErrorKind::Unreachable`](crate::QueueErrorKind::Unreachable) where nothing listens,
    /// [`Refused`](crate::QueueErrorKind::Refused) for a wrong password, an unknown vhost or missing
    /// rights, [`Conflict`](crate::QueueErrorKind::Conflict) where a queue exists with other
    /// arguments, [`Invalid`](crate::QueueErrorKind::Invalid) for a URL that is none. The message
    /// names host, port and vhost and what to do, never the password.
    pub async fn connect(config: RabbitConfig) -> Result<Self, QueueError> {
        let topology = Topology::new(config.sources, config.retry)?;
        let broker = Arc::new(Broker::new(&config.url, topology)?);
        let closed = CancellationToken::new();
        let publisher = Publisher::open(broker.clone(), closed.clone()).await?;
        let consuming = ManagedConnection::open(broker.clone(), "pagemill consumes", closed.clone()).await?;
        let _close = closed.clone().drop_guard();
        let has_consumed = AtomicBool::new(false);
        Ok(Self(Arc::new(Inner { broker, publisher, consuming, has_consumed, closed, _close })))
    }

    /// True if both connections are open and no alarm of the broker blocks publishing.
    pub fn is_healthy(&self) -> bool {
        self.0.publisher.connection().is_up() && self.0.consuming.is_up()
    }

    /// Closes both connections, of all clones: subscriptions end, unsettled deliveries return to
    /// their lanes. Takes a few seconds at most.
    pub async fn close(&self) {
        self.0.closed.cancel();
        if self.0.has_consumed.load(Ordering::Relaxed) {
            tokio::time::sleep(ACK_FLUSH_DELAY).await;
        }
        tokio::join!(self.0.publisher.connection().close(), self.0.consuming.close());
    }
}

impl PageQueue for Rabbit {
    async fn publish<M>(&self, to: &Address, messages: M) -> Result<(), QueueError>
    where
        M: IntoIterator<Item = Message, IntoIter: Send> + Send,
    {
        self.0.publisher.publish(to, messages.into_iter().map(Into::into)).await
    }

    async fn subscribe(&self, source: &str, lane: Lane, prefetch: u16) -> Result<Deliveries, QueueError> {
        let inner = &self.0;
        inner.broker.topology().check_source(source)?;
        if inner.closed.is_cancelled() {
            return Err(QueueError::closed());
        }
        inner.has_consumed.store(true, Ordering::Relaxed);
        let target = Target { source: source.to_owned(), lane, prefetch };
        let stop = inner.closed.child_token();
        let (broker, connection) = (inner.broker.clone(), inner.consuming.clone());
        Ok(Deliveries(Box::new(Subscription::start(broker, connection, target, stop))))
    }

    async fn depth(&self, source: &str) -> Result<Depth, QueueError> {
        let topology = self.0.broker.topology();
        topology.check_source(source)?;
        let error = |e| self.0.broker.error(&e, "cannot count what waits");
        let connection = self.0.consuming.get(DEPTH_TIMEOUT).await?;
        let counting = async {
            let channel = connection.create_channel().await.map_err(error)?;
            let depth = topology.declare_source(&channel, source).await.map_err(error)?;
            // The counts are here: a channel that cannot be closed in order goes with its last handle.
            let _ = channel.close(200, "OK".into()).await;
            Ok(depth)
        };
        self.0.broker.while_connected(&*connection, DEPTH_TIMEOUT, counting).await
    }

    async fn sweep_dead<D, F, E>(&self, source: &str, decide: D) -> Result<(), SweepError<E>>
    where
        D: FnMut(Vec<DeadLetter>) -> F + Send,
        F: Future<Output = Result<Vec<DeadLetterAction>, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.0.broker.topology().check_source(source)?;
        self.0.has_consumed.store(true, Ordering::Relaxed);
        sweep::sweep(&self.0.publisher, &self.0.broker, source, decide).await
    }
}
