use pagemill_engine::{
    operations::status::{recent_runs, sources_with_deadline, timeliness_of},
    run::deadline::Timeliness,
};
use pagemill_store::{PartitionRow, RunState, RunStatus, Store};
use serde::Serialize;

use crate::{
    database::{Database, DatabaseArgs},
    exit::Exit,
    output::{Cells, Out, print_json, print_table},
};

/// With --watch, the time between two looks.
const WATCH: std::time::Duration = std::time::Duration::from_secs(1);

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

/// A run, and whether it will be on time.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    run: &'a RunStatus,
    #[serde(flatten)]
    worst: Option<&'a Timeliness>,
}

pub(crate) async fn run(database: &DatabaseArgs, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let database = database.open().await?;
    let shown = show(&database, args, out).await;
    database.close().await;
    shown
}

async fn show(database: &Database, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let store = &database.store;
    store.check_schema(&[]).await?;
    let sources = sources_with_deadline(&database.config)?;
    loop {
        let (runs, times) = match args.run {
            Some(run) => (vec![store.runs.status(run).await?], timeliness_of(store, &sources, run).await?),
            None => (recent_runs(store).await?, Vec::new()),
        };
        if args.json {
            let worst = Timeliness::worst(times);
            for run in &runs {
                print_json(out, &Shown { run, worst: worst.as_ref() })?;
            }
        } else {
            print_runs(&runs, out)?;
            if let Some(run) = args.run {
                print_times(&times, out)?;
                print_partitions(store, run, out).await?;
            }
        }
        if !args.watch || runs.iter().all(|r| r.state != RunState::Running) {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(WATCH).await;
    }
}

fn print_runs(runs: &[RunStatus], out: &mut Out) -> anyhow::Result<()> {
    if runs.is_empty() {
        writeln!(out, "no runs yet")?;
        return Ok(());
    }
    let headings = [
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
    let cells = |r: &RunStatus| {
        let cells = [
            r.run.clone(),
            r.state.to_string(),
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
    };
    Ok(print_table(out, &headings, &runs.iter().map(cells).collect::<Vec<Cells>>())?)
}

fn print_times(times: &[Timeliness], out: &mut Out) -> std::io::Result<()> {
    times.iter().try_for_each(|time| {
        let source = if times.len() > 1 { format!("{}: ", time.source) } else { String::new() };
        writeln!(out, "\n{source}{time}")
    })
}

async fn print_partitions(store: &Store, run: i64, out: &mut Out) -> anyhow::Result<()> {
    let cells = |p: &PartitionRow| {
        let planned = p.planned().map_or("?".into(), |r| r.count().to_string());
        let cells = [
            p.slice.to_string(),
            p.state.to_string(),
            p.progress.total.map_or("?".into(), |t| t.to_string()),
            format!("{}/{planned}", p.progress.done),
            p.progress.dead.to_string(),
        ];
        let pruned = p.pruned_at.map(|at| format!("pages pruned on {}", at.strftime("%F")));
        let note = p.reason.iter().chain(&pruned).cloned().reduce(|a, b| format!("{a}; {b}"));
        cells.map(Some).into_iter().chain([note]).collect()
    };
    let rows: Vec<Cells> = store.partitions.of_run(run).await?.iter().map(cells).collect();
    writeln!(out)?;
    print_table(out, &["partition", "state", "total", "pages", "dead", "note"], &rows)?;
    for warning in store.runs.warnings(run).await? {
        writeln!(out, "warning: {}: {}", warning.slice, warning.text)?;
    }
    Ok(())
}
