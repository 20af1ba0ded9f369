//! The command line.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args as ClapArgs;
use pagemill_core::ConfigDuration;

use crate::peers::Peers;

/// Flags of all commands.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    /// Where pagemill, pagemill-producer and pagemill-consumer are [default: beside this program]
    #[arg(long = "bin-dir", value_name = "DIR", default_value_os_t = beside(), hide_default_value = true, global = true)]
    pub(crate) bin: PathBuf,
    /// Speed: an earlier build's three binaries. Only one consumer of each build runs, by turns
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) baseline: Option<PathBuf>,
    /// Where tables, plots and figures go
    #[arg(long, value_name = "DIR", default_value = "docs/bench", global = true)]
    pub(crate) out: PathBuf,
    /// Where bench/peers/install has put the peers
    #[arg(long, value_name = "DIR", default_value = ".dev/peers", global = true)]
    pub(crate) peers: PathBuf,
    /// A short run to see that all works: its figures mean little
    #[arg(long, global = true)]
    quick: bool,
    /// Only what has one of these words in its name, as in "Go,1 consumer,halved"
    #[arg(long, value_name = "WORDS", value_delimiter = ',', global = true)]
    only: Vec<String>,
    /// Speed: pages of 100 rows [default: 10000; quick: 500]
    #[arg(long, value_name = "N", global = true)]
    pages: Option<u64>,
    /// Speed: workers of each contestant
    #[arg(long, value_name = "N", default_value_t = 8, global = true)]
    pub(crate) workers: u32,
    /// Speed: how often each contestant runs, interleaved [default: 2; quick: 1]
    #[arg(long, value_name = "N", global = true)]
    rounds: Option<u32>,
    /// Quota: requests a second
    #[arg(long, value_name = "R", value_delimiter = ',', default_value = "5,50,500", global = true)]
    pub(crate) rates: Vec<u32>,
    /// Quota: consumers
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,4,16", global = true)]
    pub(crate) replicas: Vec<u32>,
    /// Quota: consumers of one more run at the highest rate; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 64, global = true)]
    pub(crate) crowd: u32,
    /// Quota: before anything is measured [default: 20s; quick: 5s]
    #[arg(long, value_name = "T", global = true)]
    warmup: Option<ConfigDuration>,
    /// Quota: how long is measured [default: 60s; quick: 10s]
    #[arg(long, value_name = "T", global = true)]
    measure: Option<ConfigDuration>,
    /// Quota: rows a page. Few, so that the quota is what limits, not the machine
    #[arg(long, value_name = "N", default_value_t = 10, global = true)]
    pub(crate) page_size: u32,
    /// Quota: how long a response takes
    #[arg(long, value_name = "RANGE", default_value = "20..300ms", global = true)]
    pub(crate) latency: String,
}

impl Args {
    pub(crate) fn pages(&self) -> u64 {
        self.pages.unwrap_or(if self.quick { 500 } else { 10_000 })
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 2 })
    }

    pub(crate) fn warmup(&self) -> Duration {
        self.span(&self.warmup, 20, 5)
    }

    pub(crate) fn measure(&self) -> Duration {
        self.span(&self.measure, 60, 10)
    }

    /// The longest that a recovery is waited for.
    pub(crate) fn recovery(&self) -> Duration {
        self.measure() * 3 / 2
    }

    fn span(&self, given: &Option<ConfigDuration>, seconds: u64, quick: u64) -> Duration {
        given
            .as_ref()
            .map_or(Duration::from_secs(if self.quick { quick } else { seconds }), ConfigDuration::get)
    }

    /// True if `--only` includes this.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
    }

    pub(crate) fn peers(&self) -> Peers {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Peers { installed: absolute(&self.peers), sources: absolute(Path::new("bench/peers")) }
    }
}

fn beside() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.parent().unwrap_or(Path::new(".")).to_owned()
}
