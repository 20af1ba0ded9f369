//! Pagemill's words and rules, with no I/O client in sight.
//!
//! The way of one page uses these from top to bottom: a [`PageJob`] is taken from the queue,
//! fetched into [`Rows`] shaped by a [`TableShape`], its [`Outcome`] is turned into a
//! [`Settlement`], and when a partition's last page is in, [`verdict`] says whether the partition
//! is complete.
#![forbid(unsafe_code)]

mod completeness;
mod config_duration;
mod date;
mod failure;
mod grid;
mod imprint;
mod job;
mod outcome;
mod page;
mod prefetch;
mod restate;
mod retention;
mod rows;

mod table;
mod time_of_day;

pub use completeness::{
    Circle, IncompleteReason, PageRange, PartsFacts, SealFacts, SumDiffers, Verdict, verdict,
    verdict_of_parts,
};
pub use config_duration::{ConfigDuration, ConfigDurationError};
pub use date::{DateWord, DateWordError};
pub use failure::{Failure, FailureClass, QuotaScope, body_id, fingerprint};
pub use grid::cells;
pub use imprint::Imprint;
pub use job::{DecodeError, Lane, PageJob, Slice};
pub use outcome::{Outcome, RetrySchedule, Settlement, settlement_for};
pub use page::{Budget, CastFailure, FetchedPage};
pub use prefetch::{PageTimes, Sizing, lease, sizing};
pub use restate::{Restate, RestateError, due_if_sealed_before};
pub use retention::{AttemptFacts, Fate, Retention};
pub use rows::{Column, Rows, TextColumn};

pub use table::{ColumnShape, DateScope, Kind, TableShape};
pub use time_of_day::{TimeOfDay, TimeOfDayError};
