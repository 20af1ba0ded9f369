use std::collections::BTreeMap;

use crate::exit::Exit;
use pagemill_engine::app;
use pagemill_store::DataTable;

use crate::database::DatabaseArgs;

/// Brings the ledger and the data tables of the config's sources up to date, and says what it did.
pub(crate) async fn run(args: &DatabaseArgs) -> anyhow::Result<Exit> {
    let database = args.open().await?;
    let mut tables: BTreeMap<String, DataTable> = BTreeMap::new();
    for resolved in app::resolve(&database.config)? {
        tables.extend(resolved.tables(&database.store)?.into_values().map(|t| (t.name().to_owned(), t)));
    }
    let tables: Vec<DataTable> = tables.into_values().collect();
    let migrated = database.store.migrate(&tables).await?;
    for change in &migrated.changes {
        println!("{change}");
    }
    if migrated.changes.is_empty() {
        println!("{}: nothing to do", database.store.place());
    }
    database.close().await;
    Ok(Exit::Done)
}
