use std::{collections::HashMap, time::Duration};

use crate::{
    level::Level,
    limits::{Caps, Limits, Scope},
    window::{Admitted, Budget, Moment, SECOND, Window},
};

/// A platform's report on a level: the dialect's place, and the level.
pub(crate) type Stream = (usize, Level);

/// Requests by their arrival: which to admit, and how fast they come. Times are since the start, and
/// never go back.
pub(crate) struct Quota {
    limits: Limits,
    /// What the clock showed at the start, since some midnight.
    clock: Duration,
    app: Admitted,
    accounts: HashMap<String, Admitted>,
    streams: HashMap<Stream, Admitted>,
    arrived: Window,
    fastest: usize,
}

/// The decision about a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    /// The scope of the limit that the request exceeds, if any.
    pub(crate) exceeds: Option<Scope>,
    /// Requests that the tightest limit still permits after this one; `None` without a limit.
    pub(crate) budget: Option<Budget>,
}

impl Quota {
    pub(crate) fn new(limits: Limits, clock: Duration) -> Self {
        Self {
            limits,
            clock,
            app: Admitted::default(),
            accounts: HashMap::new(),
            streams: HashMap::new(),
            arrived: Window::default(),
            fastest: 0,
        }
    }

    /// True if the request that arrives now keeps within all limits it falls under; one that cannot be
    /// read is `of` no account and stream. One that exceeds a limit is not held against those that follow.
    pub(crate) fn admit(&mut self, now: Duration, of: Option<(&str, Stream)>) -> Admission {
        self.arrived.push(now);
        self.fastest = self.fastest.max(self.arrived.count(now, SECOND));
        let now = Moment { since_start: now, by_clock: self.clock + now };
        let mut scopes = self.scopes(of);
        let room = |(_, caps, admitted): &mut (Scope, Caps, &mut Admitted)| admitted.has_room(*caps, now);
        let exceeds = scopes.iter_mut().find_map(|scope| (!room(scope)).then_some(scope.0));
        if exceeds.is_none() {
            scopes.iter_mut().for_each(|(_, caps, admitted)| admitted.add(*caps, now));
        }
        let budgets = scopes.iter_mut().filter_map(|(_, caps, admitted)| admitted.budget(*caps, now));
        Admission { exceeds, budget: Budget::binding(budgets) }
    }

    /// The scopes that a request falls under and that are limited.
    fn scopes(&mut self, of: Option<(&str, Stream)>) -> Vec<(Scope, Caps, &mut Admitted)> {
        let mut scopes = Vec::new();
        if self.limits.app().any() {
            scopes.push((Scope::App, self.limits.app(), &mut self.app));
        }
        let Some((account, stream)) = of else { return scopes };
        if self.limits.account().any() {
            let admitted = self.accounts.entry(account.to_owned()).or_default();
            scopes.push((Scope::Account, self.limits.account(), admitted));
        }
        if self.limits.stream().any() {
            let admitted = self.streams.entry(stream).or_default();
            scopes.push((Scope::Stream, self.limits.stream(), admitted));
        }
        scopes
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Replaces the limits; what they have admitted still counts.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Arrivals within the last second.
    pub(crate) fn arrivals(&mut self, now: Duration) -> u64 {
        self.arrived.count(now, SECOND) as u64
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

    type Of = Option<(&'static str, Stream)>;

    const ACCOUNTS: [&str; 3] = ["1", "2", "3"];
    const STREAMS: [Stream; 2] = [(0, Level::Creative), (0, Level::Unit)];
    const DAY: Duration = Duration::from_secs(86_400);
    const OF: Of = Some((ACCOUNTS[0], STREAMS[0]));

    fn limit() -> impl Strategy<Value = Option<u32>> {
        prop::option::of(0u32..12)
    }

    prop_compose! {
        fn limits()(
            rate in limit(),
            rate_per_minute in limit(),
            rate_per_day in prop::option::of(0u32..60),
            account_rate in limit(),
            account_rate_per_day in prop::option::of(0u32..30),
            stream_rate in limit(),
        ) -> Limits {
            Limits { rate, rate_per_minute, rate_per_day, account_rate, account_rate_per_day, stream_rate }
        }
    }

    /// An arrival: milliseconds after the one before, account, stream; unreadable if neither is known.
    fn arrival() -> impl Strategy<Value = (u64, usize, usize)> {
        let gap = prop_oneof![8 => 0u64..300, 2 => 0u64..20_000, 1 => 0u64..30_000_000];
        (gap, 0..=ACCOUNTS.len(), 0..STREAMS.len())
    }

    proptest! {
        /// Strict both ways: never one too many, never one refused that had room.
        #[test]
        fn requests_are_admitted_where_all_their_limits_have_room(
            limits in limits(),
            clock in 0u64..86_400,
            arrivals in prop::collection::vec(arrival(), 1..300),
        ) {
            let clock = Duration::from_secs(clock);
            let mut quota = Quota::new(limits, clock);
            let mut now = Duration::ZERO;
            let mut admitted: Vec<(Duration, Of)> = Vec::new();
            let mut arrived = Vec::new();
            for (gap, account, stream) in arrivals {
                now += Duration::from_millis(gap);
                arrived.push(now);
                let of = ACCOUNTS.get(account).map(|account| (*account, STREAMS[stream]));
                let within = |time: Duration, seconds| now - time < seconds * SECOND;
                let today = |time: Duration| (clock + time).as_secs() / DAY.as_secs() == (clock + now).as_secs() / DAY.as_secs();
                let full = |limit: Option<u32>, counts: &dyn Fn(Duration, Of) -> bool| {
                    let count = admitted.iter().filter(|(time, of)| counts(*time, *of)).count();
                    limit.is_some_and(|limit| count >= limit as usize)
                };
                let same_account = |other: Of| other.map(|of| of.0) == of.map(|of| of.0);
                let same_stream = |other: Of| other.map(|of| of.1) == of.map(|of| of.1);
                let expected = if full(limits.rate, &|time, _| within(time, 1))
                    || full(limits.rate_per_minute, &|time, _| within(time, 60))
                    || full(limits.rate_per_day, &|time, _| today(time))
                {
                    Some(Scope::App)
                } else if of.is_some()
                    && (full(limits.account_rate, &|time, of| within(time, 1) && same_account(of))
                        || full(limits.account_rate_per_day, &|time, of| today(time) && same_account(of)))
                {
                    Some(Scope::Account)
                } else if of.is_some()
                    && full(limits.stream_rate, &|time, of| within(time, 1) && same_stream(of))
                {
                    Some(Scope::Stream)
                } else {
                    None
                };
                prop_assert_eq!(quota.admit(now, of).exceeds, expected);
                if expected.is_none() {
                    admitted.push((now, of));
                }
                let recent = arrived.iter().filter(|time| within(**time, 1)).count() as u64;
                prop_assert_eq!(quota.arrivals(now), recent);
            }
            let in_second_from = |start: Duration| {
                arrived.iter().filter(|time| (start..start + SECOND).contains(time)).count() as u64
            };
            prop_assert_eq!(Some(quota.fastest()), arrived.iter().map(|start| in_second_from(*start)).max());
        }
    }

    #[test]
    fn without_limits_all_are_admitted() {
        let mut quota = Quota::new(Limits::default(), Duration::ZERO);
        assert!((0..1_000).all(|_| quota.admit(SECOND, OF) == Admission { exceeds: None, budget: None }));
        assert_eq!((quota.arrivals(SECOND), quota.arrivals(2 * SECOND), quota.fastest()), (1_000, 0, 1_000));
    }

    #[test]
    fn limits_that_change_count_what_they_admitted() {
        let mut quota = Quota::new(Limits::per_second(10), Duration::ZERO);
        let admitted =
            |quota: &mut Quota, at| (0..20).filter(|_| quota.admit(at, OF).exceeds.is_none()).count();
        assert_eq!(admitted(&mut quota, SECOND), 10);
        quota.set_limits(Limits::per_second(12));
        assert_eq!(admitted(&mut quota, SECOND), 2);
        quota.set_limits(Limits::per_second(5));
        assert_eq!((admitted(&mut quota, SECOND), admitted(&mut quota, 2 * SECOND)), (0, 5));
        quota.set_limits(Limits::default());
        assert_eq!(admitted(&mut quota, 2 * SECOND), 20);
    }

    #[test]
    fn the_longest_window_tells_what_is_left_and_when_it_opens() {
        let left = |quota: &mut Quota, at: Duration| {
            let budget = quota.admit(at, OF).budget.unwrap();
            (budget.remaining, budget.opens_in.as_millis())
        };
        let ms = Duration::from_millis;
        let mut quota = Quota::new(Limits::per_second(2), DAY - 10 * SECOND);
        assert_eq!(left(&mut quota, ms(0)), (1, 1_000));
        assert_eq!(left(&mut quota, ms(300)), (0, 700));
        assert_eq!(left(&mut quota, ms(900)), (0, 100));
        let minute = Limits { rate: Some(9), rate_per_minute: Some(2), ..Limits::default() };
        quota.set_limits(minute);
        assert_eq!(left(&mut quota, ms(1_000)), (1, 60_000));
        // Of two days the one with less left binds.
        quota.set_limits(Limits { rate_per_day: Some(9), account_rate_per_day: Some(2), ..minute });
        assert_eq!(left(&mut quota, ms(2_000)), (1, 8_000));
        quota.set_limits(Limits { rate_per_day: Some(1), ..Limits::default() });
        assert_eq!(left(&mut quota, ms(9_999)), (0, 1));
        assert_eq!(left(&mut quota, ms(10_000)), (0, DAY.as_millis()));
    }
}
