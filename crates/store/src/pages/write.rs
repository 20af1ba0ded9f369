//! The collector's transaction: the ledger's page rows, their responses, the data rows, and last the
//! partitions' counters, all or nothing.

mod params;

use std::collections::HashSet;

use deadpool_postgres::{Object, Transaction};
use futures_util::future;
use tokio_postgres::{Row, Statement, error::SqlState};

use self::params::{CounterParams, LedgerParams};
use super::{
    Pages,
    past::{PAST, Past},
};
use crate::{
    DataTable, PageWrite, StoreError, StoreErrorKind,
    error::kind_of,
    partitions::{PROGRESS_COLUMNS, Progress},
    rows::RowParams,
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
const INTO_PAGES: &str = "insert into pagemill.pages as p \
    (partition, page, generation, state, requests, versions, rows, total, keys, content_hash, request_id, requested_at, casts, \
     next, next_hash, facts, body_digest, body_digest_before, body_digest_after, decode_hash, written, horizon) ";

const DECODED: &str = "select u.partition, u.page, u.generation, 'done', 1, 1, u.rows, u.total, ($6::bigint[])[u.first : u.first + u.rows - 1], \
           u.content_hash, u.request_id, u.requested_at, u.casts, u.next, u.next_hash, u.facts, \
           u.body_digest, u.body_digest_before, u.body_digest_after, $18, pg_current_xact_id(), pg_snapshot_xmin(pg_current_snapshot()) \
    from unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::int[], $7::bigint[], $8::bigint[], $9::text[], \
                $10::timestamptz[], $11::jsonb[], $12::text[], $13::bigint[], $14::jsonb[], $15::bigint[], $16::int[], $17::int[]) \
         as u(partition, page, generation, first, rows, total, content_hash, request_id, requested_at, casts, next, next_hash, facts, \
              body_digest, body_digest_before, body_digest_after) ";

/// Of pages that say the same as those of the attempt that their partition stands on. Each is looked up by itself:
/// without statistics, as in a young ledger, a join may be a scan.
const UNCHANGED: &str = "select u.partition, u.page, u.generation, 'done', 1, 1, o.rows, o.total, o.keys, \
           o.content_hash, u.request_id, u.requested_at, o.casts, o.next, o.next_hash, o.facts, \
           o.body_digest, o.body_digest_before, o.body_digest_after, o.decode_hash, pg_current_xact_id(), t.stands_since \
    from unnest($1::bigint[], $2::int[], $3::int[], $4::text[], $5::timestamptz[], $6::boolean[]) \
         as u(partition, page, generation, request_id, requested_at, keeps_response) \
    join pagemill.partitions t on t.id = u.partition \
    cross join lateral (select * from pagemill.pages o \
        where o.partition = t.stands_on and o.page = u.page and o.state = 'done' limit 1) o \
    where not u.keeps_response \
       or (select true from pagemill.responses b where b.partition = t.stands_on and b.page = u.page limit 1) ";

const UNLESS_NEWER: &str = "on conflict (partition, page) do update set \
        state = 'done', requests = p.requests + 1, versions = case when p.state = 'done' then p.versions + 1 else 1 end, \
        starts = 0, alone_starts = 0, rows = excluded.rows, total = excluded.total, keys = excluded.keys, \
        content_hash = excluded.content_hash, request_id = excluded.request_id, requested_at = excluded.requested_at, \
        casts = excluded.casts, next = excluded.next, next_hash = excluded.next_hash, facts = excluded.facts, \
        body_digest = excluded.body_digest, body_digest_before = excluded.body_digest_before, body_digest_after = excluded.body_digest_after, \
        decode_hash = excluded.decode_hash, written = excluded.written, horizon = excluded.horizon \
    where p.generation = excluded.generation and p.state <> 'dead' \
      and (p.requested_at is null or p.requested_at < excluded.requested_at) \
    returning partition, page, versions = 1 as is_new";

const RESPONSES: &str = "insert into pagemill.responses as b (partition, page, body, decode_hash) \
    select *, $4::bigint from unnest($1::bigint[], $2::int[], $3::bytea[]) \
    on conflict (partition, page) do update set body = excluded.body, decode_hash = excluded.decode_hash";

const UNCHANGED_RESPONSES: &str = "insert into pagemill.responses as b (partition, page, body, decode_hash) \
    select u.partition, u.page, o.body, o.decode_hash from unnest($1::bigint[], $2::int[], $3::boolean[]) as u(partition, page, keeps_response) \
    join pagemill.partitions t on t.id = u.partition \
    cross join lateral (select body, decode_hash from pagemill.responses o \
        where o.partition = t.stands_on and o.page = u.page limit 1) o where u.keeps_response \
    on conflict (partition, page) do update set body = excluded.body, decode_hash = excluded.decode_hash";

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
    returning ";

impl Pages {
    /// Stores a batch of pages of one table in one transaction. Rows are sorted by key, so that
    /// writers never deadlock; a key that repeats within the batch is taken from the later request.
    ///
    /// Pages that the ledger refuses are left out and reported, the others are stored without them; so are
    /// those that say the same as one that is no longer there.
    ///
    /// After a connection that broke during the commit, writing the same batch again tells: what was stored
    /// is then refused as a duplicate.
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
                        self.pasts.note(counted.iter().map(|row| (row.get("id"), Past::from_row(row))));
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
    decoded: Statement,
    unchanged: Statement,
    responses: Statement,
    unchanged_responses: Statement,
    copy: Statement,
    upsert: Statement,
    counters: Statement,
}

impl Statements {
    async fn prepare(client: &Object, table: &DataTable) -> Result<Self, StoreError> {
        Ok(Self {
            decoded: client.prepare_cached(&format!("{INTO_PAGES}{DECODED}{UNLESS_NEWER}")).await?,
            unchanged: client.prepare_cached(&format!("{INTO_PAGES}{UNCHANGED}{UNLESS_NEWER}")).await?,
            unchanged_responses: client.prepare_cached(UNCHANGED_RESPONSES).await?,
            responses: client.prepare_cached(RESPONSES).await?,
            copy: client.prepare_cached(&table.copy).await?,
            upsert: client.prepare_cached(&table.upsert).await?,
            counters: client.prepare_cached(&format!("{COUNTERS}{PROGRESS_COLUMNS}, {PAST}")).await?,
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

/// What the server said to each kind of statement of a batch.
struct Replies {
    ledger: Result<LedgerReply, tokio_postgres::Error>,
    responses: Result<(), tokio_postgres::Error>,
    rows: Result<u64, tokio_postgres::Error>,
}

/// The pages that the ledger accepted, and the counters if it accepted all.
struct LedgerReply {
    accepted: Vec<Row>,
    counted: Option<Vec<Row>>,
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
    let tx = client.transaction().await?;
    let replies = send(&tx, statements, table, &batch, way).await;
    let tried = match judge(replies, &batch, way)? {
        Judged::Good(counted) => {
            fail::fail_point!("before-commit");
            tx.commit().await?;
            fail::fail_point!("after-commit");
            return Ok(Tried::Committed(counted));
        }
        Judged::Refused(refused) => Tried::Without(refused.iter().map(|&at| included[at]).collect()),
        Judged::Occupied => Tried::Occupied,
    };
    tx.rollback().await?;
    Ok(tried)
}

/// Sends all statements before the first replies come. The counters follow as soon as the ledger has said
/// which pages are new, while the server is still busy with the rows.
async fn send(
    tx: &Transaction<'_>,
    statements: &Statements,
    table: &DataTable,
    batch: &[&PageWrite],
    way: Way,
) -> Replies {
    let (unchanged, decoded): (Vec<&PageWrite>, Vec<&PageWrite>) =
        batch.iter().partition(|page| page.unchanged.is_some());
    let (decoded_ledger, unchanged_ledger) = (LedgerParams::new(&decoded), LedgerParams::new(&unchanged));
    let rows = RowParams::new(table, &decoded);
    let ledger = async {
        let decoded = async {
            let params = [&decoded_ledger.pages()[..], &[&table.decode_hash]].concat();
            if decoded.is_empty() { Ok(Vec::new()) } else { tx.query(&statements.decoded, &params).await }
        };
        let unchanged = async {
            let params = unchanged_ledger.unchanged();
            if unchanged.is_empty() { Ok(Vec::new()) } else { tx.query(&statements.unchanged, &params).await }
        };
        let (mut accepted, unchanged) = future::try_join(decoded, unchanged).await?;
        accepted.extend(unchanged);
        if accepted.len() < batch.len() {
            return Ok(LedgerReply { accepted, counted: None });
        }
        let counts = CounterParams::new(batch, &accepted);
        let counted = tx.query(&statements.counters, &counts.params()).await?;
        Ok(LedgerReply { accepted, counted: Some(counted) })
    };
    let responses = async {
        if let Some(responses) = decoded_ledger.responses() {
            let params = [&responses[..], &[&table.decode_hash]].concat();
            tx.execute(&statements.responses, &params).await?;
        }
        if let Some(responses) = unchanged_ledger.unchanged_responses() {
            tx.execute(&statements.unchanged_responses, &responses).await?;
        }
        Ok(())
    };
    let rows = async {
        match way {
            Way::Copy => rows.copy(tx, &statements.copy).await,
            Way::Upsert => rows.upsert(tx, &statements.upsert).await,
        }
    };
    let (ledger, responses, rows) = future::join3(ledger, responses, rows).await;
    Replies { ledger, responses, rows }
}

/// What the replies come to.
enum Judged {
    /// All may be committed; the counters' rows.
    Good(Vec<Row>),
    /// These positions of the batch must not be in it.
    Refused(Vec<usize>),
    /// A row was there that should have been new.
    Occupied,
}

/// The statement that failed first says why; those after it only echo an aborted transaction.
fn judge(replies: Replies, batch: &[&PageWrite], way: Way) -> Result<Judged, StoreError> {
    let Replies { ledger, responses, rows } = replies;
    let aborted = |e: &tokio_postgres::Error| e.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    let ledger = match ledger {
        Err(error) if !aborted(&error) => return Err(error.into()),
        // What the ledger refuses may have been stored by another, and so be in the way of these rows.
        Ok(LedgerReply { accepted, counted: None }) => {
            let key = |row: &Row| (row.get("partition"), row.get("page"));
            let accepted: HashSet<(i64, i32)> = accepted.iter().map(key).collect();
            return Ok(refused(batch, |page| {
                !accepted.contains(&(page.job.partition, page.job.page as i32))
            }));
        }
        ledger => ledger,
    };
    responses?;
    match rows {
        // Whatever the table has against the copies, the upsert says it better.
        Err(error)
            if way == Way::Copy
                && error.as_db_error().is_some_and(|db| kind_of(db.code()) == StoreErrorKind::Permanent) =>
        {
            return Ok(Judged::Occupied);
        }
        rows => rows?,
    };
    let counted = ledger?.counted.unwrap_or_default();
    let open: HashSet<i64> = counted.iter().map(|row| row.get("id")).collect();
    Ok(match refused(batch, |page| !open.contains(&page.job.partition)) {
        Judged::Refused(closed) if closed.is_empty() => Judged::Good(counted),
        closed => closed,
    })
}

fn refused(batch: &[&PageWrite], is_refused: impl Fn(&PageWrite) -> bool) -> Judged {
    Judged::Refused((0..batch.len()).filter(|&at| is_refused(batch[at])).collect())
}
