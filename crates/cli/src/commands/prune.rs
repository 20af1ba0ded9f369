use pagemill_core::{ConfigDuration, Retention};
use pagemill_engine::{error::UsageError, operations::prune::prune};
use pagemill_store::Pruned;

use crate::{
    args::span,
    database::DatabaseArgs,
    exit::Exit,
    output::{Out, print_json},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Attempts that closed so long ago, as in 90d: their pages, responses, runs and ended dead letters
    #[arg(long, value_name = "SPAN", value_parser = span)]
    older_than: Option<ConfigDuration>,
    /// Stored responses of partitions that closed so long ago, as in 30d [default: as --older-than]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    responses_older_than: Option<ConfigDuration>,
    /// Only print what would go
    #[arg(long)]
    dry_run: bool,
    /// One line of JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Prunes the ledger, and prints what went.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let length = |span: &Option<ConfigDuration>| span.as_ref().map(ConfigDuration::get);
    let retention =
        Retention { history: length(&args.older_than), responses: length(&args.responses_older_than) };
    if retention.shortest().is_none() {
        let what = "how old? --older-than 90d, --responses-older-than 30d, or both; --dry-run to see what \
                    would go";
        return Err(UsageError(what.into()).into());
    }
    let database = database.open().await?;
    let pruned = prune(&database.store, &retention, args.dry_run).await;
    database.close().await;
    let pruned = pruned?;
    if args.json {
        print_json(out, &pruned)?;
    } else {
        print_pruned(&pruned, args.dry_run, out)?;
    }
    Ok(Exit::Done)
}

fn print_pruned(pruned: &Pruned, dry_run: bool, out: &mut Out) -> std::io::Result<()> {
    let Pruned { attempts, pages, responses, months, runs, dead_letters, consumers } = pruned;
    let verb = if dry_run { "would go" } else { "pruned" };
    writeln!(
        out,
        "{verb}: {attempts} attempts, {pages} pages, {responses} responses, {runs} runs, {dead_letters} dead letters, \
         {consumers} consumers"
    )?;
    for month in months {
        let dropped = if dry_run { "would be dropped" } else { "dropped" };
        writeln!(out, "{dropped} as a whole: {}, {:.1} MB", month.table, month.bytes as f64 / 1e6)?;
    }
    Ok(())
}
