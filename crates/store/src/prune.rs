//! Keeps the ledger small: what is old enough goes, by months where a whole month may.
//!
//! First the ledger decides and notes it (`partitions.pruned_at`, and what is to be done in
//! `pagemill.pruning`), then rows go. A prune that dies in between is gone on with by the next.

mod decision;
mod months;

use std::time::Duration;

use deadpool_postgres::{Object, Transaction};
use pagemill_core::Retention;
use serde::Serialize;
use tokio_postgres::Row;

use self::decision::{ATTEMPT, Decided, PAGES, RESPONSES};
use crate::{error::StoreError, retry::with_retry, store::Store};

/// What a prune took away, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Attempts at slices that were removed: newer ones stand in their place.
    pub attempts: u64,
    /// Page rows.
    pub pages: u64,
    /// Stored responses.
    pub responses: u64,
    /// Months that were dropped as a whole, with the disk space that came back at once.
    pub months: Vec<Month>,
    /// Runs of which no attempt is left.
    pub runs: u64,
    /// Dead letters that were requeued or dropped long ago.
    pub dead_letters: u64,
    /// Consumers that are gone.
    pub consumers: u64,
}

/// A month's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Month {
    /// `pages_202601`
    pub table: String,
    /// Bytes of the table, its indexes included.
    pub bytes: u64,
}

/// Partitions cleared together,
const PARTITIONS: i64 = 100;
/// and rows deleted in one transaction.
const ROWS: i64 = 2_000;

const RUNS: &str = "pagemill.runs r where r.created_at < now() - make_interval(secs => $1) \
    and coalesce(r.lease_until < now(), true) \
    and not exists (select from pagemill.run_partitions rp where rp.run = r.id and rp.partition <> all($2)) \
    and not exists (select from pagemill.partitions p where p.run = r.id and p.id <> all($2))";

const LETTERS: &str = "pagemill.dead_letters d \
    where greatest(d.dropped_at, d.published_at) < now() - make_interval(secs => $1) \
    and not exists (select from pagemill.partitions p where p.id = d.partition and p.state = 'open')";

const CONSUMERS: &str =
    "pagemill.consumers where heartbeat_at < now() - make_interval(secs => greatest($1::float8, 86400))";

impl Store {
    /// Takes out of the ledger what is older than `retention` says; a dry run only looks. Never
    /// touched: what is open, what dead letters wait for, and the partition and proof of the newest
    /// attempt at a slice (and of the newest sealed one). Safe beside running consumers and other
    /// prunes.
    ///
    /// # Errors
    /// What was done before an error stays done; another prune goes on from there.
    pub async fn prune(&self, retention: &Retention, dry_run: bool) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let going = self.decide(retention, dry_run, &mut pruned).await?;
        self.drop_months(&going, dry_run, &mut pruned).await?;
        if !dry_run {
            fail::fail_point!("prune-before-delete");
            while self.clear().await? {}
        }
        if let Some(history) = retention.history {
            self.prune_rest(history, &going, dry_run, &mut pruned).await?;
        }
        Ok(pruned)
    }

    /// Does what is noted, for some partitions; whether there were any. Parts come before their whole.
    async fn clear(&self) -> Result<bool, StoreError> {
        let client = self.database.client().await?;
        let sql = "select partition, action from pagemill.pruning order by partition desc limit $1";
        let noted = client.query(sql, &[&PARTITIONS]).await?;
        let of = |actions: &[&str]| -> Vec<i64> {
            noted.iter().filter(|r| actions.contains(&r.get("action"))).map(|r| r.get("partition")).collect()
        };
        delete_rows(&client, "responses", &of(&[RESPONSES, PAGES, ATTEMPT])).await?;
        delete_rows(&client, "pages", &of(&[PAGES, ATTEMPT])).await?;
        drop(client);
        with_retry(|| self.remove(&noted)).await?;
        Ok(!noted.is_empty())
    }

    /// The partitions that go, and the notes.
    async fn remove(&self, noted: &[Row]) -> Result<(), StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        let going: Vec<i64> = noted
            .iter()
            .filter(|r| r.get::<_, &str>("action") == ATTEMPT)
            .map(|r| r.get("partition"))
            .collect();
        for sql in [
            "delete from pagemill.dead_letters where partition = any($1)",
            "delete from pagemill.run_partitions where partition = any($1)",
            "delete from pagemill.partitions where id = any($1)",
        ] {
            tx.execute(sql, &[&going]).await?;
        }
        let (partitions, actions): (Vec<i64>, Vec<&str>) =
            noted.iter().map(|r| (r.get::<_, i64>("partition"), r.get::<_, &str>("action"))).unzip();
        // A note may have become a stronger one meanwhile.
        tx.execute(
            "delete from pagemill.pruning t using unnest($1::bigint[], $2::text[]) as u(partition, action) \
             where t.partition = u.partition and t.action = u.action",
            &[&partitions, &actions],
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Runs without attempts, dead letters that ended, consumers that are gone.
    async fn prune_rest(
        &self,
        history: Duration,
        going: &Decided,
        dry_run: bool,
        pruned: &mut Pruned,
    ) -> Result<(), StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        let (age, gone) = (history.as_secs_f64(), going.gone());
        pruned.runs = count_or_delete(&tx, dry_run, RUNS, &[&age, &gone]).await?;
        pruned.dead_letters = count_or_delete(&tx, dry_run, LETTERS, &[&age]).await?;
        pruned.consumers = count_or_delete(&tx, dry_run, CONSUMERS, &[&age]).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Deletes the rows of these partitions, some at a time, so that no transaction is long.
async fn delete_rows(client: &Object, table: &str, partitions: &[i64]) -> Result<(), StoreError> {
    let sql = format!(
        "delete from pagemill.{table} where partition = any($1) and (partition, page) in (\
             select partition, page from pagemill.{table} where partition = any($1) limit $2)"
    );
    while with_retry(async || Ok(client.execute(&sql, &[&partitions, &ROWS]).await?)).await? > 0 {}
    Ok(())
}

async fn count_or_delete(
    tx: &Transaction<'_>,
    dry_run: bool,
    rows: &str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<u64, StoreError> {
    if dry_run {
        let count: i64 =
            tx.query_one(&format!("select count(*) as count from {rows}"), params).await?.get("count");
        return Ok(count as u64);
    }
    Ok(tx.execute(&format!("delete from {rows}"), params).await?)
}
