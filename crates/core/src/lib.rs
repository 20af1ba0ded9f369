//! Pagemill's words and rules, with no I/O client in sight.
//!
//! The way of one page uses these from top to bottom: a [`PageJob`] is taken from the queue,
//! fetched into [`Rows`] shaped by a [`TableShape`], its [`PageEnd`] is turned into a [`Settlement`], and
//! when a partition's last page is stored, [`verdict`] says whether the partition is complete.
#![forbid(unsafe_code)]

mod body_digest;
mod column;
mod completeness;
mod date;
mod failure;
mod job;
mod page;
mod page_end;
mod partition_dates;
mod prefetch;
mod restate;
mod retention;
mod rows;
mod settlement;
mod span;
mod table;
mod time_of_day;

pub use body_digest::BodyDigest;
pub use column::{Column, TextColumn};
pub use completeness::{
    Circle, IncompleteReason, PageRange, PartsFacts, SealFacts, SumDiffers, Verdict, verdict,
    verdict_of_parts,
};
pub use date::{DateWord, DateWordError};
pub use failure::{Failure, FailureClass, QuotaScope, body_id, fingerprint};
pub use job::{DecodeError, Lane, PageJob, Slice};
pub use page::{Budget, CastFailure, FetchedPage};
pub use page_end::PageEnd;
pub use partition_dates::partition_dates;
pub use prefetch::{PageTimes, Sizing, lease, sizing};
pub use restate::{Restate, RestateError, due_if_sealed_before};
pub use retention::{AttemptFacts, Fate, Retention};
pub use rows::Rows;
pub use settlement::{RetrySchedule, Settlement, SettlementPolicy, settlement_for};
pub use span::{Span, SpanError};
pub use table::{ColumnShape, DateScope, Kind, TableShape};
pub use time_of_day::{TimeOfDay, TimeOfDayError};
