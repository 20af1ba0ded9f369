use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use jiff::civil::Date;
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{
    config::SimulatorConfig,
    dataset::Dataset,
    day::Day,
    fault::{Fault, FaultKind},
    faults::Faults,
    grants::{Denial, Grants, TokenPair},
    level::Level,
    metrics::Metrics,
    page_request::PageRequest,
    quota::{Admission, Quota, Stream},
    response_cache::ResponseCache,
    stats::Stats,
};

/// Midnight in Shanghai is so much before midnight UTC. There has been no summer time since 1991.
const SHANGHAI: Duration = Duration::from_secs(8 * 3_600);

/// The sums of each account and day, made when first requested.
type Sums = HashMap<(String, Date), Arc<OnceCell<Metrics>>>;

/// What all connections share.
pub(crate) struct State {
    pub(crate) config: SimulatorConfig,
    started: Instant,
    quota: Mutex<Quota>,
    faults: Mutex<Faults>,
    stats: Mutex<Stats>,
    sums: Mutex<Sums>,
    /// Which changes have come to pass, and of what.
    changed: Mutex<HashSet<(FaultKind, String, Level, Date)>>,
    grants: Option<Mutex<Grants>>,
    /// Ok responses, if they are kept.
    pub(crate) cache: Option<ResponseCache>,
}

impl State {
    pub(crate) fn new(config: SimulatorConfig) -> Self {
        // A clock that stands before 1970 counts its days from when it is.
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + SHANGHAI;
        Self {
            started: Instant::now(),
            quota: Mutex::new(Quota::new(config.limits, clock)),
            faults: Mutex::new(Faults::new(config.seed, config.faults.clone())),
            stats: Mutex::default(),
            sums: Mutex::default(),
            changed: Mutex::default(),
            grants: config.oauth.clone().map(|oauth| Mutex::new(Grants::new(config.seed, oauth))),
            cache: config.rendered.then(|| ResponseCache::new(SimulatorConfig::MAX_RENDERED)),
            config,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = locked(&self.stats).clone();
        let mut quota = locked(&self.quota);
        stats.rate.now = quota.arrivals(self.started.elapsed());
        stats.rate.max = quota.fastest();
        stats
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        locked(&self.faults)
    }

    /// The limits that hold now, and what comes in their place if they change.
    pub(crate) fn quota(&self) -> MutexGuard<'_, Quota> {
        locked(&self.quota)
    }

    /// Counts a request for a report, and numbers it.
    pub(crate) fn arrive(&self) -> u64 {
        let mut stats = locked(&self.stats);
        stats.seen += 1;
        stats.seen
    }

    /// Counts what happened.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Stats)) {
        count(&mut locked(&self.stats));
    }

    /// True if the request that arrives now keeps within the limits; counted.
    pub(crate) fn admit(&self, of: Option<(&str, Stream)>) -> Admission {
        let mut quota = locked(&self.quota);
        // The clock is read under the lock, so that times never go back.
        let admission = quota.admit(self.started.elapsed(), of);
        drop(quota);
        self.count(|stats| match admission.exceeds {
            Some(scope) => stats.throttle(scope),
            None => stats.admitted += 1,
        });
        admission
    }

    /// The access token that the request must carry: its own if it was granted, else the fixed one; `None`
    /// if any will do.
    pub(crate) fn token<'a>(&'a self, given: &'a str) -> Option<&'a str> {
        let fixed = self.config.token.as_deref();
        let Some(grants) = &self.grants else { return fixed };
        let granted = locked(grants).accepts(given, self.started.elapsed());
        if granted { Some(given) } else { fixed.or(Some("")) }
    }

    /// Tokens for a code.
    pub(crate) fn exchange(&self, app: (&str, &str), code: &str) -> Result<TokenPair, Denial> {
        let mut grants = self.grants.as_ref().map(locked).ok_or(Denial::App)?;
        let pair = grants.exchange(app, code, self.started.elapsed())?.clone();
        self.count(|stats| stats.exchanges += 1);
        Ok(pair)
    }

    /// New tokens for a refresh token.
    pub(crate) fn refresh(&self, app: (&str, &str), token: &str) -> Result<TokenPair, Denial> {
        let mut grants = self.grants.as_ref().map(locked).ok_or(Denial::App)?;
        let pair = grants.refresh(app, token, self.started.elapsed())?.clone();
        self.count(|stats| stats.refreshes += 1);
        Ok(pair)
    }

    /// An access token dies before its time; a fixed one doesn't. False if it was dead already.
    pub(crate) fn expire(&self, access: &str) -> bool {
        self.grants.as_ref().is_none_or(|grants| locked(grants).expire(access))
    }

    /// What is held now of each requested day, where these changes are switched on.
    pub(crate) fn datasets(&self, request: &PageRequest, on: &[Fault]) -> Vec<Dataset> {
        let dataset = |date| {
            let changed = locked(&self.changed);
            let passed = |fault: &&Fault| match fault.kind {
                FaultKind::NeighbourDay => date == request.start,
                kind => changed.contains(&(kind, request.account.clone(), request.level, date)),
            };
            let changes: Vec<_> = on.iter().filter(passed).copied().collect();
            drop(changed);
            Dataset::new(&self.config, &request.account, request.level, date, &changes)
        };
        request.days().map(dataset).collect()
    }

    /// Applies the changes that wait for this page or an earlier one. If they waited for this page alone, it
    /// might be served last of all, and no client would see them.
    pub(crate) fn apply_changes(&self, request: &PageRequest) {
        for change in self.faults().changes() {
            if change.page.unwrap_or(1) <= request.page {
                let key = |date| (change.kind, request.account.clone(), request.level, date);
                let new = request.days().filter(|date| locked(&self.changed).insert(key(*date))).count();
                self.count(|stats| (0..new).for_each(|_| stats.strike(change.kind)));
            }
        }
    }

    /// The sums over all rows of all requested days; each whole day is summed once.
    pub(crate) async fn sums(&self, request: &PageRequest, days: &[Dataset]) -> Metrics {
        if let Some(parts) = &request.parts {
            let rows = days.iter().flat_map(Dataset::rows).filter(|row| parts.contains(&row.part()));
            return rows.fold(Metrics::default(), |sum, row| sum.plus(row.metrics));
        }
        let mut all = Metrics::default();
        for (date, dataset) in request.days().zip(days) {
            let cell = locked(&self.sums).entry((request.account.clone(), date)).or_default().clone();
            let sum = async || {
                let day = Day::new(&self.config, &request.account, date);
                spawn_blocking(move || day.total()).await.expect("sums are plain arithmetic")
            };
            let (more, less) = dataset.changed_sums();
            all += cell.get_or_init(sum).await.plus(more).minus(less);
        }
        all
    }
}

/// Nothing panics while it holds one of the locks; if it did, what they guard is still whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
