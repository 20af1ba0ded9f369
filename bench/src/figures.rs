//! What is measured, as it is kept in JSON, and how figures of several rounds become one.

use std::{collections::BTreeMap, time::Instant};

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

/// The middle figure, or the mean of the two in the middle.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        n if n % 2 == 1 => Some(figures[middle]),
        _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
    }
}

/// Half of the distance between the extremes, as a share of the median.
pub(crate) fn spread(figures: &[f64]) -> Option<f64> {
    let (low, high) = figures.iter().fold((f64::MAX, f64::MIN), |(l, h), f| (l.min(*f), h.max(*f)));
    let middle = median(figures.iter().copied())?;
    (middle != 0.0).then(|| (high - low) / 2.0 / middle)
}

/// A contestant's rows/s over another's, each within its round, and the median of that.
pub(crate) fn ratio(runs: &[Run], name: &str, over: &str) -> Option<f64> {
    let speeds = |of: &str| -> BTreeMap<u32, f64> {
        runs.iter().filter(|r| r.name == of).map(|r| (r.round, r.rows_a_second())).collect()
    };
    let over = speeds(over);
    median(speeds(name).into_iter().filter_map(|(round, speed)| Some(speed / over.get(&round)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, round: u32, seconds: f64) -> Run {
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
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
        assert_eq!(spread(&[90.0, 110.0, 100.0]), Some(0.1));
        assert_eq!(spread(&[5.0]), Some(0.0));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        // The machine is half as fast in the second round: the ratio is the same.
        let runs = [run("a", 1, 1.0), run("b", 1, 4.0), run("a", 2, 2.0), run("b", 2, 8.0), run("a", 3, 1.0)];
        assert_eq!(ratio(&runs, "a", "b"), Some(4.0));
        assert_eq!(ratio(&runs, "a", "c"), None);
    }

    #[test]
    fn cost_is_per_million_rows() {
        assert_eq!(run("a", 1, 1.0).per_million_rows(Some(0.005)), Some(5.0));
        assert_eq!(run("a", 1, 1.0).per_million_rows(None), None);
    }
}
