use std::{collections::VecDeque, time::Duration};

use crate::limits::Caps;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// The times of what happened lately.
#[derive(Default)]
pub(crate) struct Window(VecDeque<Duration>);

impl Window {
    pub(crate) fn push(&mut self, now: Duration) {
        self.0.push_back(now);
    }

    /// How many happened in (now - length, now]. Older ones are forgotten.
    pub(crate) fn count(&mut self, now: Duration, length: Duration) -> usize {
        while self.0.front().is_some_and(|time| now.saturating_sub(*time) >= length) {
            self.0.pop_front();
        }
        self.0.len()
    }

    /// How long until the oldest one is no longer counted.
    fn opens_in(&self, now: Duration, length: Duration) -> Duration {
        self.0.front().map_or(Duration::ZERO, |oldest| (*oldest + length).saturating_sub(now))
    }
}

/// Counts the requests of today.
#[derive(Default)]
struct Today {
    day: u64,
    count: usize,
}

impl Today {
    fn count(&mut self, day: u64) -> usize {
        if self.day != day {
            *self = Self { day, count: 0 };
        }
        self.count
    }
}

/// A time as the windows need it: since the start, which never goes back, and by the clock of the day.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) since_start: Duration,
    /// Since some midnight in the API's zone.
    pub(crate) by_clock: Duration,
}

impl Moment {
    fn day(self) -> u64 {
        self.by_clock.as_secs() / DAY.as_secs()
    }

    fn midnight_in(self) -> Duration {
        DAY * (self.day() + 1) as u32 - self.by_clock
    }
}

/// What was admitted of one scope, as far as it is limited.
#[derive(Default)]
pub(crate) struct Admitted {
    second: Window,
    minute: Window,
    today: Today,
}

/// What remains in a limited window, and when it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// 0 for a second, 1 for a minute, 2 for a day.
    window: usize,
    pub(crate) remaining: usize,
    /// When it counts less than now, or anew.
    pub(crate) opens_in: Duration,
}

impl Budget {
    /// Whole seconds until it opens, of which a part is one.
    pub(crate) fn seconds(self) -> u64 {
        self.opens_in.as_secs() + u64::from(self.opens_in.subsec_nanos() > 0)
    }

    /// The one that binds: of the longest window, and of these the one with the least left.
    pub(crate) fn binding(budgets: impl Iterator<Item = Self>) -> Option<Self> {
        budgets.max_by_key(|budget| (budget.window, std::cmp::Reverse(budget.remaining)))
    }
}

impl Admitted {
    pub(crate) fn has_room(&mut self, caps: Caps, now: Moment) -> bool {
        caps.0
            .into_iter()
            .zip(self.counts(now))
            .all(|(cap, count)| cap.is_none_or(|cap| count < cap as usize))
    }

    pub(crate) fn add(&mut self, Caps([second, minute, day]): Caps, now: Moment) {
        if second.is_some() {
            self.second.push(now.since_start);
        }
        if minute.is_some() {
            self.minute.push(now.since_start);
        }
        if day.is_some() {
            self.today.count += 1;
        }
    }

    /// What is left in the longest window that has a limit.
    pub(crate) fn budget(&mut self, caps: Caps, now: Moment) -> Option<Budget> {
        let counts = self.counts(now);
        let opens_in = [
            self.second.opens_in(now.since_start, SECOND),
            self.minute.opens_in(now.since_start, MINUTE),
            now.midnight_in(),
        ];
        let window = caps.0.iter().rposition(Option::is_some)?;
        let remaining = (caps.0[window]? as usize).saturating_sub(counts[window]);
        Some(Budget { window, remaining, opens_in: opens_in[window] })
    }

    fn counts(&mut self, now: Moment) -> [usize; 3] {
        let Moment { since_start, .. } = now;
        [
            self.second.count(since_start, SECOND),
            self.minute.count(since_start, MINUTE),
            self.today.count(now.day()),
        ]
    }
}
