use std::io::{Write, stdout};

use crate::exit::Exit;
use serde_json::{Map, Value};

use crate::database::DatabaseArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One SQL statement; the data tables and the ledger (schema pagemill) are in the search path
    sql: String,
    /// One JSON object a row
    #[arg(long)]
    json: bool,
}

/// Runs a statement in a read-only transaction and prints its rows.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args) -> anyhow::Result<Exit> {
    let database = database.open().await?;
    let answer = database.store.query(&args.sql).await;
    database.close().await;
    let (columns, rows) = answer?;
    let mut out = stdout().lock();
    if args.json {
        for row in rows {
            let object: Map<String, Value> = columns
                .iter()
                .cloned()
                .zip(row.into_iter().map(|v| v.map_or(Value::Null, Value::String)))
                .collect();
            writeln!(out, "{}", Value::Object(object))?;
        }
    } else {
        write_table(&mut out, &columns, &rows)?;
        writeln!(out, "({} row{})", rows.len(), if rows.len() == 1 { "" } else { "s" })?;
    }
    Ok(Exit::Done)
}

/// Aligned columns; wide texts make wide columns, nothing is cut.
pub(crate) fn write_table(
    out: &mut impl Write,
    columns: &[String],
    rows: &[Vec<Option<String>>],
) -> std::io::Result<()> {
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    let width = |i: usize| {
        let values = rows.iter().map(|r| text(&r[i]).chars().count());
        values.chain([columns[i].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut line = |values: &[String]| {
        let cells: Vec<String> = values.iter().zip(&widths).map(|(v, w)| format!("{v:<w$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())
    };
    line(columns)?;
    line(&widths.iter().map(|w| "-".repeat(*w)).collect::<Vec<_>>())?;
    rows.iter().try_for_each(|row| line(&row.iter().map(text).collect::<Vec<_>>()))
}
