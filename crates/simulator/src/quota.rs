use std::{collections::VecDeque, time::Duration};

use crate::Limits;

const SECOND: Duration = Duration::from_secs(1);

/// The times of what happened within the last second.
#[derive(Default)]
struct Window(VecDeque<Duration>);

impl Window {
    /// How many happened in (now - 1 s, now].
    fn count(&mut self, now: Duration) -> usize {
        while self.0.front().is_some_and(|time| now.saturating_sub(*time) >= SECOND) {
            self.0.pop_front();
        }
        self.0.len()
    }
}

/// Requests by their arrival: which to admit, and how fast they come. Times are since the start, and
/// never go back.
pub(crate) struct Quota {
    limits: Limits,
    admitted: Window,
    arrived: Window,
    fastest: usize,
}

impl Quota {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, admitted: Window::default(), arrived: Window::default(), fastest: 0 }
    }

    /// Whether the request that arrives now keeps within the rate. One that doesn't is not held
    /// against those that follow.
    pub(crate) fn admit(&mut self, now: Duration) -> bool {
        self.arrived.0.push_back(now);
        self.fastest = self.fastest.max(self.arrived.count(now));
        let Some(rate) = self.limits.rate else { return true };
        let keeps = self.admitted.count(now) < rate as usize;
        if keeps {
            self.admitted.0.push_back(now);
        }
        keeps
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Other limits hold from now on; what they have admitted still counts.
    pub(crate) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Arrivals within the last second.
    pub(crate) fn arrivals(&mut self, now: Duration) -> u64 {
        self.arrived.count(now) as u64
    }

    /// The most arrivals within any one second since the start.
    pub(crate) fn fastest(&self) -> u64 {
        self.fastest as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_second_admits_more_than_the_rate(
            rate in 1u32..20,
            gaps in prop::collection::vec(0u64..300, 1..400),
        ) {
            let mut quota = Quota::new(Limits::per_second(rate));
            let (mut now, mut admitted, mut arrived) = (Duration::ZERO, Vec::new(), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                arrived.push(now);
                let within = |times: &[Duration]| times.iter().filter(|time| now - **time < SECOND).count();
                let free = within(&admitted) < rate as usize;
                // Strict both ways: never one too many, never one refused that had room.
                prop_assert_eq!(quota.admit(now), free);
                if free {
                    admitted.push(now);
                }
                prop_assert_eq!(quota.arrivals(now), within(&arrived) as u64);
            }
            let in_second_from = |times: &[Duration], start: Duration| {
                times.iter().filter(|time| (start..start + SECOND).contains(time)).count() as u64
            };
            prop_assert!(admitted.iter().all(|start| in_second_from(&admitted, *start) <= u64::from(rate)));
            let fastest = arrived.iter().map(|start| in_second_from(&arrived, *start)).max();
            prop_assert_eq!(Some(quota.fastest()), fastest);
        }
    }

    #[test]
    fn without_a_rate_all_are_admitted() {
        let mut quota = Quota::new(Limits::default());
        assert!((0..1_000).all(|_| quota.admit(SECOND)));
        assert_eq!((quota.arrivals(SECOND), quota.arrivals(2 * SECOND), quota.fastest()), (1_000, 0, 1_000));
    }

    #[test]
    fn a_rate_that_changes_counts_what_was_admitted() {
        let mut quota = Quota::new(Limits::per_second(10));
        let admitted = |quota: &mut Quota, at| (0..20).filter(|_| quota.admit(at)).count();
        assert_eq!(admitted(&mut quota, SECOND), 10);
        quota.limit(Limits::per_second(12));
        assert_eq!(admitted(&mut quota, SECOND), 2);
        quota.limit(Limits::per_second(5));
        assert_eq!((admitted(&mut quota, SECOND), admitted(&mut quota, 2 * SECOND)), (0, 5));
        quota.limit(Limits::default());
        assert_eq!(admitted(&mut quota, 2 * SECOND), 20);
    }
}
