//! One command a file.

pub(crate) mod auth;
pub(crate) mod dead;
pub(crate) mod drift;
pub(crate) mod migrate;
pub(crate) mod plan;
pub(crate) mod prune;
pub(crate) mod query;
pub(crate) mod quota;
pub(crate) mod reload;
pub(crate) mod run;
pub(crate) mod simulate;
pub(crate) mod sources;
pub(crate) mod status;
pub(crate) mod verify;
