use std::error::Error as _;

use tokio_postgres::error::{DbError, SqlState};

/// What went wrong with PostgreSQL, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

/// What a caller does about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Not reachable, shutting down, out of connections: wait and try again, nobody's fault.
    Unavailable,
    /// Wrong password, unknown database, missing rights: stop taking jobs and tell the operator.
    Refused,
    /// Deadlock, serialisation, lock or statement timeout: run the whole transaction again.
    Retriable,
    /// The data does not fit: trying again cannot help.
    Permanent,
    /// The schema is behind, ahead, or not ours: run `pagemill migrate`.
    Schema,
    /// The request names something that is not there or not allowed now.
    Invalid,
}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What to do about it.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

/// Shorthand for what cannot be.
pub(crate) fn none_found(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, format!("the ledger has no {what}"))
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self::new(kind_of(db.code()), describe(db)),
            None => {
                let cause = error.source().map(|s| format!(": {s}")).unwrap_or_default();
                // A value that cannot be encoded is the data's fault; anything else without a
                // reply from the server is a broken connection.
                let kind = if error.to_string().contains("serializing parameter") {
                    StoreErrorKind::Permanent
                } else {
                    StoreErrorKind::Unavailable
                };
                Self::new(kind, format!("PostgreSQL: {error}{cause}"))
            }
        }
    }
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        use deadpool_postgres::{HookError, PoolError};
        match error {
            PoolError::Backend(e) | PoolError::PostCreateHook(HookError::Backend(e)) => e.into(),
            other => Self::new(StoreErrorKind::Unavailable, format!("PostgreSQL connection pool: {other}")),
        }
    }
}

/// The server's words without row values: `detail` may hold keys and is left out.
fn describe(db: &DbError) -> String {
    let table = db.table().map(|t| format!(" (table {t})")).unwrap_or_default();
    let hint = db.hint().map(|h| format!("; hint: {h}")).unwrap_or_default();
    format!("PostgreSQL {}: {}{table}{hint}", db.code().code(), db.message())
}

pub(crate) fn kind_of(state: &SqlState) -> StoreErrorKind {
    let code = state.code();
    match (&code[..2], code) {
        // Deadlock and friends; 0A000 is "cached plan must not change result type" after DDL.
        ("40", _) | (_, "55P03" | "57014" | "0A000" | "25P02" | "25P03" | "25P04") => {
            StoreErrorKind::Retriable
        }
        // 25 holds 25006: a server that reads only, as a standby does. No page is to blame for it.
        ("08" | "25" | "53" | "55" | "57" | "58" | "F0", _) => StoreErrorKind::Unavailable,
        ("28" | "3D", _) | (_, "42501") => StoreErrorKind::Refused,
        // Undefined table, column, function, schema: not migrated.
        (_, "42P01" | "42703" | "42883" | "3F000") => StoreErrorKind::Schema,
        _ => StoreErrorKind::Permanent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_say_what_to_do() {
        for (code, kind) in [
            ("40P01", StoreErrorKind::Retriable),
            ("57014", StoreErrorKind::Retriable),
            ("57P01", StoreErrorKind::Unavailable),
            ("53300", StoreErrorKind::Unavailable),
            ("25006", StoreErrorKind::Unavailable),
            ("55000", StoreErrorKind::Unavailable),
            ("28P01", StoreErrorKind::Refused),
            ("3D000", StoreErrorKind::Refused),
            ("22003", StoreErrorKind::Permanent),
            ("23502", StoreErrorKind::Permanent),
            ("21000", StoreErrorKind::Permanent),
            ("42P01", StoreErrorKind::Schema),
        ] {
            assert_eq!(kind_of(&SqlState::from_code(code)), kind, "{code}");
        }
    }
}
