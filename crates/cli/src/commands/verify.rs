use std::io::{Write, stdout};

use crate::exit::Exit;
use pagemill_engine::app;
use pagemill_store::Recount;

use crate::database::{Database, DatabaseArgs};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run
    run: i64,
    /// One JSON object a partition
    #[arg(long)]
    json: bool,
}

/// Recounts a run's partitions from the data tables. Exits with 3 when one is not sealed, or its
/// table does not hold what its seal says.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args) -> anyhow::Result<Exit> {
    let database = database.open().await?.or_built_in();
    let verified = verify(&database, args).await;
    database.close().await;
    verified
}

async fn verify(database: &Database, args: &Args) -> anyhow::Result<Exit> {
    let store = &database.store;
    store.check_schema(&[]).await?;
    store.runs.status(args.run).await?;
    let resolved = app::resolve(&database.config)?;
    let mut exit = Exit::Done;
    let mut out = stdout().lock();
    for partition in store.partitions.of_run(args.run).await? {
        let source = resolved.iter().find(|r| r.name() == partition.slice.source);
        let tables = source.map(|s| s.tables(store)).transpose()?;
        let Some(table) = tables.as_ref().and_then(|t| t.get(&partition.slice.stream)) else {
            anyhow::bail!("{}: the config does not name its source and stream", partition.slice);
        };
        let recount = store.partitions.recount(table, &partition).await?;
        if recount.superseded_by.is_none() && !recount.agrees() && !recount.is_unknown() {
            exit = Exit::Incomplete;
        }
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&recount)?)?;
        } else {
            writeln!(out, "{}", in_words(&recount))?;
        }
    }
    Ok(exit)
}

fn in_words(r: &Recount) -> String {
    let slice = &r.slice;
    if let Some(run) = &r.superseded_by {
        return format!("{slice}: superseded by run {run}");
    }
    let total = r.total.map_or("unknown".into(), |t| t.to_string());
    let counts = format!(
        "the API states {total} rows, the ledger has {} distinct keys, the table has {} of them",
        r.ledger_keys, r.table_keys
    );
    if let Some(day) = r.pruned_on {
        let pruned = format!(
            "its keys were pruned on {day}; the API stated {total} rows, the table has {}",
            r.table_keys
        );
        return match (&r.reason, r.agrees()) {
            (_, true) => format!("{slice}: sealed, verified by its content hash: {pruned}"),
            (Some(reason), _) => format!("{slice}: {} ({reason}): {pruned}", r.state),
            (None, _) if r.is_unknown() => {
                format!(
                    "{slice}: sealed, and can no longer be verified: {pruned}, others than it was sealed with"
                )
            }
            (None, _) => format!("{slice}: {}, NOT verified: {pruned}", r.state),
        };
    }
    let older = if r.older_rows > 0 { format!(", and {} older rows", r.older_rows) } else { String::new() };
    match (&r.reason, r.agrees()) {
        (_, true) => format!("{slice}: sealed, verified: {counts}{older}"),
        (Some(reason), _) => format!("{slice}: {} ({reason}): {counts}{older}", r.state),
        (None, _) => format!("{slice}: {}, NOT verified: {counts}{older}", r.state),
    }
}
