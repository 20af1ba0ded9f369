use pagemill_engine::{
    app,
    operations::reload::{ReloadEvent, Reloaded, reload},
    operations::slice_filter::SliceFilter,
};

use crate::{
    args::DayArgs,
    database::{Database, DatabaseArgs},
    exit::Exit,
    output::{Out, print_json},
    progress,
};

/// The most pages with an error that are printed; the rest are counted.
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
    /// Also responses that this definition has read already
    #[arg(long)]
    all: bool,
    /// One line of JSON on stdout: partitions, pages, rows, changed_rows, became_null, skipped,
    /// without_response, pruned, failed (each with slice, partition, page, error)
    #[arg(long)]
    json: bool,
}

/// Migrates the tables, reads the stored responses again, and prints what it did.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let database = database.open().await?.or_built_in();
    let reloaded = load(&database, args).await;
    database.close().await;
    let reloaded = reloaded?;
    if args.json {
        print_json(out, &reloaded)?;
    } else {
        print_reloaded(&reloaded, out)?;
    }
    Ok(if reloaded.failed.is_empty() { Exit::Done } else { Exit::Incomplete })
}

async fn load(database: &Database, args: &Args) -> anyhow::Result<Reloaded> {
    let resolved = app::resolve(&database.config)?;
    let filter = SliceFilter {
        source: args.source.clone(),
        streams: args.streams.clone(),
        accounts: args.accounts.clone(),
        days: args.days.range(),
    };
    let bar = progress::bar();
    let observe = |event: ReloadEvent<'_>| match event {
        ReloadEvent::Migrated(changes) => changes.iter().for_each(|change| eprintln!("{change}")),
        ReloadEvent::Progress { slice, done, planned } => {
            bar.set_length(planned);
            bar.set_position(done);
            bar.set_message(slice.to_string());
        }
    };
    let apply_at_most = database.config.consumer.apply_timeout.get();
    let reloaded = reload(&database.store, &resolved, &filter, args.all, apply_at_most, &observe).await;
    bar.finish_and_clear();
    reloaded
}

fn print_reloaded(r: &Reloaded, out: &mut Out) -> std::io::Result<()> {
    for failed in r.failed.iter().take(NAMED) {
        let page = failed.page.map_or_else(String::new, |page| format!(" page {page}"));
        eprintln!("{}{page}: {}", failed.slice, failed.error);
    }
    if r.failed.len() > NAMED {
        eprintln!("and {} errors more", r.failed.len() - NAMED);
    }
    writeln!(
        out,
        "{} partitions, {} pages, {} rows read again; {} rows changed, {} values became NULL; {} partitions skipped",
        r.partitions, r.pages, r.rows, r.changed_rows, r.became_null, r.skipped
    )?;
    if r.without_response > 0 {
        writeln!(
            out,
            "{} pages have no stored response (keep_responses = false): their slices are as they were",
            r.without_response
        )?;
    }
    if r.pruned > 0 {
        writeln!(out, "the responses of {} pages were pruned: their slices are as they were", r.pruned)?;
    }
    if !r.failed.is_empty() {
        let mut slices: Vec<&str> = r.failed.iter().map(|failed| failed.slice.as_str()).collect();
        slices.dedup();
        writeln!(out, "{} slices could not be read again: they are as they were", slices.len())?;
    }
    Ok(())
}
