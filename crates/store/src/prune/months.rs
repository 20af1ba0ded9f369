//! Months of the ledger that are dropped as a whole.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable};

use super::{Month, Pruned, decision::Decided};
use crate::{error::StoreError, error::StoreErrorKind, store::Store};

/// A month is dropped under a lock for which all others wait: it is had soon, or tried for again.
const LOCK_WAIT: &str = "set local lock_timeout = '100ms'";
const LOCK_PAUSE: Duration = Duration::from_millis(500);
const LOCK_TRIES: usize = 60;

/// Rows of the month `$1` to `$2` that stay; `$3` are partitions that a dry run would prune.
const STAYS: &str = "select exists (select from pagemill.partitions p where p.id between $1 and $2 and p.id <> all($3) \
    and (p.state = 'open' or p.{marked} is null and exists (select from pagemill.{month} g where g.partition = p.id))) as stays";

impl Store {
    /// Drops the months that are over and of which nothing stays.
    pub(super) async fn drop_months(
        &self,
        going: &Decided,
        dry_run: bool,
        pruned: &mut Pruned,
    ) -> Result<(), StoreError> {
        let months = {
            let client = self.database.client().await?;
            client
                .query(
                    "select p.relname::text as parent, right(c.relname, 6) as month, pg_total_relation_size(c.oid) as bytes from pg_inherits i \
                     join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent \
                     where i.inhparent = any(array['pagemill.pages', 'pagemill.responses']::regclass[]) \
                         and c.relname ~ '_[0-9]{6}$' and right(c.relname, 6) < to_char(now(), 'YYYYMM') order by month, parent",
                    &[],
                )
                .await?
        };
        for row in months {
            let (parent, month): (&str, &str) = (row.get("parent"), row.get("month"));
            let table = format!("{parent}_{month}");
            let lower = month.parse::<i64>().unwrap_or(0) * 100_000_000;
            let marked = if parent == "pages" { "pruned_at" } else { "responses_pruned_at" };
            let lost: Vec<i64> = going.losing(parent == "pages").collect();
            let sql = STAYS.replace("{marked}", marked).replace("{month}", &table);
            let stays: bool = {
                let client = self.database.client().await?;
                client.query_one(&sql, &[&lower, &(lower + 99_999_999), &lost]).await?.get("stays")
            };
            if stays {
                continue;
            }
            let bytes = if dry_run { Some(row.get("bytes")) } else { self.drop_month(parent, month).await? };
            pruned.months.extend(bytes.map(|bytes: i64| Month { table, bytes: bytes as u64 }));
        }
        Ok(())
    }

    /// `None` where it stays after all: something in it is to be kept, or the lock is not to be had;
    /// then its rows are deleted, and the next prune drops it.
    async fn drop_month(&self, parent: &str, month: &str) -> Result<Option<i64>, StoreError> {
        let drop = async || {
            let mut client = self.database.client().await?;
            let tx = client.transaction().await?;
            tx.batch_execute(LOCK_WAIT).await?;
            let bytes = tx
                .query_one("select pagemill.drop_month($1, $2) as bytes", &[&parent, &month])
                .await?
                .get("bytes");
            tx.commit().await?;
            Ok::<_, StoreError>(bytes)
        };
        let pauses =
            ConstantBuilder::default().with_delay(LOCK_PAUSE).with_max_times(LOCK_TRIES).with_jitter();
        match drop.retry(pauses).when(|e| e.kind() == StoreErrorKind::Retriable).await {
            Err(e) if e.kind() == StoreErrorKind::Retriable => {
                tracing::warn!(month, parent, error = %e, "a month cannot be dropped now: its rows are deleted");
                Ok(None)
            }
            dropped => dropped,
        }
    }
}
