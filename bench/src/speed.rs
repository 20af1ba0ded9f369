//! Points 6 to 8: Pagemill, its peers and the machine's limits at the same work, one after another.

mod bench;
mod limit;
mod pagemill;
mod peer;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    api::Api, args::Args, contestant::Contestant, machine::Machine, measurement::Run, probe::Probe,
    repull::Repull, servers::Servers, world::log_in,
};
use bench::{Bench, Outcome, PAGE_ROWS};

/// All that `speed` measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Speed {
    pub(crate) machine: Machine,
    pub(crate) pages: u64,
    pub(crate) workers: u32,
    pub(crate) rounds: u32,
    pub(crate) runs: Vec<Run>,
    /// The producer alone, with a page to a row.
    pub(crate) publishing: Vec<Run>,
    pub(crate) repulls: Vec<Repull>,
    /// The contestants that did not run, and why.
    pub(crate) skipped: Vec<(String, String)>,
    /// Where the baseline's binaries were, if the run compared two builds.
    #[serde(default)]
    pub(crate) baseline: Option<PathBuf>,
}

/// Measures everything, round by round.
pub(crate) async fn run(args: &Args, servers: &Servers) -> anyhow::Result<Speed> {
    let pages = args.pages();
    let dir = tempfile::tempdir()?;
    let rows = (pages * PAGE_ROWS).to_string();
    let serve = ["--rows".to_owned(), rows, "--rendered".to_owned()];
    let api = Api::start(&args.bin, &serve, &log_in(&dir, "api.log")?).await?;
    let peers = args.peers();
    let bench = Bench { args, servers, api, peers };
    let mut speed = Speed {
        machine: Machine::read(servers, bench.peers.versions()).await?,
        pages,
        workers: args.workers,
        rounds: args.rounds(),
        runs: vec![],
        publishing: vec![],
        repulls: vec![],
        skipped: vec![],
        baseline: args.baseline.clone(),
    };
    // The first pass renders every response; those after it are served from memory.
    eprintln!("warming the API: {pages} pages");
    bench.limit(Probe::Fetch, 0).await?;
    for round in 1..=speed.rounds {
        for contestant in Contestant::all(args, round) {
            let name = contestant.name();
            if speed.skipped.iter().any(|(skipped, _)| *skipped == name) {
                continue;
            }
            let ran = bench.measure(contestant, round, &mut speed.repulls).await;
            match ran.unwrap_or_else(|error| Outcome::Skipped(format!("failed: {error:#}"))) {
                Outcome::Measured(run) => {
                    eprintln!("{name}, round {round}: {:.0} rows/s", run.rows_a_second());
                    speed.runs.push(run);
                }
                Outcome::Skipped(why) => {
                    eprintln!("{name}: skipped, {why}");
                    speed.skipped.push((name, why));
                }
            }
        }
    }
    if args.baseline.is_none() && args.wants("publish") {
        for (jobs, round) in [(pages, 1), (pages * PAGE_ROWS, 1)] {
            speed.publishing.push(bench.publishing(jobs, round).await?);
        }
    }
    Ok(speed)
}
