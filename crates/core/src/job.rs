use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// One page of one partition: the message on the queue. Small JSON, versioned, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageJob {
    /// Message version; see [`PageJob::VERSION`].
    pub v: u32,
    /// The ledger's id of the partition.
    pub partition: i64,
    /// The run that opened the partition.
    pub run: i64,
    /// What the partition is a slice of.
    #[serde(flatten)]
    pub slice: Slice,
    /// Page number, from 1.
    pub page: u32,
    /// Rows a page, as planned: a definition that changes meanwhile does not move the pages.
    pub page_size: u32,
    /// Raised each time that this page is issued again. Anything above 0 is checked against the ledger
    /// before a request is spent on it.
    #[serde(default)]
    pub generation: u32,
    /// Failed attempts so far, within this generation.
    #[serde(default)]
    pub attempt: u32,
    /// The lane it came by and goes back to.
    #[serde(default)]
    pub lane: Lane,
    /// Where the page begins, in the API's own words, for pages that follow one another: its cursor
    /// or link. For a report that the API prepares first, the task's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How the page's rows are written, as the ledger had it when this job was made.
    #[serde(default, skip_serializing_if = "WriteMode::is_direct")]
    pub write_mode: WriteMode,
    /// The sealed attempt that the page is compared with, as the ledger had it when this job was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<i64>,
}

/// How an attempt's rows reach the data table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// Written into the table page by page: nothing that they could replace has been sealed.
    #[default]
    Direct,
    /// Staged, and put into the table by one transaction once the attempt is proved.
    Staged,
}

impl WriteMode {
    /// `direct` or `staged`, as in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Staged => "staged",
        }
    }

    /// True for [`WriteMode::Direct`].
    pub fn is_direct(&self) -> bool {
        *self == Self::Direct
    }
}

/// Stream × account × dates: the smallest slice for which the API states a total.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slice {
    /// Name of the source's definition.
    pub source: String,
    /// Name of the stream within it.
    pub stream: String,
    /// The account that the data belongs to.
    pub account: String,
    /// First day, inclusive, in the source's time zone.
    pub from: Date,
    /// Last day, inclusive.
    pub to: Date,
    /// Which part of a day that is too deep for the API's pages: a value for each dimension of the
    /// stream's `split_by` by which it was split. Empty for the whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub part: BTreeMap<String, String>,
}

/// Which of a source's two queues a job travels by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// The newest partition of a request: goes first. Its queue is `pagemill.<source>.pages`.
    #[default]
    #[serde(rename = "pages")]
    High,
    /// The other partitions: backfill and lookback.
    Low,
}

/// Why a message is no page job that this version can run.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The message is of a newer version: it is snoozed unchanged, for a newer consumer.
    #[error("message version {0} is newer than version {v}, which this program reads", v = PageJob::VERSION)]
    Newer(u32),
    /// Not a page job at all: it is dead-lettered with this reason.
    #[error("not a page job: {0}")]
    Malformed(String),
}

impl PageJob {
    /// The message version this program writes, and the newest it reads.
    pub const VERSION: u32 = 2;

    /// Reads a message.
    ///
    /// # Errors
    /// [`DecodeError::Newer`] for a version above [`PageJob::VERSION`], otherwise
    /// [`DecodeError::Malformed`] with the reason.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        // Its words may quote the message, which may hold anything.
        let malformed = |e: serde_json::Error| {
            DecodeError::Malformed(e.to_string().replace(char::is_control, "\u{fffd}"))
        };
        let Version { v } = serde_json::from_slice(bytes).map_err(malformed)?;
        if v > Self::VERSION {
            return Err(DecodeError::Newer(v));
        }
        let job: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if job.page == 0 {
            return Err(DecodeError::Malformed("page 0: pages count from 1".into()));
        }
        Ok(job)
    }

    /// Writes the message.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a page job holds only strings and numbers")
    }

    /// Names this ordering of this page; the message id on the queue, by which copies are recognised.
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.partition, self.page, self.generation)
    }

    /// True if the ledger must be read before a request is spent: anything but a first delivery
    /// of a first ordering may already be done.
    pub fn needs_check(&self, redelivered: bool) -> bool {
        redelivered || self.generation > 0 || self.attempt > 0
    }

    /// The attempt whose response may come again unchanged. A page that is fetched again, for whatever reason, is
    /// always decoded.
    pub fn comparable_attempt(&self, redelivered: bool) -> Option<i64> {
        self.baseline.filter(|_| !self.needs_check(redelivered))
    }

    /// A job for another page of this partition.
    pub fn at(&self, page: u32, generation: u32) -> Self {
        let cursor = self.cursor.clone().filter(|_| page == self.page);
        Self { page, generation, attempt: 0, cursor, ..self.clone() }
    }
}

impl Lane {
    /// Both lanes, the one that goes first first.
    pub const ALL: [Self; 2] = [Self::High, Self::Low];
}

impl std::fmt::Display for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{} account {} {}", self.source, self.stream, self.account, self.from)?;
        if self.to != self.from {
            write!(f, "..{}", self.to)?;
        }
        self.part.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> PageJob {
        PageJob {
            v: PageJob::VERSION,
            partition: 20_261_100_000_001,
            run: 1,
            slice: Slice {
                source: "xiaohongshu".into(),
                stream: "creative".into(),
                account: "1001".into(),
                from: jiff::civil::date(2026, 11, 23),
                to: jiff::civil::date(2026, 11, 23),
                part: BTreeMap::new(),
            },
            page: 7,
            page_size: 100,
            generation: 0,
            attempt: 0,
            lane: Lane::High,
            cursor: None,
            write_mode: WriteMode::Direct,
            baseline: None,
        }
    }

    #[test]
    fn only_the_first_delivery_of_a_first_publication_needs_no_check() {
        assert!(!job().needs_check(false));
        assert!(job().needs_check(true));
        assert!(PageJob { generation: 1, ..job() }.needs_check(false));
        assert!(PageJob { attempt: 1, ..job() }.needs_check(false));
    }

    #[test]
    fn a_job_survives_the_queue() {
        assert_eq!(PageJob::decode(&job().encode()).unwrap(), job());
        assert!(job().encode().len() < 400, "messages stay small");
    }

    #[test]
    fn what_is_no_job_says_why() {
        assert!(matches!(PageJob::decode(b"{\"v\":3}"), Err(DecodeError::Newer(3))));
        assert!(matches!(PageJob::decode(b"hello"), Err(DecodeError::Malformed(_))));
        let zero = PageJob { page: 0, ..job() };
        let error = PageJob::decode(&zero.encode()).unwrap_err().to_string();
        assert!(error.contains("page 0"), "{error}");
    }
}
