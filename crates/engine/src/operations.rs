//! What an operator does: by the terminal and by the status page alike.

pub mod drift;
pub mod migrate;
pub mod prune;
pub mod reload;
pub mod requeue;
pub mod sample;
pub mod status;
pub mod verify;
