use std::io::{Write, stdout};

use pagemill::exit::Exit;
use pagemill_store::{RunStatus, Store};

use super::query::write_table;
use crate::database::DatabaseArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One run, with its partitions
    run: Option<i64>,
    /// Show it again every second until no run is running
    #[arg(long)]
    watch: bool,
    /// One JSON object a run
    #[arg(long)]
    json: bool,
}

/// The most runs that are listed.
const MOST_RUNS: i64 = 20;

pub(crate) async fn run(database: &DatabaseArgs, args: &Args) -> anyhow::Result<Exit> {
    let database = database.open().await?;
    database.store.check_schema(&[]).await?;
    let shown = show(&database.store, args).await;
    database.close().await;
    shown
}

async fn show(store: &Store, args: &Args) -> anyhow::Result<Exit> {
    loop {
        let runs = match args.run {
            Some(run) => vec![store.run_status(run).await?],
            None => store.recent_runs(MOST_RUNS).await?,
        };
        print(store, args, &runs).await?;
        if !args.watch || runs.iter().all(|r| r.state != "running") {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

async fn print(store: &Store, args: &Args, runs: &[RunStatus]) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    if args.json {
        for run in runs {
            writeln!(out, "{}", serde_json::to_string(run)?)?;
        }
        return Ok(());
    }
    if runs.is_empty() {
        writeln!(out, "no runs yet")?;
        return Ok(());
    }
    let columns = [
        "run",
        "state",
        "sealed",
        "incomplete",
        "pages",
        "rows",
        "dead",
        "requests",
        "throttled",
        "seconds",
        "started",
    ];
    let rows: Vec<Vec<Option<String>>> = runs
        .iter()
        .map(|r| {
            let cells = [
                r.run.clone(),
                r.state.clone(),
                format!("{}/{}", r.sealed, r.partitions),
                r.incomplete.to_string(),
                format!("{}/{}", r.pages, r.planned_pages),
                r.rows.to_string(),
                r.dead.to_string(),
                r.requests.to_string(),
                r.throttled.to_string(),
                format!("{:.1}", r.seconds),
                r.created_at.clone(),
            ];
            cells.map(Some).to_vec()
        })
        .collect();
    write_table(&mut out, &columns.map(String::from), &rows)?;
    let Some(run) = args.run else { return Ok(()) };
    let partitions = store.partitions_of(run).await?;
    let rows: Vec<Vec<Option<String>>> = partitions
        .iter()
        .map(|p| {
            let planned = p.planned().map_or("?".into(), |r| r.count().to_string());
            let total = p.progress.total.map_or("?".into(), |t| t.to_string());
            let cells = [
                p.slice.to_string(),
                p.state.clone(),
                total,
                format!("{}/{planned}", p.progress.done),
                p.progress.dead.to_string(),
            ];
            cells.map(Some).into_iter().chain([p.reason.clone()]).collect()
        })
        .collect();
    writeln!(out)?;
    write_table(
        &mut out,
        &["partition", "state", "total", "pages", "dead", "reason"].map(String::from),
        &rows,
    )?;
    Ok(())
}
