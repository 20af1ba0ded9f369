//! From a request to its pages: plan, produce, consume, follow; or all of it in one process.

pub mod consume;
pub mod days;
pub mod deadline;
pub mod follow;
pub mod forecast;
pub mod in_process;
pub mod plan;
pub mod produce;
pub mod request;
mod sessions;
mod sizing;
