//! The simulated API, as a process of its own.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::{proc, process::Program};

/// `pagemill simulate`.
pub(crate) struct Api {
    /// Lives as long as this.
    _program: Program,
    http: reqwest::Client,
    pub(crate) url: String,
}

/// What the API has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Requests that came.
    pub(crate) seen: u64,
    /// Within the rate.
    pub(crate) admitted: u64,
    pub(crate) throttled: u64,
}

impl Counts {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            seen: self.seen - earlier.seen,
            admitted: self.admitted - earlier.admitted,
            throttled: self.throttled - earlier.throttled,
        }
    }
}

impl Api {
    /// Starts it on a port of its own, and waits until it serves.
    pub(crate) async fn start(bin: &Path, args: &[String], log: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(bin.join("pagemill"));
        command.args(["simulate", "--port", "0"]).args(args);
        let program = Program::start(command, log)?;
        let url = loop {
            ensure!(program.is_alive(), "the simulator ended: {}", program.output());
            let output = program.output();
            if let Some(url) = output.split_whitespace().find(|word| word.starts_with("http://"))
                && output.contains('\n')
            {
                break url.trim_end_matches(';').to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { _program: program, http, url })
    }

    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        let text = self.http.get(format!("{}/stats", self.url)).send().await?.text().await?;
        serde_json::from_str(&text).context("the simulator's /stats")
    }

    pub(crate) async fn control(&self, command: serde_json::Value) -> anyhow::Result<()> {
        let request = self.http.post(format!("{}/control", self.url)).body(command.to_string());
        let response = request.send().await?;
        let status = response.status();
        ensure!(status.is_success(), "/control {command}: {status} {}", response.text().await?);
        Ok(())
    }
}

/// CPU seconds of the simulator that serves this URL.
pub(crate) fn cpu_of(url: &str) -> Option<f64> {
    let port = reqwest::Url::parse(url).ok()?.port()?;
    proc::listener(port, "pagemill").and_then(proc::cpu_with_children)
}
