/// What went wrong with the queue, and what to do about it. Never holds a password.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct QueueError {
    kind: QueueErrorKind,
    message: String,
}

/// What a caller does about a [`QueueError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueErrorKind {
    /// The broker does not reply: wait and try again.
    Unreachable,
    /// Wrong password, unknown vhost, missing rights: tell the operator.
    Refused,
    /// A queue exists with other arguments: the operator drains and deletes it.
    Conflict,
    /// No queue took the message. What is missing has been declared again: try again.
    Unroutable,
    /// The broker would not keep the message: the queue is full, or has lost its quorum.
    Rejected,
    /// The delivery's connection is gone. Harmless: it will be delivered again.
    Stale,
    /// Another pass over the dead letters is under way.
    Busy,
    /// The queue was closed.
    Closed,
    /// Requested in a way that cannot be: a source, retry tier or URL that makes no sense.
    Invalid,
}

impl QueueError {
    /// An error of a kind, with a message for people.
    pub fn new(kind: QueueErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(QueueErrorKind::Invalid, message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(QueueErrorKind::Closed, "the queue was closed")
    }

    /// An address beyond the configured retry tiers.
    pub(crate) fn no_retry_tier(tier: usize, tiers: usize) -> Self {
        Self::invalid(format!("there is no retry tier {tier}: {tiers} are configured, counted from 0"))
    }

    /// Another pass holds the lock of the dead letters.
    pub(crate) fn sweep_is_busy(source: &str) -> Self {
        let message = format!(
            "another pass over the dead letters of {source} is under way: try again when it has ended"
        );
        Self::new(QueueErrorKind::Busy, message)
    }

    /// What to do about it.
    pub fn kind(&self) -> QueueErrorKind {
        self.kind
    }
}
