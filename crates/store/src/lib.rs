//! Pagemill's PostgreSQL, and all of its SQL: data tables made from a stream's shape, the
//! collector's transaction (ledger and rows together), the ledger's runs, partitions, pages and
//! dead letters, the seal, and the quota's request slots.
//!
//! Functions are named by intention and return what happened. Connections are held for as long as
//! PostgreSQL works and no longer: never during HTTP, never while waiting for a worker.
#![forbid(unsafe_code)]

mod again;
mod arrays;
mod batch;
mod body;
mod clock;
mod connect;
mod error;
mod ledger;
mod migrate;
mod months;
mod page;
mod past;
mod query;
mod quota;
mod rows;
mod standing;
mod table;
mod tokens;
mod wire;

pub use batch::Written;
pub use body::{compress, decompress};
pub use clock::DatabaseClock;
pub use connect::{Store, StoreConfig};
pub use error::{StoreError, StoreErrorKind};
pub use ledger::{
    Answer, Attempt, ConsumerBeat, DeadFilter, DeadGroup, DeadLock, DeadRecord, DeadRow, Following, Month,
    NewPartition, Opened, Outlook, Pace, PageStart, PartitionRow, Planned, Progress, Prospect, Pruned,
    Recount, Requeued, RescueOrder, Rewritten, RunPace, RunRequest, RunStatus, SealReport, Sealed, Sealing,
    Slices, Standing, Warning,
};
pub use migrate::Migrated;
pub use page::{Next, PageWrite, SamePage};
pub use query::TextRows;
pub use quota::{JITTER, Narrowing, QuotaLimits, QuotaRow, SlotGrant, SlotRequest};
pub use standing::StandingPage;
pub use table::{DataTable, StreamRules, quote};
pub use tokens::{Claimed, NewTokens, StoredTokens, TokenKey, TokenPlace, TokenStatus};
