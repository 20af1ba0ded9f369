//! Errors that say what a person or a script is to do.

/// A server or API that was waited for in vain.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// A request that cannot be fulfilled as it is written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A source of the config that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("source {name}: {what}")]
pub struct SourceError {
    name: String,
    what: String,
}

impl SourceError {
    pub(crate) fn new(name: &str, what: impl Into<String>) -> Self {
        Self { name: name.to_owned(), what: what.into() }
    }
}
