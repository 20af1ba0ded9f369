use pagemill_engine::{app, operations::migrate::migrate};

use crate::{
    database::{Database, DatabaseArgs},
    exit::Exit,
    output::Out,
};

/// Brings the ledger and the data tables of the config's sources up to date, and prints what it did.
pub(crate) async fn run(database: &DatabaseArgs, out: &mut Out) -> anyhow::Result<Exit> {
    let database = database.open().await?;
    let migrated = print_migration(&database, out).await;
    database.close().await;
    migrated
}

async fn print_migration(database: &Database, out: &mut Out) -> anyhow::Result<Exit> {
    let migrated = migrate(&database.store, &app::resolve(&database.config)?).await?;
    for change in &migrated.changes {
        writeln!(out, "{change}")?;
    }
    if migrated.changes.is_empty() {
        writeln!(out, "{}: nothing to do", database.store.place())?;
    }
    Ok(Exit::Done)
}
