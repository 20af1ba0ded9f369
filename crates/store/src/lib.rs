//! PostgreSQL, and all SQL of Pagemill: data tables made from a stream's shape, the
//! transaction of a batch (ledger and rows together), and the ledger of runs, partitions, pages, responses, dead
//! letters, quotas and tokens.
//!
//! [`Store`] has a handle for each of these nouns. Functions are named by intention and return what
//! happened. A connection is held while PostgreSQL works, never during HTTP, never while waiting for a
//! worker.
//!
//! # Errors
//! Every function that queries PostgreSQL may return [`StoreErrorKind::Unavailable`] (no connection, or it
//! broke), [`StoreErrorKind::Refused`] (password, database, rights), [`StoreErrorKind::Retriable`] (a lock or
//! statement timed out, a deadlock that came again), [`StoreErrorKind::Permanent`] (data that does not fit) and
//! [`StoreErrorKind::Schema`] (not migrated). Nothing is written then, unless the connection broke during
//! the commit. A function's own docs name what it returns beyond that.
#![forbid(unsafe_code)]

mod clock;
mod compression;
mod consumers;
mod database;
mod dead_letters;
mod error;
mod identifier;
mod migrate;
mod page_write;
mod pages;
mod partitions;
mod prune;
mod query;
mod quotas;
mod responses;
mod retry;
mod rows;
mod runs;
mod seals;
mod store;
mod table;
mod tokens;

pub use clock::DatabaseClock;
pub use compression::{compress, decompress};
pub use consumers::{ConsumerBeat, Consumers};
pub use database::StoreConfig;
pub use dead_letters::{DeadFilter, DeadGroup, DeadLetters, DeadLock, DeadRecord, DeadRow, Requeued};
pub use error::{StoreError, StoreErrorKind};
pub use identifier::quote;
pub use migrate::Migrated;
pub use page_write::{Next, PageWrite, UnchangedPage};
pub use pages::{BaselinePage, Following, KnownPage, PageStart, Pages, Unwanted, Written};
pub use partitions::{PartitionRow, PartitionState, Partitions, Progress, Reissued};
pub use prune::{Month, Pruned};
pub use query::TextRows;
pub use quotas::{JITTER, QuotaBackOff, QuotaLimits, QuotaRow, Quotas, SlotGrant, SlotRequest};
pub use responses::{AttemptResponses, Reload, Responses, Slices, StoredResponse};
pub use runs::{
    NewPartition, Opened, Pace, PlanDecision, PlanPreview, Planned, RunPace, RunPlanRequest, RunProgress,
    RunState, RunStatus, Runs, Sealed, SlicePreview, Warning,
};
pub use seals::{Applied, ProofReport, Proving, Recount, Replaced, SealReport, Seals};
pub use store::Store;
pub use table::{DataTable, StreamRules};
pub use tokens::{Claimed, NewTokens, StoredTokens, TokenKey, TokenPlace, TokenStatus, Tokens};
