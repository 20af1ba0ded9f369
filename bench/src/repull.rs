//! Point 8: what it costs to pull a day again that did not change.

use serde::{Deserialize, Serialize};

use crate::{measurement::Cpu, world::World};

/// A first pull and the same day's second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Repull {
    pub(crate) round: u32,
    /// Producer and consumers.
    pub(crate) first_seconds: f64,
    pub(crate) again_seconds: f64,
    /// Seconds of each, the producer's apart.
    pub(crate) cpu: [Cpu; 2],
    /// Bytes of the data table and its indexes, after each.
    pub(crate) table_bytes: [i64; 2],
    /// Bytes of the database, after each.
    pub(crate) database_bytes: [i64; 2],
    /// Rows of the data table that the second pull wrote anew.
    pub(crate) updated_rows: i64,
    pub(crate) dead_rows: i64,
    /// Bytes of WAL that each pull wrote.
    pub(crate) wal_bytes: [i64; 2],
    /// WAL records of the second pull that belong to the data table and its indexes; `None` without `pg_walinspect`.
    pub(crate) table_wal_bytes: Option<i64>,
}

/// A world at a moment.
pub(crate) struct State {
    lsn: String,
    table_bytes: i64,
    database_bytes: i64,
}

impl State {
    pub(crate) async fn read(world: &World<'_>) -> anyhow::Result<Self> {
        let sql = format!(
            "select pg_current_wal_lsn()::text, pg_total_relation_size('{}'), pg_database_size(current_database())",
            world.table()
        );
        let row = world.db().query_one(&sql, &[]).await?;
        Ok(Self { lsn: row.get(0), table_bytes: row.get(1), database_bytes: row.get(2) })
    }
}

impl Repull {
    pub(crate) async fn between(
        world: &World<'_>,
        round: u32,
        (first_seconds, again_seconds): (f64, f64),
        cpu: [Cpu; 2],
        [before, pulled, after]: [State; 3],
    ) -> anyhow::Result<Self> {
        let db = world.db();
        let wal = async |from: &State, to: &State| -> anyhow::Result<i64> {
            let sql = format!("select pg_wal_lsn_diff('{}', '{}')::bigint", to.lsn, from.lsn);
            Ok(db.query_one(&sql, &[]).await?.get(0))
        };
        // Exact counts, whatever the statistics know already.
        db.batch_execute("create extension if not exists pgstattuple").await?;
        let dead = format!("select dead_tuple_count from pgstattuple('{}')", world.table());
        // A row that was written anew has another origin than the insert that made it.
        let updated =
            format!("select n_tup_upd from pg_stat_user_tables where relname = '{}'", world.table());
        Ok(Self {
            round,
            first_seconds,
            again_seconds,
            cpu,
            table_bytes: [pulled.table_bytes, after.table_bytes],
            database_bytes: [pulled.database_bytes, after.database_bytes],
            updated_rows: db.query_one(&updated, &[]).await?.get(0),
            dead_rows: db.query_one(&dead, &[]).await?.get(0),
            wal_bytes: [wal(&before, &pulled).await?, wal(&pulled, &after).await?],
            table_wal_bytes: table_wal(world, &pulled, &after).await.ok(),
        })
    }
}

/// WAL of the data table and its indexes, full-page images included.
async fn table_wal(world: &World<'_>, from: &State, to: &State) -> anyhow::Result<i64> {
    let db = world.db();
    db.batch_execute("create extension if not exists pg_walinspect").await?;
    let sql = format!(
        "select coalesce(sum(record_length), 0)::bigint from pg_get_wal_records_info('{}', '{}') \
         where block_ref ~ (select '/(' || string_agg(pg_relation_filenode(oid)::text, '|') || ') ' from pg_class \
           where oid = '{table}'::regclass or oid in (select indexrelid from pg_index where indrelid = '{table}'::regclass))",
        from.lsn,
        to.lsn,
        table = world.table(),
    );
    Ok(db.query_one(&sql, &[]).await?.get(0))
}
