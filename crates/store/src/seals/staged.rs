//! Staged rows that are no longer needed.

use deadpool_postgres::Object;

use super::Seals;
use crate::{error::StoreError, identifier::quote, table::DataTable};

/// Staged rows deleted in one transaction.
const AT_ONCE: i64 = 10_000;

const TABLES: &str = "select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where n.nspname = 'pagemill' and c.relkind = 'r' and c.relname like 'staged\\_%' order by c.relname";

/// Those of these partitions that need their staged rows no more. An attempt needs them until it is closed, and after that as
/// long as dead letters wait for an operator, who may complete it.
const UNNEEDED: &str = "select x.id from unnest($1::bigint[]) as x(id) \
    left join pagemill.partitions p on p.id = x.id left join pagemill.partitions w on w.id = coalesce(p.root, p.id) \
    where w.id is null or w.state in ('sealed', 'incomplete') and not (w.state = 'incomplete' and exists (\
        select from pagemill.partitions f join pagemill.dead_letters d on d.partition = f.id \
        where coalesce(f.root, f.id) = w.id and d.dropped_at is null and d.published_at is null))";

impl Seals {
    /// Deletes the staged rows of an attempt that is sealed.
    pub async fn clear_staged(&self, table: &DataTable, attempt: i64) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        let sql = "select id from pagemill.partitions where coalesce(root, id) = $1 and state = 'sealed'";
        let family: Vec<i64> =
            client.query(sql, &[&attempt]).await?.iter().map(|row| row.get("id")).collect();
        clear(&client, &table.staged, &family).await.map(drop)
    }

    /// Deletes all staged rows that no attempt needs any more; returns how many: of attempts that were closed, and of those
    /// whose process died before it had deleted them.
    pub async fn clear_unneeded_staged(&self) -> Result<u64, StoreError> {
        let client = self.database.client().await?;
        let mut cleared = 0;
        for table in client.query(TABLES, &[]).await? {
            let staged = format!("pagemill.{}", quote(table.get("name")));
            // Each partition by a look into the index, however many rows it has.
            let sql = format!(
                "with recursive staged as ((select min(_partition) as id from {staged}) \
                 union all select (select min(_partition) from {staged} where _partition > staged.id) from staged where staged.id is not null) \
                 select id from staged where id is not null"
            );
            let ids: Vec<i64> = client.query(&sql, &[]).await?.iter().map(|row| row.get("id")).collect();
            let unneeded: Vec<i64> =
                client.query(UNNEEDED, &[&ids]).await?.iter().map(|row| row.get("id")).collect();
            cleared += clear(&client, &staged, &unneeded).await?;
        }
        Ok(cleared)
    }
}

/// Deletes the staged rows of these partitions, some at a time, so that no transaction is long.
async fn clear(client: &Object, staged: &str, partitions: &[i64]) -> Result<u64, StoreError> {
    let mut cleared = 0;
    let sql = format!(
        "delete from {staged} where ctid = any(array(select s.ctid from {staged} s where s._partition = any($1) limit $2))"
    );
    while !partitions.is_empty() {
        let rows = client.execute(&sql, &[&partitions, &AT_ONCE]).await?;
        cleared += rows;
        if rows < AT_ONCE as u64 {
            break;
        }
    }
    Ok(cleared)
}
