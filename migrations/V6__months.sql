-- Monthly tables: of pages, of responses, and of data tables that are partitioned by a date.

-- Creates the monthly tables of the month of `day`, if they are not there. Runs as its owner, so
-- that the producer's role needs no right to create tables.
create function pagemill.open_month(day date) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    month text := to_char(day, 'YYYYMM');
    lower bigint := month::bigint * 100000000;
    parent text;
begin
    foreach parent in array array['pages', 'responses'] loop
        if to_regclass(format('pagemill.%I', parent || '_' || month)) is null then
            perform pg_advisory_xact_lock(hashtext('pagemill.open_month'));
            execute format('create table if not exists pagemill.%I partition of pagemill.%I for values from (%s) to (%s)',
                           parent || '_' || month, parent, lower, lower + 100000000);
        end if;
    end loop;
end $$;

-- Creates the table of the month of `day` of a stream's data table, if that is partitioned by a date
-- and the month is not there. Runs as its owner, like pagemill.open_month. Who reads and writes waits
-- only if the month's rows have to move out of the default partition.
create function pagemill.open_table_month(of_source text, of_stream text, day date) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    lower date := date_trunc('month', day)::date;
    upper date := (date_trunc('month', day) + interval '1 month')::date;
    parent record;
    child text;
    stray boolean;
begin
    select c.oid::regclass as name, n.nspname, c.relname, a.attname, p.partdefid::regclass as rest into parent
        from pagemill.streams s join pg_class c on c.oid = to_regclass(s.table_name) and c.relkind = 'p'
        join pg_namespace n on n.oid = c.relnamespace
        join pg_partitioned_table p on p.partrelid = c.oid and p.partstrat = 'r'
        join pg_attribute a on a.attrelid = c.oid and a.attnum = p.partattrs[0]
        where s.source = of_source and s.stream = of_stream;
    if not found then
        return;
    end if;
    child := format('%I.%I', parent.nspname, parent.relname || '_' || to_char(lower, 'YYYYMM'));
    if to_regclass(child) is not null then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtext('pagemill.open_month'));
    if to_regclass(child) is not null then
        return;
    end if;
    execute format('create table %s (like %s including all)', child, parent.name);
    if parent.rest <> 0 then
        -- Rows that came before their month was opened.
        execute format('lock table %s in share row exclusive mode', parent.rest);
        execute format('select exists (select from %s where %I >= $1 and %I < $2)', parent.rest, parent.attname, parent.attname)
            into stray using lower, upper;
        if stray then
            execute format('with gone as (delete from %s where %I >= $1 and %I < $2 returning *) insert into %s select * from gone',
                           parent.rest, parent.attname, parent.attname, child) using lower, upper;
        end if;
    end if;
    execute format('alter table %s attach partition %s for values from (%L) to (%L)', parent.name, child, lower, upper);
end $$;

-- Drops a month's table of pages or responses if nothing in it is to stay; how many bytes it had, NULL
-- where it stays. Runs as its owner; the caller sets how long it may wait for the lock, in which
-- time everybody else waits behind it.
create function pagemill.drop_month(parent text, month text) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    child text := format('pagemill.%I', parent || '_' || month);
    bytes bigint;
    stays boolean;
begin
    if parent not in ('pages', 'responses') or month !~ '^[0-9]{6}$' or month >= to_char(now(), 'YYYYMM') then
        raise exception 'no month that is over: % of %', month, parent;
    end if;
    if to_regclass(child) is null then
        return null;
    end if;
    execute format('lock table only pagemill.%I in access exclusive mode', parent);
    execute format('select exists (select from pagemill.partitions p where p.id between $1 and $2
                        and (p.state = ''open'' or p.%I is null and exists (select from %s g where g.partition = p.id)))',
                   case parent when 'pages' then 'pruned_at' else 'responses_pruned_at' end, child)
        into stays using month::bigint * 100000000, month::bigint * 100000000 + 99999999;
    if stays then
        return null;
    end if;
    bytes := pg_total_relation_size(child::regclass);
    execute format('drop table %s', child);
    return bytes;
end $$;
