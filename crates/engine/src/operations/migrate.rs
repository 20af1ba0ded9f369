//! Brings the ledger and the data tables up to date.

use std::collections::BTreeMap;

use pagemill_store::{DataTable, Migrated, Store};

use crate::sources::ResolvedSource;

/// Migrates the ledger, and the data tables of all sources.
///
/// # Errors
/// A name that cannot name a table; a table that does not fit its definition; PostgreSQL being away.
pub async fn migrate(store: &Store, sources: &[ResolvedSource]) -> anyhow::Result<Migrated> {
    let mut tables: BTreeMap<String, DataTable> = BTreeMap::new();
    for source in sources {
        tables.extend(source.tables(store)?.into_values().map(|table| (table.name().to_owned(), table)));
    }
    let tables: Vec<DataTable> = tables.into_values().collect();
    Ok(store.migrate(&tables).await?)
}
