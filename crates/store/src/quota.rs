use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::{DatabaseClock, Store, StoreError};

/// Request slots reserved from a quota: `first`, and then one every `interval`.
#[derive(Clone, Copy, Debug)]
pub struct SlotGrant {
    /// The first slot, on the database's clock.
    pub first: Timestamp,
    /// Distance to the next one.
    pub interval: Duration,
    /// The quota's epoch when they were reserved; a newer one voids them.
    pub epoch: i64,
    /// The database's clock, read by the same round trip.
    pub clock: DatabaseClock,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug)]
pub enum Reserved {
    /// Slots to send at.
    Slots(SlotGrant),
    /// The next slot is further away than was asked for, so none was taken.
    Shut(Duration),
}

impl Store {
    /// Reserves the next `count` slots of a quota, shared by all replicas: one round trip. Slots
    /// are spaced evenly and begin no earlier than `lead` from now, so a quota that nobody used does
    /// not save up, and no slot is past before its reservation has arrived. Where the next slot is
    /// further away than `horizon`, nothing is reserved.
    ///
    /// # Errors
    /// As any query.
    pub async fn reserve_slots(
        &self,
        key: &str,
        per_second: f64,
        count: u32,
        lead: Duration,
        horizon: Duration,
    ) -> Result<Reserved, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "insert into pagemill.quotas as q (key, per_second, next_slot) \
                 values ($1, $2::float8, clock_timestamp() + make_interval(secs => $4::float8 + $3::float8 / $2::float8)) \
                 on conflict (key) do update set per_second = excluded.per_second, \
                     next_slot = greatest(q.next_slot, clock_timestamp() + make_interval(secs => $4::float8)) \
                         + make_interval(secs => $3::float8 / $2::float8) \
                 where q.next_slot < clock_timestamp() + make_interval(secs => $5::float8) \
                 returning q.next_slot - make_interval(secs => $3::float8 / $2::float8), clock_timestamp(), q.epoch",
            )
            .await?;
        let sent = Instant::now();
        let (count_as_float, lead, horizon) = (f64::from(count), lead.as_secs_f64(), horizon.as_secs_f64());
        let row =
            client.query_opt(&statement, &[&key, &per_second, &count_as_float, &lead, &horizon]).await?;
        let received = Instant::now();
        let Some(row) = row else {
            let sql = "select extract(epoch from next_slot - clock_timestamp())::float8 \
                       from pagemill.quotas where key = $1";
            let away: f64 = client.query_one(sql, &[&key]).await?.get(0);
            return Ok(Reserved::Shut(Duration::from_secs_f64(away.max(0.0))));
        };
        Ok(Reserved::Slots(SlotGrant {
            first: row.get(0),
            interval: Duration::from_secs_f64(1.0 / per_second),
            epoch: row.get(2),
            clock: DatabaseClock::tie(row.get(1), sent, received),
        }))
    }

    /// The API asked for less: no slot of this quota before `pause` has passed, for all replicas.
    /// Returns the new epoch, which voids the slots reserved under older ones.
    ///
    /// # Errors
    /// As any query.
    pub async fn push_back_quota(&self, key: &str, pause: Duration) -> Result<i64, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "update pagemill.quotas set epoch = epoch + 1, \
                     next_slot = greatest(next_slot, clock_timestamp() + make_interval(secs => $2::float8)) \
                 where key = $1 returning epoch",
            )
            .await?;
        Ok(client.query_one(&statement, &[&key, &pause.as_secs_f64()]).await?.get(0))
    }
}
