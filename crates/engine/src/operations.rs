//! What an operator does: by the terminal and by the status page alike.

pub mod drift;
pub mod reload;
