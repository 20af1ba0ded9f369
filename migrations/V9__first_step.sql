-- One clump of throttled answers, as a stalled machine makes them, no longer costs 30 % of the rate: the first
-- step back is a small one.

-- A request with a slot of `of_epoch` was throttled: nobody sends for `pause` seconds, if the API said
-- so, and the rate narrows once throttled answers are more than single ones: two within a second (or
-- four slots, where these take longer), and 1 % of the requests in that time.
--
-- The rule: met at the full rate, back by 5 %. Met while widening, or in the rest that follows on that, the
-- rate was a little too high: back by 8 %, and no widening for 20 s. Met otherwise, the last step was not
-- enough, so the API permits less than it did: back by 30 %, a second's pause. No widening for 3 s.
-- Each voids all slots that are reserved: what is throttled of an older epoch says nothing new.
create or replace function pagemill.narrow_quota(of_key text, of_epoch bigint, pause double precision, jitter double precision,
    out new_epoch bigint, out new_share double precision, out narrowed boolean)
language plpgsql as $$
declare
    q pagemill.quotas;
    at timestamptz;
    share_now double precision;
    period double precision;
begin
    select * into q from pagemill.quotas where key = of_key for update;
    if not found then
        return;
    end if;
    at := clock_timestamp();
    narrowed := false;
    q.throttled := q.throttled + 1;
    share_now := pagemill.quota_share(q, at);
    if of_epoch >= q.epoch then
        period := greatest(1, 4 * pagemill.quota_interval(q, at, jitter));
        if at > q.hits_from + make_interval(secs => period) then
            q.hits := 0; q.hits_from := at;
        end if;
        q.hits := q.hits + 1;
        narrowed := q.hits >= greatest(2, 0.01 * period / nullif(pagemill.quota_interval(q, at, jitter), 0));
    end if;
    if narrowed and share_now < 1 and (share_now > q.share or q.widens_at > q.narrowed_at + interval '10 s') then
        q.share := greatest(0.01, 0.92 * share_now);
        q.widens_at := at + interval '20 s';
        pause := greatest(pause, 0.1);
    elsif narrowed and share_now = 1 then
        q.share := 0.95;
        q.widens_at := at + interval '3 s';
        pause := greatest(pause, 0.1);
    elsif narrowed then
        q.share := greatest(0.01, 0.7 * share_now);
        q.widens_at := at + interval '3 s';
        pause := greatest(pause, 1);
    elsif pause is not null then
        -- It stands still for as long.
        q.share := share_now;
        q.widens_at := greatest(q.widens_at, at + make_interval(secs => pause));
    end if;
    if narrowed then
        q.narrowed_at := at; q.hits := 0;
    end if;
    if pause is not null then
        q.epoch := q.epoch + 1;
        q.next_slot := greatest(q.next_slot, at + make_interval(secs => pause));
    end if;
    update pagemill.quotas u set epoch = q.epoch, next_slot = q.next_slot, share = q.share, narrowed_at = q.narrowed_at,
        widens_at = q.widens_at, hits = q.hits, hits_from = q.hits_from, throttled = q.throttled
    where u.key = of_key;
    new_epoch := q.epoch; new_share := q.share;
end $$;
