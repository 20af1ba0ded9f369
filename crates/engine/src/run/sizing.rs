//! Computes the workers and the prefetch of a consumer for a source.

use pagemill_core::{PageTimes, Sizing, sizing, slot_batch};

use crate::{app::App, sources::Source};

/// Workers and prefetch of one of `replicas` consumers of a source.
pub(super) fn size(app: &App, source: &Source, replicas: u32) -> Sizing {
    let settings = &app.settings;
    let rate = rate_share(source, replicas);
    let size = sizing(rate, source.times.p95(), settings.workers.count(), settings.batch_pages);
    Sizing { prefetch: settings.prefetch.count().unwrap_or(size.prefetch), ..size }
}

/// The calculation by Little's law, for the log.
pub(super) fn describe(source: &Source, replicas: u32) -> String {
    let Some(share) = rate_share(source, replicas) else { return "no rate limit".to_owned() };
    let PageTimes { fetch, page } = source.times.p95();
    format!(
        "share {share:.2}/s of {replicas} consumers; out {share:.2}/s × {:.3} s (p95 of a fetch), ready for slots {}; \
         prefetch {share:.2}/s × ({:.3} s (p95 to the ack) + 1 s)",
        fetch.as_secs_f64(),
        slot_batch(share),
        page.as_secs_f64(),
    )
}

/// Requests a second that one of `replicas` consumers may send; `None` without a limit.
fn rate_share(source: &Source, replicas: u32) -> Option<f64> {
    source.quota.per_second().map(|rate| rate / f64::from(replicas.max(1)))
}

/// True if a size is near enough to the wanted one after the number of replicas has changed.
pub(super) fn fits(now: Sizing, wanted: Sizing) -> bool {
    let near = |now: u32, wanted: u32| f64::from(now.abs_diff(wanted)) <= 0.2 * f64::from(now.max(1));
    near(now.workers, wanted.workers) && near(now.prefetch, wanted.prefetch)
}

/// True if a size is near enough when only the times of pages have changed: these vary, and a new session takes
/// a moment.
pub(super) fn still_fits(now: Sizing, wanted: Sizing) -> bool {
    let near = |now: u32, wanted: u32| f64::from(wanted) <= 1.2 * f64::from(now) && 3 * wanted >= now;
    near(now.workers, wanted.workers) && near(now.prefetch, wanted.prefetch)
}
