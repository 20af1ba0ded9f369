//! One quota for all replicas: request slots reserved in PostgreSQL, each request sent at its slot.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use pagemill_store::{DatabaseClock, SlotGrant, Store, StoreError};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Slots are spaced so much wider than the rate asks: the API counts arrivals in a window of its
/// own, and arrivals jitter.
const MARGIN: f64 = 1.005;
/// One round trip reserves at most so much of the rate.
const LEASE: Duration = Duration::from_millis(250);
/// A slot missed by more than this is void: sent late it would crowd those after it.
const LATE: Duration = Duration::from_millis(100);
/// A reading of the database's clock is used for so long where no rate reads it anyway.
const CLOCK: Duration = Duration::from_secs(10);
/// A quota that is shut for longer than this makes jobs wait in the queue instead of in a worker.
const SHUT: Duration = Duration::from_secs(15);

/// The quota of one source, as seen by this process.
pub struct Quota {
    store: Store,
    key: String,
    per_second: Option<f64>,
    requests: mpsc::Sender<oneshot::Sender<Answer>>,
    clock: Mutex<Option<DatabaseClock>>,
}

type Answer = Result<Slot, String>;

/// When a request may be sent.
#[derive(Clone, Copy, Debug)]
struct Slot {
    local: Instant,
    database: Timestamp,
}

/// Why there is no slot.
#[derive(Debug)]
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
        if let Some(rate) = per_second {
            tokio::spawn(grant(store.clone(), key.to_owned(), rate / MARGIN, waiting));
        }
        Self { store, key: key.to_owned(), per_second, requests, clock: Mutex::new(None) }
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
            let slot = receiver.await.map_err(|_| gone())?.map_err(NoSlot::Unavailable)?;
            let wait = slot.local.saturating_duration_since(Instant::now());
            if wait > SHUT {
                return Err(NoSlot::Shut(wait));
            }
            tokio::time::sleep_until(slot.local.into()).await;
            if slot.local.elapsed() <= LATE {
                return Ok(slot.database);
            }
            // This process was stopped or starved past its slot.
        }
    }

    /// The API asked for less: nobody sends for `pause`.
    ///
    /// # Errors
    /// As any query.
    pub async fn push_back(&self, pause: Duration) -> Result<(), StoreError> {
        match self.per_second {
            Some(_) => self.store.push_back_quota(&self.key, pause).await,
            None => Ok(()),
        }
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

/// Reserves slots for whoever waits, as many as wait, at most a lease of them a round trip.
async fn grant(store: Store, key: String, rate: f64, mut waiting: mpsc::Receiver<oneshot::Sender<Answer>>) {
    let most = (rate * LEASE.as_secs_f64()).ceil().max(1.0) as usize;
    let mut batch = Vec::with_capacity(most);
    while waiting.recv_many(&mut batch, most).await > 0 {
        // Workers that were cancelled meanwhile get none.
        batch.retain(|w| !w.is_closed());
        if batch.is_empty() {
            continue;
        }
        match store.reserve_slots(&key, rate, batch.len() as u32).await {
            Ok(grant) => {
                for (n, waiting) in (0..).zip(batch.drain(..)) {
                    // A worker cancelled during the round trip leaves its slot unused.
                    let _ = waiting.send(Ok(slot(&grant, n)));
                }
            }
            Err(error) => {
                for waiting in batch.drain(..) {
                    let _ = waiting.send(Err(error.to_string()));
                }
            }
        }
    }
}

fn slot(grant: &SlotGrant, n: u32) -> Slot {
    let local = grant.clock.instant_of(grant.first) + grant.interval * n;
    Slot { local, database: grant.clock.at(local) }
}
