use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::{database::Database, error::StoreError};

/// Two clocks drift apart by less than this share of the time.
const DRIFT: f64 = 1e-4;

/// The database's clock, as seen from this process: a reading tied to the local monotonic clock at
/// the midpoint of its round trip. Replicas' own clocks never matter.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseClock {
    read_at: Instant,
    database: Timestamp,
    round_trip: Duration,
}

impl DatabaseClock {
    /// Ties a database time to a local interval.
    pub fn tie(database: Timestamp, sent: Instant, received: Instant) -> Self {
        let round_trip = received - sent;
        Self { read_at: sent + round_trip / 2, database, round_trip }
    }

    /// The database's time at a local instant.
    pub fn at(&self, local: Instant) -> Timestamp {
        let nanos = if local >= self.read_at {
            i128::try_from((local - self.read_at).as_nanos()).unwrap_or(i128::MAX)
        } else {
            -i128::try_from((self.read_at - local).as_nanos()).unwrap_or(i128::MAX)
        };
        Timestamp::from_nanosecond(self.database.as_nanosecond().saturating_add(nanos))
            .unwrap_or(self.database)
    }

    /// The database's time when it was read.
    pub fn read(&self) -> Timestamp {
        self.database
    }

    /// The database's time now.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The local instant of a database time; a time long past becomes the earliest instant known.
    pub fn instant_of(&self, database: Timestamp) -> Instant {
        let nanos = database.as_nanosecond() - self.database.as_nanosecond();
        let span = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).unwrap_or(u64::MAX));
        if nanos >= 0 { self.read_at + span } else { self.read_at.checked_sub(span).unwrap_or(self.read_at) }
    }

    /// Which of this and a newer reading to go by: the one that is off by less, as the clocks drift
    /// apart; the newer one if they disagree by more than that, for then one of them was set.
    pub fn or_newer(self, newer: Self) -> Self {
        let off = |reading: &Self| {
            reading.round_trip / 2 + newer.read_at.saturating_duration_since(reading.read_at).mul_f64(DRIFT)
        };
        let apart = self.at(newer.read_at).duration_since(newer.database).unsigned_abs();
        let set = apart > off(&self) + off(&newer);
        if set || off(&newer) <= off(&self) { newer } else { self }
    }

    /// Time since the clock was read.
    pub fn age(&self) -> Duration {
        self.read_at.elapsed()
    }

    /// Time that the reading took: the clock is off by at most half of this.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }
}

/// Reads the database's clock.
pub(crate) async fn read(database: &Database) -> Result<DatabaseClock, StoreError> {
    let client = database.client().await?;
    let statement = client.prepare_cached("select clock_timestamp() as now").await?;
    let sent = Instant::now();
    let row = client.query_one(&statement, &[]).await?;
    Ok(DatabaseClock::tie(row.get("now"), sent, Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_gives_way_to_one_that_is_off_by_less() {
        let ms = Duration::from_millis;
        let (start, noon) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let reading = |after, round_trip, wrong: i64| {
            let database = noon + ms(after) + jiff::SignedDuration::from_millis(wrong);
            DatabaseClock { read_at: start + ms(after), database, round_trip: ms(round_trip) }
        };
        let first = reading(0, 2, 0);
        let kept = |newer: DatabaseClock| first.or_newer(newer).round_trip == first.round_trip;
        assert!(kept(reading(100, 20, 5)), "a slow round trip says less");
        assert!(!kept(reading(100, 1, 0)), "a quicker one says more");
        assert!(!kept(reading(100_000, 20, 5)), "an old reading has drifted");
        assert!(!kept(reading(100, 20, 500)), "the clock was set");
    }
}
