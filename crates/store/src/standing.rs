//! What a day that did not change is spared: where the rows of the last sealed attempt stand in the table
//! untouched, an answer that says the same as its page's before is stored by the ledger alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use pagemill_core::BodyDigest;
use tokio::sync::OnceCell;

use crate::{DataTable, PartitionRow, Store, StoreError};

/// Below so many pages the look at the table costs more than it spares.
const FEWEST_PAGES: u32 = 10;

/// Nor are more pages remembered, of one attempt.
const MOST_PAGES: u32 = 200_000;

/// Attempts whose imprints are remembered.
const MOST_ATTEMPTS: usize = 16;

/// A page of an attempt whose rows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingPage {
    /// What its answer is known again by.
    pub imprint: BodyDigest,
    /// How many rows it has.
    pub rows: u32,
}

/// By page.
type Pages = HashMap<u32, StandingPage>;

/// What is known of attempts that others stand on. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct StandingPages {
    attempts: Arc<Mutex<HashMap<i64, Arc<OnceCell<Pages>>>>>,
}

impl StandingPages {
    fn of(&self, attempt: i64) -> Arc<OnceCell<Pages>> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= MOST_ATTEMPTS && !attempts.contains_key(&attempt) {
            attempts.clear();
        }
        attempts.entry(attempt).or_default().clone()
    }
}

/// The last sealed attempt at a partition's slice, if it can be stood on: `$1` = the partition, `$2` = the
/// definition's meaning that every page must have been read by, `$3` = whether their answers must be there. Every page
/// must be as its transaction left it (a restored backup's are not), and recent enough for transactions to be compared:
/// within 2^31 of them.
const ATTEMPT: &str = "with attempt as (select o.id, o.first_page, o.last_page \
        from pagemill.partitions p join pagemill.partitions o \
          on (o.source, o.stream, o.account, o.from_date, o.to_date) = (p.source, p.stream, p.account, p.from_date, p.to_date) \
        where p.id = $1 and p.parent is null and p.parts is null and p.subset_first is null \
          and o.parent is null and o.parts is null and o.id < p.id and o.state = 'sealed' and o.pruned_at is null \
          and o.opened_at > (select s.migrated_at from pagemill.streams s where (s.source, s.stream) = (p.source, p.stream)) \
        order by o.id desc limit 1), \
    answers as (select count(*) as kept from attempt a join pagemill.bodies b on b.partition = a.id) \
    select a.id, sum(g.rows)::bigint, min(g.horizon)::text, max(g.requested_at), pg_snapshot_xmin(pg_current_snapshot())::text \
    from answers, attempt a join pagemill.pages g on g.partition = a.id and g.page between a.first_page and a.last_page \
    where not $3 or answers.kept > a.last_page - a.first_page \
    group by a.id, a.first_page, a.last_page \
    having count(*) = a.last_page - a.first_page + 1 \
       and bool_and(g.state = 'done' and g.imprint is not null and g.definition is not distinct from $2 and g.xmin = g.written::xid) \
       and pg_snapshot_xmax(pg_current_snapshot())::text::bigint - min(g.horizon)::text::bigint < 1073741824";

impl Store {
    /// Looks, before a partition's pages are published, whether the rows of the last sealed attempt at its
    /// slice stand in the table as its pages wrote them, all of them and no others, and nobody has written them
    /// since. The partition is noted to stand on that attempt if so, and on none otherwise. `answers`: whether
    /// its answers must be there.
    ///
    /// # Errors
    /// As any query.
    pub async fn stand(
        &self,
        table: &DataTable,
        partition: &PartitionRow,
        answers: bool,
    ) -> Result<PartitionRow, StoreError> {
        let found = self.standing(table, partition, answers).await?;
        let (stands_on, since) = found.unzip();
        if stands_on.is_some() || partition.stands_on.is_some() {
            let sql =
                "update pagemill.partitions set stands_on = $2, stands_since = $3::text::xid8 where id = $1";
            self.client().await?.execute(sql, &[&partition.id, &stands_on, &since]).await?;
        }
        Ok(PartitionRow { stands_on, ..partition.clone() })
    }

    /// The attempt, and before which transaction all had ended when it was looked for.
    async fn standing(
        &self,
        table: &DataTable,
        partition: &PartitionRow,
        answers: bool,
    ) -> Result<Option<(i64, String)>, StoreError> {
        let pages = partition.planned().map_or(0, |pages| pages.count());
        if partition.chained || !table.is_by_date() || !(FEWEST_PAGES..=MOST_PAGES).contains(&pages) {
            return Ok(None);
        }
        let mut client = self.client().await?;
        let statement = client.prepare_cached(ATTEMPT).await?;
        let Some(row) = client.query_opt(&statement, &[&partition.id, &table.meaning, &answers]).await?
        else {
            return Ok(None);
        };
        let (attempt, rows): (i64, Option<i64>) = (row.get(0), row.get(1));
        let (horizon, requested_at, since): (&str, Timestamp, String) = (row.get(2), row.get(3), row.get(4));
        // Whatever else wrote a row has a transaction of its own, at or after the horizon.
        let sql = format!(
            "select count(*), coalesce(bool_and((w.id is not null or age(t.xmin) > age($5::text::xid8::xid)) and t._fetched_at <= $6), true) \
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
        let stands = rows == Some(looked.get(0)) && looked.get(1);
        Ok(stands.then_some((attempt, since)))
    }

    /// A page of an attempt that others stand on. Of each attempt the ledger is asked once.
    ///
    /// # Errors
    /// As any query.
    pub async fn standing_page(&self, attempt: i64, page: u32) -> Result<Option<StandingPage>, StoreError> {
        let known = self.standing_pages.of(attempt);
        let pages = known.get_or_try_init(|| self.read_standing(attempt)).await?;
        Ok(pages.get(&page).copied())
    }

    async fn read_standing(&self, attempt: i64) -> Result<Pages, StoreError> {
        let client = self.client().await?;
        let rows = client
            .query(
                "select page, rows, imprint, imprint_before, imprint_after from pagemill.pages \
                 where partition = $1 and state = 'done' and imprint is not null",
                &[&attempt],
            )
            .await?;
        let page = |row: &tokio_postgres::Row| {
            let number = |i: usize| row.get::<_, i32>(i) as u32;
            let imprint = BodyDigest { hash: row.get(2), before: number(3), after: number(4) };
            (number(0), StandingPage { imprint, rows: number(1) })
        };
        Ok(rows.iter().map(page).collect())
    }
}
