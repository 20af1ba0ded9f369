//! What is measured of a run, as it is kept in JSON.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{
    api,
    servers::{ServerCpu, Servers},
};

/// One run of a contestant or a limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) name: String,
    /// From 1.
    pub(crate) round: u32,
    /// From the start of the program (of the consumers, where there is a queue) until all is stored.
    pub(crate) seconds: f64,
    /// Where there is a queue: from the start of the publishing program to its end.
    pub(crate) publish_seconds: Option<f64>,
    /// Rows, or jobs where nothing else is moved.
    pub(crate) rows: u64,
    pub(crate) pages: u64,
    /// CPU seconds over `seconds`.
    pub(crate) cpu: Cpu,
    /// The most that the largest process had resident, in bytes.
    pub(crate) peak_rss: Option<u64>,
    /// How many processes it was.
    pub(crate) processes: usize,
}

/// CPU seconds; `None` where there is no such process, or none to be seen from here.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) program: Option<f64>,
    #[serde(flatten)]
    pub(crate) servers: ServerCpu,
    pub(crate) api: Option<f64>,
}

impl Run {
    pub(crate) fn rows_a_second(&self) -> f64 {
        self.rows as f64 / self.seconds
    }

    pub(crate) fn per_million_rows(&self, cpu: Option<f64>) -> Option<f64> {
        Some(cpu? * 1e6 / self.rows as f64)
    }
}

/// CPU of the servers and the API over an interval.
pub(crate) struct Meter<'a> {
    servers: &'a Servers,
    api: Option<&'a str>,
    begun: Instant,
    before: Cpu,
}

impl<'a> Meter<'a> {
    /// Begins. `api` is its URL.
    pub(crate) fn start(servers: &'a Servers, api: Option<&'a str>) -> Self {
        let before = read(servers, api);
        Self { servers, api, begun: Instant::now(), before }
    }

    /// Seconds and CPU since the beginning; the program's is left to the caller.
    pub(crate) fn read(&self) -> (f64, Cpu) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let now = read(self.servers, self.api);
        let minus = |now: Option<f64>, before: Option<f64>| Some(now? - before?);
        let servers = ServerCpu {
            postgres: minus(now.servers.postgres, self.before.servers.postgres),
            rabbit: minus(now.servers.rabbit, self.before.servers.rabbit),
        };
        (seconds, Cpu { program: None, servers, api: minus(now.api, self.before.api) })
    }
}

fn read(servers: &Servers, api: Option<&str>) -> Cpu {
    Cpu { program: None, servers: servers.cpu(), api: api.and_then(api::cpu_of) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn run(name: &str, round: u32, seconds: f64) -> Run {
        Run {
            name: name.into(),
            round,
            seconds,
            publish_seconds: None,
            rows: 1_000,
            pages: 10,
            cpu: Cpu::default(),
            peak_rss: None,
            processes: 1,
        }
    }

    #[test]
    fn cost_is_per_million_rows() {
        assert_eq!(run("a", 1, 1.0).per_million_rows(Some(0.005)), Some(5.0));
        assert_eq!(run("a", 1, 1.0).per_million_rows(None), None);
    }
}
