//! Reserves slots for workers that wait: as many as wait in one round trip, and no sooner than they are
//! needed.
//!
//! Waiting costs nothing while the quota's next slot is ahead of now. That is certain up to the end of
//! this replica's own last slots. Beyond it others have reserved since, most likely as many as stood
//! before this one when it came; half of that is trusted. So batches fill up, and round trips are few.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use pagemill_core::slot_batch;
use pagemill_source::Definition;
use pagemill_store::{DatabaseClock, SlotGrant, SlotRequest, Store, StoreError};
use tokio::sync::mpsc;

use super::{
    NoSlot, QuotaKey,
    group::{Closed, Group, WaitingWorker},
};
use crate::error::ServiceError;

/// Slots of one reservation where no quota limits them; the ledger counts them in 32 signed bits.
const UNLIMITED: u32 = i32::MAX.unsigned_abs();
/// Slots begin a round trip ahead, as long as the last one took, within these bounds.
const LEAD: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_millis(500);
/// Batches reach no further ahead than this, unless the rate is so slow that one slot does.
const HORIZON: Duration = Duration::from_secs(1);

/// Reserves the slots of one source.
pub(super) struct Slots {
    store: Store,
    zone: String,
    replicas: Arc<AtomicU32>,
    /// Workers that wait, by the quotas that they fall under.
    groups: BTreeMap<Vec<String>, Group>,
    /// Names of the keys whose limits are recorded.
    recorded: HashSet<String>,
    lead: Duration,
    clock: Option<DatabaseClock>,
}

impl Slots {
    pub(super) fn new(store: Store, definition: &Definition, replicas: Arc<AtomicU32>) -> Self {
        Self {
            store,
            zone: definition.time_zone().to_owned(),
            replicas,
            groups: BTreeMap::new(),
            recorded: HashSet::new(),
            lead: *LEAD.start(),
            clock: None,
        }
    }

    pub(super) async fn run(mut self, mut receiver: mpsc::Receiver<WaitingWorker>) {
        loop {
            let due = self.due();
            tokio::select! {
                waiting = receiver.recv() => {
                    let Some(waiting) = waiting else { return };
                    self.push(waiting);
                    while let Ok(waiting) = receiver.try_recv() {
                        self.push(waiting);
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                    self.reserve().await;
                }
            }
        }
    }

    fn replicas(&self) -> f64 {
        f64::from(self.replicas.load(Ordering::Relaxed))
    }

    fn push(&mut self, waiting: WaitingWorker) {
        let WaitingWorker { keys, reply } = waiting;
        let names: Vec<String> = keys.iter().map(|key| key.name.clone()).collect();
        let replicas = self.replicas();
        let group = self.groups.entry(names).or_insert_with(|| Group::new(keys));
        group.waiting.push_back(reply);
        // A group that waits for a key of its own keeps no more workers than will soon have a slot.
        if !group.may_reserve(Instant::now()) {
            group.snooze_distant(replicas);
        }
    }

    /// When to reserve next, if anybody waits.
    fn due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut due: Option<Instant> = None;
        let mut ready = 0;
        for group in self.groups.values_mut() {
            group.waiting.retain(|reply| !reply.is_closed());
            if group.waiting.is_empty() {
                continue;
            }
            let at = match group.closed {
                Some(Closed { reserve_at, .. }) if reserve_at > now => reserve_at,
                _ => {
                    ready += group.waiting.len();
                    group.patient_until
                }
            };
            due = Some(due.map_or(at, |due| due.min(at)));
        }
        if ready >= self.slots_per_round_trip() as usize { Some(now) } else { due }
    }

    /// The most slots of one round trip.
    fn slots_per_round_trip(&self) -> u32 {
        let intervals = self.groups.values().flat_map(|group| group.keys.iter().map(|key| key.interval));
        // The shortest interval is the fastest quota's, which the others share.
        let shortest = intervals.filter(|interval| *interval > 0.0).fold(f64::INFINITY, f64::min);
        if shortest.is_finite() { slot_batch(1.0 / shortest / self.replicas()) } else { UNLIMITED }
    }

    async fn reserve(&mut self) {
        let now = Instant::now();
        let ready: Vec<Vec<String>> = (self.groups.iter())
            .filter(|(_, group)| !group.waiting.is_empty() && group.may_reserve(now))
            .map(|(names, _)| names.clone())
            .collect();
        if ready.is_empty() {
            return;
        }
        let each = self.slots_per_round_trip().div_ceil(ready.len() as u32).max(1);
        let request = self.request(&ready, each);
        let grant = match self.grant(&request).await {
            Ok(grant) => grant,
            Err(none) => {
                for names in &ready {
                    self.groups.remove(names).into_iter().for_each(|group| group.refuse(&none));
                }
                return;
            }
        };
        self.lead = grant.clock.round_trip().clamp(*LEAD.start(), *LEAD.end());
        // A slow round trip, or one that waited for a lock, is less precise about the clock than an earlier one.
        let clock = self.clock.map_or(grant.clock, |clock| clock.or_newer(grant.clock));
        self.clock = Some(clock);
        let (lead, replicas) = (self.lead, self.replicas());
        for (g, names) in ready.iter().enumerate() {
            let group = self.groups.get_mut(names).expect("it was ready");
            group.hand_out(g, &grant, &request, &clock, lead);
            if group.closed.is_some() {
                group.snooze_distant(replicas);
            }
        }
        self.groups.retain(|_, group| !group.is_idle());
    }

    fn request(&self, ready: &[Vec<String>], each: u32) -> SlotRequest {
        let mut keys: Vec<String> = ready.iter().flatten().cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        let place = |name: &String| keys.binary_search(name).expect("just collected");
        let groups = ready.iter().map(|names| {
            let wants = (self.groups[names].waiting.len() as u32).min(each);
            (names.iter().map(place).collect(), wants)
        });
        let groups = groups.collect();
        let longest = ready.iter().flat_map(|names| self.groups[names].keys.iter()).map(|key| key.interval);
        let longest = Duration::from_secs_f64(2.0 * self.replicas() * longest.fold(0.0, f64::max));
        SlotRequest { keys, groups, lead: self.lead, horizon: HORIZON.max(longest) }
    }

    async fn grant(&mut self, request: &SlotRequest) -> Result<SlotGrant, NoSlot> {
        let unavailable = |error: StoreError| NoSlot::Unavailable(error.into());
        if let Some(grant) = self.try_reserve(request).await.map_err(unavailable)? {
            return Ok(grant);
        }
        // Somebody deleted a row.
        self.recorded.clear();
        let grant = self.try_reserve(request).await.map_err(unavailable)?;
        grant.ok_or_else(|| NoSlot::Unavailable(ServiceError::Broken("the quota's row is gone".into())))
    }

    async fn try_reserve(&mut self, request: &SlotRequest) -> Result<Option<SlotGrant>, StoreError> {
        let keys = self.groups.values().flat_map(|group| group.keys.iter());
        let new: Vec<Arc<QuotaKey>> =
            keys.filter(|key| !self.recorded.contains(&key.name)).cloned().collect();
        for key in new {
            self.store.quotas.ensure(&key.name, &key.limits, &self.zone).await?;
            self.recorded.insert(key.name.clone());
        }
        self.store.quotas.reserve(request).await
    }
}
