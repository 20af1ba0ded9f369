use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::civil::Date;
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{
    SimulatorConfig, Stats,
    fault::Faults,
    oauth::{Denial, Grants, Pair},
    quota::Quota,
    row::{Day, Metrics},
    xiaohongshu::Asked,
};

/// The sums of each account and day, made when first asked for.
type Sums = HashMap<(String, Date), Arc<OnceCell<Metrics>>>;

/// What all connections share.
pub(crate) struct State {
    pub(crate) config: SimulatorConfig,
    started: Instant,
    quota: Mutex<Quota>,
    faults: Mutex<Faults>,
    stats: Mutex<Stats>,
    sums: Mutex<Sums>,
    grants: Option<Mutex<Grants>>,
}

impl State {
    pub(crate) fn new(config: SimulatorConfig) -> Self {
        Self {
            started: Instant::now(),
            quota: Mutex::new(Quota::new(config.rate)),
            faults: Mutex::new(Faults::new(config.seed, config.faults.clone())),
            stats: Mutex::default(),
            sums: Mutex::default(),
            grants: config.oauth.clone().map(|oauth| Mutex::new(Grants::new(config.seed, oauth))),
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

    /// Whether the request that arrives now keeps within the rate.
    pub(crate) fn admit(&self) -> bool {
        let mut quota = locked(&self.quota);
        // The clock is read under the lock, so that times never go back.
        quota.admit(self.started.elapsed())
    }

    /// Whether a report may be read with this access token.
    pub(crate) fn accepts(&self, access: &str) -> bool {
        let fixed = self.config.token.as_deref();
        let granted = || {
            let grants = self.grants.as_ref();
            grants.map(|grants| locked(grants).accepts(access, self.started.elapsed()))
        };
        !access.is_empty() && (fixed == Some(access) || granted().unwrap_or_else(|| fixed.is_none()))
    }

    /// Tokens for a code.
    pub(crate) fn exchange(&self, app: (&str, &str), code: &str) -> Result<Pair, Denial> {
        let mut grants = self.grants.as_ref().map(locked).ok_or(Denial::App)?;
        let pair = grants.exchange(app, code, self.started.elapsed())?.clone();
        self.count(|stats| stats.exchanges += 1);
        Ok(pair)
    }

    /// New tokens for a refresh token.
    pub(crate) fn refresh(&self, app: (&str, &str), token: &str) -> Result<Pair, Denial> {
        let mut grants = self.grants.as_ref().map(locked).ok_or(Denial::App)?;
        let pair = grants.refresh(app, token, self.started.elapsed())?.clone();
        self.count(|stats| stats.refreshes += 1);
        Ok(pair)
    }

    /// An access token dies before its time; a fixed one doesn't.
    pub(crate) fn expire(&self, access: &str) {
        if let Some(grants) = &self.grants {
            locked(grants).expire(access);
        }
    }

    /// The sums over all rows of all days asked for; each day is summed once.
    pub(crate) async fn sums(&self, asked: &Asked) -> Metrics {
        let mut all = Metrics::default();
        for date in asked.days() {
            let cell = locked(&self.sums).entry((asked.account.clone(), date)).or_default().clone();
            let sum = async || {
                let day = Day::new(&self.config, &asked.account, date);
                spawn_blocking(move || day.total()).await.expect("sums are plain arithmetic")
            };
            all += *cell.get_or_init(sum).await;
        }
        all
    }
}

/// Nothing panics while it holds one of the locks; if it did, what they guard is still whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
