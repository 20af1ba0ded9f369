//! How a partition moves on.

pub mod rescue;
