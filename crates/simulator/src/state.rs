use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::civil::Date;
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{
    SimulatorConfig, Stats,
    dialect::Asked,
    fault::Faults,
    quota::Quota,
    row::{Day, Metrics},
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
}

impl State {
    pub(crate) fn new(config: SimulatorConfig) -> Self {
        Self {
            started: Instant::now(),
            quota: Mutex::new(Quota::new(config.rate)),
            faults: Mutex::new(Faults::new(config.seed, config.faults.clone())),
            stats: Mutex::default(),
            sums: Mutex::default(),
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
