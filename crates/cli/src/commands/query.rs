use serde_json::{Map, Value};

use crate::{
    database::DatabaseArgs,
    exit::Exit,
    output::{Out, print_json, print_table},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One SQL statement; the data tables and the ledger (schema pagemill) are in the search path
    sql: String,
    /// One JSON object a row
    #[arg(long)]
    json: bool,
}

/// Runs a statement in a read-only transaction and prints its rows.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let database = database.open().await?;
    let selected = database.store.query(&args.sql).await;
    database.close().await;
    let (columns, rows) = selected?;
    if args.json {
        for row in rows {
            let values = row.into_iter().map(|value| value.map_or(Value::Null, Value::String));
            let object: Map<String, Value> = columns.iter().cloned().zip(values).collect();
            print_json(out, &object)?;
        }
    } else {
        print_table(out, &columns, &rows)?;
        writeln!(out, "({} row{})", rows.len(), if rows.len() == 1 { "" } else { "s" })?;
    }
    Ok(Exit::Done)
}
