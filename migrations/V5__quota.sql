-- One quota for all replicas: several windows, several quotas a request, rates that follow the API.

drop table pagemill.quotas;
create table pagemill.quotas (
    -- source, source@account, source.stream, source.stream@account
    key          text primary key,
    -- What definition and config permit; without any there is no such limit.
    per_second   double precision check (per_second > 0),
    per_minute   int check (per_minute > 0),
    per_day      int check (per_day > 0),
    -- So many requests may come at once.
    burst        int  not null default 1 check (burst > 0),
    -- The zone in which its days end.
    zone         text not null default 'UTC',
    -- An operator's word, which goes over them.
    set_second   double precision check (set_second > 0),
    set_minute   int check (set_minute > 0),
    set_day      int check (set_day > 0),
    -- The next free slot. It moves on by one interval a request, and is never used behind now.
    next_slot    timestamptz not null default now(),
    -- Raised to void every slot that is reserved but not used.
    epoch        bigint not null default 0,
    -- What throttling left of the rate, when it did, and from when on it widens again.
    share        double precision not null default 1 check (share > 0 and share <= 1),
    narrowed_at  timestamptz,
    widens_at    timestamptz not null default now(),
    -- Throttled answers that came close together, since then.
    hits         int not null default 0,
    hits_from    timestamptz not null default now(),
    -- Requests of the last 61 seconds: of the whole second n at n % 61 + 1; the newest is minute_at.
    minute       int[] not null default array_fill(0, array[61]),
    minute_at    bigint not null default 0,
    day          date,
    day_used     int not null default 0,
    -- The API's own word: so many requests until then.
    told         int,
    told_until   timestamptz,
    -- Since it was made: round trips, slots granted, throttled answers.
    reservations bigint not null default 0,
    requests     bigint not null default 0,
    throttled    bigint not null default 0
)
-- It changes with every reservation; room on the page keeps those updates heap-only.
with (fillfactor = 20);

-- Slots a second that throttling leaves of a rate now: after a rest it widens by 4 % a second.
create function pagemill.quota_share(q pagemill.quotas, at timestamptz) returns double precision
language sql immutable as $$
    select case when q.share = 1 then 1 else
        least(1, q.share * power(1.04, least(1000, greatest(0, extract(epoch from at - q.widens_at))))) end
$$;

-- Seconds from one slot to the next. The narrowest of second and minute sets the pace; `jitter` is
-- how much two arrivals may come closer than they were sent. 0 where neither is limited.
create function pagemill.quota_interval(q pagemill.quotas, at timestamptz, jitter double precision)
returns double precision
language sql immutable as $$
    select coalesce((1 + jitter) / coalesce(q.set_second, q.per_second),
                    (60 + jitter) / coalesce(q.set_minute, q.per_minute), 0)
        / pagemill.quota_share(q, at)
$$;

-- The first whole second, from `second` on, in which another request keeps every 60 seconds within
-- the limit, however the API aligns its minutes.
create function pagemill.minute_opens(minute int[], minute_at bigint, permitted int, second bigint)
returns bigint
language plpgsql immutable as $$
declare
    used bigint := 0;
begin
    second := greatest(second, minute_at);
    for n in second - 60 .. minute_at loop
        used := used + minute[n % 61 + 1];
    end loop;
    while used >= permitted loop
        used := used - minute[(second - 60) % 61 + 1];
        second := second + 1;
    end loop;
    return second;
end $$;

-- Reserves request slots, for several groups of requests that fall under the same quotas each. A
-- request takes a slot from all quotas of its group, or from none. Their rows are locked in the order
-- of their keys. One call is one round trip, and nobody holds a lock while a client thinks.
--
-- Group g asks for wants[g] slots; its quotas are keys[of_key[i]] for all i with of_group[i] = g.
-- Slots begin no earlier than `lead` seconds from now and no later than `horizon`. A slot that would
-- leave another of its quotas unused in between is not reserved ahead: waits[g] says when to ask again,
-- and bindings[g] which quota it waits for.
create function pagemill.reserve_slots(
    keys text[], of_group int[], of_key int[], wants int[],
    lead double precision, horizon double precision, jitter double precision,
    out at timestamptz, out epochs bigint[], out slot_groups int[], out slots double precision[],
    out waits double precision[], out bindings int[])
language plpgsql as $$
declare
    q pagemill.quotas;
    qs pagemill.quotas[] := '{}';
    intervals double precision[] := '{}';
    -- Seconds from `at` to the next slot of each quota.
    nexts double precision[] := '{}';
    granted int[];
    best_group int; best double precision;
    t double precision; opens double precision; limits int; k int; binding int; gap boolean;
    second bigint; today date; second_now double precision;
begin
    -- A crash of the server may forget the last slots; it takes longer than they last.
    perform set_config('synchronous_commit', 'off', true);
    for q in select * from pagemill.quotas where key = any(keys) order by key collate "C" for update loop
        qs := qs || q;
    end loop;
    if cardinality(qs) < cardinality(keys) then
        return;
    end if;
    at := clock_timestamp();
    second_now := extract(epoch from at);
    granted := array_fill(0, array[cardinality(keys)]);
    epochs := '{}'; slot_groups := '{}'; slots := '{}';
    waits := array_fill(null::double precision, array[cardinality(wants)]);
    bindings := array_fill(0, array[cardinality(wants)]);
    for i in 1 .. cardinality(keys) loop
        epochs := epochs || qs[i].epoch;
        intervals := intervals || pagemill.quota_interval(qs[i], at, jitter);
        nexts := nexts || extract(epoch from qs[i].next_slot - at)::double precision;
    end loop;
    loop
        best_group := null;
        for g in 1 .. cardinality(wants) loop
            continue when wants[g] <= 0 or waits[g] is not null;
            t := lead; binding := 0;
            for i in 1 .. cardinality(of_group) loop
                continue when of_group[i] <> g;
                k := of_key[i];
                opens := case when intervals[k] > 0 then nexts[k] - (qs[k].burst - 1) * intervals[k] else nexts[k] end;
                if opens > t then t := opens; binding := k; end if;
                limits := coalesce(qs[k].set_minute, qs[k].per_minute);
                if limits is not null then
                    second := floor(second_now + t)::bigint;
                    opens := pagemill.minute_opens(qs[k].minute, qs[k].minute_at, limits, second) - second_now;
                    if opens > t then t := opens; binding := k; end if;
                end if;
                limits := coalesce(qs[k].set_day, qs[k].per_day);
                if limits is not null and qs[k].day_used >= limits then
                    opens := extract(epoch from (qs[k].day + 1)::timestamp at time zone qs[k].zone - at);
                    if opens > t then t := opens; binding := k; end if;
                end if;
                if qs[k].told <= 0 then
                    opens := extract(epoch from qs[k].told_until - at);
                    if opens > t then t := opens; binding := k; end if;
                end if;
            end loop;
            gap := false;
            for i in 1 .. cardinality(of_group) loop
                continue when of_group[i] <> g;
                k := of_key[i];
                gap := gap or (k <> binding and intervals[k] > 0 and t > greatest(nexts[k], lead) + intervals[k] + 0.001)
                    or (k = binding and t > greatest(nexts[k], lead) + 1);
            end loop;
            if t > horizon or gap then
                waits[g] := t; bindings[g] := binding;
            elsif best_group is null or t < best then
                best_group := g; best := t;
            end if;
        end loop;
        exit when best_group is null;
        slot_groups := slot_groups || best_group; slots := slots || best;
        wants[best_group] := wants[best_group] - 1;
        for i in 1 .. cardinality(of_group) loop
            continue when of_group[i] <> best_group;
            k := of_key[i];
            granted[k] := granted[k] + 1;
            nexts[k] := greatest(nexts[k], best) + intervals[k];
            if coalesce(qs[k].set_minute, qs[k].per_minute) is not null then
                second := floor(second_now + best)::bigint;
                for n in greatest(qs[k].minute_at + 1, second - 60) .. second loop
                    qs[k].minute[n % 61 + 1] := 0;
                end loop;
                qs[k].minute_at := greatest(qs[k].minute_at, second);
                qs[k].minute[second % 61 + 1] := qs[k].minute[second % 61 + 1] + 1;
            end if;
            if coalesce(qs[k].set_day, qs[k].per_day) is not null then
                today := ((at + make_interval(secs => best)) at time zone qs[k].zone)::date;
                qs[k].day_used := case when qs[k].day = today then qs[k].day_used + 1 else 1 end;
                qs[k].day := today;
            end if;
            if qs[k].told > 0 and at + make_interval(secs => best) < qs[k].told_until then
                qs[k].told := qs[k].told - 1;
            end if;
        end loop;
    end loop;
    for i in 1 .. cardinality(keys) loop
        update pagemill.quotas u set
            next_slot = case when granted[i] > 0 then at + make_interval(secs => nexts[i]) else u.next_slot end,
            minute = qs[i].minute, minute_at = qs[i].minute_at, day = qs[i].day, day_used = qs[i].day_used,
            told = qs[i].told, reservations = u.reservations + 1, requests = u.requests + granted[i]
        where u.key = keys[i];
    end loop;
end $$;

-- A request that was sent at `sent` was throttled: nobody sends for `pause` seconds, if the API said
-- so, and the rate narrows once throttled answers are more than single ones: two within a second (or
-- four slots, where these take longer), and 1 % of the requests in that time.
--
-- The rule: met while widening, the rate was a little too high: back by 5 %, and no widening for 20 s.
-- Met otherwise, the API permits less than it did: back by 30 %, a second's pause, no widening for 3 s.
-- Throttled answers to requests sent before the last narrowing say nothing new.
create function pagemill.narrow_quota(of_key text, sent timestamptz, pause double precision, jitter double precision,
    out new_epoch bigint, out new_share double precision, out narrowed boolean)
language plpgsql as $$
declare
    q pagemill.quotas;
    at timestamptz;
    share_now double precision;
    period double precision;
    voids boolean := pause is not null;
begin
    select * into q from pagemill.quotas where key = of_key for update;
    if not found then
        return;
    end if;
    at := clock_timestamp();
    q.throttled := q.throttled + 1;
    narrowed := false;
    if q.narrowed_at is null or sent > q.narrowed_at then
        period := greatest(1, 4 * pagemill.quota_interval(q, at, jitter));
        if at > q.hits_from + make_interval(secs => period) then
            q.hits := 0; q.hits_from := at;
        end if;
        q.hits := q.hits + 1;
        share_now := pagemill.quota_share(q, at);
        if q.hits >= greatest(2, 0.01 * period / nullif(pagemill.quota_interval(q, at, jitter), 0)) then
            narrowed := true;
            if share_now > q.share and share_now < 1 then
                q.share := greatest(0.01, 0.95 * share_now);
                q.widens_at := at + interval '20 s';
                pause := greatest(pause, 0.1);
            else
                q.share := greatest(0.01, 0.7 * share_now);
                q.widens_at := at + interval '3 s';
                pause := greatest(pause, 1);
                voids := true;
            end if;
            q.narrowed_at := at;
            q.hits := 0;
        end if;
    end if;
    if voids then
        q.epoch := q.epoch + 1;
    end if;
    q.next_slot := greatest(q.next_slot, at + make_interval(secs => coalesce(pause, 0)));
    q.widens_at := greatest(q.widens_at, q.next_slot);
    update pagemill.quotas u set epoch = q.epoch, next_slot = q.next_slot, share = q.share, narrowed_at = q.narrowed_at,
        widens_at = q.widens_at, hits = q.hits, hits_from = q.hits_from, throttled = q.throttled
    where u.key = of_key;
    new_epoch := q.epoch; new_share := q.share;
end $$;
