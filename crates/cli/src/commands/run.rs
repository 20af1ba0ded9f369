use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use indicatif::ProgressBar;
use pagemill_engine::{
    app::{self, App},
    pipeline::Counts,
    run::{
        in_process::{InProcessEvent, InProcessRun, Tenancy, run_in_process},
        request::RunRequest,
    },
    stop::Stop,
};
use pagemill_simulator::Simulator;
use pagemill_store::{Planned, RunStatus};

use crate::{
    args::{DayArgs, SelectArgs},
    built_in,
    database::{self, DATA_DIR, Database, DatabaseArgs},
    exit::Exit,
    output::{Out, print_json, print_table},
    progress,
};

/// Rows and columns of a table's sample.
const SAMPLE_ROWS: usize = 3;
const SAMPLE_COLUMNS: usize = 7;

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
/// PostgreSQL unless --postgres names a server. Run again, it continues, or prints that everything is sealed.
pub(crate) async fn run(database: &DatabaseArgs, args: Args, out: &mut Out) -> anyhow::Result<Exit> {
    let requested = args.select.clone().on(&args.days.or_yesterday())?;
    let mut config = database.config()?;
    let simulator = if database.has_config() {
        None
    } else {
        let simulator = built_in::simulate().await?;
        config.sources = vec![built_in::source(&simulator.url())];
        Some(simulator)
    };
    let opened = if database.postgres.is_some() {
        database.server(config).await?
    } else {
        // With one connection there is one writer at a time.
        config.consumer.writers = 1;
        let dir = database.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIR));
        if !args.json {
            eprintln!("starting the embedded database in {}", Path::new(".").join(&dir).display());
        }
        database::open_embedded(&dir, config).await?
    };
    let pull = Pull { flags: database, opened: &opened, simulator: simulator.as_ref(), json: args.json };
    let ended = pull.run(&requested, out).await;
    opened.close().await;
    if let Some(simulator) = simulator {
        simulator.stop().await;
    }
    ended
}

/// A pull in this process, and the way in which it reports.
struct Pull<'a> {
    flags: &'a DatabaseArgs,
    opened: &'a Database,
    simulator: Option<&'a Simulator>,
    json: bool,
}

impl Pull<'_> {
    async fn run(&self, requested: &RunRequest, out: &mut Out) -> anyhow::Result<Exit> {
        let config = &self.opened.config;
        let stop = Stop::default();
        stop.on_signals(config.consumer.grace.get());
        let resolved = app::resolve(config)?;
        let app =
            App::with_store(self.opened.store.clone(), config.consumer.clone(), &resolved, true).await?;
        let tenancy = if self.opened.is_embedded() { Tenancy::Exclusive } else { Tenancy::Shared };
        let bar = progress::bar();
        let ended = run_in_process(&app, requested, tenancy, &mut self.observer(&app, &bar), &stop).await;
        progress::end(&bar, ended.is_ok());
        match ended? {
            InProcessRun::NothingDue(newest) if self.json => {
                // Earlier runs sealed everything that was requested: the newest of them is shown.
                newest.map_or(Ok(()), |status| print_json(out, &status))?;
                Ok(Exit::Done)
            }
            InProcessRun::NothingDue(_) => {
                self.print_samples(&app, out).await?;
                Ok(Exit::Done)
            }
            InProcessRun::Ended(status) => {
                if self.json {
                    print_json(out, &status)?;
                } else {
                    print_result(&app, &status, out).await?;
                    self.print_samples(&app, out).await?;
                }
                Ok(Exit::from(&status))
            }
        }
    }

    /// Reports on stderr what happens: words, unless JSON is wanted, and a progress bar.
    fn observer<'a>(
        &'a self,
        app: &'a App,
        bar: &'a ProgressBar,
    ) -> impl FnMut(InProcessEvent<'_>) + Send + 'a {
        let permitted = app.sources.iter().map(|source| source.quota.per_second()).sum();
        let mut since = Instant::now();
        move |event| match event {
            InProcessEvent::Planned(planned) => {
                if !self.json {
                    print_sealed(planned);
                }
            }
            InProcessEvent::Continued { slice, missing } => {
                if !self.json {
                    eprintln!("{slice}: goes on, {missing} pages are missing");
                }
            }
            InProcessEvent::Started => {
                since = Instant::now();
                if !self.json {
                    self.announce(app);
                }
            }
            InProcessEvent::Followed { event, counts } => {
                progress::show(bar, event, describe_rates(counts, since, permitted));
            }
        }
    }

    fn announce(&self, app: &App) {
        for source in app.sources.iter() {
            let rate = source
                .quota
                .per_second()
                .map_or("no rate limit".into(), |rate| format!("at most {rate} requests/s"));
            let place = match self.simulator {
                Some(_) => "the built-in simulator".into(),
                None => source.definition.base_url().to_string(),
            };
            eprintln!("pulling {} ({}) from {place}, {rate}", source.name(), source.streams.join(", "));
        }
    }

    /// Prints where the data is, a few rows of it, and a query for more.
    async fn print_samples(&self, app: &App, out: &mut Out) -> anyhow::Result<()> {
        let (place, flags) = self.flags.describe(self.opened);
        for source in app.sources.iter() {
            for stream in &source.streams {
                let name = source.tables[stream].name();
                writeln!(out, "\n{name} in {place}:")?;
                let sample = format!("select * from {name} limit {SAMPLE_ROWS}");
                let (columns, mut rows) = self.opened.store.query(&sample).await?;
                let shown = columns.len().min(SAMPLE_COLUMNS);
                rows.iter_mut().for_each(|row| row.truncate(shown));
                print_table(out, &columns[..shown], &rows)?;
                let stream = source.definition.stream(stream)?;
                let metric = stream.sums().first().map(|&at| &stream.table_shape().columns[at].name);
                let sum = metric.map_or_else(String::new, |metric| format!(", sum({metric})"));
                let plain = name.replace('"', "").replace("public.", "");
                writeln!(out, "query it: pagemill query {flags}\"select count(*){sum} from {plain}\"")?;
            }
        }
        Ok(())
    }
}

fn print_sealed(planned: &Planned) {
    for sealed in &planned.sealed {
        eprintln!("{}: all is there, sealed at {} by run {}", sealed.slice, sealed.at, sealed.run);
    }
}

/// The text beside the progress bar's pages; `permitted` are requests a second.
fn describe_rates(counts: Counts, since: Instant, permitted: Option<f64>) -> String {
    let seconds = since.elapsed().as_secs_f64().max(0.001);
    let per_second = counts.requests as f64 / seconds;
    let used =
        permitted.map(|rate| format!("  quota used {:.0}%", 100.0 * per_second / rate)).unwrap_or_default();
    format!("{} rows  {:.0} rows/s{used}", counts.rows, counts.rows as f64 / seconds)
}

/// The run's numbers, and each partition's proof.
async fn print_result(app: &App, status: &RunStatus, out: &mut Out) -> anyhow::Result<()> {
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
    let run = status.run.parse()?;
    let dropped_rows = app.store.seals.dropped_rows(run).await?;
    for partition in app.store.partitions.of_run(run).await? {
        let total = partition.progress.total.unwrap_or(0);
        let dropped = dropped_rows.get(&partition.id).copied().unwrap_or(0);
        let (slice, state) = (&partition.slice, &partition.state);
        match &partition.reason {
            None if dropped > 0 => writeln!(
                out,
                "{slice}: {state}: the API states {total} rows, {} distinct keys are stored, \
                 {dropped} rows of other days or accounts were dropped",
                total - dropped as i64
            )?,
            None => writeln!(
                out,
                "{slice}: {state}: the API states {total} rows, {total} distinct keys are stored"
            )?,
            Some(reason) => writeln!(out, "{slice}: {state} ({reason})")?,
        }
    }
    Ok(())
}
