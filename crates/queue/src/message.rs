use pagemill_core::Lane;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A lane: to be worked on as soon as possible.
    Lane {
        /// Name of the source.
        source: String,
        /// Which of its lanes.
        lane: Lane,
    },
    /// A retry tier, from which it returns to its lane after the tier's delay.
    Retry {
        /// Name of the source.
        source: String,
        /// The lane it returns to.
        lane: Lane,
        /// Index into the configured retry delays.
        tier: usize,
    },
    /// The dead letters.
    Dead {
        /// Name of the source.
        source: String,
    },
}

/// A message to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Names the message; copies have the same id.
    pub id: String,
    /// A page job, usually; see [`pagemill_core::PageJob`].
    pub body: Vec<u8>,
    /// Why it is a dead letter, if it is one.
    pub note: Option<DeadNote>,
}

/// Why a message is a dead letter. The ledger has the same; this is for those who look into the
/// queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadNote {
    /// The last error.
    pub error: String,
    /// The kind of error; see [`pagemill_core::fingerprint`].
    pub fingerprint: String,
    /// Failed attempts.
    pub attempts: u32,
    /// First failure, RFC 3339.
    pub first_failed_at: String,
    /// Last failure, RFC 3339.
    pub last_failed_at: String,
}

impl Address {
    /// The source whose queues are meant.
    pub fn source(&self) -> &str {
        match self {
            Self::Lane { source, .. } | Self::Retry { source, .. } | Self::Dead { source } => source,
        }
    }
}
