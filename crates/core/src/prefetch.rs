use std::time::Duration;

/// The most that a quorum queue grants a consumer.
const MOST_PREFETCH: u32 = 2_000;
/// Workers when neither the config nor a rate says how many.
const UNLIMITED_WORKERS: u32 = 8;
/// More workers than this in one process is never what a report API needs.
const MOST_WORKERS: u32 = 512;

/// How many workers a consumer runs and how many deliveries it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// Workers competing for jobs.
    pub workers: u32,
    /// Unacknowledged deliveries that the broker may hand over.
    pub prefetch: u32,
}

/// Workers and prefetch from the quota, by Little's law.
///
/// `share` is this replica's part of the rate in requests per second (`None` = no limit), `fetch`
/// the time of one request, `page` the time of a page from delivery to ack. With a rate:
/// workers = ceil(share × fetch), prefetch = clamp(ceil(share × (page + 1 s)), 1, 2000), so that no
/// worker waits for the broker and no replica holds more than about a second of permitted requests
/// beyond what is under way. Without: prefetch = 2 × workers + a batch.
pub fn sizing(
    share: Option<f64>,
    fetch: Duration,
    page: Duration,
    workers: Option<u32>,
    batch: u32,
) -> Sizing {
    match share {
        None => {
            let workers = workers.unwrap_or(UNLIMITED_WORKERS);
            Sizing { workers, prefetch: (2 * workers + batch).min(MOST_PREFETCH) }
        }
        Some(share) => {
            let needed = (share * fetch.as_secs_f64()).ceil() as u32;
            let prefetch = (share * (page.as_secs_f64() + 1.0)).ceil() as u32;
            let workers = workers.unwrap_or(needed.clamp(1, MOST_WORKERS));
            Sizing { workers, prefetch: prefetch.clamp(1, MOST_PREFETCH) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn littles_law() {
        let ms = Duration::from_millis;
        let auto = |share| sizing(share, ms(200), ms(500), None, 20);
        assert_eq!(auto(None), Sizing { workers: 8, prefetch: 36 });
        assert_eq!(auto(Some(50.0)), Sizing { workers: 10, prefetch: 75 });
        assert_eq!(auto(Some(0.5)), Sizing { workers: 1, prefetch: 1 });
        assert_eq!(auto(Some(5_000.0)), Sizing { workers: 512, prefetch: 2_000 });
        assert_eq!(sizing(Some(50.0), ms(200), ms(500), Some(3), 20).workers, 3);
    }
}
