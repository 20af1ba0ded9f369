//! How a job ends.

use crate::panic::Panic;

/// How one submitted job ended. Every job that was accepted ends in exactly one of these; the
/// exceptions are counted by [`Results::stuck`](crate::Results::stuck).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome<J, R> {
    /// The handler's future came to its end.
    Done {
        /// The job as it was submitted.
        job: J,
        /// What the future returned. A `Result` of the handler's own is a result like any other.
        result: R,
    },
    /// The handler panicked, while making the future or while it was polled.
    Failed {
        /// The job as it was submitted; what the panic left half changed inside it is the handler's doing.
        job: J,
        /// What was said, and where.
        panic: Panic,
    },
    /// The job was cancelled: it had not started, or its future was dropped before its end.
    Returned {
        /// The job as it was submitted, ready to be queued again.
        job: J,
    },
}

impl<J, R> JobOutcome<J, R> {
    /// The job, however it ended.
    pub fn job(&self) -> &J {
        match self {
            Self::Done { job, .. } | Self::Failed { job, .. } | Self::Returned { job } => job,
        }
    }
}
