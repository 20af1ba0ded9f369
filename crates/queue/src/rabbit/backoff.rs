use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// How long to wait before the next attempt: doubling, capped, jittered, so that the replicas of a
/// broker that comes back do not all come back at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait: between half and all of the attempt's share.
    pub(super) fn next(&mut self) -> Duration {
        let share = share(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        // Each `RandomState` has random keys: random enough to spread replicas.
        let random = RandomState::new().hash_one(self.attempts);
        share / 2 + (share / 2).mul_f64(random as f64 / u64::MAX as f64)
    }

    /// What was built lasted this long: if that is long enough, it was healthy, and the next fault
    /// is a new one.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time > LONGEST {
            self.attempts = 0;
        }
    }
}

fn share(attempts: u32) -> Duration {
    SHORTEST.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_within_bounds(attempts: u32) {
            let wait = Backoff { attempts }.next();
            prop_assert!(wait >= SHORTEST / 2 && wait <= LONGEST, "{wait:?}");
            prop_assert!(share(attempts) <= share(attempts.saturating_add(1)));
        }
    }

    #[test]
    fn resets_only_once_healthy() {
        let mut backoff = Backoff { attempts: 9 };
        backoff.lasted(Duration::from_secs(1));
        assert!(backoff.next() >= LONGEST / 2);
        backoff.lasted(LONGEST * 2);
        assert!(backoff.next() <= SHORTEST);
    }
}
