//! Exit codes of all commands.

use pagemill_queue::{QueueError, QueueErrorKind};
use pagemill_store::{RunState, RunStatus, StoreError, StoreErrorKind};

use pagemill_engine::{
    config::ConfigError,
    error::{ServiceError, SourceError, UnavailableError, UsageError},
    run::plan::PlanError,
};

use crate::output::is_reader_gone;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Usage or config is wrong.
    Usage = 2,
    /// A partition could not be sealed.
    Incomplete = 3,
    /// PostgreSQL, the broker or the API is away, or the time ran out.
    Unavailable = 4,
}

impl Exit {
    /// The code for an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if cause.is::<ConfigError>()
                || cause.is::<SourceError>()
                || cause.is::<PlanError>()
                || cause.is::<UsageError>()
            {
                return Self::Usage;
            }
            if cause.is::<UnavailableError>() {
                return Self::Unavailable;
            }
            if let Some(error) = cause.downcast_ref::<StoreError>() {
                return Self::of_store(error.kind());
            }
            if let Some(error) = cause.downcast_ref::<QueueError>() {
                return Self::of_queue(error.kind());
            }
            match cause.downcast_ref::<ServiceError>() {
                Some(ServiceError::Store(error)) => return Self::of_store(error.kind()),
                Some(ServiceError::Queue(error)) => return Self::of_queue(error.kind()),
                Some(ServiceError::Broken(_)) => return Self::Failed,
                None => {}
            }
        }
        Self::Failed
    }

    fn of_store(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Retriable => Self::Unavailable,
            StoreErrorKind::Refused | StoreErrorKind::Invalid | StoreErrorKind::Schema => Self::Usage,
            StoreErrorKind::Permanent => Self::Failed,
        }
    }

    fn of_queue(kind: QueueErrorKind) -> Self {
        match kind {
            QueueErrorKind::Refused | QueueErrorKind::Conflict | QueueErrorKind::Invalid => Self::Usage,
            QueueErrorKind::Unreachable
            | QueueErrorKind::Unroutable
            | QueueErrorKind::Rejected
            | QueueErrorKind::Stale
            | QueueErrorKind::Busy
            | QueueErrorKind::Closed => Self::Unavailable,
        }
    }
}

/// The exit code of a run that was followed to its end. A subset was never meant to be complete.
impl From<&RunStatus> for Exit {
    fn from(status: &RunStatus) -> Self {
        if status.state == RunState::Complete || status.only_subsets { Self::Done } else { Self::Incomplete }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Ends `main`: an error goes to stderr once, with its causes. A reader that has seen enough is none.
pub(crate) fn report(result: anyhow::Result<Exit>) -> std::process::ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) if is_reader_gone(&error) => Exit::Done.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::of(&error).into()
        }
    }
}
