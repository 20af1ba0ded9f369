//! Plans a run and publishes its page jobs.

use std::process::ExitCode;

use crate::{
    args::{ConfigArg, DayArgs, SelectArgs, span},
    exit,
    exit::Exit,
    logging, progress,
};
use clap::Parser;
use pagemill_core::ConfigDuration;
use pagemill_engine::{
    app::{self, App},
    crash,
    run::produce::{Produced, ProducedPartition, produce},
    stop,
};

/// Plans a run, stores its partitions' first pages, and publishes every other page as a job.
///
/// Started twice, it continues an unfinished run and doubles nothing; what is sealed already is
/// said and left alone. Made for cron.
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

/// The whole of `main`.
pub async fn main() -> ExitCode {
    logging::init("warn");
    crash::arm();
    exit::report(run(Cli::parse()).await)
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let asked = cli.select.clone().asked(&cli.days)?;
    let config = cli.config.read()?;
    let resolved = app::resolve(&config)?;
    let queue = app::connect_queue(&config, &resolved).await?;
    let app = App::build(config, &resolved, false).await?;
    let (stopper, stop) = stop::stop();
    stopper.on_signals(app.settings.grace.get());
    let produced = produce(&app, &queue, &asked, &stop).await?;
    for line in in_words(&produced) {
        // With --json stdout is JSON and nothing else.
        if cli.json { eprintln!("{line}") } else { println!("{line}") }
    }
    let planned = &produced.planned;
    let Some(run) = planned.run else {
        // What was asked for is what earlier runs sealed: the newest of them is shown.
        if let (true, Some(sealed)) = (cli.json, planned.newest_sealed()) {
            println!("{}", serde_json::to_string(&app.store.run_status(sealed.run).await?)?);
        }
        return Ok(Exit::Done);
    };
    let exit = if cli.wait {
        let timeout = cli.timeout.as_ref().map(ConfigDuration::get);
        let status =
            progress::follow(&app.store, run, Some(&app.sources.names()), timeout, &String::new, &stop)
                .await?;
        if cli.json {
            println!("{}", serde_json::to_string(&status)?);
        } else {
            eprintln!(
                "run {run}: {} of {} partitions sealed, {} rows, {} pages dead",
                status.sealed, status.partitions, status.rows, status.dead
            );
        }
        progress::exit_of(&status)
    } else {
        if cli.json {
            println!("{}", serde_json::to_string(&app.store.run_status(run).await?)?);
        }
        Exit::Done
    };
    queue.close().await;
    Ok(exit)
}

/// What was found and published, a line each.
fn in_words(produced: &Produced) -> Vec<String> {
    let mut lines = Vec::new();
    let planned = &produced.planned;
    for sealed in &planned.sealed {
        lines.push(format!("{}: sealed at {} by run {}", sealed.slice, sealed.at, sealed.run));
    }
    let Some(run) = planned.run else {
        lines.push("nothing is due (--again pulls it all the same)".to_owned());
        return lines;
    };
    if let Some(owner) = &planned.busy {
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
    lines.extend(produced.partitions.iter().map(partition_in_words));
    lines
}

fn partition_in_words(produced: &ProducedPartition) -> String {
    let ProducedPartition { partition, published, before } = produced;
    let (slice, progress) = (&partition.slice, &partition.progress);
    match progress.total {
        Some(_) if *before => format!("{slice}: published before, {} pages done", progress.done),
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
fn the_command_line_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}
