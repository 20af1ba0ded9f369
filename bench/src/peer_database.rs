//! Where a peer works: a database and a queue of its own.

use anyhow::ensure;

use crate::servers::{Servers, connect};

/// A peer's database and queue.
pub(crate) struct PeerDatabase<'a> {
    servers: &'a Servers,
    pub(crate) dir: tempfile::TempDir,
    /// The name of both.
    pub(crate) queue: String,
    db: tokio_postgres::Client,
}

impl<'a> PeerDatabase<'a> {
    pub(crate) async fn new(servers: &'a Servers) -> anyhow::Result<Self> {
        let queue = format!("bench{}_peer", std::process::id());
        servers.create_database(&queue).await?;
        let db = connect(&servers.database_url(&queue)).await?;
        Ok(Self { servers, dir: tempfile::tempdir()?, queue, db })
    }

    pub(crate) async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        for statement in sql.split("; ") {
            self.db.batch_execute(statement).await?;
        }
        Ok(())
    }

    pub(crate) async fn count(&self, table: &str) -> anyhow::Result<i64> {
        Ok(self.db.query_one(&format!("select count(*) from {table}"), &[]).await?.get(0))
    }

    pub(crate) async fn assert_rows(&self, table: &str, rows: u64) -> anyhow::Result<()> {
        let there = self.count(table).await?;
        ensure!(there == i64::try_from(rows)?, "{there} rows are stored, of {rows}");
        Ok(())
    }

    pub(crate) async fn clear(self) -> anyhow::Result<()> {
        drop(self.db);
        self.servers.delete_queues(&self.queue).await?;
        self.servers.drop_database(&self.queue).await
    }
}
