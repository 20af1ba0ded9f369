use std::{
    io::{Write, stdout},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    args::{DayArgs, SelectArgs},
    exit::Exit,
    progress,
};
use pagemill_core::DateWord;
use pagemill_engine::{
    app::{self, App},
    config::{Config, SecretRef, SourceConfig},
    error::Unavailable,
    identity::identity,
    partition::rescue,
    pipeline::{Counters, Pipeline, message},
    run::consume::consume,
    run::plan::plan,
    run::produce::Lease,
    run::request::RunRequest,
    stop::{self, Stage, Stop},
};
use pagemill_queue::{Address, InProcess, PageQueue};
use pagemill_simulator::{Latency, Limits, Simulator, SimulatorConfig};
use pagemill_store::RunStatus;

use super::query::write_table;
use crate::database::{self, DATA_DIR, Database, DatabaseArgs};

/// The built-in report: so many rows, at a rate that one process holds easily.
const ROWS: u64 = 100_000;
const RATE: u32 = 200;
const LATENCY: Latency = Latency { from: Duration::from_millis(20), to: Duration::from_millis(60) };
const ACCOUNT: &str = "1001";
/// Longer than the heartbeat of a consumer that is gone.
const OTHERS: Duration = Duration::from_secs(18);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    days: DayArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// One line of JSON on stdout, instead of words
    #[arg(long)]
    json: bool,
}

/// Everything in one process: in-process queue, the same pool, the same pipeline, and an embedded
/// PostgreSQL unless --postgres names a server. Run again, it continues, or says that all is there.
pub(crate) async fn run(database: &DatabaseArgs, args: Args) -> anyhow::Result<Exit> {
    let yesterday = DayArgs { date: Some(DateWord::Yesterday), from: None, to: None };
    let days = if args.days.range().is_some() { &args.days } else { &yesterday };
    let asked = args.select.clone().asked(days)?;
    let (mut config, simulator) = match &database.config.config {
        Some(_) => (database.config.read()?, None),
        None => {
            let simulator = simulate().await?;
            (built_in(&simulator.url()), Some(simulator))
        }
    };
    // With one connection there is one writer at a time.
    let embedded = database.postgres.is_none();
    if embedded {
        config.consumer.writers = 1;
    }
    let opened = if embedded {
        let dir = database.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIR));
        if !args.json {
            eprintln!("starting the embedded database in {}", Path::new(".").join(&dir).display());
        }
        database::open_embedded(&dir, config).await?
    } else {
        database.server(config).await?
    };
    let (stopper, stop) = stop::stop();
    stopper.on_signals(opened.config.consumer.grace.get());
    let ended = pull(&opened, simulator.as_ref(), &asked, &args, &stop).await;
    opened.close().await;
    if let Some(simulator) = simulator {
        simulator.stop().await;
    }
    ended
}

async fn pull(
    opened: &Database,
    simulator: Option<&Simulator>,
    asked: &RunRequest,
    args: &Args,
    stop: &Stop,
) -> anyhow::Result<Exit> {
    let resolved = app::resolve(&opened.config)?;
    let app = App::on(opened.store.clone(), opened.config.consumer.clone(), &resolved, true).await?;
    let queue = InProcess::new(app.settings.retry_delays.clone());
    let owner = identity();
    if !opened.is_embedded() {
        alone(&app, stop).await?;
    }
    let planned = plan(&app.store, &app.sources, asked, &owner).await?;
    if !args.json {
        for sealed in &planned.sealed {
            eprintln!("{}: all is there, sealed at {} by run {}", sealed.slice, sealed.at, sealed.run);
        }
    }
    let Some(run) = planned.run else {
        if args.json {
            // What was asked for is what earlier runs sealed: the newest of them is shown.
            if let Some(sealed) = planned.newest_sealed() {
                println!("{}", serde_json::to_string(&app.store.run_status(sealed.run).await?)?);
            }
        } else {
            say_where(opened, &app).await?;
        }
        return Ok(Exit::Done);
    };
    // In a directory of our own the holder of the lease is a run that was killed.
    if let (false, Some(owner)) = (opened.is_embedded(), &planned.busy) {
        return Err(Unavailable(format!("run {run} is being planned by {owner}: wait for it")).into());
    }
    let lease = Lease::keep(app.store.clone(), run, owner);
    // The queue begins empty: what the ledger lacks is published. An embedded database is all ours;
    // on a server only this run's own partitions are.
    let open = if opened.is_embedded() {
        app.store.open_partitions(&app.sources.names()).await?
    } else {
        planned.open.iter().filter(|o| !o.adopted).map(|o| o.partition.clone()).collect()
    };
    for partition in open {
        if !planned.continued && partition.run == run {
            let to = Address::Lane { source: partition.slice.source.clone(), lane: partition.lane };
            queue.publish(&to, [message(&partition.job(partition.progress.first_page, 0))]).await?;
        } else {
            let missing = rescue::publish_missing(&app, &queue, partition.id).await?;
            if !args.json {
                eprintln!("{}: goes on, {missing} pages are missing", partition.slice);
            }
        }
    }
    if !args.json {
        announce(&app, simulator);
    }
    let pipeline = Pipeline::new(&app, queue);
    let (finished, working_stop) = stop.child();
    let working = {
        let (pipeline, app) = (pipeline.clone(), app.clone());
        tokio::spawn(async move { consume(&pipeline, &app, true, &working_stop).await })
    };
    let note = rates(pipeline.counters.clone(), &app);
    let followed = progress::follow(&app.store, run, None, None, &note, stop).await;
    // On a server other runs' pages are others' work; in a directory of our own what waits is ours.
    if !opened.is_embedded() || followed.is_err() {
        finished.go(Stage::Draining);
    }
    working.await??;
    let status = followed?;
    lease.release().await?;
    if args.json {
        println!("{}", serde_json::to_string(&status)?);
    } else {
        say_result(opened, &app, &status).await?;
    }
    Ok(progress::exit_of(&status))
}

/// Waits until no consumer works on the same sources: its queue is another, and both would pull the
/// same pages. A run that was killed a moment ago counts until its heartbeat runs out.
async fn alone(app: &App, stop: &Stop) -> anyhow::Result<()> {
    let names = app.sources.names();
    let begun = Instant::now();
    while app.store.consumers_alive(&names).await? > 0 {
        if begun.elapsed() > OTHERS || stop.is(Stage::Draining) {
            let what =
                format!("consumers are at work on {}: stop them, or use pagemill-producer", names.join(", "));
            return Err(Unavailable(what).into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn simulate() -> anyhow::Result<Simulator> {
    let config = SimulatorConfig {
        port: 0,
        rows: ROWS,
        limits: Limits::per_second(RATE),
        latency: LATENCY,
        ..SimulatorConfig::default()
    };
    Ok(Simulator::start(config).await?)
}

/// The config of the built-in run, against a simulator at `url`.
pub(crate) fn built_in(url: &str) -> Config {
    // Its days are final at once.
    let overrides =
        format!("base_url = \"{url}\"\nrate = {{ per_second = {RATE} }}\nready_at = \"00:00\"\nrestate = []");
    let mut source = SourceConfig {
        streams: vec!["creative".into()],
        overrides: overrides.parse().expect("a constant form"),
        ..SourceConfig::of("xiaohongshu")
    };
    source.credential.accounts = Some(vec![ACCOUNT.into()].into());
    source.credential.token = Some(SecretRef::Inline("simulated".into()));
    Config { sources: vec![source], ..Config::default() }
}

fn announce(app: &App, simulator: Option<&Simulator>) {
    for source in app.sources.iter() {
        let rate =
            source.quota.per_second().map_or("no rate limit".into(), |r| format!("at most {r} requests/s"));
        let place = if simulator.is_some() {
            "the built-in simulator".into()
        } else {
            source.definition.base_url().to_string()
        };
        eprintln!("pulling {} ({}) from {place}, {rate}", source.name(), source.streams.join(", "));
    }
}

/// What the progress bar shows beside the pages.
fn rates(counters: Arc<Counters>, app: &App) -> impl Fn() -> String + Send + Sync + use<> {
    let started = Instant::now();
    let rate: Option<f64> = app.sources.iter().map(|s| s.quota.per_second()).sum();
    move || {
        let counts = counters.read();
        let seconds = started.elapsed().as_secs_f64().max(0.001);
        let per_second = counts.requests as f64 / seconds;
        let used =
            rate.map(|rate| format!("  quota used {:.0}%", 100.0 * per_second / rate)).unwrap_or_default();
        format!("{} rows  {:.0} rows/s{used}", counts.rows, counts.rows as f64 / seconds)
    }
}

async fn say_result(opened: &Database, app: &App, status: &RunStatus) -> anyhow::Result<()> {
    let mut out = stdout();
    writeln!(
        out,
        "run {}: {}; {} rows in {} pages, {} requests ({} throttled), {:.1} s",
        status.run,
        status.state,
        status.rows,
        status.pages,
        status.requests,
        status.throttled,
        status.seconds
    )?;
    for partition in app.store.partitions_of(status.run.parse()?).await? {
        let total = partition.progress.total.unwrap_or(0);
        match &partition.reason {
            None => writeln!(
                out,
                "{}: {}: the API states {total} rows, {total} distinct keys are stored",
                partition.slice, partition.state
            )?,
            Some(reason) => writeln!(out, "{}: {} ({reason})", partition.slice, partition.state)?,
        }
    }
    say_where(opened, app).await
}

/// Where the data is, a few rows of it, and how to ask for more.
async fn say_where(opened: &Database, app: &App) -> anyhow::Result<()> {
    let mut out = stdout();
    let (place, flags) = match &opened.place {
        database::Place::Server => (opened.store.place().to_owned(), String::new()),
        #[cfg(feature = "embedded")]
        database::Place::Embedded(embedded) => {
            (embedded.dir().display().to_string(), data_dir_flag(embedded.dir()))
        }
    };
    for table in app.sources.tables() {
        let name = table.name();
        writeln!(out, "\n{name} in {place}:")?;
        let (columns, rows) = opened.store.query_text(&format!("select * from {name} limit 3")).await?;
        let shown = columns.len().min(7);
        let cut = |row: &Vec<Option<String>>| row[..shown].to_vec();
        write_table(&mut out, &columns[..shown], &rows.iter().map(cut).collect::<Vec<_>>())?;
        let plain = name.replace('"', "").replace("public.", "");
        writeln!(out, "ask it: pagemill query {flags}\"select count(*), sum(fee) from {plain}\"")?;
    }
    Ok(())
}

#[cfg(feature = "embedded")]
fn data_dir_flag(dir: &Path) -> String {
    if dir == Path::new(DATA_DIR) { String::new() } else { format!("--data-dir {} ", dir.display()) }
}
