//! Measures how long pages take. Workers and prefetch are sized by it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pagemill_core::PageTimes;

/// Until enough pages were measured. Generous: a worker too many waits for its slot, one too few
/// wastes quota.
const ASSUMED: PageTimes = PageTimes { fetch: Duration::from_millis(400), page: Duration::from_millis(600) };
/// The newest so many count.
const KEPT: usize = 500;
/// With fewer measurements the assumed times are used.
const ENOUGH: usize = 50;

/// Times of the newest pages of one source.
#[derive(Debug, Default)]
pub struct MeasuredTimes {
    fetches: Ring,
    pages: Ring,
}

#[derive(Debug, Default)]
struct Ring(Mutex<(Vec<Duration>, usize)>);

impl MeasuredTimes {
    /// A response took so long, from the sending of its request until it was decoded.
    pub(crate) fn record_fetch(&self, time: Duration) {
        self.fetches.push(time);
    }

    /// A page took so long, from the sending of its request until its ack.
    pub(crate) fn record_page(&self, time: Duration) {
        self.pages.push(time);
    }

    /// Times that 95 of 100 pages keep within.
    pub fn p95(&self) -> PageTimes {
        PageTimes {
            fetch: self.fetches.p95().unwrap_or(ASSUMED.fetch),
            page: self.pages.p95().unwrap_or(ASSUMED.page),
        }
    }
}

impl Ring {
    fn push(&self, time: Duration) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (times, at) = &mut *ring;
        if times.len() < KEPT {
            times.push(time);
        } else {
            times[*at] = time;
            *at = (*at + 1) % KEPT;
        }
    }

    fn p95(&self) -> Option<Duration> {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        if times.len() < ENOUGH {
            return None;
        }
        let at = times.len() * 95 / 100;
        Some(*times.select_nth_unstable(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_pages_count() {
        let times = MeasuredTimes::default();
        assert_eq!(times.p95(), ASSUMED);
        let ms = Duration::from_millis;
        (0..KEPT as u64).for_each(|_| times.record_fetch(ms(900)));
        (0..KEPT as u64).for_each(|n| times.record_fetch(ms(n / 5)));
        assert_eq!(times.p95(), PageTimes { fetch: ms(95), ..ASSUMED });
    }
}
