//! Others' programs for the same work, as `bench/peers/` keeps them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    servers::Servers,
    world::{ACCOUNT, DAY, TOKEN},
};

/// The endpoint of Pagemill's stream `creative`.
const PATH: &str = "/api/open/jg/data/report/offline/creative";
/// The metrics that the stream requests.
const COLUMNS: [&str; 18] = [
    "fee",
    "impression",
    "click",
    "ctr",
    "acp",
    "cpm",
    "like",
    "comment",
    "collect",
    "follow",
    "share",
    "interaction",
    "cpi",
    "actionButtonClick",
    "actionButtonCtr",
    "screenshot",
    "picSave",
    "reservePV",
];

/// Where peers are installed (`bench/peers/install`), and where their sources are.
pub(crate) struct Peers {
    pub(crate) installed: PathBuf,
    pub(crate) sources: PathBuf,
}

/// What a peer works on.
pub(crate) struct PeerTask<'a> {
    pub(crate) servers: &'a Servers,
    pub(crate) database: &'a str,
    pub(crate) queue: &'a str,
    pub(crate) api: &'a str,
    pub(crate) pages: u64,
    pub(crate) workers: u32,
}

impl Peers {
    /// A tool of theirs, or the word that it is missing.
    pub(crate) fn tool(&self, path: &str) -> Result<PathBuf, String> {
        let tool = self.installed.join(path);
        if tool.exists() { Ok(tool) } else { Err(format!("{path} is not installed (bench/peers/install)")) }
    }

    /// A peer's command, which learns from its environment what to pull from where.
    pub(crate) fn command(&self, tool: &Path, args: &[&str], task: &PeerTask<'_>) -> Command {
        let api = if tool.ends_with("faucet") { task.api.to_owned() } else { format!("{}{PATH}", task.api) };
        let mut command = Command::new(tool);
        command
            .args(args)
            .current_dir(&self.sources)
            .env("URL", api)
            .env("TOKEN", TOKEN)
            .env("REQUEST", request().to_string())
            .env("PAGES", task.pages.to_string())
            .env("WORKERS", task.workers.to_string())
            .env("PGURL", task.servers.database_url(task.database))
            .env("AMQP", &task.servers.amqp)
            .env("QUEUE", task.queue)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("RUNTIME__DLTHUB_TELEMETRY", "false");
        command
    }

    /// Versions that the installed programs print.
    pub(crate) fn versions(&self) -> Vec<String> {
        let mut versions = Vec::new();
        let mut version_of = |command: &mut Command| {
            if let Ok(output) = command.output()
                && output.status.success()
            {
                versions.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
            }
        };
        if self.tool("baseline").is_ok() {
            version_of(Command::new("go").arg("version"));
        }
        if let Ok(python) = self.tool("python/bin/python") {
            let code = "import importlib.metadata as m, sys\nprint('Python', sys.version.split()[0])\n\
                        for p in ('celery', 'psycopg', 'dlt'): print(p, m.version(p))";
            version_of(Command::new(python).args(["-c", code]));
        }
        if let Ok(faucet) = self.tool("faucet/bin/faucet") {
            version_of(Command::new(faucet).arg("--version"));
        }
        versions
    }
}

/// The body of a request, but for the page's number: Pagemill's own, so that the responses are equal
/// bytes.
fn request() -> Value {
    json!({
        "advertiser_id": ACCOUNT.parse::<u64>().unwrap_or_default(),
        "start_date": DAY,
        "end_date": DAY,
        "page_size": 100,
        "time_unit": "DAY",
        "data_caliber": 0,
        "sort_column": "creativity_id",
        "sort": "asc",
        "columns": COLUMNS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pagemill's definition and the peers request the same metrics.
    #[test]
    fn peers_ask_as_pagemill_does() {
        let shipped = include_str!("../../sources/xiaohongshu.toml");
        let basic = shipped.split("basic = [").nth(1).unwrap().split("\n]").next().unwrap();
        let names: Vec<&str> = basic
            .lines()
            .filter_map(|line| line.split("path = [\"").nth(1))
            .map(|path| path.split('"').next().unwrap().rsplit('.').next().unwrap())
            .collect();
        assert_eq!(names, COLUMNS);
        assert!(shipped.contains(&format!(
            "[stream.creative]\ntitle = \"Creatives, by day: basic metrics\"\npath = \"{PATH}\""
        )));
    }
}
