//! Progress bars and messages on stderr while a run is followed.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pagemill_engine::{
    run::follow::{FollowEvent, follow},
    stop::Stop,
};
use pagemill_store::{RunStatus, Store};

/// Follows a run that consumers of `sources` work on, with a progress bar.
///
/// # Errors
/// An [`UnavailableError`](pagemill_engine::error::UnavailableError) at the timeout, at a stop, or when PostgreSQL stays away.
pub(crate) async fn follow_with_bar(
    store: &Store,
    run: i64,
    sources: &[String],
    timeout: Option<Duration>,
    stop: &Stop,
) -> anyhow::Result<RunStatus> {
    let bar = bar();
    let mut observe = |event: FollowEvent<'_>| show(&bar, event, String::new());
    let followed = follow(store, run, Some(sources), timeout, &mut observe, stop).await;
    end(&bar, followed.is_ok());
    followed
}

/// Shows an event of a run, with a note beside its pages.
pub(crate) fn show(bar: &ProgressBar, event: FollowEvent<'_>, note: String) {
    match event {
        FollowEvent::Progress(progress) => {
            bar.set_length(progress.planned_pages);
            bar.set_position(progress.ended_pages);
            bar.set_message(note);
        }
        FollowEvent::Waiting(error) => bar.set_message(format!("waiting: {error}")),
        FollowEvent::NoConsumer(sources) => bar.suspend(|| {
            eprintln!(
                "no consumer is attached to {}: start pagemill-consumer, the pages wait in the queue",
                sources.join(", ")
            );
        }),
    }
}

/// A bar of pages on stderr; hidden where that is no terminal.
pub(crate) fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} pages  {msg}  ETA {eta}")
        .expect("a constant template");
    bar.set_style(style.progress_chars("=> "));
    bar
}

/// Takes a bar away, or leaves it as it was where its run has not ended.
pub(crate) fn end(bar: &ProgressBar, ended: bool) {
    if ended { bar.finish_and_clear() } else { bar.abandon() }
}
