//! Removes old attempts and responses from the ledger.

use pagemill_core::Retention;
use pagemill_store::{Pruned, Store};

use crate::error::UsageError;

/// Prunes the ledger, or only counts what would go if `dry_run`.
///
/// # Errors
/// [`UsageError`] for a retention without an age; PostgreSQL being away, or a schema that is behind.
pub async fn prune(store: &Store, retention: &Retention, dry_run: bool) -> anyhow::Result<Pruned> {
    if retention.shortest().is_none() {
        return Err(UsageError("no age is given: the ledger is not pruned".into()).into());
    }
    store.check_schema(&[]).await?;
    Ok(store.prune(retention, dry_run).await?)
}
