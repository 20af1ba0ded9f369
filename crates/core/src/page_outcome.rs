use std::time::Duration;

use crate::{failure::Failure, job::PageJob};

/// How the work on one delivery ended. Closed: [`settlement_for`](crate::settlement_for) settles every outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageOutcome {
    /// The page is committed.
    Stored,
    /// The ledger had the page as done.
    AlreadyDone,
    /// The ledger had the page as dead. Its letter is queued before the ack, if it still waits for an operator.
    AlreadyDead,
    /// The job is of an older generation, or of a closed partition.
    Obsolete,
    /// Fetching, decoding or storing the page failed.
    Failed(Failure),
    /// The API lost the report that it was to prepare: the report is requested again.
    RestartTask(Failure),
    /// The page killed its process so often while it ran alone.
    Poisoned {
        /// Crashes while alone.
        crashes: u32,
    },
    /// The API is still preparing the report.
    Preparing {
        /// Names the task to the API.
        cursor: String,
        /// When to request the task again.
        wait: Duration,
    },
    /// The quota of the page's account or stream is used up for so long.
    QuotaWait(Duration),
    /// The quota of the whole source is used up for so long.
    QuotaExhausted(Duration),
    /// This process does not pull the page's stream; another one may.
    UnknownStream,
    /// The ledger has no partition with this id.
    UnknownPartition(i64),
    /// The message is no page job, for this reason.
    Malformed(String),
    /// The message is of this version, which only a newer program reads.
    NewerVersion(u32),
    /// The ledger refused the page, yet still wants it: the job comes again.
    StillWanted,
    /// PostgreSQL, the broker or the token's endpoint cannot be used now.
    Unavailable,
    /// The stop came before the page was done.
    Cancelled,
}

impl PageOutcome {
    /// The job as it goes on after this end, with the attempts that the ledger has counted.
    pub fn next_job(&self, job: PageJob, attempts: u32) -> PageJob {
        match self {
            Self::Preparing { cursor, .. } => PageJob { cursor: Some(cursor.clone()), ..job },
            Self::RestartTask(_) => PageJob { cursor: None, attempt: attempts, ..job },
            Self::Failed(_) | Self::Poisoned { .. } => PageJob { attempt: attempts, ..job },
            Self::Stored
            | Self::AlreadyDone
            | Self::AlreadyDead
            | Self::Obsolete
            | Self::QuotaWait(_)
            | Self::QuotaExhausted(_)
            | Self::UnknownStream
            | Self::UnknownPartition(_)
            | Self::Malformed(_)
            | Self::NewerVersion(_)
            | Self::StillWanted
            | Self::Unavailable
            | Self::Cancelled => job,
        }
    }
}
