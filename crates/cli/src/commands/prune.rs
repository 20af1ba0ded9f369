use std::io::{Write, stdout};

use crate::{args::span, exit::Exit};
use pagemill_core::{ConfigDuration, Retention};
use pagemill_engine::error::Usage;
use pagemill_store::Pruned;

use crate::database::DatabaseArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Attempts that closed so long ago, as in 90d: their pages, answers, runs and ended dead letters
    #[arg(long, value_name = "SPAN", value_parser = span)]
    older_than: Option<ConfigDuration>,
    /// Raw answers of partitions that closed so long ago, as in 30d [default: as --older-than]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    bodies_older_than: Option<ConfigDuration>,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// One line of JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Prunes the ledger, and says what went.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args) -> anyhow::Result<Exit> {
    let length = |span: &Option<ConfigDuration>| span.as_ref().map(ConfigDuration::get);
    let retention = Retention { history: length(&args.older_than), answers: length(&args.bodies_older_than) };
    if retention.shortest().is_none() {
        let what =
            "how old? --older-than 90d, --bodies-older-than 30d, or both; --dry-run to see what would go";
        return Err(Usage(what.into()).into());
    }
    let database = database.open().await?;
    let pruned = async {
        database.store.check_schema(&[]).await?;
        anyhow::Ok(database.store.prune(&retention, args.dry_run).await?)
    };
    let pruned = pruned.await;
    database.close().await;
    let pruned = pruned?;
    let mut out = stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&pruned)?)?;
    } else {
        write(&mut out, &pruned, args.dry_run)?;
    }
    Ok(Exit::Done)
}

fn write(out: &mut impl Write, pruned: &Pruned, dry_run: bool) -> std::io::Result<()> {
    let Pruned { attempts, pages, answers, months, runs, dead_letters, consumers } = pruned;
    let verb = if dry_run { "would go" } else { "pruned" };
    writeln!(
        out,
        "{verb}: {attempts} attempts, {pages} pages, {answers} answers, {runs} runs, {dead_letters} dead letters, \
         {consumers} consumers"
    )?;
    for month in months {
        let dropped = if dry_run { "would be dropped" } else { "dropped" };
        writeln!(out, "{dropped} as a whole: {}, {:.1} MB", month.table, month.bytes as f64 / 1e6)?;
    }
    Ok(())
}
