use std::{future::Future, time::Duration};

use lapin::{
    Connection, ConnectionProperties,
    uri::{AMQPScheme, AMQPUri},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::{
    fault,
    patience::{Standing, answered},
    topology::Topology,
};
use crate::{QueueError, QueueErrorKind};

/// Half-open sockets are noticed after twice this.
const HEARTBEAT_SECONDS: u16 = 15;
const CONNECT_MILLIS: u64 = 10_000;
/// Messages are small, and lapin keeps buffers of 32 frames each way.
const FRAME_BYTES: u32 = 16 << 10;
/// For handshake and declarations, beyond the time to connect.
const DECLARE: Duration = Duration::from_secs(30);

/// How to come by a connection on which everything is declared.
pub(super) struct Dial {
    uri: AMQPUri,
    place: String,
    topology: Topology,
}

impl Dial {
    pub(super) fn new(url: &SecretString, topology: Topology) -> Result<Self, QueueError> {
        // The parser's words may quote the URL, so they are not passed on.
        let mut uri: AMQPUri = url.expose_secret().parse().map_err(|_| {
            QueueError::invalid("amqp.url is no AMQP URL: write amqp://user:password@host:5672/%2f")
        })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        uri.query.connection_timeout.get_or_insert(CONNECT_MILLIS);
        uri.query.frame_max.get_or_insert(FRAME_BYTES);
        if uri.scheme == AMQPScheme::AMQPS {
            // Err means that a provider is installed already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let place = format!("{}:{} (vhost {})", uri.authority.host, uri.authority.port, uri.vhost);
        Ok(Self { uri, place, topology })
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// A connection, without lapin's automatic recovery: it can hang a consumer for good.
    pub(super) async fn connect(&self, name: &str) -> Result<Connection, QueueError> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let patience =
            Duration::from_millis(self.uri.query.connection_timeout.unwrap_or(CONNECT_MILLIS)) + DECLARE;
        let connecting = async {
            Connection::connect_uri(self.uri.clone(), properties)
                .await
                .map_err(|e| fault::refusal(&e, &self.place, &self.uri.authority.userinfo.username))
        };
        self.in_time(patience, connecting).await
    }

    /// A connection on which everything is declared.
    pub(super) async fn connect_and_declare(&self, name: &str) -> Result<Connection, QueueError> {
        let connection = self.connect(name).await?;
        let declaring = async {
            let fault = |e| self.fault(&e, "cannot declare the queues");
            let channel = connection.create_channel().await.map_err(fault)?;
            self.topology.declare(&channel).await.map_err(fault)?;
            channel.close(200, "OK".into()).await.map_err(fault)
        };
        self.on(&connection, DECLARE, declaring).await?;
        Ok(connection)
    }

    /// Lapin's error as ours, with the place and what was being done.
    pub(super) fn fault(&self, error: &lapin::Error, doing: &str) -> QueueError {
        fault::of(error, doing, &self.place)
    }

    /// The broker is away, or blocked by an alarm.
    pub(super) fn silent(&self) -> QueueError {
        let message = format!(
            "RabbitMQ at {} does not answer: see that it runs and has no memory or disk alarm",
            self.place
        );
        QueueError::new(QueueErrorKind::Unreachable, message)
    }

    /// Work on a connection or channel, which ends when that does.
    pub(super) async fn on<T>(
        &self,
        on: &impl Standing,
        patience: Duration,
        work: impl Future<Output = Result<T, QueueError>>,
    ) -> Result<T, QueueError> {
        answered(on, patience, work).await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// No answer within the time is an error: a blocked connection would wait for ever.
    pub(super) async fn in_time<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = Result<T, QueueError>>,
    ) -> Result<T, QueueError> {
        timeout(patience, work).await.unwrap_or_else(|_| Err(self.silent()))
    }
}
