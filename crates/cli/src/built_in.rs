//! The report that `pagemill run` pulls without a config: a source of the simulator's, in this process.

use std::time::Duration;

use pagemill_engine::config::{SecretRef, SourceConfig};
use pagemill_simulator::{Latency, Limits, Simulator, SimulatorConfig};

/// The built-in report: so many rows, at a rate that one process holds easily.
const ROWS: u64 = 100_000;
const RATE: u32 = 200;
const LATENCY: Latency = Latency { from: Duration::from_millis(20), to: Duration::from_millis(60) };
const ACCOUNT: &str = "1001";

/// Starts the simulator on any free port.
pub(crate) async fn simulate() -> anyhow::Result<Simulator> {
    let config = SimulatorConfig {
        port: 0,
        rows: ROWS,
        limits: Limits::per_second(RATE),
        latency: LATENCY,
        ..SimulatorConfig::default()
    };
    Ok(Simulator::start(config).await?)
}

/// The built-in source, against a simulator at `url`. Its days are final at once.
pub(crate) fn source(url: &str) -> SourceConfig {
    let overrides =
        format!("base_url = \"{url}\"\nrate = {{ per_second = {RATE} }}\nready_at = \"00:00\"\nrestate = []");
    let mut source = SourceConfig {
        streams: vec!["creative".into()],
        overrides: overrides.parse().expect("a constant form"),
        ..SourceConfig::of("xiaohongshu")
    };
    source.credential.accounts = Some(vec![ACCOUNT.into()].into());
    source.credential.token = Some(SecretRef::Inline("simulated".into()));
    source
}
