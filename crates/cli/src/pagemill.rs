//! The `pagemill` command.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use pagemill_engine::crash;

use crate::{
    commands, database,
    exit::{self, Exit},
    logging,
    output::Out,
    output::Output,
};

/// Pulls paginated report APIs into PostgreSQL: every page, once, on time, provably complete.
///
/// `pagemill run` alone is the whole thing in one process, against a built-in simulator and an
/// embedded PostgreSQL: nothing else is needed. In earnest, `pagemill-producer` publishes page jobs
/// to RabbitMQ and any number of `pagemill-consumer`s store them; this command then migrates, shows,
/// verifies and handles dead letters.
///
/// Exit codes: 0 done, 1 failed, 2 usage, config or schema, 3 incomplete (a partition could not be
/// sealed), 4 unavailable or timed out.
#[derive(Parser)]
#[command(version, name = "pagemill", max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    database: database::DatabaseArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pull a report in one process: with no config, from the built-in simulator into ./pagemill-data
    Run(commands::run::Args),
    /// Bring the ledger and the data tables up to date
    Migrate,
    /// Forecast what a producer would do now, and how long it would take; sends nothing
    Plan(commands::plan::Args),
    /// Show runs and how far they are
    Status(commands::status::Args),
    /// Recount a run from the data tables and compare it with its seals
    Verify(commands::verify::Args),
    /// Have access to a source granted, and see how long its tokens live
    Auth(commands::auth::Args),
    /// Read the stored responses again after a definition changed: no request is sent
    ///
    /// Rebuilds the typed columns from the stored responses with the definition as it is now. The
    /// tables are migrated first. Responses that this definition has read already are skipped, so a
    /// reload that was broken off is continued by the next; consumers may run meanwhile. Rows that the
    /// newest sealed pull no longer had are left as they are.
    ///
    /// Exits with 3 when a page could not be read: it is named, and left as it is.
    Reload(commands::reload::Args),
    /// Show how much restated data moved: the newest pull against the one it replaced
    ///
    /// Both are read from their stored responses, so these must be kept for as long as days are
    /// restated (see `prune`). Pulls that lack pages are passed over; where a day was
    /// split into parts, part is compared with part.
    ///
    /// With --json: slice, source, stream, account, from, to; before and after (each run, partition,
    /// state); moved: rows_before, rows_after, rows_added, rows_gone, rows_changed, and metrics (each
    /// name, before, after, difference, percent: exact decimals as texts); where moved is null, the
    /// reason.
    Drift(commands::drift::Args),
    /// Show, set or reset the quotas that all replicas share
    #[command(subcommand)]
    Quota(commands::quota::Command),
    /// List, requeue or drop dead letters
    #[command(subcommand)]
    Dead(commands::dead::Command),
    /// Take what is old out of the ledger, so that it stays small; the data tables are not touched
    ///
    /// An age counts from when a partition closed. --older-than removes attempts that a newer one
    /// replaced; of the newest attempt at each slice (and the newest sealed one) it removes pages
    /// and responses, and keeps the partition and its proof: what was sealed stays sealed. Runs that
    /// have nothing left, and dead letters that were requeued or dropped so long ago, go too.
    /// --responses-older-than removes the stored responses alone: `reload` and `drift` need them, so
    /// keep them for as long as days are restated. Without their pages, `verify` can check a slice's
    /// rows by its content hash only.
    ///
    /// Never removed: open partitions, and partitions with dead letters that wait. Months with nothing
    /// left are dropped as a whole, which frees the disk space at once; the rest is deleted in
    /// small transactions, beside running consumers. A prune that was broken off is continued by the
    /// next. Dropping months needs the role that migrated, or one that may call pagemill.drop_month.
    ///
    /// With --json: attempts, pages, responses, months (each table, bytes), runs, dead_letters,
    /// consumers.
    Prune(commands::prune::Args),
    /// Run a read-only statement in the database
    Query(commands::query::Args),
    /// Show the source definitions
    #[command(subcommand)]
    Sources(commands::sources::Command),
    /// Serve a report API that behaves, and misbehaves, like the real one
    Simulate(commands::simulate::Args),
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the program.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init("warn");
    crash::arm();
    exit::report(run(cli, &mut Output::new()).await)
}

async fn run(cli: Cli, out: &mut Out) -> anyhow::Result<Exit> {
    let database = &cli.database;
    match cli.command {
        Command::Run(args) => commands::run::run(database, args, out).await,
        Command::Migrate => commands::migrate::run(database, out).await,
        Command::Plan(args) => commands::plan::run(database, &args, out).await,
        Command::Status(args) => commands::status::run(database, &args, out).await,
        Command::Verify(args) => commands::verify::run(database, &args, out).await,
        Command::Auth(args) => commands::auth::run(database, &args, out).await,
        Command::Reload(args) => commands::reload::run(database, &args, out).await,
        Command::Drift(args) => commands::drift::run(database, &args, out).await,
        Command::Quota(command) => commands::quota::run(database, &command, out).await,
        Command::Dead(command) => commands::dead::run(database, command, out).await,
        Command::Prune(args) => commands::prune::run(database, &args, out).await,
        Command::Query(args) => commands::query::run(database, &args, out).await,
        Command::Sources(command) => commands::sources::run(&command, out).await,
        Command::Simulate(args) => commands::simulate::run(&args, out).await,
        Command::Completions { shell } => completions(shell, out),
    }
}

fn completions(shell: clap_complete::Shell, out: &mut Out) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pagemill", &mut script);
    out.write_all(&script)?;
    Ok(Exit::Done)
}

#[test]
fn the_command_line_is_valid() {
    Cli::command().debug_assert();
}
