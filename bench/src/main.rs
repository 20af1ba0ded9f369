//! `make bench`: one quota for all replicas, and speed beside others' programs and the machine's
//! limits. Writes tables, plots and the figures behind them into `docs/bench`.
#![forbid(unsafe_code)]

mod api;
mod args;
mod contestant;
mod machine;
mod measurement;
mod peer_database;
mod peers;
mod plot;
mod probe;
mod proc;
mod process;
mod quota;
mod recovery;
mod report;
mod repull;
mod servers;
mod speed;
mod statistics;
mod world;

use clap::{Parser, Subcommand};

use crate::{args::Args, probe::ProbeArgs, servers::Servers};

/// Measures Pagemill against a simulated API, on the servers of `scripts/servers`.
///
/// Needs Linux (CPU and memory are read from /proc) and a PostgreSQL superuser. Peers run if
/// bench/peers/install has installed them.
#[derive(Parser)]
#[command(name = "pagemill-bench")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    args: Args,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Both, one after the other (the default)
    All,
    /// How much of a quota is used, by how many consumers, and what happens when it changes
    Quota,
    /// Rows a second and what they cost: Pagemill, its peers, and the limits
    Speed,
    /// Writes tables and plots anew from the figures that are there
    Report,
    /// One limit alone, in this process; `speed` calls it
    #[command(hide = true)]
    Probe(ProbeArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { command, args } = Cli::parse();
    // An error means that there is a provider already, and that is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let servers = Servers::from_environment()?;
    let command = command.unwrap_or(Command::All);
    if let Command::Probe(probe) = &command {
        return probe::run(probe).await;
    }
    if matches!(command, Command::All | Command::Speed) {
        report::keep(&args.out, "speed.json", &speed::run(&args, &servers).await?)?;
    }
    if matches!(command, Command::All | Command::Quota) {
        report::keep(&args.out, "quota.json", &quota::run(&args, &servers).await?)?;
    }
    servers.sweep().await?;
    print!("{}", report::write(&args.out)?);
    Ok(())
}

#[test]
fn the_command_line_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    // Flags of a command must not share their names with those of all.
    let probe = ["pagemill-bench", "probe", "fetch", "--config", "c", "--count", "7"];
    let Some(Command::Probe(probe)) = Cli::parse_from(probe).command else { panic!("a probe") };
    assert_eq!(probe.count, 7);
}
