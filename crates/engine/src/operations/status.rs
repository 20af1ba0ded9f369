//! The newest runs, and when their data is expected.

use pagemill_store::{Pace, RunStatus, Store};

use crate::{
    config::Config,
    error::SourceError,
    run::deadline::{Timeliness, timeliness},
    sources::{self, ResolvedSource},
};

/// The most runs that are listed.
const MOST_RUNS: i64 = 20;

/// The sources of a config that have a deadline; the others need not be in order.
///
/// # Errors
/// [`SourceError`] for a source that cannot be used.
pub fn sources_with_deadline(config: &Config) -> Result<Vec<ResolvedSource>, SourceError> {
    let with: Vec<_> = config.sources.iter().filter(|s| s.deadline.is_some()).cloned().collect();
    sources::resolve(&with)
}

/// The newest runs.
///
/// # Errors
/// PostgreSQL being away.
pub async fn recent_runs(store: &Store) -> anyhow::Result<Vec<RunStatus>> {
    Ok(store.runs.recent(MOST_RUNS).await?)
}

/// When each source's share of a run ends, for the sources that have a deadline.
///
/// # Errors
/// No such run; PostgreSQL being away.
pub async fn timeliness_of(
    store: &Store,
    sources: &[ResolvedSource],
    run: i64,
) -> anyhow::Result<Vec<Timeliness>> {
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let pace = store.runs.pace(run).await?;
    let of_source = |p: &Pace| {
        let source = sources.iter().find(|s| s.name() == p.source)?;
        let rate = source.definition().rate().average(p.remaining);
        timeliness(&pace, p, rate, source.deadline()?, source.definition().zone())
    };
    Ok(pace.sources.iter().filter_map(of_source).collect())
}
