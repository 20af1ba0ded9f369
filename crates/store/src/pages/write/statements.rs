//! Statements of a batch, prepared once a connection.

use deadpool_postgres::Object;
use tokio_postgres::Statement;

use crate::{error::StoreError, partitions::PROGRESS_COLUMNS, table::DataTable};

pub(super) struct Statements {
    pub(super) decoded: Statement,
    pub(super) unchanged: Statement,
    pub(super) responses: Statement,
    pub(super) unchanged_responses: Statement,
    pub(super) copy: Statement,
    pub(super) upsert: Statement,
    pub(super) unstage: Statement,
    pub(super) stage_copy: Statement,
    pub(super) stage_insert: Statement,
    pub(super) counters: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Object, table: &DataTable) -> Result<Self, StoreError> {
        Ok(Self {
            decoded: client.prepare_cached(&format!("{INTO_PAGES}{DECODED}{UNLESS_NEWER}")).await?,
            unchanged: client.prepare_cached(&format!("{INTO_PAGES}{UNCHANGED}{UNLESS_NEWER}")).await?,
            unchanged_responses: client.prepare_cached(UNCHANGED_RESPONSES).await?,
            responses: client.prepare_cached(RESPONSES).await?,
            copy: client.prepare_cached(&table.copy).await?,
            upsert: client.prepare_cached(&table.upsert).await?,
            unstage: client.prepare_cached(&table.unstage).await?,
            stage_copy: client.prepare_cached(&table.stage_copy).await?,
            stage_insert: client.prepare_cached(&table.stage_insert).await?,
            counters: client
                .prepare_cached(&format!("{COUNTERS}{PROGRESS_COLUMNS}, p.write_mode, p.baseline_attempt"))
                .await?,
        })
    }
}

/// Begins a statement that stores pages; `$n` are arrays with an element a page.
const INTO_PAGES: &str = "insert into pagemill.pages as p \
    (partition, page, generation, state, requests, times_stored, rows, total, key_hashes, row_hashes, content_hash, request_id, requested_at, cast_failures, \
     next, next_hash, facts, body_digest, body_digest_before, body_digest_after, decode_hash) ";

const DECODED: &str = "select u.partition, u.page, u.generation, 'done', 1, 1, u.rows, u.total, ($6::bigint[])[u.first : u.first + u.rows - 1], \
           ($18::bigint[])[u.first : u.first + u.rows - 1], \
           u.content_hash, u.request_id, u.requested_at, u.cast_failures, u.next, u.next_hash, u.facts, \
           u.body_digest, u.body_digest_before, u.body_digest_after, $19 \
    from unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::int[], $7::bigint[], $8::bigint[], $9::text[], \
                $10::timestamptz[], $11::jsonb[], $12::text[], $13::bigint[], $14::jsonb[], $15::bigint[], $16::int[], $17::int[]) \
         as u(partition, page, generation, first, rows, total, content_hash, request_id, requested_at, cast_failures, next, next_hash, facts, \
              body_digest, body_digest_before, body_digest_after) ";

/// Selects unchanged pages: the earlier page comes from the baseline, if that is still the one that the job was compared
/// with. Each is looked up by itself: without statistics, as in a young ledger, a join may be a scan.
const UNCHANGED: &str = "select u.partition, u.page, u.generation, 'done', 1, 1, o.rows, o.total, o.key_hashes, \
           o.row_hashes, o.content_hash, u.request_id, u.requested_at, o.cast_failures, o.next, o.next_hash, o.facts, \
           o.body_digest, o.body_digest_before, o.body_digest_after, o.decode_hash \
    from unnest($1::bigint[], $2::int[], $3::int[], $4::text[], $5::timestamptz[], $6::boolean[], $7::bigint[]) \
         as u(partition, page, generation, request_id, requested_at, keeps_response, baseline) \
    join pagemill.partitions t on t.id = u.partition and t.baseline_attempt = u.baseline \
    cross join lateral (select * from pagemill.pages o \
        where o.partition = t.baseline_attempt and o.page = u.page and o.state = 'done' limit 1) o \
    where not u.keeps_response \
       or (select true from pagemill.responses b where b.partition = t.baseline_attempt and b.page = u.page limit 1) ";

const UNLESS_NEWER: &str = "on conflict (partition, page) do update set \
        state = 'done', requests = p.requests + 1, times_stored = case when p.state = 'done' then p.times_stored + 1 else 1 end, \
        starts = 0, alone_starts = 0, rows = excluded.rows, total = excluded.total, key_hashes = excluded.key_hashes, \
        row_hashes = excluded.row_hashes, content_hash = excluded.content_hash, request_id = excluded.request_id, requested_at = excluded.requested_at, \
        cast_failures = excluded.cast_failures, next = excluded.next, next_hash = excluded.next_hash, facts = excluded.facts, \
        body_digest = excluded.body_digest, body_digest_before = excluded.body_digest_before, body_digest_after = excluded.body_digest_after, \
        decode_hash = excluded.decode_hash \
    where p.generation = excluded.generation and p.state <> 'dead' \
      and (p.state <> 'done' or p.requested_at < excluded.requested_at) \
    returning partition, page, times_stored = 1 as is_new";

const RESPONSES: &str = "insert into pagemill.responses as b (partition, page, body, decode_hash) \
    select *, $4::bigint from unnest($1::bigint[], $2::int[], $3::bytea[]) \
    on conflict (partition, page) do update set body = excluded.body, decode_hash = excluded.decode_hash";

const UNCHANGED_RESPONSES: &str = "insert into pagemill.responses as b (partition, page, body, decode_hash) \
    select u.partition, u.page, o.body, o.decode_hash from unnest($1::bigint[], $2::int[], $3::boolean[]) as u(partition, page, keeps_response) \
    join pagemill.partitions t on t.id = u.partition \
    cross join lateral (select body, decode_hash from pagemill.responses o \
        where o.partition = t.baseline_attempt and o.page = u.page limit 1) o where u.keeps_response \
    on conflict (partition, page) do update set body = excluded.body, decode_hash = excluded.decode_hash";

/// The counters come last: their rows are the ones that every batch of a partition wants, and
/// are held only for the commit. Locked in id order.
const COUNTERS: &str = "with wanted as materialized ( \
        select p.id from pagemill.partitions p where p.id = any($1::bigint[]) and p.state = 'open' order by p.id for no key update), \
    counted as ( \
        select u.id, u.done, u.total, u.ended from unnest($1::bigint[], $2::int[], $3::bigint[], $4::int[]) as u(id, done, total, ended) \
        join wanted using (id)) \
    update pagemill.partitions p set done = p.done + c.done, total = coalesce(p.total, c.total), end_page = coalesce(c.ended, p.end_page), \
        progressed_at = now() \
    from counted c where p.id = c.id \
    returning ";
