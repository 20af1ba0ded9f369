//! One quota for all replicas: request slots reserved in PostgreSQL, each request sent at its slot.
//!
//! ```text
//! keys     which quotas a request falls under                       keys.rs
//! slots    reserves for the workers that wait, late and in batches  slots.rs
//! group    workers under the same quotas that wait for their slots  group.rs
//! ```
//!
//! The rules of windows, of backing off and of recovering are SQL: `migrations/V4__quotas.sql`.

mod group;
mod keys;
mod slots;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use pagemill_core::{Budget, Failure, QuotaScope, Slice};
use pagemill_source::Definition;
use pagemill_store::{DatabaseClock, Store, StoreError};
use tokio::sync::{Mutex, mpsc, oneshot};

#[cfg(test)]
pub(crate) use self::group::{Group, ReservedSlot};
pub(crate) use self::keys::{QuotaKey, QuotaKeys};
use self::{group::WaitingWorker, slots::Slots};
use crate::error::ServiceError;

/// A slot missed by more than this is void: sent late it would crowd those after it. With the way to
/// the API it stays within the margin ([`pagemill_store::JITTER`]).
pub(crate) const LATE: Duration = Duration::from_millis(4);
/// How long a reading of the database's clock is used where no rate limit reads it anyway.
const CLOCK: Duration = Duration::from_secs(10);
/// Pause without any rate limit after a throttled response that has no `Retry-After`.
const PAUSE: Duration = Duration::from_secs(1);
/// The API's remaining budget is recorded no more often than this, unless none remains.
const OBSERVE: Duration = Duration::from_secs(1);

/// The quota of one source, as seen by this process.
pub struct Quota {
    store: Store,
    keys: QuotaKeys,
    waiting: mpsc::Sender<WaitingWorker>,
    replicas: Arc<AtomicU32>,
    clock: Mutex<Option<DatabaseClock>>,
    /// When the API's remaining budget was last recorded.
    observed_at: std::sync::Mutex<Option<Instant>>,
    /// End of the pause after a throttled response without any rate limit: it holds for this process.
    paused: std::sync::Mutex<Option<Instant>>,
}

/// A slot to send one request, now.
#[derive(Debug)]
pub struct RequestSlot {
    /// The time of sending on the database's clock: the page's fence.
    pub at: Timestamp,
    /// The quotas whose slots it took, and their epochs.
    epochs: Vec<(Arc<QuotaKey>, i64)>,
}

/// Why there is no slot.
#[derive(Clone, Debug)]
pub enum NoSlot {
    /// PostgreSQL is away.
    Unavailable(ServiceError),
    /// The quota of the account or the stream is used up for so long: its jobs wait in the queue, others go on.
    Snoozed(Duration),
    /// The quota of the whole source is used up: none of its requests can be sent for so long.
    Exhausted(Duration),
}

impl Quota {
    /// The quota of a source, as its definition has it.
    pub fn new(store: Store, definition: &Definition) -> Self {
        let (waiting, receiver) = mpsc::channel(1_024);
        let replicas = Arc::new(AtomicU32::new(1));
        let keys = QuotaKeys::new(definition);
        if !keys.is_unlimited() {
            tokio::spawn(Slots::new(store.clone(), definition, replicas.clone()).run(receiver));
        }
        Self {
            store,
            keys,
            waiting,
            replicas,
            clock: Mutex::default(),
            observed_at: Default::default(),
            paused: Default::default(),
        }
    }

    /// Requests a second that the source permits, over all its windows.
    pub fn per_second(&self) -> Option<f64> {
        self.keys.sustained()
    }

    /// Sets the number of consumers that share the quota: reservations are sized by it.
    pub fn set_replicas(&self, replicas: u32) {
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
    }

    /// Waits for a request slot. Only workers that stand ready reserve, so nothing is hoarded.
    ///
    /// # Errors
    /// [`NoSlot`]
    pub async fn acquire(&self, slice: &Slice) -> Result<RequestSlot, NoSlot> {
        let keys = self.keys.of(slice);
        if keys.is_empty() {
            let paused = *locked(&self.paused);
            if let Some(until) = paused {
                tokio::time::sleep_until(until.into()).await;
            }
            let at = self.database_time().await.map_err(|e| NoSlot::Unavailable(e.into()))?;
            return Ok(RequestSlot { at, epochs: vec![] });
        }
        wait_for_slot(&self.waiting, keys).await
    }

    /// Records a throttled response.
    ///
    /// # Errors
    /// PostgreSQL being away.
    pub async fn throttled(&self, slot: &RequestSlot, failure: &Failure) -> Result<(), StoreError> {
        let pause = failure.retry_after;
        let Some((key, epoch)) = of_scope(&slot.epochs, failure.quota) else {
            *locked(&self.paused) = Some(Instant::now() + pause.unwrap_or(PAUSE));
            return Ok(());
        };
        if let Some(back_off) = self.store.quotas.back_off(&key.name, *epoch, pause).await? {
            key.raise_epoch(back_off.epoch);
            if back_off.backed_off {
                let percent = (back_off.rate_factor * 100.0).round();
                tracing::warn!(quota = key.name, "throttled: the rate backs off to {percent} %");
            }
        }
        Ok(())
    }

    /// Records how many requests the API states as remaining.
    ///
    /// # Errors
    /// PostgreSQL being away.
    pub async fn observe_budget(&self, slot: &RequestSlot, budget: Budget) -> Result<(), StoreError> {
        let Some((key, _)) = slot.epochs.first() else {
            if budget.remaining == 0 {
                *locked(&self.paused) = Some(Instant::now() + budget.reset);
            }
            return Ok(());
        };
        if f64::from(budget.remaining) * key.interval >= budget.reset.as_secs_f64() {
            return Ok(());
        }
        {
            let mut observed_at = locked(&self.observed_at);
            if budget.remaining > 0 && observed_at.is_some_and(|last| last.elapsed() < OBSERVE) {
                return Ok(());
            }
            *observed_at = Some(Instant::now());
        }
        self.store.quotas.observe_budget(&key.name, budget.remaining, budget.reset).await
    }

    /// Has the next slot read the database's clock.
    #[cfg(test)]
    pub(crate) async fn forget_clock(&self) {
        *self.clock.lock().await = None;
    }

    async fn database_time(&self) -> Result<Timestamp, StoreError> {
        let mut clock = self.clock.lock().await;
        let fresh = match *clock {
            Some(clock) if clock.age() < CLOCK => clock,
            _ => self.store.clock().await?,
        };
        *clock = Some(fresh);
        Ok(fresh.now())
    }
}

/// Waits for a slot that is neither missed nor void.
async fn wait_for_slot(
    waiting: &mpsc::Sender<WaitingWorker>,
    keys: Arc<[Arc<QuotaKey>]>,
) -> Result<RequestSlot, NoSlot> {
    loop {
        let (reply, slot) = oneshot::channel();
        let gone = || NoSlot::Unavailable(ServiceError::Broken("the quota has stopped".into()));
        waiting.send(WaitingWorker { keys: keys.clone(), reply }).await.map_err(|_| gone())?;
        let slot = slot.await.map_err(|_| gone())??;
        tokio::time::sleep_until(slot.local.into()).await;
        if slot.is_usable_at(Instant::now()) {
            return Ok(RequestSlot { at: slot.database, epochs: slot.epochs });
        }
    }
}

/// The quota of a throttled response: the one of that scope, or the nearest that there is.
fn of_scope(slots: &[(Arc<QuotaKey>, i64)], scope: QuotaScope) -> Option<&(Arc<QuotaKey>, i64)> {
    slots.iter().find(|(key, _)| key.scope == scope).or(slots.first())
}

fn locked(at: &std::sync::Mutex<Option<Instant>>) -> std::sync::MutexGuard<'_, Option<Instant>> {
    at.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use pagemill_store::QuotaLimits;

    use super::{group::ReservedSlot, *};

    const LIMITS: QuotaLimits =
        QuotaLimits { per_second: Some(10.0), per_minute: None, per_day: None, burst: 1 };

    fn key() -> Arc<QuotaKey> {
        Arc::new(QuotaKey::new("test".into(), QuotaScope::App, LIMITS, 0.1))
    }

    fn slot(key: &Arc<QuotaKey>, epoch: i64, local: Instant, at: i64) -> ReservedSlot {
        let database = Timestamp::from_second(at).unwrap();
        ReservedSlot { local, database, epochs: vec![(key.clone(), epoch)] }
    }

    /// The slot that a worker takes when it gets this one of second 1, and then good ones of second 2. A busy machine
    /// may miss some of those.
    async fn second_taken(key: &Arc<QuotaKey>, first: ReservedSlot) -> i64 {
        let (waiting, mut workers) = mpsc::channel::<WaitingWorker>(1);
        let good_key = key.clone();
        tokio::spawn(async move {
            let mut first = Some(first);
            while let Some(worker) = workers.recv().await {
                let good = || slot(&good_key, good_key.epoch(), Instant::now() + Duration::from_millis(5), 2);
                let _ = worker.reply.send(Ok(first.take().unwrap_or_else(good)));
            }
        });
        wait_for_slot(&waiting, [key.clone()].into()).await.unwrap().at.as_second()
    }

    #[tokio::test]
    async fn a_slot_that_was_missed_is_not_used() {
        let key = key();
        let missed = Instant::now() - LATE - Duration::from_millis(20);
        assert_eq!(second_taken(&key, slot(&key, 0, missed, 1)).await, 2);
    }

    #[tokio::test]
    async fn a_slot_of_an_older_epoch_is_not_used() {
        let (key, soon) = (key(), Instant::now() + Duration::from_millis(20));
        key.raise_epoch(7);
        assert_eq!(second_taken(&key, slot(&key, 6, soon, 1)).await, 2);
    }

    /// A worker that waits for its slot learns of the new epoch meanwhile.
    #[tokio::test]
    async fn a_slot_is_void_if_the_rate_backs_off_before_it() {
        let (key, soon) = (key(), Instant::now() + Duration::from_millis(50));
        let raising = {
            let key = key.clone();
            tokio::spawn(async move { key.raise_epoch(1) })
        };
        let second = second_taken(&key, slot(&key, 0, soon, 1)).await;
        raising.await.unwrap();
        assert_eq!(second, 2);
    }
}
