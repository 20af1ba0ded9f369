//! The queue over RabbitMQ: one connection publishes, another consumes, because an alarm of the
//! broker stops everything on a connection that publishes, acks included. Each is supervised.

mod backoff;
mod channels;
mod dial;
mod fault;
mod headers;
mod link;
mod patience;
mod publish;
mod receipt;
mod subscription;
mod sweep;
mod topology;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pagemill_core::{Lane, Span};
use secrecy::SecretString;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use receipt::Receipt;
pub(crate) use subscription::Subscription;

use self::{channels::Channels, dial::Dial, link::Link, topology::Topology};
use crate::{
    Address, DeadLetter, Deliveries, Depth, Fate, Message, PageQueue, QueueError, SweepError, delivery,
};

/// How long [`PageQueue::depth`] waits for the broker.
const DEPTH_PATIENCE: Duration = Duration::from_secs(10);

/// Where the broker is and what stands on it.
#[derive(Clone, Debug)]
pub struct RabbitConfig {
    /// `amqp://user:password@host:port/vhost`, or `amqps://…`. Unless it says otherwise, the
    /// heartbeat is 15 s and a connection attempt takes at most 10 s.
    pub url: SecretString,
    /// The sources whose queues are declared.
    pub sources: Vec<String>,
    /// The ladder of retry delays, shortest first.
    pub retry: Vec<Span>,
}

/// A [`PageQueue`] on a RabbitMQ broker. Cheap to clone: clones share the connections, which close
/// with the last of them.
#[derive(Clone)]
pub struct Rabbit(Arc<Inner>);

struct Inner {
    dial: Arc<Dial>,
    publishing: Link,
    consuming: Link,
    channels: Channels,
    /// Whether anything was ever taken from a queue.
    took: AtomicBool,
    closed: CancellationToken,
    /// Closes with the last clone.
    _close: DropGuard,
}

impl Rabbit {
    /// Connects twice and declares the queues of all sources. From then on lost connections are
    /// rebuilt without end.
    ///
    /// # Errors
    /// [`QueueErrorKind::Unreachable`](crate::QueueErrorKind::Unreachable) where nothing answers,
    /// [`Refused`](crate::QueueErrorKind::Refused) for a wrong password, an unknown vhost or missing
    /// rights, [`Conflict`](crate::QueueErrorKind::Conflict) where a queue exists with other
    /// arguments, [`Invalid`](crate::QueueErrorKind::Invalid) for a URL that is none. The message
    /// names host, port and vhost and what to do, never the password.
    pub async fn connect(config: RabbitConfig) -> Result<Self, QueueError> {
        let topology = Topology::new(config.sources, config.retry)?;
        let dial = Arc::new(Dial::new(&config.url, topology)?);
        let closed = CancellationToken::new();
        let publishing = Link::open(dial.clone(), "pagemill publishes", closed.clone()).await?;
        let consuming = Link::open(dial.clone(), "pagemill consumes", closed.clone()).await?;
        let close = closed.clone().drop_guard();
        Ok(Self(Arc::new(Inner {
            dial,
            publishing,
            consuming,
            channels: Channels::default(),
            took: AtomicBool::new(false),
            closed,
            _close: close,
        })))
    }

    /// Whether both connections stand, and no alarm of the broker blocks publishing.
    pub fn is_healthy(&self) -> bool {
        self.0.publishing.is_up() && self.0.consuming.is_up()
    }

    /// Closes both connections, of all clones: subscriptions end, unsettled deliveries return to
    /// their lanes. Takes a few seconds at most.
    pub async fn close(&self) {
        self.0.closed.cancel();
        if self.0.took.load(Ordering::Relaxed) {
            // Acks are written, not answered: see `LINGER`.
            tokio::time::sleep(subscription::LINGER).await;
        }
        tokio::join!(self.0.publishing.close(), self.0.consuming.close());
    }
}

impl PageQueue for Rabbit {
    async fn publish<M>(&self, to: &Address, messages: M) -> Result<(), QueueError>
    where
        M: IntoIterator<Item = Message, IntoIter: Send> + Send,
    {
        let route = self.0.dial.topology().route(to)?;
        publish::publish(&self.0, &route, messages.into_iter().map(Into::into)).await
    }

    async fn subscribe(&self, source: &str, lane: Lane, prefetch: u16) -> Result<Deliveries, QueueError> {
        let inner = &self.0;
        inner.dial.topology().check_source(source)?;
        if inner.closed.is_cancelled() {
            return Err(QueueError::closed());
        }
        inner.took.store(true, Ordering::Relaxed);
        let place = subscription::Place { source: source.to_owned(), lane, prefetch };
        let subscription = Subscription::start(
            inner.dial.clone(),
            inner.consuming.clone(),
            place,
            inner.closed.child_token(),
        );
        Ok(Deliveries(delivery::Subscription::Rabbit(subscription)))
    }

    async fn depth(&self, source: &str) -> Result<Depth, QueueError> {
        let topology = self.0.dial.topology();
        topology.check_source(source)?;
        let fault = |e| self.0.dial.fault(&e, "cannot count what waits");
        let connection = self.0.consuming.connection(DEPTH_PATIENCE).await?;
        let counting = async {
            let channel = connection.create_channel().await.map_err(fault)?;
            let depth = topology.declare_source(&channel, source).await.map_err(fault)?;
            // The counts are here: a channel that cannot be closed in order goes with its last handle.
            let _ = channel.close(200, "OK".into()).await;
            Ok(depth)
        };
        self.0.dial.on(&*connection, DEPTH_PATIENCE, counting).await
    }

    async fn sweep_dead<D, F, E>(&self, source: &str, decide: D) -> Result<(), SweepError<E>>
    where
        D: FnMut(Vec<DeadLetter>) -> F + Send,
        F: Future<Output = Result<Vec<Fate>, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.0.dial.topology().check_source(source)?;
        self.0.took.store(true, Ordering::Relaxed);
        sweep::sweep(self, &self.0.dial, source, decide).await
    }
}
