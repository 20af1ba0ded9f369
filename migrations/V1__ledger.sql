-- The ledger: what was requested, stored, failed and proved. The schema "pagemill" exists already: the
-- migration library's own table lives in it.

-- A request for a set of partitions: a cron tick, a backfill.
create table pagemill.runs (
    id          bigint generated always as identity primary key,
    -- What was requested, canonical. An unfinished run is continued by the same request.
    request     jsonb not null,
    created_at  timestamptz not null default now(),
    -- The producer's heartbeat lease: while it is alive nobody else plans or publishes this run.
    lease_owner text,
    lease_until timestamptz
);
create index runs_request on pagemill.runs using hash (request);

-- An attempt at a slice: stream × account × dates. `state` is the last word on completeness.
-- The id is yyyymm * 10^8 + a sequence, so that pages and responses are kept in monthly tables
-- without another column in their keys.
create sequence pagemill.partition_ids maxvalue 99999999 cycle;

create table pagemill.partitions (
    id            bigint primary key
                  default to_char(now(), 'YYYYMM')::bigint * 100000000 + nextval('pagemill.partition_ids'),
    run           bigint not null references pagemill.runs,
    source        text not null,
    stream        text not null,
    account       text not null,
    from_date     date not null,
    to_date       date not null,
    lane          text not null,
    page_size     int  not null check (page_size > 0),
    -- Only these pages were requested; NULL = all.
    subset_first  int  check (subset_first > 0),
    subset_last   int  check (subset_last >= subset_first),
    -- The partition that this one is a part of, and the whole that it belongs to in the end.
    parent        bigint references pagemill.partitions,
    root          bigint references pagemill.partitions,
    -- Which part: a value for each dimension by which the whole was split.
    part          jsonb not null default '{}',
    -- So many parts stand for this partition's pages beyond the first.
    parts         int,
    -- proved: complete, and to be put into the table. held: proved, and waits for a second look or an operator.
    state         text not null default 'open' check (state in ('open', 'proved', 'held', 'sealed', 'incomplete')),
    -- Which rows of the table are the slice's: those whose date is within its dates, those that carry its own first
    -- and last day (exact), or all of the account (whole).
    date_scope    text not null check (date_scope in ('within', 'exact', 'whole')),
    -- The account as the table's rows name it; empty where they name none.
    row_account   text not null,
    -- direct: pages write their rows into the table. staged: rows wait in staged_<table> until the proof.
    write_mode    text not null default 'direct' check (write_mode in ('direct', 'staged')),
    -- The API's stated total, from the first page stored. Planned pages follow from it; there is
    -- always one, since the page that says "0" is itself a page.
    total         bigint check (total >= 0),
    -- Pages follow one another by cursor or link, or there is but one: how many there are is known
    -- when one comes that names no next.
    chained       boolean not null default false,
    end_page      int,
    first_page    int  not null generated always as (coalesce(subset_first, 1)) stored,
    last_page     int  generated always as (case
                      when parts is not null then coalesce(subset_first, 1)
                      when chained then least(end_page, subset_last)
                      when total is not null then greatest(coalesce(subset_first, 1),
                                                           least(coalesce(subset_last, 2147483647),
                                                                 greatest(1, (total + page_size - 1) / page_size)))
                  end) stored,
    done          int  not null default 0,
    dead          int  not null default 0,
    -- Rounds in which pages were fetched again because the proof failed.
    repair_rounds       int  not null default 0,
    -- The sealed attempt whose rows were in the table unchanged before this one's pages were published: only what
    -- differs from it is staged.
    baseline_attempt    bigint,
    -- A reload: its pages are the stored responses of this attempt, not requests.
    reload_of     bigint,
    -- Of a sealed attempt's rows in the table: how many, the bit_xor of their hashes, and the decode hash that they were
    -- read by. NULL until they are counted.
    row_count     bigint,
    digest        bigint,
    decode_hash   bigint,
    -- The earliest request among its pages, once they are proved: the data is at least so recent.
    requested_from timestamptz,
    opened_at     timestamptz not null default now(),
    published_at  timestamptz,
    progressed_at timestamptz not null default now(),
    closed_at     timestamptz,
    reason        text,
    proof         jsonb,
    -- When its stored responses were pruned.
    responses_pruned_at timestamptz,
    -- When its pages were pruned. Their sums stay: rows, requests, throttled.
    pruned_at     timestamptz,
    pruned        jsonb,
    -- When earlier attempts at its slice were pruned.
    older_pruned_at timestamptz
)
-- The counters move with every batch; room on the page keeps those updates heap-only.
with (fillfactor = 50);

-- One open attempt a slice: a second run adopts it. Parts belong to their whole, and pages that were requested by
-- themselves stand beside it.
create unique index partitions_one_open on pagemill.partitions
    (source, stream, account, from_date, to_date, part, coalesce(parent, 0), coalesce(subset_first, 0), coalesce(subset_last, 0))
    where state = 'open';
-- The newest attempt of a slice.
create index partitions_slice on pagemill.partitions (source, stream, account, from_date, to_date, id desc)
    where parent is null;
-- Attempts that are not closed: those that may conflict with a new one, and those that are to be applied.
create index partitions_unclosed on pagemill.partitions (source, stream, row_account)
    where state in ('open', 'proved', 'held') and parent is null;
-- The attempts that may conflict with one, the newest first.
create index partitions_stream on pagemill.partitions (source, stream, row_account, id desc) where parent is null;
create index partitions_run on pagemill.partitions (run);
create index partitions_parent on pagemill.partitions (parent) where parent is not null;
create index partitions_root on pagemill.partitions ((coalesce(root, id)));
-- Where a foreign key leads back: without it each deleted partition would read all of them.
create index partitions_root_key on pagemill.partitions (root) where root is not null;

-- Which runs wait for which partitions: the run that opened one, and those that adopted it.
create table pagemill.run_partitions (
    run       bigint not null references pagemill.runs,
    partition bigint not null references pagemill.partitions,
    primary key (run, partition)
);
create index run_partitions_partition on pagemill.run_partitions (partition);

-- A page's row appears with its first event; pages never heard of are implied by the total.
create table pagemill.pages (
    partition          bigint   not null,
    page               int      not null,
    generation         int      not null default 0,
    -- planned: a job is out for it, reissued or started; failed: waits for its retry.
    state              text     not null check (state in ('planned', 'failed', 'done', 'dead')),
    attempts           int      not null default 0,
    -- Requests whose response is known, throttled ones among them.
    requests           int      not null default 0,
    throttled          int      not null default 0,
    -- Starts by redelivered jobs without an outcome since: suspicion, not attempts.
    starts             int      not null default 0,
    -- Starts while it ran alone in its process: these count.
    alone_starts       int      not null default 0,
    -- Stores since the page last became done: 1 means that this store completed it.
    times_stored           int      not null default 0,
    rows               int,
    total              bigint,
    -- 64-bit hashes of the rows' keys: what the seal counts.
    key_hashes         bigint[],
    -- 64-bit hashes of the rows over all values: a row of the same hash did not change.
    row_hashes         bigint[],
    -- The row hashes, added up.
    content_hash       bigint,
    -- Values that became NULL because they did not follow their column's grammar.
    cast_failures              jsonb,
    -- The cursor or link of the next page, where pages follow one another, and a hash of it.
    next               text,
    next_hash          bigint,
    -- sums, stated: of additive metrics, by name; blank: columns with no value but NULL and zero;
    -- absent: columns whose field no row has; unmapped: fields that no column takes.
    facts              jsonb,
    request_id         text,
    -- When the request was sent, on this database's clock.
    requested_at       timestamptz,
    -- xxh3 over the response's body without the id of its request, and how many bytes stand before and
    -- after that id. NULL where a body does not say all there is to its page.
    body_digest        bigint,
    body_digest_before int,
    body_digest_after  int,
    -- The decode hash of the definition that read the page.
    decode_hash        bigint,
    error              text,
    fingerprint        text,
    first_failed_at    timestamptz,
    last_failed_at     timestamptz,
    primary key (partition, page)
) partition by range (partition);
create table pagemill.pages_default partition of pagemill.pages default;
create index pages_next on pagemill.pages (partition, next_hash) where next_hash is not null;

-- Heartbeats of consumers: those that are alive share the quota.
create table pagemill.consumers (
    id           text primary key,
    sources      text[] not null,
    workers      int  not null,
    prefetch     int  not null,
    started_at   timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
) with (fillfactor = 50);

-- The shape of each stream's data table as last migrated: consumers refuse to start on another.
create table pagemill.streams (
    source      text not null,
    stream      text not null,
    table_name  text not null,
    shape       jsonb not null,
    migrated_at timestamptz not null default now(),
    primary key (source, stream)
);

-- Which attempt's rows the data tables hold: a row for each day, or for the pair of dates that the rows carry, or for
-- the whole account. Written by the seal, in the transaction that puts the rows into the table. The views <table>_sealed
-- join it.
create table pagemill.sealed_cells (
    source    text not null,
    stream    text not null,
    account   text not null,
    from_date date not null,
    to_date   date not null,
    attempt   bigint not null references pagemill.partitions,
    primary key (source, stream, account, from_date, to_date)
);
create index sealed_cells_attempt on pagemill.sealed_cells (attempt);

-- The sealed cells, with the run and the time of their seals.
create view pagemill.sealed as
    select c.source, c.stream, c.account, c.from_date, c.to_date, c.attempt, p.run, p.closed_at as sealed_at
    from pagemill.sealed_cells c join pagemill.partitions p on p.id = c.attempt;

-- Progress of each run: its partitions counted, their parts' pages included.
create view pagemill.run_progress as
    select rp.run,
           count(*) filter (where p.root is null)                            as partitions,
           count(*) filter (where p.root is null and p.state = 'sealed')     as sealed,
           count(*) filter (where p.root is null and p.state = 'incomplete') as incomplete,
           -- Proved ones are about to be sealed.
           count(*) filter (where p.root is null and p.state in ('open', 'proved')) as open,
           count(*) filter (where p.root is null and p.state = 'held')       as held,
           coalesce(sum(coalesce(p.last_page, p.first_page + p.done - 1) - p.first_page + 1), 0) as planned_pages,
           coalesce(sum(p.done), 0)                                         as pages,
           coalesce(sum(p.dead), 0)                                         as dead,
           coalesce(sum(p.total) filter (where p.root is null), 0)           as total,
           min(p.opened_at)                                                 as opened_at,
           max(p.closed_at)                                                 as closed_at
    from pagemill.run_partitions rp join pagemill.partitions p on coalesce(p.root, p.id) = rp.partition
    group by rp.run;
