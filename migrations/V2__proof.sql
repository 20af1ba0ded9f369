-- What the proof of completeness needs: pages that follow one another, partitions split into parts,
-- repairs, sums, and what an answer says of itself.

drop view pagemill.run_progress;
drop index pagemill.partitions_one_open;
drop index pagemill.partitions_slice;

alter table pagemill.partitions
    -- The partition that this one is a part of, and the whole that it belongs to in the end.
    add column parent   bigint references pagemill.partitions,
    add column top      bigint references pagemill.partitions,
    -- Which part: a value for each dimension by which it was split.
    add column part     jsonb not null default '{}',
    -- So many parts stand for this partition's pages beyond the first.
    add column parts    int,
    -- Its pages follow one another by cursor or link, or there is but one: how many there are is
    -- known when one comes that names no next.
    add column chained  boolean not null default false,
    add column end_page int,
    -- Rounds in which pages were fetched again because the proof failed.
    add column repairs  int not null default 0,
    drop column last_page;
alter table pagemill.partitions
    add column last_page int generated always as (case
        when parts is not null then coalesce(subset_first, 1)
        when chained then least(end_page, subset_last)
        when total is not null then greatest(coalesce(subset_first, 1),
                                             least(coalesce(subset_last, 2147483647),
                                                   greatest(1, (total + page_size - 1) / page_size)))
    end) stored;

-- One open attempt a slice: a second run adopts it. Parts are their whole's own.
create unique index partitions_one_open on pagemill.partitions
    (source, stream, account, from_date, to_date, part, coalesce(parent, 0)) where state = 'open';
create index partitions_slice on pagemill.partitions (source, stream, account, from_date, to_date, id desc)
    where parent is null;
create index partitions_parent on pagemill.partitions (parent) where parent is not null;
create index partitions_top on pagemill.partitions ((coalesce(top, id)));

alter table pagemill.pages
    -- The cursor or link of the next page, where pages follow one another, and a hash of it.
    add column next      text,
    add column next_hash bigint,
    -- sums, stated: of additive metrics, by name; blank: columns with no value but NULL and zero;
    -- absent: columns whose field no row has; unmapped: fields that no column takes.
    add column facts     jsonb;
create index pages_next on pagemill.pages (partition, next_hash) where next_hash is not null;

-- Until now in the order of the rows; from here on a sum over the rows' hashes, in any order.
comment on column pagemill.pages.content_hash is 'the rows'' hashes over all values, added up';

-- Slices whose newest attempt is sealed: what the views <table>_sealed show.
create or replace view pagemill.sealed as
    select p.id, p.run, p.source, p.stream, p.account, p.from_date, p.to_date, p.total, p.closed_at as sealed_at
    from pagemill.partitions p
    where p.state = 'sealed' and p.parent is null
      and not exists (select from pagemill.partitions newer
                      where (newer.source, newer.stream, newer.account, newer.from_date, newer.to_date)
                          = (p.source, p.stream, p.account, p.from_date, p.to_date)
                        and newer.id > p.id and newer.parent is null);

-- Progress of each partition as runs see it, its parts' pages included; nothing is counted on the
-- run itself.
create view pagemill.run_progress as
    select rp.run,
           count(*) filter (where p.top is null)                            as partitions,
           count(*) filter (where p.top is null and p.state = 'sealed')     as sealed,
           count(*) filter (where p.top is null and p.state = 'incomplete') as incomplete,
           count(*) filter (where p.top is null and p.state = 'open')       as open,
           coalesce(sum(coalesce(p.last_page, p.first_page + p.done - 1) - p.first_page + 1), 0) as planned_pages,
           coalesce(sum(p.done), 0)                                         as pages,
           coalesce(sum(p.dead), 0)                                         as dead,
           coalesce(sum(p.total) filter (where p.top is null), 0)           as total,
           min(p.opened_at)                                                 as opened_at,
           max(p.closed_at)                                                 as closed_at
    from pagemill.run_partitions rp join pagemill.partitions p on coalesce(p.top, p.id) = rp.partition
    group by rp.run;
