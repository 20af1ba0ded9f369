use std::io::{Write, stdout};

use crate::exit::Exit;
use pagemill_engine::{
    config::Config,
    run::deadline::{Timeliness, timeliness},
    sources::{self, Resolved},
};
use pagemill_store::{Pace, RunStatus, Store};
use serde::Serialize;

use super::query::write_table;
use crate::database::{Database, DatabaseArgs};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One run, with its partitions; and where the config has a deadline, whether it will be on time
    run: Option<i64>,
    /// Show it again every second until no run is running
    #[arg(long)]
    watch: bool,
    /// One JSON object a run; with RUN and a deadline also deadline, expected (both RFC 3339) and
    /// on_time, of the source that is furthest behind
    #[arg(long)]
    json: bool,
}

/// The most runs that are listed.
const MOST_RUNS: i64 = 20;

/// A run, and whether it will be on time.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    run: &'a RunStatus,
    #[serde(flatten)]
    worst: Option<&'a Timeliness>,
}

pub(crate) async fn run(database: &DatabaseArgs, args: &Args) -> anyhow::Result<Exit> {
    let database = database.open().await?;
    let shown = show(&database, args).await;
    database.close().await;
    shown
}

async fn show(database: &Database, args: &Args) -> anyhow::Result<Exit> {
    let store = &database.store;
    store.check_schema(&[]).await?;
    let sources = with_deadline(&database.config)?;
    loop {
        let (runs, times) = match args.run {
            Some(run) => (vec![store.runs.status(run).await?], times(store, &sources, run).await?),
            None => (store.runs.recent(MOST_RUNS).await?, Vec::new()),
        };
        print(store, args, &runs, times).await?;
        if !args.watch || runs.iter().all(|r| r.state != "running") {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

/// The sources that have a deadline; no other needs to be in order.
fn with_deadline(config: &Config) -> anyhow::Result<Vec<Resolved>> {
    let with: Vec<_> = config.sources.iter().filter(|s| s.deadline.is_some()).cloned().collect();
    Ok(sources::resolve(&with)?)
}

async fn times(store: &Store, sources: &[Resolved], run: i64) -> anyhow::Result<Vec<Timeliness>> {
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let pace = store.runs.pace(run).await?;
    let of_source = |p: &Pace| {
        let source = sources.iter().find(|s| s.name() == p.source)?;
        let rate = source.definition().rate().average(p.remaining);
        timeliness(&pace, p, rate, source.deadline()?, source.definition().zone())
    };
    Ok(pace.sources.iter().filter_map(of_source).collect())
}

async fn print(store: &Store, args: &Args, runs: &[RunStatus], times: Vec<Timeliness>) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    if args.json {
        let worst = Timeliness::worst(times);
        for run in runs {
            writeln!(out, "{}", serde_json::to_string(&Shown { run, worst: worst.as_ref() })?)?;
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
    for time in &times {
        let source = if times.len() > 1 { format!("{}: ", time.source) } else { String::new() };
        writeln!(out, "\n{source}{time}")?;
    }
    let partitions = store.partitions.of_run(run).await?;
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
            let pruned = p.pruned_at.map(|at| format!("pages pruned on {}", at.strftime("%F")));
            let note = p.reason.iter().chain(&pruned).cloned().reduce(|a, b| format!("{a}; {b}"));
            cells.map(Some).into_iter().chain([note]).collect()
        })
        .collect();
    writeln!(out)?;
    write_table(
        &mut out,
        &["partition", "state", "total", "pages", "dead", "note"].map(String::from),
        &rows,
    )?;
    for warning in store.runs.warnings(run).await? {
        writeln!(out, "warning: {}: {}", warning.slice, warning.text)?;
    }
    Ok(())
}
