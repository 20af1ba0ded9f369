//! PostgreSQL and RabbitMQ: where they are, what they use, and databases to work in.

use std::time::Duration;

use anyhow::Context;
use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_postgres::{Client, NoTls};

use crate::proc;

/// The two servers, as `scripts/servers env` names them.
pub(crate) struct Servers {
    postgres: String,
    pub(crate) amqp: String,
    postmaster: Option<u32>,
    beam: Option<u32>,
}

/// CPU seconds; `None` where the process is not to be seen from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerCpu {
    pub(crate) postgres: Option<f64>,
    pub(crate) rabbit: Option<f64>,
}

impl Servers {
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let or = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let postgres = or("PAGEMILL_TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres");
        let amqp = or("PAGEMILL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f");
        let port = |url: &str, default| {
            reqwest::Url::parse(url).context("a server's URL").map(|url| url.port().unwrap_or(default))
        };
        let (postmaster, beam) = (
            proc::listener(port(&postgres, 5432)?, "postgres"),
            proc::listener(port(&amqp, 5672)?, "beam.smp"),
        );
        Ok(Self { postgres, amqp, postmaster, beam })
    }

    /// What the servers have used since they were started.
    pub(crate) fn cpu(&self) -> ServerCpu {
        ServerCpu {
            postgres: self.postmaster.and_then(proc::cpu_with_children),
            rabbit: self.beam.and_then(proc::cpu_with_children),
        }
    }

    pub(crate) fn database_url(&self, database: &str) -> String {
        let server = self.postgres.rsplit_once('/').map_or(&*self.postgres, |(server, _)| server);
        format!("{server}/{database}")
    }

    /// A fresh database. Earlier ones' dirty pages are written first, so that none pays for another.
    pub(crate) async fn create_database(&self, database: &str) -> anyhow::Result<()> {
        let admin = connect(&self.postgres).await?;
        admin.batch_execute(&format!("drop database if exists {database} with (force)")).await?;
        admin.batch_execute(&format!("create database {database}")).await?;
        admin.batch_execute("checkpoint").await.context("checkpoint (the bench needs a superuser)")
    }

    pub(crate) async fn drop_database(&self, database: &str) -> anyhow::Result<()> {
        let admin = connect(&self.postgres).await?;
        Ok(admin.batch_execute(&format!("drop database if exists {database} with (force)")).await?)
    }

    /// Takes away what failed runs of this process have left.
    pub(crate) async fn sweep(&self) -> anyhow::Result<()> {
        let admin = connect(&self.postgres).await?;
        let ours = format!("^bench{}_", std::process::id());
        for row in admin.query("select datname::text from pg_database where datname ~ $1", &[&ours]).await? {
            let left: String = row.get(0);
            self.delete_queues(&left).await?;
            self.drop_database(&left).await?;
        }
        Ok(())
    }

    /// One text from PostgreSQL.
    pub(crate) async fn query(&self, sql: &str) -> anyhow::Result<String> {
        Ok(connect(&self.postgres).await?.query_one(sql, &[]).await?.get(0))
    }

    async fn channel(&self) -> anyhow::Result<(lapin::Connection, lapin::Channel)> {
        let connection =
            lapin::Connection::connect(&self.amqp, lapin::ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    /// The broker's version, as its first frame states it; lapin keeps that to itself.
    pub(crate) async fn rabbit_version(&self) -> anyhow::Result<String> {
        let url = reqwest::Url::parse(&self.amqp)?;
        let address = (url.host_str().context("the broker's host")?, url.port().unwrap_or(5672));
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"AMQP\0\0\x09\x01").await?;
        let (mut received, mut buffer) = (Vec::new(), [0; 4_096]);
        loop {
            let read = stream.read(&mut buffer).await?;
            received.extend_from_slice(&buffer[..read]);
            if let Some(version) = version_in(&received) {
                return Ok(version);
            }
            anyhow::ensure!(read > 0, "the broker states no version");
        }
    }

    /// Deletes a source's queues and exchanges, or a queue of this very name.
    pub(crate) async fn delete_queues(&self, name: &str) -> anyhow::Result<()> {
        let (_connection, mut channel) = self.channel().await?;
        let suffixes =
            [".pages", ".pages.low", ".dead", ".retry.1s", ".retry.10s", ".retry.1m", ".retry.10m"];
        let ours = suffixes.map(|suffix| format!("pagemill.{name}{suffix}"));
        for queue in ours.iter().map(String::as_str).chain([name]) {
            let _ = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
            if queue.contains(".retry.") {
                let _ = channel.exchange_delete(queue.into(), ExchangeDeleteOptions::default()).await;
            }
            if !channel.status().connected() {
                channel = self.channel().await?.1;
            }
        }
        Ok(())
    }

    /// Waits until nothing is ready in a queue.
    pub(crate) async fn drained(&self, queue: &str, alive: impl Fn() -> bool) -> anyhow::Result<()> {
        let (_connection, channel) = self.channel().await?;
        loop {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let declared = channel.queue_declare(queue.into(), passive, Default::default()).await?;
            if declared.message_count() == 0 {
                return Ok(());
            }
            anyhow::ensure!(alive(), "it ended with {} jobs waiting", declared.message_count());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The property `version`, a long string, of the frame `connection.start`.
fn version_in(frame: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"\x07versionS";
    let at = frame.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let length = u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?) as usize;
    Some(String::from_utf8_lossy(frame.get(at + 4..at + 4 + length)?).into_owned())
}

pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("PostgreSQL")?;
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_once_it_is_whole() {
        let frame = b"....\x07productS\0\0\0\x08RabbitMQ\x07versionS\0\0\0\x063.10.8more";
        assert_eq!(version_in(frame).as_deref(), Some("3.10.8"));
        assert_eq!(version_in(&frame[..frame.len() - 6]), None);
    }
}
