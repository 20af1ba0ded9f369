use pagemill_engine::{
    app,
    operations::verify::{Verification, verify},
};
use pagemill_store::Recount;

use crate::{
    database::{Database, DatabaseArgs},
    exit::Exit,
    output::{Out, print_json},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run
    run: i64,
    /// One JSON object a partition
    #[arg(long)]
    json: bool,
}

/// Recounts a run's partitions from the data tables. Exits with 3 when one is not sealed, or its
/// table does not hold what its seal states.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let database = database.open().await?.or_built_in();
    let verified = recount(&database, args, out).await;
    database.close().await;
    verified
}

async fn recount(database: &Database, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let resolved = app::resolve(&database.config)?;
    let mut printed = Ok(());
    let mut print = |recount: &Recount, verification: Verification| {
        // A reader that went away changes nothing about what is verified.
        if printed.is_ok() {
            printed = if args.json {
                print_json(out, recount)
            } else {
                writeln!(out, "{}", describe(recount, verification)).map_err(Into::into)
            };
        }
    };
    let all_ok = verify(&database.store, &resolved, args.run, &mut print).await?;
    if !all_ok {
        return Ok(Exit::Incomplete);
    }
    printed.map(|()| Exit::Done)
}

fn describe(r: &Recount, verification: Verification) -> String {
    let slice = &r.slice;
    if let Some(run) = &r.superseded_by {
        return format!("{slice}: superseded by run {run}");
    }
    let numbers = match &r.pruned_on {
        Some(day) => format!(
            "its keys were pruned on {day}; the API stated {} rows, the table has {}{}",
            describe_total(r),
            r.table_keys,
            describe_dropped(r)
        ),
        None => format!(
            "the API states {} rows, the ledger has {} distinct keys, the table has {} of them{}{}",
            describe_total(r),
            r.ledger_keys,
            r.table_keys,
            describe_older(r),
            describe_dropped(r)
        ),
    };
    match (verification, r.pruned_on, &r.reason) {
        (Verification::Verified, Some(_), _) => {
            format!("{slice}: sealed, verified by its content hash: {numbers}")
        }
        (Verification::Verified, None, _) => format!("{slice}: sealed, verified: {numbers}"),
        (_, _, Some(reason)) => format!("{slice}: {} ({reason}): {numbers}", r.state),
        (Verification::Unknown, _, None) => {
            format!(
                "{slice}: sealed, and can no longer be verified: {numbers}, others than it was sealed with"
            )
        }
        (Verification::Failed | Verification::Superseded, _, None) => {
            format!("{slice}: {}, NOT verified: {numbers}", r.state)
        }
    }
}

fn describe_total(r: &Recount) -> String {
    r.total.map_or_else(|| "unknown".into(), |total| total.to_string())
}

fn describe_older(r: &Recount) -> String {
    if r.older_rows > 0 { format!(", and {} older rows", r.older_rows) } else { String::new() }
}

fn describe_dropped(r: &Recount) -> String {
    match r.dropped_rows {
        0 => String::new(),
        rows => format!(", and {rows} rows of other days or accounts were dropped"),
    }
}
