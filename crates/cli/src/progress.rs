//! Following a run to its end, with a progress bar.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pagemill_store::{RunStatus, Store, StoreErrorKind};
use tokio::time::Instant;

use pagemill_engine::{
    error::Unavailable,
    stop::{Stage, Stop},
};

use crate::exit::Exit;

const POLL: Duration = Duration::from_millis(250);
/// PostgreSQL may be away for so long while a run is followed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Without a consumer for so long, the waiter is told.
const NO_CONSUMER: Duration = Duration::from_secs(5);

/// What is shown beside the pages: filled in anew at each step.
pub(crate) type Note<'a> = &'a (dyn Fn() -> String + Send + Sync);

/// Follows a run until its last partition is closed.
///
/// # Errors
/// [`Unavailable`] when the time runs out, or PostgreSQL stays away.
pub(crate) async fn follow(
    store: &Store,
    run: i64,
    sources: Option<&[String]>,
    timeout: Option<Duration>,
    note: Note<'_>,
    stop: &Stop,
) -> anyhow::Result<RunStatus> {
    let bar = bar();
    let started = Instant::now();
    let (mut answered, mut served) = (Instant::now(), Instant::now());
    let mut told = false;
    loop {
        match store.runs.progress(run).await {
            Ok((pages, planned, open)) => {
                answered = Instant::now();
                bar.set_length(planned);
                bar.set_position(pages);
                bar.set_message(note());
                if open == 0 {
                    bar.finish_and_clear();
                    return Ok(store.runs.status(run).await?);
                }
            }
            Err(error) if error.kind() == StoreErrorKind::Invalid || answered.elapsed() > PATIENCE => {
                return Err(error.into());
            }
            Err(error) => bar.set_message(format!("waiting: {error}")),
        }
        if let Some(sources) = sources {
            if !matches!(store.consumers.count_alive(sources).await, Ok(0)) {
                served = Instant::now();
            }
            if !told && served.elapsed() > NO_CONSUMER {
                bar.suspend(|| {
                    eprintln!(
                        "no consumer is attached to {}: start pagemill-consumer, the pages wait in the queue",
                        sources.join(", ")
                    );
                });
                told = true;
            }
        }
        if timeout.is_some_and(|t| started.elapsed() > t) {
            bar.abandon();
            return Err(Unavailable(format!(
                "run {run} is not done after {}s: it goes on without this command",
                started.elapsed().as_secs()
            ))
            .into());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = stop.reached(Stage::Draining) => {
                bar.abandon();
                return Err(Unavailable(format!("stopped while run {run} was under way: it can be continued")).into());
            }
        }
    }
}

/// The exit code that a run's end calls for: a subset was never meant to be complete.
pub(crate) fn exit_of(status: &RunStatus) -> Exit {
    if status.state == "complete" || status.only_subsets { Exit::Done } else { Exit::Incomplete }
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
