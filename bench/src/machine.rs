//! Where figures were measured.

use std::{fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::servers::Servers;

/// The machine, the servers, the program, the day.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    /// With `-dirty` where the work tree differs from it.
    pub(crate) commit: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) ram_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) postgres: String,
    pub(crate) rabbit: String,
    pub(crate) peers: Vec<String>,
}

impl Machine {
    pub(crate) async fn read(servers: &Servers, peers: Vec<String>) -> anyhow::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        Ok(Self {
            date: jiff::Timestamp::now().strftime("%F %H:%M UTC").to_string(),
            commit: commit().unwrap_or_else(|| "unknown".into()),
            cpu: field(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            ram_bytes: field(&meminfo, "MemTotal").and_then(|text| kib(&text)).unwrap_or_default(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            postgres: servers.query("select current_setting('server_version')").await?,
            rabbit: servers.rabbit_version().await?,
            peers,
        })
    }
}

/// What the bench itself wrote does not count as a difference.
fn commit() -> Option<String> {
    let head = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok()?;
    let name = String::from_utf8(head.stdout).ok()?.trim().to_owned();
    let differs = ["diff", "--quiet", "HEAD", "--", ".", ":(exclude)docs/bench"];
    let clean = Command::new("git").args(differs).status().ok()?.success();
    (!name.is_empty()).then(|| if clean { name } else { format!("{name}-dirty") })
}

/// `name : value`, the first.
fn field(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_their_indent() {
        let text = "processor\t: 0\nmodel name\t: A CPU @ 2.00GHz\nmodel name\t: another\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A CPU @ 2.00GHz"));
        assert_eq!(field(text, "bogomips"), None);
        assert_eq!(kib("24683520 kB"), Some(24_683_520 * 1024));
    }
}
