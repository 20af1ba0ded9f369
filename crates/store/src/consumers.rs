//! Consumers that are alive share the quota.

use std::{collections::HashMap, time::Duration};

use crate::{database::Database, error::StoreError};

/// A consumer's heartbeat: consumers that are alive share the quota.
#[derive(Clone, Debug)]
pub struct ConsumerBeat {
    /// `host:pid:random`
    pub id: String,
    /// The sources it serves.
    pub sources: Vec<String>,
    /// Number of workers.
    pub workers: u32,
    /// Deliveries held at most.
    pub prefetch: u32,
}

/// A consumer that has not been heard of for so long is gone.
const ALIVE: Duration = Duration::from_secs(15);

/// The consumers that serve a source.
#[derive(Clone)]
pub struct Consumers {
    database: Database,
}

impl Consumers {
    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Records a sign of life; returns how many consumers of each of these sources are alive, this one
    /// included.
    pub async fn beat(&self, beat: &ConsumerBeat) -> Result<HashMap<String, u32>, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached(
                "insert into pagemill.consumers as c (id, sources, workers, prefetch) values ($1, $2, $3, $4) \
                 on conflict (id) do update set heartbeat_at = now(), workers = excluded.workers, prefetch = excluded.prefetch",
            )
            .await?;
        client
            .execute(&statement, &[&beat.id, &beat.sources, &(beat.workers as i32), &(beat.prefetch as i32)])
            .await?;
        let statement = client
            .prepare_cached(
                "select s as source, count(*) as alive from pagemill.consumers, unnest(sources) s \
                 where s = any($1) and heartbeat_at > now() - make_interval(secs => $2) group by s",
            )
            .await?;
        let rows = client.query(&statement, &[&beat.sources, &ALIVE.as_secs_f64()]).await?;
        Ok(rows.iter().map(|row| (row.get("source"), row.get::<_, i64>("alive") as u32)).collect())
    }

    /// The number of consumers of these sources that are alive.
    pub async fn count_alive(&self, sources: &[String]) -> Result<u32, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached(
                "select count(*) as alive from pagemill.consumers where sources && $1 and heartbeat_at > now() - make_interval(secs => $2)",
            )
            .await?;
        let row = client.query_one(&statement, &[&sources, &ALIVE.as_secs_f64()]).await?;
        Ok(row.get::<_, i64>("alive") as u32)
    }

    /// Leaves, and clears away those that died long ago.
    pub async fn leave(&self, id: &str) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        client
            .execute(
                "delete from pagemill.consumers where id = $1 or heartbeat_at < now() - interval '1 day'",
                &[&id],
            )
            .await?;
        Ok(())
    }
}
