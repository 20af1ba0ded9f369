//! The limits that no program of this kind can pass, each alone. A limit runs in a process of its own
//! (`pagemill-bench probe`), so that it is measured as the contestants are.

mod context;
mod fetch;
mod queue;
mod store;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::measurement::{Cpu, Run};
use context::Context;

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Probe {
    /// Pages fetched and decoded into typed columns, 8 in flight
    Fetch,
    /// What the proof wants of a page: hashes of keys and rows, sums, blank columns
    Prove,
    /// Responses compressed
    Compress,
    /// Pages in memory written by the collector's transaction, 3 at a time: a first pull, copied in
    Store,
    /// The same where rows may be in the way
    Upsert,
    /// The same without rows and responses: the cost of the ledger
    Ledger,
    /// A partition sealed: keys counted, totals compared, hashes added up
    Seal,
    /// The table that `store` filled copied into one of the same columns and key, 1 connection
    Copy,
    /// Jobs published and confirmed
    Publish,
    /// Jobs delivered and acked
    Consume,
}

/// `pagemill-bench probe`
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ProbeArgs {
    pub(crate) probe: Probe,
    /// A config as for `pagemill`, its database migrated
    #[arg(long)]
    pub(crate) config: std::path::PathBuf,
    /// Pages, or jobs
    #[arg(long)]
    pub(crate) count: u32,
}

/// What a probe prints.
#[derive(Serialize, Deserialize)]
struct Probed {
    seconds: f64,
    rows: u64,
    cpu: Cpu,
    peak_rss: Option<u64>,
}

impl Probe {
    pub(crate) const ALL: [Self; 10] = [
        Self::Fetch,
        Self::Prove,
        Self::Compress,
        Self::Store,
        Self::Upsert,
        Self::Ledger,
        Self::Seal,
        Self::Copy,
        Self::Publish,
        Self::Consume,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Fetch => "limit: fetch and decode alone",
            Self::Prove => "limit: hashes and sums alone",
            Self::Compress => "limit: compression alone",
            Self::Store => "limit: a first pull stored from memory",
            Self::Upsert => "limit: upsert alone",
            Self::Ledger => "limit: ledger alone",
            Self::Seal => "limit: seal alone",
            Self::Copy => "limit: COPY alone",
            Self::Publish => "limit: publish alone (jobs)",
            Self::Consume => "limit: consume and ack alone (jobs)",
        }
    }
}

/// Reads the output of the probe's process.
pub(crate) fn read(name: &str, round: u32, pages: u64, output: &str) -> anyhow::Result<Run> {
    let line = output.lines().last().context("the probe printed nothing")?;
    let Probed { seconds, rows, cpu, peak_rss } = serde_json::from_str(line).context(line.to_owned())?;
    Ok(Run {
        name: name.to_owned(),
        round,
        seconds,
        publish_seconds: None,
        rows,
        pages,
        cpu,
        peak_rss,
        processes: 1,
    })
}

/// Measures one limit, and prints the figures.
pub(crate) async fn run(args: &ProbeArgs) -> anyhow::Result<()> {
    let at = Context::open(&args.config, args.count).await?;
    let probed = match args.probe {
        Probe::Fetch => at.fetch().await,
        Probe::Prove => at.prove().await,
        Probe::Compress => at.compress().await,
        Probe::Store | Probe::Upsert | Probe::Ledger | Probe::Seal => at.store(args.probe).await,
        Probe::Copy => at.copy().await,
        Probe::Publish => at.publish().await,
        Probe::Consume => at.consume().await,
    }?;
    println!("{}", serde_json::to_string(&probed)?);
    Ok(())
}
