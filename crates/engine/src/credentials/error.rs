//! Why a credential cannot be used, and why a request has no token.

use std::error::Error;

use pagemill_core::Failure;
use pagemill_store::{StoreError, StoreErrorKind};

use crate::config::ConfigError;

/// A credential of the config that cannot be used. Its message names the credential, its source what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The config is wrong, or a file that it names.
    #[error("{0}")]
    Config(CredentialName, #[source] ConfigError),
    /// The store refuses, or is away.
    #[error("{0}")]
    Store(CredentialName, #[source] StoreError),
}

/// A credential's place in the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialName {
    /// The source.
    pub source: String,
    /// The credential's name within it.
    pub credential: String,
}

/// Why a request has no token.
#[derive(Debug)]
pub enum TokenError {
    /// The page fails.
    Failed(Failure),
    /// PostgreSQL is away.
    Unavailable(StoreError),
}

impl std::fmt::Display for CredentialName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "source {}, credential {}", self.source, self.credential)
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::Permanent | StoreErrorKind::Invalid => {
                Self::Failed(Failure::transient(error.to_string()))
            }
            StoreErrorKind::Unavailable
            | StoreErrorKind::Retriable
            | StoreErrorKind::Refused
            | StoreErrorKind::Schema => Self::Unavailable(error),
        }
    }
}

impl From<CredentialError> for TokenError {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Store(_, error) => error.into(),
            CredentialError::Config(..) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                Self::Failed(Failure::transient(format!("{error}{cause}")))
            }
        }
    }
}
