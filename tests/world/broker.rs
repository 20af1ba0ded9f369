//! The broker of a world, and what a world leaves on it.

use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{ExchangeDeleteOptions, QueueDeleteOptions},
};
use tokio::process::Command;

use super::{amqp_url, unique_name};

/// The queues of a source, under every `retry` that tests configure.
const QUEUES: [&str; 7] =
    ["pages", "pages.low", "dead", "retry.100ms", "retry.200ms", "retry.1s", "retry.30s"];

/// A RabbitMQ server, or a virtual host of one.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(super) url: String,
    rabbitmqctl: String,
    owned: Owned,
}

/// What belongs to one world alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owned {
    Queues,
    Vhost,
    Server,
}

impl Broker {
    /// The server that all tests use.
    pub(super) fn shared() -> Self {
        let rabbitmqctl =
            std::env::var("PAGEMILL_TEST_RABBITMQCTL").unwrap_or_else(|_| "rabbitmqctl".to_owned());
        Self { url: amqp_url(), rabbitmqctl, owned: Owned::Queues }
    }

    /// A new virtual host of that server.
    pub(super) async fn on_new_vhost() -> Self {
        let (shared, vhost) = (Self::shared(), unique_name());
        let user = shared.url.split("://").nth(1).unwrap().split([':', '@']).next().unwrap();
        shared.rabbitmqctl(&["add_vhost", &vhost]).await;
        shared.rabbitmqctl(&["set_permissions", "-p", &vhost, user, ".*", ".*", ".*"]).await;
        let url = format!("{}/{vhost}", shared.url.rsplit_once('/').unwrap().0);
        Self { url, owned: Owned::Vhost, ..shared }
    }

    /// A server of one test, which deletes it at its end.
    pub(crate) fn private(url: String, rabbitmqctl: String) -> Self {
        Self { url, rabbitmqctl, owned: Owned::Server }
    }

    pub(super) fn vhost(&self) -> String {
        self.url.rsplit_once('/').expect("a URL with a vhost").1.replace("%2f", "/")
    }

    /// The virtual host, if it belongs to one world.
    pub(super) fn own_vhost(&self) -> Option<String> {
        (self.owned == Owned::Vhost).then(|| self.vhost())
    }

    pub(super) async fn connect(&self) -> lapin::Result<(Connection, Channel)> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    /// Commands the server, and returns what rabbitmqctl prints. A test that needs a fault does not pass without it.
    pub(crate) async fn rabbitmqctl(&self, args: &[&str]) -> String {
        self.try_rabbitmqctl(args).await.unwrap_or_else(|failed| {
            panic!(
                "{failed}\nThis test commands the broker under test by its rabbitmqctl: run `make test`, or install \
                 RabbitMQ's rabbitmqctl and name it in PAGEMILL_TEST_RABBITMQCTL"
            )
        })
    }

    pub(super) async fn try_rabbitmqctl(&self, args: &[&str]) -> Result<String, String> {
        let program = &self.rabbitmqctl;
        let failed = match Command::new(program).arg("-q").args(args).kill_on_drop(true).output().await {
            Ok(output) if output.status.success() => {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        Err(format!("{program} {args:?} failed: {failed}"))
    }

    /// Deletes what belongs to the world of this source alone.
    pub(super) async fn clean(&self, source: &str) {
        match self.owned {
            Owned::Queues => self.delete_queues(source).await,
            Owned::Vhost => drop(self.try_rabbitmqctl(&["delete_vhost", &self.vhost()]).await),
            Owned::Server => {}
        }
    }

    /// Deletes what the world of this source left on the server that all tests use.
    pub(super) async fn clean_leftovers(source: &str) {
        let shared = Self::shared();
        shared.delete_queues(source).await;
        // It fails for a world without a virtual host of its own.
        let _ = shared.try_rabbitmqctl(&["delete_vhost", source]).await;
    }

    async fn delete_queues(&self, source: &str) {
        let Ok((_connection, channel)) = self.connect().await else { return };
        for queue in QUEUES {
            let name = format!("pagemill.{source}.{queue}");
            let _ = channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await;
            if queue.starts_with("retry") {
                let _ = channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await;
            }
        }
    }
}
