//! Request slots, reserved in PostgreSQL: exact for any number of replicas. The rules are in
//! `migrations/V4__quotas.sql`.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_postgres::Row;

use crate::{clock::DatabaseClock, database::Database, error::StoreError, error::StoreErrorKind};

/// Two arrivals at the API may come so much closer than they were sent: each window is held as if it
/// were longer by this. Half a percent of a second's window.
pub const JITTER: Duration = Duration::from_millis(5);

/// What one quota permits. A window that isn't named isn't limited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaLimits {
    /// Requests a second, below 1 too.
    pub per_second: Option<f64>,
    /// Requests in any 60 seconds.
    pub per_minute: Option<u32>,
    /// Requests a day of the source's zone.
    pub per_day: Option<u32>,
    /// Requests that may come at once.
    pub burst: u32,
}

/// A reservation for groups of requests, each under the same quotas.
#[derive(Clone, Debug, Default)]
pub struct SlotRequest {
    /// All quotas' keys, sorted.
    pub keys: Vec<String>,
    /// For each group its quotas, as positions in `keys`, and how many slots it wants.
    pub groups: Vec<(Vec<usize>, u32)>,
    /// No slot begins sooner, so that none is past before its reservation has arrived.
    pub lead: Duration,
    /// No slot begins later.
    pub horizon: Duration,
}

/// What was reserved.
#[derive(Clone, Debug)]
pub struct SlotGrant {
    /// The database's clock, read by the same round trip.
    pub clock: DatabaseClock,
    /// The epoch of each key; a newer one voids the slots.
    pub epochs: Vec<i64>,
    /// For each group its slots, from the clock's reading on, ascending.
    pub slots: Vec<Vec<Duration>>,
    /// For each group that got fewer than it wanted: when to reserve again, from the reading on, and the
    /// position of the key that it waits for (`None`: of no one key).
    pub waits: Vec<Option<(Duration, Option<usize>)>>,
}

/// State of a quota after a throttled response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaBackOff {
    /// Slots of an older epoch are void.
    pub epoch: i64,
    /// What throttling leaves of the rate.
    pub rate_factor: f64,
    /// True if the rate backed off because of this response.
    pub backed_off: bool,
}

/// One quota as it stands.
#[derive(Clone, Debug, serde::Serialize)]
pub struct QuotaRow {
    /// `source`, `source@account`, `source.stream` or `source.stream@account`
    pub key: String,
    /// What definition and config permit, or the operator instead.
    pub per_second: Option<f64>,
    /// Requests in any 60 seconds.
    pub per_minute: Option<i32>,
    /// Requests a day.
    pub per_day: Option<i32>,
    /// Requests that may come at once.
    pub burst: i32,
    /// True if an operator's limits replace the config's.
    pub set: bool,
    /// What throttling leaves of the rate now, up to 1.
    pub rate_factor: f64,
    /// Slots a second now; `None` where only days are limited.
    pub rate: Option<f64>,
    /// Requests of the last minute.
    pub minute_used: i64,
    /// Requests of this day.
    pub day_used: i32,
    /// When the next slot is free.
    pub opens_at: String,
    /// Seconds until then, if it is in the future.
    pub opens_in: f64,
    /// When the rate last backed off.
    pub backed_off_at: Option<String>,
    /// Round trips that reserved slots.
    pub reservations: i64,
    /// Slots granted.
    pub requests: i64,
    /// Throttled responses.
    pub throttled: i64,
}

const ENSURE: &str = "insert into pagemill.quotas as q (key, per_second, per_minute, per_day, burst, zone) \
    values ($1, $2, $3, $4, $5, $6) \
    on conflict (key) do update set per_second = excluded.per_second, per_minute = excluded.per_minute, \
        per_day = excluded.per_day, burst = excluded.burst, zone = excluded.zone \
    where (q.per_second, q.per_minute, q.per_day, q.burst, q.zone) \
        is distinct from (excluded.per_second, excluded.per_minute, excluded.per_day, excluded.burst, excluded.zone)";

const RESERVE: &str = "select at, epochs, slot_groups, slots, waits, bindings \
    from pagemill.reserve_slots($1, $2, $3, $4, $5, $6, $7)";

const BACK_OFF: &str = "select new_epoch, new_rate_factor, backed_off from pagemill.back_off_quota($1, $2, $3, $4) \
    where new_epoch is not null";

const LIST: &str = "select q.key, coalesce(q.set_second, q.per_second) as per_second, coalesce(q.set_minute, q.per_minute) as per_minute, \
        coalesce(q.set_day, q.per_day) as per_day, q.burst, coalesce(q.set_second, q.set_minute, q.set_day) is not null as set, \
        pagemill.quota_rate_factor(q, now()) as rate_factor, 1 / nullif(pagemill.quota_interval(q, now(), $2), 0) as rate, \
        coalesce((select sum(q.minute[n % 61 + 1]) from generate_series(greatest(q.minute_at - 60, \
            floor(extract(epoch from now()))::bigint - 60), q.minute_at) n), 0)::bigint as minute_used, \
        case when q.day = (now() at time zone q.zone)::date then q.day_used else 0 end as day_used, \
        o.at as opens_at, extract(epoch from o.at - now())::float8 as opens_in, q.backed_off_at, q.reservations, q.requests, q.throttled \
    from pagemill.quotas q cross join lateral (select greatest(now(), q.next_slot, \
        case when q.api_remaining <= 0 then q.api_remaining_until end, \
        case when q.day_used >= coalesce(q.set_day, q.per_day) then (q.day + 1)::timestamp at time zone q.zone end) as at) o \
    where $1::text is null or q.key = $1 order by q.key collate \"C\"";

const SET: &str = "update pagemill.quotas set set_second = coalesce($2, set_second), \
        set_minute = coalesce($3, set_minute), set_day = coalesce($4, set_day), \
        epoch = epoch + 1, next_slot = least(next_slot, now() + interval '1 s') where key = $1";

const RESET: &str = "update pagemill.quotas set set_second = null, set_minute = null, set_day = null, rate_factor = 1, \
        backed_off_at = null, recovers_at = now(), throttle_streak = 0, api_remaining = null, api_remaining_until = null, minute_at = 0, \
        minute = array_fill(0, array[61]), day = null, day_used = 0, epoch = epoch + 1, next_slot = now() + interval '1 s' \
    where $1::text is null or key = $1";

/// The quotas of all sources.
#[derive(Clone)]
pub struct Quotas {
    database: Database,
}

impl Quotas {
    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Records what a quota permits, if that is new.
    pub async fn ensure(&self, key: &str, limits: &QuotaLimits, zone: &str) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        let statement = client.prepare_cached(ENSURE).await?;
        let QuotaLimits { per_second, per_minute, per_day, burst } = *limits;
        let whole = |n: Option<u32>| n.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        let (per_minute, per_day) = (whole(per_minute), whole(per_day));
        let burst = whole(Some(burst));
        client.execute(&statement, &[&key, &per_second, &per_minute, &per_day, &burst, &zone]).await?;
        Ok(())
    }

    /// Reserves the next slots, shared by all replicas: one round trip. A quota that nobody used does
    /// not save up. `None` if a key is not recorded.
    pub async fn reserve(&self, request: &SlotRequest) -> Result<Option<SlotGrant>, StoreError> {
        let client = self.database.client().await?;
        let statement = client.prepare_cached(RESERVE).await?;
        let pairs = || {
            let number = |n: usize| n as i32 + 1;
            let groups = request.groups.iter().enumerate();
            groups.flat_map(move |(g, (keys, _))| keys.iter().map(move |k| (number(g), number(*k))))
        };
        let of_group: Vec<i32> = pairs().map(|(group, _)| group).collect();
        let of_key: Vec<i32> = pairs().map(|(_, key)| key).collect();
        let wants: Vec<i32> = request.groups.iter().map(|(_, wants)| *wants as i32).collect();
        let seconds = [request.lead, request.horizon, JITTER].map(|span| span.as_secs_f64());
        let [lead, horizon, jitter] = &seconds;
        let sent = Instant::now();
        let row = client
            .query_one(&statement, &[&request.keys, &of_group, &of_key, &wants, lead, horizon, jitter])
            .await?;
        let clock = row.get::<_, Option<Timestamp>>("at");
        Ok(clock.map(|at| {
            let clock = DatabaseClock::tie(at, sent, Instant::now());
            SlotGrant::from_row(&row, clock, request.groups.len())
        }))
    }

    /// A request with a slot of `epoch` was throttled. For `pause`, if the API named one, nobody sends,
    /// and the slots reserved are void; the rate backs off if this was no single one.
    pub async fn back_off(
        &self,
        key: &str,
        epoch: i64,
        pause: Option<Duration>,
    ) -> Result<Option<QuotaBackOff>, StoreError> {
        let client = self.database.client().await?;
        let statement = client.prepare_cached(BACK_OFF).await?;
        let pause = pause.map(|pause| pause.as_secs_f64());
        let row = client.query_opt(&statement, &[&key, &epoch, &pause, &JITTER.as_secs_f64()]).await?;
        Ok(row.map(|row| QuotaBackOff {
            epoch: row.get("new_epoch"),
            rate_factor: row.get("new_rate_factor"),
            backed_off: row.get("backed_off"),
        }))
    }

    /// The API said that it permits `remaining` further requests within `reset`.
    pub async fn observe_budget(&self, key: &str, remaining: u32, reset: Duration) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        let sql = "update pagemill.quotas set api_remaining = case when api_remaining_until > now() then least(api_remaining, $2) else $2 end, \
                api_remaining_until = now() + make_interval(secs => $3) where key = $1";
        let statement = client.prepare_cached(sql).await?;
        let remaining = i32::try_from(remaining).unwrap_or(i32::MAX);
        client.execute(&statement, &[&key, &remaining, &reset.as_secs_f64()]).await?;
        Ok(())
    }

    /// The quotas as they stand, or one of them.
    pub async fn list(&self, key: Option<&str>) -> Result<Vec<QuotaRow>, StoreError> {
        let client = self.database.client().await?;
        let rows = client.query(LIST, &[&key, &JITTER.as_secs_f64()]).await?;
        Ok(rows.iter().map(QuotaRow::from_row).collect())
    }

    /// An operator's word over the config's limits, until it is reset. Slots reserved are void.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] if there is no such quota.
    pub async fn set(
        &self,
        key: &str,
        per_second: Option<f64>,
        per_minute: Option<u32>,
        per_day: Option<u32>,
    ) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        let whole = |n: Option<u32>| n.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        let changed = client.execute(SET, &[&key, &per_second, &whole(per_minute), &whole(per_day)]).await?;
        if changed == 0 { Err(self.no_quota(key).await) } else { Ok(()) }
    }

    /// Forgets what was learnt and used, and the operator's word, of one quota or of all: open at the
    /// config's limits. Returns how many.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] if there is no such quota.
    pub async fn reset(&self, key: Option<&str>) -> Result<u64, StoreError> {
        let client = self.database.client().await?;
        let changed = client.execute(RESET, &[&key]).await?;
        match (changed, key) {
            (0, Some(key)) => Err(self.no_quota(key).await),
            (changed, _) => Ok(changed),
        }
    }

    async fn no_quota(&self, key: &str) -> StoreError {
        let there = self.list(None).await.unwrap_or_default();
        let there: Vec<_> = there.iter().map(|quota| quota.key.as_str()).collect();
        let there = if there.is_empty() {
            "none yet: they come with the first request".to_owned()
        } else {
            there.join(", ")
        };
        StoreError::new(StoreErrorKind::Invalid, format!("no quota {key}; there are: {there}"))
    }
}

impl SlotGrant {
    fn from_row(row: &Row, clock: DatabaseClock, groups: usize) -> Self {
        let mut slots = vec![Vec::new(); groups];
        let of_group: Vec<i32> = row.get("slot_groups");
        for (group, at) in of_group.into_iter().zip(row.get::<_, Vec<f64>>("slots")) {
            slots[group as usize - 1].push(span(at));
        }
        let waits: Vec<Option<f64>> = row.get("waits");
        let bindings =
            row.get::<_, Vec<i32>>("bindings").into_iter().map(|key| usize::try_from(key - 1).ok());
        let waits = waits.into_iter().zip(bindings).map(|(wait, key)| Some((span(wait?), key))).collect();
        Self { clock, epochs: row.get("epochs"), slots, waits }
    }
}

impl QuotaRow {
    fn from_row(row: &Row) -> Self {
        let text = |at: Timestamp| at.to_string();
        Self {
            key: row.get("key"),
            per_second: row.get("per_second"),
            per_minute: row.get("per_minute"),
            per_day: row.get("per_day"),
            burst: row.get("burst"),
            set: row.get("set"),
            rate_factor: row.get("rate_factor"),
            rate: row.get("rate"),
            minute_used: row.get("minute_used"),
            day_used: row.get("day_used"),
            opens_at: text(row.get("opens_at")),
            opens_in: row.get("opens_in"),
            backed_off_at: row.get::<_, Option<Timestamp>>("backed_off_at").map(text),
            reservations: row.get("reservations"),
            requests: row.get("requests"),
            throttled: row.get("throttled"),
        }
    }
}

/// Seconds that PostgreSQL says, as a length of time.
fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
