//! From what is asked to what is pulled: plan, produce, consume, follow; or all of it in one process.

pub mod consume;
pub mod days;
pub mod deadline;
pub mod embedded;
pub mod follow;
pub mod forecast;
pub mod plan;
pub mod produce;
mod serve;
mod sizing;
