//! Exit codes, the same for all commands.

use pagemill_queue::{QueueError, QueueErrorKind};
use pagemill_store::{StoreError, StoreErrorKind};

use pagemill_engine::{
    config::ConfigError,
    error::{ServiceError, SourceError, Unavailable, Usage},
    run::plan::PlanError,
};

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
                || cause.is::<Usage>()
            {
                return Self::Usage;
            }
            if cause.is::<Unavailable>() {
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

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Ends `main`: an error goes to stderr once, with its causes.
pub(crate) fn report(result: anyhow::Result<Exit>) -> std::process::ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::of(&error).into()
        }
    }
}
