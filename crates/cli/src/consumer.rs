//! Runs workers that take page jobs from the queue and store their pages.

use std::process::ExitCode;

use clap::Parser;
use pagemill_engine::{
    app::{self, App},
    config::CountOrAuto,
    crash,
    pipeline::Pipeline,
    run::consume::consume,
    stop::Stop,
};

use crate::{
    args::ConfigArg,
    exit::{self, Exit},
    logging,
};

/// Takes page jobs from RabbitMQ, fetches the pages, upserts them into PostgreSQL, then acks.
///
/// Any number of consumers run side by side; together they keep to the source's quota. SIGTERM
/// drains: running pages finish, then it exits; a second signal, or the end of consumer.grace,
/// returns them to the queue. What hangs then is given up after 8 s.
///
/// Exit codes: 0 done or stopped, 1 failed, 2 usage, config or schema, 4 unavailable.
#[derive(Parser)]
#[command(version, name = "pagemill-consumer")]
struct Cli {
    #[command(flatten)]
    config: ConfigArg,
    /// Workers of this process, instead of consumer.workers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2000))]
    workers: Option<u32>,
    /// Exit with 0 when the ledger has no open partition
    #[arg(long)]
    until_idle: bool,
}

/// Runs the program.
pub async fn main() -> ExitCode {
    logging::init("info");
    crash::arm();
    exit::report(run(Cli::parse()).await)
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let mut config = cli.config.read()?;
    if let Some(workers) = cli.workers {
        config.consumer.workers = CountOrAuto::Count(workers);
    }
    let resolved = app::resolve(&config)?;
    let queue = app::connect_queue(&config, &resolved).await?;
    let app = App::build(config, &resolved, false).await?;
    let stop = Stop::default();
    stop.on_signals(app.settings.grace.get());
    let pipeline = Pipeline::consumer(&app, queue.clone());
    match stop.unless_hung(consume(&pipeline, &app, cli.until_idle, &stop)).await {
        Some(consumed) => consumed?,
        None => tracing::warn!(
            "PostgreSQL or RabbitMQ does not reply: what runs is given up, and delivered again"
        ),
    }
    queue.close().await;
    Ok(Exit::Done)
}

#[test]
fn the_command_line_is_valid() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}
