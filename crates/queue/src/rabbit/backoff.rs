use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first wait is between this and twice this.
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait is between this and twice this.
const LONGEST: Duration = Duration::from_secs(5);
/// A connection that lasted longer than this was healthy.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Waits between attempts: doubling, capped, jittered, so that the replicas of a broker that comes
/// back do not all come back at once.
#[derive(Debug)]
pub(super) struct Backoff(ExponentialBackoff);

impl Default for Backoff {
    fn default() -> Self {
        let builder = ExponentialBuilder::new().with_min_delay(FIRST).with_max_delay(LONGEST);
        Self(builder.without_max_times().with_jitter().build())
    }
}

impl Backoff {
    /// How long to wait before the next attempt.
    pub(super) fn next_wait(&mut self) -> Duration {
        self.0.next().unwrap_or(LONGEST)
    }

    /// Starts again from the first wait if what was built lasted long enough: the next error is a new
    /// one.
    pub(super) fn reset_if_healthy(&mut self, lasted: Duration) {
        if lasted > HEALTHY_AFTER {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_double_within_bounds(attempts in 0_u32..200) {
            let mut backoff = Backoff::default();
            for _ in 0..attempts {
                backoff.next_wait();
            }
            let least = FIRST.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST);
            let wait = backoff.next_wait();
            let rounding = Duration::from_micros(10);
            prop_assert!(wait + rounding >= least && wait <= 2 * least + rounding, "{wait:?} after {attempts}");
        }
    }

    #[test]
    fn only_a_healthy_connection_resets() {
        let mut backoff = Backoff::default();
        for _ in 0..9 {
            backoff.next_wait();
        }
        backoff.reset_if_healthy(Duration::from_secs(1));
        assert!(backoff.next_wait() >= LONGEST);
        backoff.reset_if_healthy(2 * HEALTHY_AFTER);
        assert!(backoff.next_wait() <= 2 * FIRST);
    }
}
