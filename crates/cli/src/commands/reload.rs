use crate::{args::DayArgs, exit::Exit, progress};
use anyhow::Context;
use pagemill_engine::{
    app,
    operations::reload::{ReloadProgress, Reloaded, Which, reload},
};
use pagemill_store::DataTable;

use crate::database::{Database, DatabaseArgs};

/// So many pages that could not be read are named; the rest are counted.
const NAMED: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this source
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Only this stream (repeatable)
    #[arg(long = "stream", value_name = "S")]
    streams: Vec<String>,
    /// Only this account (repeatable)
    #[arg(long = "account", value_name = "A")]
    accounts: Vec<String>,
    #[command(flatten)]
    days: DayArgs,
    /// Also what this definition has read already
    #[arg(long)]
    all: bool,
    /// One line of JSON on stdout: partitions, pages, rows, changed_rows, became_null, skipped,
    /// without_answer, pruned, failed (each with slice, partition, page, error)
    #[arg(long)]
    json: bool,
}

/// Migrates the tables, reads the answers again, says what it did.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args) -> anyhow::Result<Exit> {
    let database = database.open().await?.or_built_in();
    let reloaded = load(&database, args).await;
    database.close().await;
    let reloaded = reloaded?;
    if args.json {
        println!("{}", serde_json::to_string(&reloaded)?);
    } else {
        say(&reloaded);
    }
    Ok(if reloaded.failed.is_empty() { Exit::Done } else { Exit::Incomplete })
}

async fn load(database: &Database, args: &Args) -> anyhow::Result<Reloaded> {
    let resolved = app::resolve(&database.config)?;
    let which = Which {
        source: args.source.clone(),
        streams: args.streams.clone(),
        accounts: args.accounts.clone(),
        days: args.days.range(),
    };
    let store = &database.store;
    let chosen = which.of(store, &resolved).await?;
    let tables: Vec<DataTable> = chosen.iter().map(|stream| stream.table.clone()).collect();
    let migrated = store.migrate(&tables).await.context(
        "the stored answers were not read again (they fill any table: rename or drop the one that does not fit, then reload)",
    )?;
    migrated.changes.iter().for_each(|change| eprintln!("{change}"));
    let bar = progress::bar();
    let observe = |now: ReloadProgress<'_>| {
        bar.set_length(now.planned);
        bar.set_position(now.done);
        bar.set_message(now.slice.to_string());
    };
    let reloaded = reload(store, &chosen, args.all, &observe).await;
    bar.finish_and_clear();
    reloaded
}

fn say(r: &Reloaded) {
    for failed in r.failed.iter().take(NAMED) {
        eprintln!("{} page {}: left as it is: {}", failed.slice, failed.page, failed.error);
    }
    if r.failed.len() > NAMED {
        eprintln!("and {} pages more", r.failed.len() - NAMED);
    }
    println!(
        "{} partitions, {} pages, {} rows read again; {} rows changed, {} values became NULL; {} partitions skipped",
        r.partitions, r.pages, r.rows, r.changed_rows, r.became_null, r.skipped
    );
    if r.without_answer > 0 {
        println!(
            "{} pages have no stored answer (keep_responses = false): they are as they were",
            r.without_answer
        );
    }
    if r.pruned > 0 {
        println!("the answers of {} pages were pruned: they are as they were", r.pruned);
    }
    if !r.failed.is_empty() {
        println!("{} pages could not be read: they are as they were", r.failed.len());
    }
}
