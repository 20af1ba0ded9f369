//! What a day that did not change is spared: where the rows of the last sealed attempt stand in the table
//! untouched, an unchanged response is stored by the ledger alone.

use jiff::Timestamp;

use super::Partitions;
use crate::{error::StoreError, partitions::PartitionRow, table::DataTable};

/// Below so many pages the look at the table costs more than it spares.
const FEWEST_PAGES: u32 = 10;

/// Nor are more pages remembered, of one attempt.
const MOST_PAGES: u32 = 200_000;

/// The last sealed attempt at a partition's slice, if it can be stood on: `$1` = the partition, `$2` = the
/// definition's decode_hash that every page must have been read by, `$3` = whether their responses must be stored. Every page
/// must be as its transaction left it (a restored backup's are not), and recent enough for transactions to be compared:
/// within 2^30 of them, half of what a 32-bit id can tell.
const ATTEMPT: &str = "with attempt as (select o.id, o.first_page, o.last_page \
        from pagemill.partitions p join pagemill.partitions o \
          on (o.source, o.stream, o.account, o.from_date, o.to_date) = (p.source, p.stream, p.account, p.from_date, p.to_date) \
        where p.id = $1 and p.parent is null and p.parts is null and p.subset_first is null \
          and o.parent is null and o.parts is null and o.id < p.id and o.state = 'sealed' and o.pruned_at is null \
          and o.opened_at > (select s.migrated_at from pagemill.streams s where (s.source, s.stream) = (p.source, p.stream)) \
        order by o.id desc limit 1), \
    responses as (select count(*) as kept from attempt a join pagemill.responses b on b.partition = a.id) \
    select a.id, sum(g.rows)::bigint as rows, min(g.horizon)::text as horizon, max(g.requested_at) as requested_at, \
        pg_snapshot_xmin(pg_current_snapshot())::text as since \
    from responses, attempt a join pagemill.pages g on g.partition = a.id and g.page between a.first_page and a.last_page \
    where not $3 or responses.kept > a.last_page - a.first_page \
    group by a.id, a.first_page, a.last_page \
    having count(*) = a.last_page - a.first_page + 1 \
       and bool_and(g.state = 'done' and g.body_digest is not null and g.decode_hash is not distinct from $2 and g.xmin = g.written::xid) \
       and pg_snapshot_xmax(pg_current_snapshot())::text::bigint - min(g.horizon)::text::bigint < 1073741824";

impl Partitions {
    /// Looks, before a partition's pages are published, whether the rows of the last sealed attempt at its
    /// slice stand in the table as its pages wrote them, all of them and no others, and nobody has written them
    /// since. The partition is noted to stand on that attempt if so, and on none otherwise. `responses`:
    /// whether its responses must be stored.
    pub async fn stand(
        &self,
        table: &DataTable,
        partition: &PartitionRow,
        responses: bool,
    ) -> Result<PartitionRow, StoreError> {
        let found = self.standing(table, partition, responses).await?;
        let (stands_on, since) = found.unzip();
        if stands_on.is_some() || partition.stands_on.is_some() {
            let sql =
                "update pagemill.partitions set stands_on = $2, stands_since = $3::text::xid8 where id = $1";
            self.database.client().await?.execute(sql, &[&partition.id, &stands_on, &since]).await?;
        }
        Ok(PartitionRow { stands_on, ..partition.clone() })
    }

    /// The attempt, and before which transaction all had ended when it was looked for.
    async fn standing(
        &self,
        table: &DataTable,
        partition: &PartitionRow,
        responses: bool,
    ) -> Result<Option<(i64, String)>, StoreError> {
        let pages = partition.planned().map_or(0, |pages| pages.count());
        if partition.chained || !table.is_by_date() || !(FEWEST_PAGES..=MOST_PAGES).contains(&pages) {
            return Ok(None);
        }
        let mut client = self.database.client().await?;
        let statement = client.prepare_cached(ATTEMPT).await?;
        let Some(row) =
            client.query_opt(&statement, &[&partition.id, &table.decode_hash, &responses]).await?
        else {
            return Ok(None);
        };
        let (attempt, rows): (i64, Option<i64>) = (row.get("id"), row.get("rows"));
        let (horizon, requested_at, since): (&str, Timestamp, String) =
            (row.get("horizon"), row.get("requested_at"), row.get("since"));
        // Whatever else wrote a row has a transaction of its own, at or after the horizon.
        let sql = format!(
            "select count(*) as rows, coalesce(bool_and((w.id is not null or age(t.xmin) > age($5::text::xid8::xid)) and t._fetched_at <= $6), true) as untouched \
             from {} t left join (select distinct written::xid as id from pagemill.pages where partition = $4) w on w.id = t.xmin \
             where {}",
            table.name(),
            table.slice_condition(),
        );
        let s = &partition.slice;
        let tx = client.transaction().await?;
        tx.batch_execute("set local statement_timeout = '10min'").await?;
        let looked =
            tx.query_one(&sql, &[&s.account, &s.from, &s.to, &attempt, &horizon, &requested_at]).await?;
        tx.commit().await?;
        let stands = rows == Some(looked.get("rows")) && looked.get("untouched");
        Ok(stands.then_some((attempt, since)))
    }
}
