//! The Postgres record of runs, partitions and pages: what was asked, stored, failed, proved.

mod chain;
mod consumers;
mod dead;
mod missing;
mod outlook;
mod pace;
mod pages;
mod partitions;
mod parts;
mod prune;
mod quality;
mod reload;
mod repair;
mod rescue;
mod runs;
mod seal;
mod status;
mod verify;

pub use chain::Following;
pub use consumers::ConsumerBeat;
pub use dead::{DeadFilter, DeadGroup, DeadLock, DeadRecord, DeadRow, Requeued};
pub use outlook::{Outlook, Prospect, Standing};
pub use pace::{Pace, RunPace};
pub use pages::PageStart;
pub use partitions::{PartitionRow, Progress};
pub use prune::{Month, Pruned};
pub use reload::{Answer, Attempt, Rewritten, Slices};
pub use rescue::RescueOrder;
pub use runs::{NewPartition, Opened, Planned, RunRequest, Sealed};
pub use seal::{SealReport, Sealing};
pub use status::{RunStatus, Warning};
pub use verify::Recount;
