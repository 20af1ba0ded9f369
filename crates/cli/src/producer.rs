//! Plans a run and publishes its page jobs.

use std::process::ExitCode;

use clap::Parser;
use pagemill_core::ConfigDuration;
use pagemill_engine::{
    app::{self, App},
    crash,
    error::UnavailableError,
    run::{
        produce::{Produced, ProducedPartition, produce},
        request::RunRequest,
    },
    stop::Stop,
};
use pagemill_queue::Rabbit;
use pagemill_store::Planned;

use crate::{
    args::{ConfigArg, DayArgs, SelectArgs, span},
    exit::{self, Exit},
    logging,
    output::{Out, Output, print_json},
    progress,
};

/// Plans a run, stores its partitions' first pages, and publishes every other page as a job.
///
/// Started twice, it continues an unfinished run and doubles nothing; what is sealed already is
/// printed and left alone. Made for cron.
///
/// Exit codes: 0 done, 1 failed, 2 usage, config or schema, 3 incomplete (with --wait), 4
/// unavailable or timed out.
#[derive(Parser)]
#[command(version, name = "pagemill-producer")]
struct Cli {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    days: DayArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Follow the run to its end
    #[arg(long)]
    wait: bool,
    /// Wait at most so long (as in 30m)
    #[arg(long, value_name = "T", requires = "wait", value_parser = span)]
    timeout: Option<ConfigDuration>,
    /// One line of JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the program.
pub async fn main() -> ExitCode {
    logging::init("warn");
    crash::arm();
    exit::report(run(Cli::parse(), &mut Output::new()).await)
}

async fn run(cli: Cli, out: &mut Out) -> anyhow::Result<Exit> {
    let requested = cli.select.clone().on(&cli.days)?;
    let config = cli.config.read()?;
    let resolved = app::resolve(&config)?;
    let queue = app::connect_queue(&config, &resolved).await?;
    let app = App::build(config, &resolved, false).await?;
    let stop = Stop::default();
    stop.on_signals(app.settings.grace.get());
    let exit = match stop.unless_hung(produce_and_follow(&cli, &app, &queue, &requested, &stop, out)).await {
        Some(exit) => exit?,
        None => {
            let what = "stopped while PostgreSQL or RabbitMQ did not reply: start it again";
            return Err(UnavailableError(what.to_owned()).into());
        }
    };
    queue.close().await;
    Ok(exit)
}

async fn produce_and_follow(
    cli: &Cli,
    app: &App,
    queue: &Rabbit,
    requested: &RunRequest,
    stop: &Stop,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    let produced = produce(app, queue, requested, stop).await?;
    for line in describe(&produced) {
        // With --json stdout is JSON and nothing else.
        if cli.json { eprintln!("{line}") } else { writeln!(out, "{line}")? }
    }
    match produced.planned.run {
        Some(run) if cli.wait => wait(cli, app, run, stop, out).await,
        Some(run) => print_status(cli, app, Some(run), out).await,
        // Earlier runs sealed everything that was requested: the newest of them is shown.
        None => print_status(cli, app, newest_sealed(&produced.planned), out).await,
    }
}

/// Follows the run to its end, and prints how it ended.
async fn wait(cli: &Cli, app: &App, run: i64, stop: &Stop, out: &mut Out) -> anyhow::Result<Exit> {
    let timeout = cli.timeout.as_ref().map(ConfigDuration::get);
    let status = progress::follow_with_bar(&app.store, run, &app.sources.names(), timeout, stop).await?;
    if cli.json {
        print_json(out, &status)?;
    } else {
        eprintln!(
            "run {run}: {} of {} partitions sealed, {} rows, {} pages dead",
            status.sealed, status.partitions, status.rows, status.dead
        );
    }
    Ok(Exit::from(&status))
}

/// With --json, prints where a run stands.
async fn print_status(cli: &Cli, app: &App, run: Option<i64>, out: &mut Out) -> anyhow::Result<Exit> {
    if let (true, Some(run)) = (cli.json, run) {
        print_json(out, &app.store.runs.status(run).await?)?;
    }
    Ok(Exit::Done)
}

fn newest_sealed(planned: &Planned) -> Option<i64> {
    planned.newest_sealed().map(|sealed| sealed.run)
}

/// What was found and published, a line each.
fn describe(produced: &Produced) -> Vec<String> {
    let mut lines = Vec::new();
    let planned = &produced.planned;
    for sealed in &planned.sealed {
        lines.push(format!("{}: sealed at {} by run {}", sealed.slice, sealed.at, sealed.run));
    }
    let Some(run) = planned.run else {
        lines.push("nothing is due (--again pulls it all the same)".to_owned());
        return lines;
    };
    if let Some(owner) = &planned.lease_holder {
        lines.push(format!("run {run} is being planned by {owner}: left to it"));
        return lines;
    }
    lines.push(format!("run {run}{}", if planned.continued { ", continued" } else { "" }));
    for opened in planned.open.iter().filter(|o| o.adopted) {
        lines.push(format!(
            "{}: already being pulled by run {}",
            opened.partition.slice, opened.partition.run
        ));
    }
    lines.extend(produced.partitions.iter().map(describe_partition));
    lines
}

fn describe_partition(produced: &ProducedPartition) -> String {
    let ProducedPartition { partition, published, published_before } = produced;
    let (slice, progress) = (&partition.slice, &partition.progress);
    match progress.total {
        Some(_) if *published_before => format!("{slice}: published before, {} pages done", progress.done),
        Some(total) => format!("{slice}: {total} rows, {published} pages published, {} done", progress.done),
        None if progress.dead > 0 => format!("{slice}: its first page is dead (pagemill dead list)"),
        None => {
            format!(
                "{slice}: its first page failed and is tried again by the consumers, who publish the rest"
            )
        }
    }
}

#[test]
fn the_command_line_is_valid() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}
