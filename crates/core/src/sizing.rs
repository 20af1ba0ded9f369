use std::time::Duration;

/// The most that a quorum queue grants a consumer.
const MOST_PREFETCH: u32 = 2_000;
/// Workers when neither the config nor a rate says how many.
const UNLIMITED_WORKERS: u32 = 8;
/// Jobs at hand without a rate: a worker that is free takes one within microseconds, the broker sends
/// more within a millisecond.
const AT_HAND: u32 = 8;
/// More workers than this in one process is never what a report API needs.
const MOST_WORKERS: u32 = 512;

/// A replica reserves at least so many slots in one round trip, if its workers stand ready.
const SLOTS_PER_ROUND_TRIP: f64 = 24.0;
/// Or those of so many seconds of its share, if they are more.
const SLOTS_SPAN: f64 = 0.1;
/// But never those of more seconds of its share: a replica that dies wastes them.
const LONGEST_SLOTS_SPAN: f64 = 0.8;

/// The workers that a consumer runs and the deliveries that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// Workers competing for jobs.
    pub workers: u32,
    /// Unacknowledged deliveries that the broker may hand over.
    pub prefetch: u32,
}

/// The measured time of a page: 95 of 100 pages take no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTimes {
    /// From the sending of its request to its decoded response.
    pub fetch: Duration,
    /// From the sending of its request to its ack.
    pub page: Duration,
}

/// Workers and prefetch from the quota, by Little's law.
///
/// `share` is this replica's part of the rate in requests per second (`None` = no limit). With a rate:
/// workers = ceil(share × fetch) + a batch of slots: those who are out and those who stand ready for the next
/// slots; prefetch = clamp(ceil(share × (page + 1 s)), workers, 2000), so that no worker waits for the
/// broker and no replica holds more than about a second of permitted requests beyond what is under way.
/// Without: prefetch = workers + those at hand for whoever is free next + 2 batches, of which one is
/// stored while the other fills. A page's time counts from its request and not from its delivery: it
/// would grow with the prefetch that follows from it.
pub fn sizing(share: Option<f64>, times: PageTimes, workers: Option<u32>, batch_pages: u32) -> Sizing {
    match share {
        None => {
            let workers = workers.unwrap_or(UNLIMITED_WORKERS);
            let at_hand = workers.min(AT_HAND);
            Sizing { workers, prefetch: (workers + at_hand + 2 * batch_pages).min(MOST_PREFETCH) }
        }
        Some(share) => {
            let out = (share * times.fetch.as_secs_f64()).ceil() as u32;
            let held = (share * (times.page.as_secs_f64() + 1.0)).ceil() as u32;
            let workers = workers.unwrap_or((out + slot_batch(share)).clamp(1, MOST_WORKERS));
            Sizing { workers, prefetch: held.clamp(workers.min(MOST_PREFETCH), MOST_PREFETCH) }
        }
    }
}

/// The most slots that a replica reserves in one round trip, at its share of the rate.
pub fn slot_batch(share: f64) -> u32 {
    let most = (share * SLOTS_SPAN).max(SLOTS_PER_ROUND_TRIP).min(share * LONGEST_SLOTS_SPAN);
    (most as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn littles_law() {
        let ms = Duration::from_millis;
        let times = PageTimes { fetch: ms(200), page: ms(500) };
        let auto = |share| sizing(share, times, None, 20);
        assert_eq!(auto(None), Sizing { workers: 8, prefetch: 56 });
        assert_eq!(auto(Some(50.0)), Sizing { workers: 10 + 24, prefetch: 75 });
        assert_eq!(auto(Some(5.0)), Sizing { workers: 1 + 4, prefetch: 8 });
        assert_eq!(auto(Some(0.5)), Sizing { workers: 2, prefetch: 2 });
        assert_eq!(auto(Some(5_000.0)), Sizing { workers: 512, prefetch: 2_000 });
        assert_eq!(sizing(Some(50.0), times, Some(3), 20), Sizing { workers: 3, prefetch: 75 });
    }

    #[test]
    fn a_batch_of_slots_saves_round_trips_and_stays_short() {
        for (rate, replicas) in [(500.0, 1), (500.0, 4), (500.0, 16), (50.0, 1)] {
            let share = rate / f64::from(replicas);
            assert!(slot_batch(share) >= 20, "{rate}/s over {replicas}");
        }
        for share in [0.01, 0.3, 1.0, 5.0, 7.8, 31.25, 500.0, 5_000.0] {
            assert!(f64::from(slot_batch(share)) <= share.max(1.0), "{share}/s");
        }
    }
}
