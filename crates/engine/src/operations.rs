//! The operator's commands, without arguments and printing: crate `cli` calls them.

pub mod drift;
pub mod migrate;
pub mod prune;
pub mod reload;
pub mod requeue;
pub mod sample;
pub mod slice_filter;
pub mod status;
pub mod verify;
