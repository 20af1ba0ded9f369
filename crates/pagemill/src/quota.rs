//! One quota for all replicas: request slots reserved in PostgreSQL, each request sent at its slot.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use pagemill_store::{DatabaseClock, Reserved, SlotGrant, Store, StoreError};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Slots are spaced so much wider than the rate asks: the API counts arrivals in a window of its
/// own, and arrivals jitter.
const MARGIN: f64 = 0.005;
/// A slot missed by more than the margin of a window of one second is void: sent late it would crowd
/// those after it.
const LATE: Duration = Duration::from_millis(5);
/// One round trip reserves at most so much of the rate.
const LEASE: Duration = Duration::from_millis(250);
/// Reserved slots begin a round trip ahead, as long as the last one took, within these bounds.
const LEAD: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_millis(500);
/// A reading of the database's clock is used for so long where no rate reads it anyway.
const CLOCK: Duration = Duration::from_secs(10);
/// A quota whose next slot is further away than this makes jobs wait in the queue instead of in a
/// worker; unless it is so slow that this is its ordinary pace.
const SHUT: Duration = Duration::from_secs(15);

/// The quota of one source, as seen by this process.
pub struct Quota {
    store: Store,
    key: String,
    per_second: Option<f64>,
    /// The newest epoch seen.
    epoch: Arc<AtomicI64>,
    requests: mpsc::Sender<oneshot::Sender<Answer>>,
    clock: Mutex<Option<DatabaseClock>>,
}

type Answer = Result<Slot, NoSlot>;

/// When a request may be sent.
#[derive(Clone, Copy, Debug)]
struct Slot {
    local: Instant,
    database: Timestamp,
    epoch: i64,
}

/// Why there is no slot.
#[derive(Clone, Debug)]
pub enum NoSlot {
    /// PostgreSQL cannot be asked.
    Unavailable(String),
    /// The quota is shut for so long: let the job wait in the queue.
    Shut(Duration),
}

impl Quota {
    /// The quota `key` at a rate in requests per second, or without a limit.
    pub fn new(store: Store, key: &str, per_second: Option<f64>) -> Self {
        let (requests, waiting) = mpsc::channel(1_024);
        let epoch = Arc::new(AtomicI64::new(0));
        if let Some(rate) = per_second {
            let slots = Slots {
                store: store.clone(),
                key: key.to_owned(),
                rate: rate / (1.0 + MARGIN),
                epoch: epoch.clone(),
            };
            tokio::spawn(slots.grant(waiting));
        }
        Self { store, key: key.to_owned(), per_second, epoch, requests, clock: Mutex::new(None) }
    }

    /// The permitted rate, in requests per second.
    pub fn per_second(&self) -> Option<f64> {
        self.per_second
    }

    /// Waits for a request slot. Returns the time of sending on the database's clock, with which
    /// the page is fenced. Only workers that stand ready reserve, so nothing is hoarded.
    ///
    /// # Errors
    /// [`NoSlot`]
    pub async fn acquire(&self) -> Result<Timestamp, NoSlot> {
        if self.per_second.is_none() {
            return self.database_time().await.map_err(|e| NoSlot::Unavailable(e.to_string()));
        }
        loop {
            let (sender, receiver) = oneshot::channel();
            let gone = || NoSlot::Unavailable("the quota has stopped".into());
            self.requests.send(sender).await.map_err(|_| gone())?;
            let slot = receiver.await.map_err(|_| gone())??;
            tokio::time::sleep_until(slot.local.into()).await;
            if slot.local.elapsed() <= LATE && slot.epoch >= self.epoch.load(Ordering::Relaxed) {
                return Ok(slot.database);
            }
            // This process was stopped or starved past its slot, or the quota was pushed back.
        }
    }

    /// The API asked for less: nobody sends for `pause`.
    ///
    /// # Errors
    /// As any query.
    pub async fn push_back(&self, pause: Duration) -> Result<(), StoreError> {
        if self.per_second.is_some() {
            let epoch = self.store.push_back_quota(&self.key, pause).await?;
            self.epoch.fetch_max(epoch, Ordering::Relaxed);
        }
        Ok(())
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

/// Reserves slots of one quota.
struct Slots {
    store: Store,
    key: String,
    rate: f64,
    epoch: Arc<AtomicI64>,
}

impl Slots {
    /// For whoever waits: as many as wait, at most a lease of them a round trip.
    async fn grant(self, mut waiting: mpsc::Receiver<oneshot::Sender<Answer>>) {
        let most = (self.rate * LEASE.as_secs_f64()).ceil().max(1.0) as usize;
        let mut batch = Vec::with_capacity(most);
        let mut lead = *LEAD.start();
        let horizon = SHUT.max(Duration::from_secs_f64(1.5 / self.rate));
        while waiting.recv_many(&mut batch, most).await > 0 {
            // Workers that were cancelled meanwhile get none.
            batch.retain(|w| !w.is_closed());
            if batch.is_empty() {
                continue;
            }
            let reserving = self.store.reserve_slots(&self.key, self.rate, batch.len() as u32, lead, horizon);
            let none = match reserving.await {
                Ok(Reserved::Slots(grant)) => {
                    lead = grant.clock.round_trip().clamp(*LEAD.start(), *LEAD.end());
                    self.epoch.fetch_max(grant.epoch, Ordering::Relaxed);
                    for (n, waiting) in (0..).zip(batch.drain(..)) {
                        // A worker cancelled during the round trip leaves its slot unused.
                        let _ = waiting.send(Ok(slot(&grant, n)));
                    }
                    continue;
                }
                Ok(Reserved::Shut(wait)) => NoSlot::Shut(wait),
                Err(error) => NoSlot::Unavailable(error.to_string()),
            };
            for waiting in batch.drain(..) {
                let _ = waiting.send(Err(none.clone()));
            }
        }
    }
}

fn slot(grant: &SlotGrant, n: u32) -> Slot {
    let local = grant.clock.instant_of(grant.first) + grant.interval * n;
    Slot { local, database: grant.clock.at(local), epoch: grant.epoch }
}
