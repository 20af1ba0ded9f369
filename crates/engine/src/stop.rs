//! Two stop signals: no more intake, then cancel.

use std::time::Duration;

use tokio::sync::watch;

/// How far the stop has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No stop was asked for.
    #[default]
    Running,
    /// Intake ends, what runs may finish.
    Draining,
    /// What runs is cancelled and returned.
    Cancelled,
}

/// The listening end of a stop: given to everything that runs.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Stage>);

/// The asking end.
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<Stage>);

/// A stop that nobody has asked for yet.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Stage::Running);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Goes on to a stage; never back.
    pub fn go(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let later = stage > *now;
            *now = stage.max(*now);
            later
        });
    }

    /// Follows SIGINT and SIGTERM: the first drains; after `grace`, or on the second, cancels.
    pub fn on_signals(self, grace: Duration) {
        tokio::spawn(async move {
            signal().await;
            tracing::info!(grace = ?grace, "stopping: running pages may finish; another signal cancels them");
            self.go(Stage::Draining);
            let _ = tokio::time::timeout(grace, signal()).await;
            self.go(Stage::Cancelled);
            // Listening goes on, so that a third signal does not kill what is being returned.
            loop {
                signal().await;
            }
        });
    }
}

impl Stop {
    /// Returns once the stop has reached `stage`.
    pub async fn reached(&self, stage: Stage) {
        // The sender may be gone: then nobody can ask any more.
        if self.0.clone().wait_for(|now| *now >= stage).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A stop of its own for a part: it follows this one, and can come earlier.
    pub fn child(&self) -> (Stopper, Self) {
        let (stopper, child) = stop();
        let (parent, following) = (self.clone(), stopper.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = async {
                    parent.reached(Stage::Draining).await;
                    following.go(Stage::Draining);
                    parent.reached(Stage::Cancelled).await;
                    following.go(Stage::Cancelled);
                } => {}
                // Nobody listens any more.
                () = following.0.closed() => {}
            }
        });
        (stopper, child)
    }

    /// Whether it has.
    pub fn is(&self, stage: Stage) -> bool {
        *self.0.borrow() >= stage
    }
}

async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            },
            Err(_) => drop(tokio::signal::ctrl_c().await),
        }
    }
    #[cfg(not(unix))]
    drop(tokio::signal::ctrl_c().await);
}
