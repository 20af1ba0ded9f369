//! The collector's transaction: the ledger's page rows, their bodies, the data rows, and last the
//! partitions' counters, all or nothing.

mod params;

use std::collections::HashSet;

use deadpool_postgres::Object;
use futures_util::future;
use tokio_postgres::{Row, Statement, error::SqlState};

use self::params::{CounterParams, LedgerParams};
use super::{
    Pages,
    past::{PAST, Past},
};
use crate::{
    DataTable, PageWrite, StoreError, StoreErrorKind, error::kind_of, partitions::Progress, rows::RowParams,
};

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Written {
    /// For each page of the batch, in order: whether it was stored. A page that was not is a
    /// duplicate, of an older generation, or of a partition that is closed.
    pub stored: Vec<bool>,
    /// The partitions of the stored pages, as they stand now.
    pub progress: Vec<Progress>,
}

/// How one try at the transaction ended.
enum Tried {
    /// The partitions as they stand now, as the counters return them.
    Committed(Vec<Row>),
    /// These positions must not be in the batch; nothing was changed.
    Without(Vec<usize>),
    /// A row was there that should have been new; nothing was changed.
    Occupied,
}

/// How rows get into the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Copy,
    Upsert,
}

/// Begins a statement that stores pages; `$n` are arrays with an element a page.
const PAGES: &str = "insert into pagemill.pages as p \
    (partition, page, generation, state, requests, versions, rows, total, keys, content_hash, request_id, requested_at, casts, \
     next, next_hash, facts, imprint, imprint_before, imprint_after, definition, written, horizon) ";

const READ: &str = "select u.partition, u.page, u.generation, 'done', 1, 1, u.rows, u.total, ($6::bigint[])[u.first : u.first + u.rows - 1], \
           u.content_hash, u.request_id, u.requested_at, u.casts, u.next, u.next_hash, u.facts, \
           u.imprint, u.imprint_before, u.imprint_after, $18, pg_current_xact_id(), pg_snapshot_xmin(pg_current_snapshot()) \
    from unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::int[], $7::bigint[], $8::bigint[], $9::text[], \
                $10::timestamptz[], $11::jsonb[], $12::text[], $13::bigint[], $14::jsonb[], $15::bigint[], $16::int[], $17::int[]) \
         as u(partition, page, generation, first, rows, total, content_hash, request_id, requested_at, casts, next, next_hash, facts, \
              imprint, imprint_before, imprint_after) ";

/// Of pages that say the same as those of the attempt that their partition stands on. Each is looked up by itself:
/// without statistics, as in a young ledger, a join may be a scan.
const SAME: &str = "select u.partition, u.page, u.generation, 'done', 1, 1, o.rows, o.total, o.keys, \
           o.content_hash, u.request_id, u.requested_at, o.casts, o.next, o.next_hash, o.facts, \
           o.imprint, o.imprint_before, o.imprint_after, o.definition, pg_current_xact_id(), t.stands_since \
    from unnest($1::bigint[], $2::int[], $3::int[], $4::text[], $5::timestamptz[], $6::boolean[]) \
         as u(partition, page, generation, request_id, requested_at, answer) \
    join pagemill.partitions t on t.id = u.partition \
    cross join lateral (select * from pagemill.pages o \
        where o.partition = t.stands_on and o.page = u.page and o.state = 'done' limit 1) o \
    where not u.answer \
       or (select true from pagemill.bodies b where b.partition = t.stands_on and b.page = u.page limit 1) ";

const UNLESS_NEWER: &str = "on conflict (partition, page) do update set \
        state = 'done', requests = p.requests + 1, versions = case when p.state = 'done' then p.versions + 1 else 1 end, \
        starts = 0, alone_starts = 0, rows = excluded.rows, total = excluded.total, keys = excluded.keys, \
        content_hash = excluded.content_hash, request_id = excluded.request_id, requested_at = excluded.requested_at, \
        casts = excluded.casts, next = excluded.next, next_hash = excluded.next_hash, facts = excluded.facts, \
        imprint = excluded.imprint, imprint_before = excluded.imprint_before, imprint_after = excluded.imprint_after, \
        definition = excluded.definition, written = excluded.written, horizon = excluded.horizon \
    where p.generation = excluded.generation and p.state <> 'dead' \
      and (p.requested_at is null or p.requested_at < excluded.requested_at) \
    returning partition, page, versions = 1";

const BODIES: &str = "insert into pagemill.bodies as b (partition, page, body, definition) \
    select *, $4::bigint from unnest($1::bigint[], $2::int[], $3::bytea[]) \
    on conflict (partition, page) do update set body = excluded.body, definition = excluded.definition";

const SAME_BODIES: &str = "insert into pagemill.bodies as b (partition, page, body, definition) \
    select u.partition, u.page, o.body, o.definition from unnest($1::bigint[], $2::int[], $3::boolean[]) as u(partition, page, answer) \
    join pagemill.partitions t on t.id = u.partition \
    cross join lateral (select body, definition from pagemill.bodies o \
        where o.partition = t.stands_on and o.page = u.page limit 1) o where u.answer \
    on conflict (partition, page) do update set body = excluded.body, definition = excluded.definition";

/// The counters come last: their rows are the ones that every collector of a partition wants, and
/// are held only for the commit. Locked in id order.
const COUNTERS: &str = "with wanted as materialized ( \
        select p.id from pagemill.partitions p where p.id = any($1::bigint[]) and p.state = 'open' order by p.id for no key update), \
    counted as ( \
        select u.id, u.done, u.total, u.ended from unnest($1::bigint[], $2::int[], $3::bigint[], $4::int[]) as u(id, done, total, ended) \
        join wanted using (id)) \
    update pagemill.partitions p set done = p.done + c.done, total = coalesce(p.total, c.total), end_page = coalesce(c.ended, p.end_page), \
        expanded_at = coalesce(p.expanded_at, now()), progressed_at = now() \
    from counted c where p.id = c.id \
    returning p.id, p.done, p.dead, p.total, p.first_page, p.last_page, p.published_at is not null, ";

impl Pages {
    /// Stores a batch of pages of one table in one transaction. Rows are sorted by key, so that
    /// writers never deadlock; a key that repeats within the batch is taken from the later request.
    ///
    /// Pages that the ledger refuses are left out and reported, the others are stored without them; so are
    /// those that say the same as one that is no longer there.
    ///
    /// # Errors
    /// As PostgreSQL says; nothing is stored then, unless the connection broke during the commit.
    /// Writing the same batch again tells: what was stored is then refused as a duplicate.
    pub async fn write(&self, table: &DataTable, pages: &[PageWrite]) -> Result<Written, StoreError> {
        let mut client = self.database.client().await?;
        let statements = Statements::prepare(&client, table).await?;
        let mut included = newest_copies(pages);
        let mut progress = Vec::new();
        let new = pages.iter().all(|page| self.pasts.of(page.job.partition) == Past::Nothing);
        let mut way = if new { Way::Copy } else { Way::Upsert };
        while !included.is_empty() {
            match try_write(&mut client, &statements, table, pages, &included, way).await? {
                Tried::Committed(counted) => {
                    if way == Way::Upsert && table.is_by_date() {
                        self.pasts.note(counted.iter().map(|row| (row.get(0), Past::read(row, 7))));
                    }
                    progress = counted.iter().map(Progress::from_row).collect();
                    break;
                }
                Tried::Without(refused) => included.retain(|i| !refused.contains(i)),
                Tried::Occupied => {
                    self.pasts.note(pages.iter().map(|page| (page.job.partition, Past::Other)));
                    way = Way::Upsert;
                }
            }
        }
        let mut stored = vec![false; pages.len()];
        included.iter().for_each(|&i| stored[i] = true);
        Ok(Written { stored, progress })
    }
}

struct Statements {
    pages: Statement,
    same: Statement,
    same_bodies: Statement,
    bodies: Statement,
    copy: Statement,
    upsert: Statement,
    counters: Statement,
}

impl Statements {
    async fn prepare(client: &Object, table: &DataTable) -> Result<Self, StoreError> {
        Ok(Self {
            pages: client.prepare_cached(&[PAGES, READ, UNLESS_NEWER].concat()).await?,
            same: client.prepare_cached(&[PAGES, SAME, UNLESS_NEWER].concat()).await?,
            same_bodies: client.prepare_cached(SAME_BODIES).await?,
            bodies: client.prepare_cached(BODIES).await?,
            copy: client.prepare_cached(&table.copy).await?,
            upsert: client.prepare_cached(&table.upsert).await?,
            counters: client.prepare_cached(&[COUNTERS, PAST].concat()).await?,
        })
    }
}

/// One copy of each page, the one requested last, in the ledger's order.
fn newest_copies(pages: &[PageWrite]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pages.len()).collect();
    order.sort_by_key(|&i| {
        (pages[i].job.partition, pages[i].job.page, std::cmp::Reverse(pages[i].requested_at))
    });
    order.dedup_by_key(|i| (pages[*i].job.partition, pages[*i].job.page));
    order
}

async fn try_write(
    client: &mut Object,
    statements: &Statements,
    table: &DataTable,
    pages: &[PageWrite],
    included: &[usize],
    way: Way,
) -> Result<Tried, StoreError> {
    let batch: Vec<&PageWrite> = included.iter().map(|&i| &pages[i]).collect();
    let (same, read): (Vec<&PageWrite>, Vec<&PageWrite>) =
        batch.iter().partition(|page| page.unchanged.is_some());
    let (ledger, same_ledger) = (LedgerParams::new(&read), LedgerParams::new(&same));
    let rows = RowParams::new(table, &read);
    let tx = client.transaction().await?;

    // All statements are on their way before the first answers; the counters follow as soon as the
    // ledger has said which pages are new, while the server is still busy with the rows.
    let ledger_then_counters = async {
        let read = async {
            let params = [&ledger.pages()[..], &[&table.decode_hash]].concat();
            if read.is_empty() { Ok(Vec::new()) } else { tx.query(&statements.pages, &params).await }
        };
        let same = async {
            let params = same_ledger.same();
            if same.is_empty() { Ok(Vec::new()) } else { tx.query(&statements.same, &params).await }
        };
        let (mut accepted, same) = future::try_join(read, same).await?;
        accepted.extend(same);
        if accepted.len() < batch.len() {
            return Ok((accepted, None));
        }
        let counts = CounterParams::new(&batch, &accepted);
        let counted = tx.query(&statements.counters, &counts.params()).await?;
        Ok::<_, tokio_postgres::Error>((accepted, Some(counted)))
    };
    let bodies = async {
        if let Some(bodies) = ledger.bodies() {
            let params = [&bodies[..], &[&table.decode_hash]].concat();
            tx.execute(&statements.bodies, &params).await?;
        }
        if let Some(bodies) = same_ledger.same_bodies() {
            tx.execute(&statements.same_bodies, &bodies).await?;
        }
        Ok::<_, tokio_postgres::Error>(())
    };
    let rows = async {
        match way {
            Way::Copy => rows.copy(&tx, &statements.copy).await,
            Way::Upsert => rows.upsert(&tx, &statements.upsert).await,
        }
    };
    let (ledger_answer, bodies, rows) = future::join3(ledger_then_counters, bodies, rows).await;

    // Which statement failed first says why; those after it only echo an aborted transaction.
    if let Err(aborted) = &ledger_answer
        && aborted.code() != Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
    {
        ledger_answer?;
        unreachable!("an error was just seen");
    }
    // What the ledger refuses may have been stored by another, and so be in the way of these rows.
    if let Ok((accepted, None)) = &ledger_answer {
        tx.rollback().await?;
        let accepted: HashSet<(i64, i32)> = accepted.iter().map(|r| (r.get(0), r.get(1))).collect();
        let refused =
            |i: &&usize| !accepted.contains(&(pages[**i].job.partition, pages[**i].job.page as i32));
        return Ok(Tried::Without(included.iter().filter(refused).copied().collect()));
    }
    bodies?;
    match rows {
        // Whatever the table has against the copies, the upsert says it better.
        Err(error)
            if way == Way::Copy
                && error.as_db_error().is_some_and(|db| kind_of(db.code()) == StoreErrorKind::Permanent) =>
        {
            tx.rollback().await?;
            return Ok(Tried::Occupied);
        }
        rows => rows?,
    };
    let counted = ledger_answer?.1.expect("refusals ended above");
    let open: HashSet<i64> = counted.iter().map(|row| row.get(0)).collect();
    let closed: Vec<usize> =
        included.iter().copied().filter(|&i| !open.contains(&pages[i].job.partition)).collect();
    if !closed.is_empty() {
        tx.rollback().await?;
        return Ok(Tried::Without(closed));
    }
    fail::fail_point!("before-commit");
    tx.commit().await?;
    fail::fail_point!("after-commit");
    Ok(Tried::Committed(counted))
}
