//! Named crash points, for tests: `PAGEMILL_CRASH_AT=name` (or `name:3` for the third time) aborts
//! the process there, as a `kill -9` would. Compiled in with the feature `failpoints` only.
//!
//! Points: `before-expansion`, `after-expansion`, `publish-before-confirm`, `before-commit`,
//! `after-commit`, `before-ack`, `before-repair`, `after-repair`, `inside-proof`,
//! `before-apply`, `inside-apply`, `after-apply`, `requeue-before-publish`, `requeue-before-ack`,
//! `prune-before-delete`;
//! and `fetch-page`, which `PAGEMILL_CRASH_ON_PAGE=N` aims at one page.

/// Arms the crash point that the environment names, if this build has any.
pub fn arm() {
    #[cfg(feature = "failpoints")]
    if let Ok(point) = std::env::var("PAGEMILL_CRASH_AT") {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (name, nth) = point.split_once(':').unwrap_or((&point, "1"));
        let left = AtomicU32::new(nth.parse().unwrap_or(1));
        let armed = fail::cfg_callback(name, move || {
            if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                std::process::abort();
            }
        });
        armed.expect("a crash point can be armed");
    }
}

/// A page that kills its process.
pub(crate) fn on_page(page: u32) {
    #[cfg(feature = "failpoints")]
    if std::env::var("PAGEMILL_CRASH_ON_PAGE").is_ok_and(|p| p == page.to_string()) {
        std::process::abort();
    }
    let _ = page;
}
