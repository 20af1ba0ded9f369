//! Errors by what a person or a script can do about them.

use pagemill_queue::{QueueError, QueueErrorKind};
use pagemill_store::{StoreError, StoreErrorKind};

/// A server or API that was waited for in vain.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnavailableError(pub String);

/// A request that cannot be fulfilled as it is written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// PostgreSQL or RabbitMQ failed, each error with its kind.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// PostgreSQL failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// RabbitMQ failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A part of this process has ended that should run; what it held comes again.
    #[error("{0}")]
    Broken(String),
}

impl ServiceError {
    /// True if trying again cannot help: the data or the request is wrong, not the server.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Store(error) => error.kind() == StoreErrorKind::Permanent,
            Self::Queue(error) => error.kind() == QueueErrorKind::Invalid,
            Self::Broken(_) => false,
        }
    }

    /// True if the server is away or busy, and trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => {
                matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Retriable)
            }
            Self::Queue(error) => matches!(
                error.kind(),
                QueueErrorKind::Unreachable
                    | QueueErrorKind::Unroutable
                    | QueueErrorKind::Rejected
                    | QueueErrorKind::Stale
                    | QueueErrorKind::Busy
                    | QueueErrorKind::Closed
            ),
            Self::Broken(_) => false,
        }
    }
}

/// A source of the config that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("source {name}: {what}")]
pub struct SourceError {
    name: String,
    what: String,
}

impl SourceError {
    pub(crate) fn new(name: &str, what: impl Into<String>) -> Self {
        Self { name: name.to_owned(), what: what.into() }
    }
}
