use std::{future::Future, time::Duration};

use lapin::{
    Connection, ConnectionProperties,
    uri::{AMQPScheme, AMQPUri},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::{
    errors,
    reply::{Connected, reply},
    topology::Topology,
};
use crate::{error::QueueError, error::QueueErrorKind};

/// Half-open sockets are noticed after twice this.
const HEARTBEAT_SECONDS: u16 = 15;
const CONNECT_MILLIS: u64 = 10_000;
/// Messages are small, and lapin keeps buffers of 32 frames each way.
const FRAME_BYTES: u32 = 16 << 10;
/// For handshake and declarations, beyond the time to connect.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(30);

/// The broker: where it is, and what is declared on it.
pub(super) struct Broker {
    uri: AMQPUri,
    place: String,
    topology: Topology,
}

impl Broker {
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
        let limit = Duration::from_millis(self.uri.query.connection_timeout.unwrap_or(CONNECT_MILLIS))
            + DECLARE_TIMEOUT;
        let connecting = async {
            Connection::connect_uri(self.uri.clone(), properties)
                .await
                .map_err(|e| errors::connect_error(&e, &self.place, &self.uri.authority.userinfo.username))
        };
        self.with_timeout(limit, connecting).await
    }

    /// A connection on which everything is declared.
    pub(super) async fn connect_and_declare(&self, name: &str) -> Result<Connection, QueueError> {
        let connection = self.connect(name).await?;
        let declaring = async {
            let error = |e| self.error(&e, "cannot declare the queues");
            let channel = connection.create_channel().await.map_err(error)?;
            self.topology.declare(&channel).await.map_err(error)?;
            channel.close(200, "OK".into()).await.map_err(error)
        };
        self.while_connected(&connection, DECLARE_TIMEOUT, declaring).await?;
        Ok(connection)
    }

    /// Lapin's error as ours, with the place and what was being done.
    pub(super) fn error(&self, error: &lapin::Error, doing: &str) -> QueueError {
        errors::operation_error(error, doing, &self.place)
    }

    /// The broker is away, or blocked by an alarm.
    pub(super) fn unreachable(&self) -> QueueError {
        let message = format!(
            "RabbitMQ at {} does not reply: see that it runs and has no memory or disk alarm",
            self.place
        );
        QueueError::new(QueueErrorKind::Unreachable, message)
    }

    /// Work on a connection or channel, which ends when that does.
    pub(super) async fn while_connected<T>(
        &self,
        on: &impl Connected,
        limit: Duration,
        work: impl Future<Output = Result<T, QueueError>>,
    ) -> Result<T, QueueError> {
        reply(on, limit, work).await.unwrap_or_else(|_| Err(self.unreachable()))
    }

    /// No reply within the limit is an error: a blocked connection would wait for ever.
    pub(super) async fn with_timeout<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, QueueError>>,
    ) -> Result<T, QueueError> {
        timeout(limit, work).await.unwrap_or_else(|_| Err(self.unreachable()))
    }
}
