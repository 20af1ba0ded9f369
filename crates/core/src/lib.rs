//! Pagemill's words and rules, with no I/O client in sight.
//!
//! The way of one page uses these from top to bottom: a [`PageJob`] is taken from the queue,
//! fetched into [`Rows`] shaped by a [`TableShape`], its [`PageOutcome`] is turned into a [`Settlement`], and
//! when a partition's last page is stored, [`verdict`] says whether the partition is complete.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | source, stream | an API with its definition; one of the API's reports, and the data table that it fills |
//! | slice | stream × account × dates: the smallest unit for which the API states a total ([`Slice`]) |
//! | partition | one attempt at a slice, in the ledger: open, then proved and sealed, or incomplete |
//! | part | a partition of a slice that is too deep for the API's pages; the partition that was split is its parent, and the partition at the top is the root |
//! | run | a request for days, and the partitions that answer it |
//! | page job | the message that orders one page of a partition ([`PageJob`]) |
//! | lane | one of a source's two queues: high for the newest partition of a request, low for the others ([`Lane`]) |
//! | write mode | direct: pages write their rows into the table; staged: rows wait beside it until the attempt is proved ([`WriteMode`]) |
//! | baseline | the sealed attempt whose rows are in the table unchanged: an attempt that is pulled again stages only the difference |
//! | ledger | all tables of the schema `pagemill`: runs, partitions, pages, responses, dead letters, quotas, tokens |
//! | generation | how often a page's job was issued again (reissued) after the first time; the ledger accepts the newest only |
//! | attempt | of a page: one try of a worker; failed tries are counted, and [`RetrySchedule`] bounds all tries. Of a slice: a partition |
//! | outcome | how the work on one delivery ended ([`PageOutcome`]) |
//! | settlement | what then happens to the delivery: ack, retry, snooze, dead-letter or nack ([`Settlement`]) |
//! | retry tier | a queue in which messages wait for a fixed time before they return to their lane |
//! | dead letter | a page job that is not tried again by itself: an operator requeues or drops it |
//! | chain | pages of which each names the next, by a cursor or a link |
//! | expand | after a first page is stored: publish the jobs of all other pages |
//! | proof | the facts by which a partition's pages are complete, kept with it (its certificate) |
//! | apply | after the proof: put the slice's rows in the table into the state that the attempt found, in one transaction |
//! | seal | close a partition whose pages prove complete and whose rows are in the table |
//! | sealed cell | a day (or a pair of dates) of a stream and account, and the attempt whose rows it has in the table |
//! | conflict | of two slices: they can hold the same row |
//! | repair | after a proof failed: fetch the suspected pages again |
//! | rescue | after a partition made no progress for a while: issue its missing pages again |
//! | quota, slot | the API's limits on requests; the moment at which one request may be sent |
//! | session | one go of the pipeline: from the first delivery until everything is settled |
//! | key hash, content hash, body digest | 64-bit hashes: of a row's key, of all values of a page's rows, of a response body without its request id |
//! | decode hash | hash of everything in a definition that decides how a response becomes rows |
#![forbid(unsafe_code)]

mod body_digest;
mod column;
mod completeness;
mod config_duration;
mod date;
mod failure;
mod job;
mod outside;
mod page;
mod page_outcome;
mod partition_dates;
mod restate;
mod retention;
mod rows;
mod settlement;
mod sizing;
mod table;
mod time_of_day;

pub use body_digest::BodyDigest;
pub use column::{Column, TextColumn};
pub use completeness::{
    CursorLoop, IncompleteReason, OutsideFacts, PageRange, PartsFacts, SealFacts, SumDiffers, Verdict,
    verdict, verdict_of_parts,
};
pub use config_duration::{ConfigDuration, ConfigDurationError};
pub use date::{DateWord, DateWordError};
pub use failure::{Failure, FailureClass, QuotaScope, body_id, fingerprint};
pub use job::{DecodeError, Lane, PageJob, Slice, WriteMode};
pub use outside::OutsideRows;
pub use page::{Budget, CastFailure, FetchedPage};
pub use page_outcome::PageOutcome;
pub use partition_dates::partition_dates;
pub use restate::{Restate, RestateError, due_if_requested_before};
pub use retention::{PruneAction, PruneCandidate, Retention};
pub use rows::Rows;
pub use settlement::{RetrySchedule, Settlement, SettlementPolicy, settlement_for};
pub use sizing::{PageTimes, Sizing, sizing, slot_batch};
pub use table::{ColumnShape, DateScope, Kind, TableShape};
pub use time_of_day::{TimeOfDay, TimeOfDayError};
