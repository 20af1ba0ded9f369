-- The ledger: what was asked, stored, failed and proved. Schema "pagemill" exists already: the
-- migration library's own table lives in it.

-- One asking for a set of partitions: a cron tick, a backfill.
create table pagemill.runs (
    id          bigint generated always as identity primary key,
    -- What was asked, canonical. Asking again for what is unfinished continues that run.
    request     jsonb not null,
    created_at  timestamptz not null default now(),
    -- The producer's heartbeat lease: while it is alive nobody else plans or publishes this run.
    lease_owner text,
    lease_until timestamptz
);
create index runs_request on pagemill.runs using hash (request);

-- One attempt at one slice: stream × account × dates. `state` is the last word on completeness.
-- The id is yyyymm * 10^8 + a sequence, so that pages and bodies can be kept in monthly tables
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
    subset_first  int  check (subset_first > 0),
    subset_last   int  check (subset_last >= subset_first),
    state         text not null default 'open' check (state in ('open', 'sealed', 'incomplete')),
    -- The API's stated total, from the first page stored. Planned pages follow from it; there is
    -- always one, since the page that says "0" is itself a page.
    total         bigint check (total >= 0),
    first_page    int  not null generated always as (coalesce(subset_first, 1)) stored,
    last_page     int  generated always as (case when total is not null then
                      greatest(coalesce(subset_first, 1),
                               least(coalesce(subset_last, 2147483647),
                                     greatest(1, (total + page_size - 1) / page_size)))
                  end) stored,
    done          int  not null default 0,
    dead          int  not null default 0,
    opened_at     timestamptz not null default now(),
    expanded_at   timestamptz,
    published_at  timestamptz,
    progressed_at timestamptz not null default now(),
    closed_at     timestamptz,
    reason        text,
    proof         jsonb
)
-- The counters move with every batch; room on the page keeps those updates heap-only.
with (fillfactor = 50);

-- One open attempt a slice: a second run adopts it.
create unique index partitions_one_open on pagemill.partitions
    (source, stream, account, from_date, to_date) where state = 'open';
-- The newest attempt of a slice.
create index partitions_slice on pagemill.partitions (source, stream, account, from_date, to_date, id desc);
create index partitions_run on pagemill.partitions (run);

-- Which runs wait for which partitions: the run that opened one, and those that adopted it.
create table pagemill.run_partitions (
    run       bigint not null references pagemill.runs,
    partition bigint not null references pagemill.partitions,
    primary key (run, partition)
);
create index run_partitions_partition on pagemill.run_partitions (partition);

-- A page's row appears with its first event; pages never heard of are implied by the total.
create table pagemill.pages (
    partition       bigint   not null,
    page            int      not null,
    generation      int      not null default 0,
    -- planned: ordered anew, or started; failed: waits for its retry.
    state           text     not null check (state in ('planned', 'failed', 'done', 'dead')),
    attempts        int      not null default 0,
    -- Requests sent whose answer is known, throttled ones among them.
    requests        int      not null default 0,
    throttled       int      not null default 0,
    -- Starts by redelivered jobs without an outcome since: suspicion, not attempts.
    starts          int      not null default 0,
    -- The same while it ran alone in its process: these count.
    alone_starts    int      not null default 0,
    -- How often it was stored since it was last not done; 1 = newly done.
    versions        int      not null default 0,
    rows            int,
    total           bigint,
    -- 64-bit hashes of the rows' keys: what the seal counts.
    keys            bigint[],
    content_hash    bigint,
    -- Values that became NULL because they did not follow their column's grammar.
    casts           jsonb,
    request_id      text,
    -- When the request was sent, on this database's clock: the fence.
    requested_at    timestamptz,
    error           text,
    fingerprint     text,
    first_failed_at timestamptz,
    last_failed_at  timestamptz,
    primary key (partition, page)
) partition by range (partition);
create table pagemill.pages_default partition of pagemill.pages default;

-- The raw answer, once a page, zstd: evidence, and the means to rebuild a table without a request.
create table pagemill.bodies (
    partition bigint not null,
    page      int    not null,
    body      bytea  not null,
    primary key (partition, page)
) partition by range (partition);
-- Already compressed: PostgreSQL need not try.
alter table pagemill.bodies alter column body set storage external;
create table pagemill.bodies_default partition of pagemill.bodies default;

-- Creates the monthly tables of the month of `day`, if they are not there. Runs as its owner, so
-- that the producer's role needs no right to create tables.
create function pagemill.open_month(day date) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    month text := to_char(day, 'YYYYMM');
    lower bigint := month::bigint * 100000000;
    parent text;
begin
    foreach parent in array array['pages', 'bodies'] loop
        if to_regclass(format('pagemill.%I', parent || '_' || month)) is null then
            perform pg_advisory_xact_lock(hashtext('pagemill.open_month'));
            execute format('create table if not exists pagemill.%I partition of pagemill.%I for values from (%s) to (%s)',
                           parent || '_' || month, parent, lower, lower + 100000000);
        end if;
    end loop;
end $$;

-- A page job that will not be tried again by itself, or a message that is none.
create table pagemill.dead_letters (
    id              bigint generated always as identity primary key,
    -- The message's id on the queue, by which copies are told.
    message_id      text not null unique,
    -- The message itself.
    message         bytea not null,
    -- NULL where the message could not be decoded.
    partition       bigint,
    source          text not null,
    stream          text,
    account         text,
    page            int,
    attempts        int  not null,
    error           text not null,
    fingerprint     text not null,
    first_failed_at timestamptz not null,
    last_failed_at  timestamptz not null,
    -- Accepted by the dead-letter queue.
    confirmed_at    timestamptz,
    -- An operator's word, and when the requeued job was accepted by its lane.
    requeued_at     timestamptz,
    published_at    timestamptz,
    dropped_at      timestamptz
);
create index dead_letters_open on pagemill.dead_letters (source, fingerprint)
    where requeued_at is null and dropped_at is null;
create index dead_letters_partition on pagemill.dead_letters (partition);

-- Request slots, one row a quota. `next_slot` moves on by one interval a request, never behind now.
create table pagemill.quotas (
    key         text primary key,
    per_second  double precision not null check (per_second > 0),
    next_slot   timestamptz not null default now(),
    -- Raised to void every slot that is reserved but not used.
    epoch       bigint not null default 0
) with (fillfactor = 50);

-- Heartbeats of consumers: who is alive shares the quota.
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

-- Slices whose newest attempt is sealed: what the views <table>_sealed show.
create view pagemill.sealed as
    select p.id, p.run, p.source, p.stream, p.account, p.from_date, p.to_date, p.total, p.closed_at as sealed_at
    from pagemill.partitions p
    where p.state = 'sealed'
      and not exists (select from pagemill.partitions newer
                      where (newer.source, newer.stream, newer.account, newer.from_date, newer.to_date)
                          = (p.source, p.stream, p.account, p.from_date, p.to_date)
                        and newer.id > p.id);

-- Progress of each partition as runs see it; nothing is counted on the run itself.
create view pagemill.run_progress as
    select rp.run,
           count(*)                                              as partitions,
           count(*) filter (where p.state = 'sealed')            as sealed,
           count(*) filter (where p.state = 'incomplete')        as incomplete,
           count(*) filter (where p.state = 'open')              as open,
           coalesce(sum(p.last_page - p.first_page + 1), 0)      as planned_pages,
           coalesce(sum(p.done), 0)                              as pages,
           coalesce(sum(p.dead), 0)                              as dead,
           coalesce(sum(p.total), 0)                             as total,
           min(p.opened_at)                                      as opened_at,
           max(p.closed_at)                                      as closed_at
    from pagemill.run_partitions rp join pagemill.partitions p on p.id = rp.partition
    group by rp.run;
