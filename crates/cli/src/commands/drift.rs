use pagemill_engine::{
    app,
    error::UsageError,
    operations::drift::{Drift, RowChanges, drift},
    operations::slice_filter::SliceFilter,
};

use crate::{
    args::DayArgs,
    database::{Database, DatabaseArgs},
    exit::Exit,
    output::{Out, print_json, print_table},
};
use pagemill_store::PartitionState;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this source
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// This stream (repeatable)
    #[arg(long = "stream", value_name = "S", required = true)]
    streams: Vec<String>,
    /// Only this account (repeatable)
    #[arg(long = "account", value_name = "A")]
    accounts: Vec<String>,
    #[command(flatten)]
    days: DayArgs,
    /// One JSON object a slice
    #[arg(long)]
    json: bool,
}

/// Prints each slice of the requested days.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let Some(days) = args.days.range() else {
        return Err(UsageError("no day: add --date D, or --from D --to D".into()).into());
    };
    let filter = SliceFilter {
        source: args.source.clone(),
        streams: args.streams.clone(),
        accounts: args.accounts.clone(),
        days: Some(days),
    };
    let database = database.open().await?.or_built_in();
    let shown = show(&database, &filter, args.json, out).await;
    database.close().await;
    shown
}

async fn show(database: &Database, filter: &SliceFilter, json: bool, out: &mut Out) -> anyhow::Result<Exit> {
    let resolved = app::resolve(&database.config)?;
    database.store.check_schema(&[]).await?;
    let (mut slices, mut exit) = (0, Exit::Done);
    for stream in filter.select(&database.store, &resolved).await? {
        for drift in drift(&database.store, &stream).await? {
            slices += 1;
            if drift.unreadable {
                exit = Exit::Incomplete;
            }
            if json {
                print_json(out, &drift)?;
            } else {
                print_drift(&drift, out)?;
            }
        }
    }
    if slices == 0 {
        eprintln!("nothing was pulled whole for these days");
    }
    Ok(exit)
}

fn print_drift(drift: &Drift, out: &mut Out) -> std::io::Result<()> {
    let slice = &drift.slice;
    let (Some(before), Some(after), Some(moved)) = (&drift.before, &drift.after, &drift.moved) else {
        return writeln!(out, "{slice}: not compared: {}", drift.reason.as_deref().unwrap_or_default());
    };
    let RowChanges { rows_before, rows_after, rows_added, rows_gone, rows_changed, metrics } = moved;
    let state = |state| if state == PartitionState::Sealed { String::new() } else { format!(" ({state})") };
    writeln!(
        out,
        "{slice}: run {}{} against run {}{}: {rows_before} rows, then {rows_after}: {rows_added} added, {rows_gone} gone, \
         {rows_changed} changed",
        before.run,
        state(before.state),
        after.run,
        state(after.state),
    )?;
    let headings = ["metric", "before", "after", "difference", "percent"];
    let rows: Vec<Vec<Option<String>>> = metrics
        .iter()
        .map(|m| {
            let (before, after) = (m.before.clone(), m.after.clone());
            vec![Some(m.name.clone()), before, after, m.difference.clone(), m.percent.clone()]
        })
        .collect();
    print_table(out, &headings, &rows)?;
    writeln!(out)
}
