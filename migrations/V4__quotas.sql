-- Quotas, shared by all replicas: several windows, several quotas a request, rates that follow the API.

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
    -- An operator's limits, which go over them.
    set_second   double precision check (set_second > 0),
    set_minute   int check (set_minute > 0),
    set_day      int check (set_day > 0),
    -- The next free slot. It moves on by one interval a request, and is never used behind now.
    next_slot    timestamptz not null default now(),
    -- Raised to void every slot that is reserved but not used.
    epoch        bigint not null default 0,
    -- What throttling left of the rate, when it did, and from when on the rate recovers.
    rate_factor  double precision not null default 1 check (rate_factor > 0 and rate_factor <= 1),
    backed_off_at timestamptz,
    recovers_at  timestamptz not null default now(),
    -- Throttled responses that came close together, and since when.
    throttle_streak int not null default 0,
    throttle_streak_from timestamptz not null default now(),
    -- Requests of the last 61 seconds: of the whole second n at n % 61 + 1; the newest is minute_at.
    minute       int[] not null default array_fill(0, array[61]),
    minute_at    bigint not null default 0,
    day          date,
    day_used     int not null default 0,
    -- The API's own word: so many requests are left until then.
    api_remaining int,
    api_remaining_until timestamptz,
    -- Since it was made: round trips, slots granted, throttled responses.
    reservations bigint not null default 0,
    requests     bigint not null default 0,
    throttled    bigint not null default 0
)
-- It changes with every reservation; room on the page keeps those updates heap-only.
with (fillfactor = 20);

-- The part of a rate that throttling leaves now: after a rest it recovers by 4 % a second.
create function pagemill.quota_rate_factor(q pagemill.quotas, at timestamptz) returns double precision
language sql immutable as $$
    select case when q.rate_factor = 1 then 1 else
        least(1, q.rate_factor * power(1.04, least(1000, greatest(0, extract(epoch from at - q.recovers_at))))) end
$$;

-- Seconds from one slot to the next. The smaller of the limits a second and a minute sets the pace; `jitter` is
-- how much two arrivals may come closer than they were sent. 0 where neither is limited.
create function pagemill.quota_interval(q pagemill.quotas, at timestamptz, jitter double precision)
returns double precision
language sql immutable as $$
    select coalesce((1 + jitter) / coalesce(q.set_second, q.per_second),
                    (60 + jitter) / coalesce(q.set_minute, q.per_minute), 0)
        / pagemill.quota_rate_factor(q, at)
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
-- Group g wants wants[g] slots; its quotas are keys[of_key[i]] for all i with of_group[i] = g.
-- Slots begin no earlier than `lead` seconds from now and no later than `horizon`. A slot that would
-- leave another of its quotas unused in between is not reserved ahead: waits[g] says when to reserve again,
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
                if qs[k].api_remaining <= 0 then
                    opens := extract(epoch from qs[k].api_remaining_until - at);
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
            if qs[k].api_remaining > 0 and at + make_interval(secs => best) < qs[k].api_remaining_until then
                qs[k].api_remaining := qs[k].api_remaining - 1;
            end if;
        end loop;
    end loop;
    for i in 1 .. cardinality(keys) loop
        update pagemill.quotas u set
            next_slot = case when granted[i] > 0 then at + make_interval(secs => nexts[i]) else u.next_slot end,
            minute = qs[i].minute, minute_at = qs[i].minute_at, day = qs[i].day, day_used = qs[i].day_used,
            api_remaining = qs[i].api_remaining, reservations = u.reservations + 1, requests = u.requests + granted[i]
        where u.key = keys[i];
    end loop;
end $$;

-- A request with a slot of `of_epoch` was throttled: nobody sends for `pause` seconds, if the API said
-- so, and the rate backs off once throttled responses are more than single ones: two within a second (or
-- four slots, where these take longer), and 1 % of the requests in that time.
--
-- The rule: met at the full rate, back by 5 %. Met while recovering, or in the rest that follows, the
-- rate was a little too high: back by 8 %, and no recovery for 20 s. Met otherwise, the last step was not
-- enough, so the API permits less than it did: back by 30 %, a second's pause. No recovery for 3 s.
-- Each voids all slots that are reserved: what is throttled of an older epoch says nothing new.
create function pagemill.back_off_quota(of_key text, of_epoch bigint, pause double precision, jitter double precision,
    out new_epoch bigint, out new_rate_factor double precision, out backed_off boolean)
language plpgsql as $$
declare
    q pagemill.quotas;
    at timestamptz;
    factor_now double precision;
    period double precision;
begin
    select * into q from pagemill.quotas where key = of_key for update;
    if not found then
        return;
    end if;
    at := clock_timestamp();
    backed_off := false;
    q.throttled := q.throttled + 1;
    factor_now := pagemill.quota_rate_factor(q, at);
    if of_epoch >= q.epoch then
        period := greatest(1, 4 * pagemill.quota_interval(q, at, jitter));
        if at > q.throttle_streak_from + make_interval(secs => period) then
            q.throttle_streak := 0; q.throttle_streak_from := at;
        end if;
        q.throttle_streak := q.throttle_streak + 1;
        backed_off := q.throttle_streak >= greatest(2, 0.01 * period / nullif(pagemill.quota_interval(q, at, jitter), 0));
    end if;
    if backed_off and factor_now < 1 and (factor_now > q.rate_factor or q.recovers_at > q.backed_off_at + interval '10 s') then
        q.rate_factor := greatest(0.01, 0.92 * factor_now);
        q.recovers_at := at + interval '20 s';
        pause := greatest(pause, 0.1);
    elsif backed_off and factor_now = 1 then
        q.rate_factor := 0.95;
        q.recovers_at := at + interval '3 s';
        pause := greatest(pause, 0.1);
    elsif backed_off then
        q.rate_factor := greatest(0.01, 0.7 * factor_now);
        q.recovers_at := at + interval '3 s';
        pause := greatest(pause, 1);
    elsif pause is not null then
        -- It stands still for as long.
        q.rate_factor := factor_now;
        q.recovers_at := greatest(q.recovers_at, at + make_interval(secs => pause));
    end if;
    if backed_off then
        q.backed_off_at := at; q.throttle_streak := 0;
    end if;
    if pause is not null then
        q.epoch := q.epoch + 1;
        q.next_slot := greatest(q.next_slot, at + make_interval(secs => pause));
    end if;
    update pagemill.quotas u set epoch = q.epoch, next_slot = q.next_slot, rate_factor = q.rate_factor, backed_off_at = q.backed_off_at,
        recovers_at = q.recovers_at, throttle_streak = q.throttle_streak, throttle_streak_from = q.throttle_streak_from, throttled = q.throttled
    where u.key = of_key;
    new_epoch := q.epoch; new_rate_factor := q.rate_factor;
end $$;
