//! Reserves slots for workers that stand ready: as many as wait in one round trip, and no sooner than
//! they are needed.
//!
//! Waiting costs nothing while the quota's next slot is ahead of now. That is certain up to the end of
//! this replica's own last slots. Beyond it others have reserved since, most likely as many as stood
//! before this one when it came; half of that is trusted. So leases fill up, and round trips are few.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use pagemill_core::{QuotaScope, lease};
use pagemill_source::Definition;
use pagemill_store::{DatabaseClock, SlotGrant, SlotRequest, Store, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::{Key, NoSlot};
use crate::error::ServiceError;

/// Slots begin a round trip ahead, as long as the last one took, within these bounds.
const LEAD: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_millis(500);
/// Leases reach no further ahead than this, unless the rate is so slow that one slot does.
const HORIZON: Duration = Duration::from_secs(1);
/// A source that permits nothing for longer than this makes jobs wait in the queue instead of in a worker.
const SHUT: Duration = Duration::from_secs(15);
/// The same for one account or stream, whose jobs would keep workers from the others'.
const PARKED: Duration = Duration::from_secs(1);
/// A quota that is closed is asked so often all the same.
const RECHECK: Duration = Duration::from_secs(2);

/// A worker that waits for a slot.
pub(super) struct Waiting {
    pub(super) keys: Arc<[Arc<Key>]>,
    pub(super) answer: oneshot::Sender<Result<Slot, NoSlot>>,
}

/// When a request may be sent.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) local: Instant,
    pub(super) database: Timestamp,
    pub(super) epochs: Vec<(Arc<Key>, i64)>,
}

/// Reserves the slots of one source.
pub(super) struct Slots {
    store: Store,
    zone: String,
    replicas: Arc<AtomicU32>,
    /// Workers that wait, by the quotas that they fall under.
    groups: BTreeMap<Vec<String>, Group>,
    /// Keys whose limits are recorded.
    recorded: HashSet<String>,
    lead: Duration,
    clock: Option<DatabaseClock>,
}

/// Workers under the same quotas.
struct Group {
    keys: Arc<[Arc<Key>]>,
    waiting: VecDeque<oneshot::Sender<Result<Slot, NoSlot>>>,
    closed: Option<Closed>,
    /// Nothing is lost by not asking before.
    patient_until: Instant,
    /// The last slot that was reserved for it.
    last: Instant,
    /// Jobs sent back to the queue would take the quota's slots up to here.
    parked_until: Instant,
}

/// There is no slot for now.
#[derive(Clone, Copy)]
struct Closed {
    /// When there will be.
    opens: Instant,
    /// When to ask again: an operator may have opened it before.
    ask: Instant,
    /// Which of the group's keys has none.
    key: Option<usize>,
}

impl Slot {
    pub(super) fn is_valid(&self) -> bool {
        self.epochs.iter().all(|(key, epoch)| *epoch >= key.epoch())
    }
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

    pub(super) async fn run(mut self, mut receiver: mpsc::Receiver<Waiting>) {
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

    fn push(&mut self, waiting: Waiting) {
        let Waiting { keys, answer } = waiting;
        let names: Vec<String> = keys.iter().map(|key| key.name.clone()).collect();
        let replicas = self.replicas();
        let group = self.groups.entry(names).or_insert_with(|| Group::new(keys));
        group.waiting.push_back(answer);
        // A group that waits for a key of its own takes no more workers than will soon have a slot.
        if !group.may_ask(Instant::now()) {
            group.send_back(replicas);
        }
    }

    /// When to reserve next, if anybody waits.
    fn due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut due: Option<Instant> = None;
        let mut ready = 0;
        for group in self.groups.values_mut() {
            group.waiting.retain(|answer| !answer.is_closed());
            if group.waiting.is_empty() {
                continue;
            }
            let at = match group.closed {
                Some(Closed { ask, .. }) if ask > now => ask,
                _ => {
                    ready += group.waiting.len();
                    group.patient_until
                }
            };
            due = Some(due.map_or(at, |due| due.min(at)));
        }
        if ready >= self.lease() as usize { Some(now) } else { due }
    }

    /// The most slots of one round trip.
    fn lease(&self) -> u32 {
        let intervals = self.groups.values().flat_map(|group| group.keys.iter().map(|key| key.interval));
        // The shortest interval is the fastest quota's, which the others share.
        let shortest = intervals.filter(|interval| *interval > 0.0).fold(f64::INFINITY, f64::min);
        if shortest.is_finite() { lease(1.0 / shortest / self.replicas()) } else { u32::MAX >> 1 }
    }

    async fn reserve(&mut self) {
        let now = Instant::now();
        let ready: Vec<Vec<String>> = (self.groups.iter())
            .filter(|(_, group)| !group.waiting.is_empty() && group.may_ask(now))
            .map(|(names, _)| names.clone())
            .collect();
        if ready.is_empty() {
            return;
        }
        let each = self.lease().div_ceil(ready.len() as u32).max(1);
        let request = self.request(&ready, each);
        let grant = match self.granted(&request).await {
            Ok(grant) => grant,
            Err(none) => {
                for names in &ready {
                    self.groups.remove(names).into_iter().for_each(|group| group.refuse(&none));
                }
                return;
            }
        };
        self.lead = grant.clock.round_trip().clamp(*LEAD.start(), *LEAD.end());
        // A slow round trip, or one that waited for a lock, says less of the clock than an earlier one.
        let clock = self.clock.map_or(grant.clock, |clock| clock.or_newer(grant.clock));
        self.clock = Some(clock);
        let (lead, replicas) = (self.lead, self.replicas());
        for (g, names) in ready.iter().enumerate() {
            let group = self.groups.get_mut(names).expect("it was ready");
            group.take(g, &grant, &request, &clock, lead);
            if group.closed.is_some() {
                group.send_back(replicas);
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

    async fn granted(&mut self, request: &SlotRequest) -> Result<SlotGrant, NoSlot> {
        let unavailable = |error: StoreError| NoSlot::Unavailable(error.into());
        if let Some(grant) = self.known(request).await.map_err(unavailable)? {
            return Ok(grant);
        }
        // Somebody deleted a row.
        self.recorded.clear();
        let grant = self.known(request).await.map_err(unavailable)?;
        grant.ok_or_else(|| NoSlot::Unavailable(ServiceError::Broken("the quota's row is gone".into())))
    }

    async fn known(&mut self, request: &SlotRequest) -> Result<Option<SlotGrant>, StoreError> {
        let keys = self.groups.values().flat_map(|group| group.keys.iter());
        let new: Vec<Arc<Key>> = keys.filter(|key| !self.recorded.contains(&key.name)).cloned().collect();
        for key in new {
            self.store.ensure_quota(&key.name, &key.limits, &self.zone).await?;
            self.recorded.insert(key.name.clone());
        }
        self.store.reserve_slots(request).await
    }
}

impl Group {
    fn new(keys: Arc<[Arc<Key>]>) -> Self {
        let now = Instant::now();
        Self {
            keys,
            waiting: VecDeque::new(),
            closed: None,
            patient_until: now,
            last: now,
            parked_until: now,
        }
    }

    /// Hands out what was granted to group `g` of a request.
    fn take(
        &mut self,
        g: usize,
        grant: &SlotGrant,
        request: &SlotRequest,
        clock: &DatabaseClock,
        lead: Duration,
    ) {
        let names = &request.groups[g].0;
        let epochs: Vec<_> = self.keys.iter().cloned().zip(names.iter().map(|&k| grant.epochs[k])).collect();
        epochs.iter().for_each(|(key, epoch)| key.raise(*epoch));
        let read = grant.clock.read();
        for slot in &grant.slots[g] {
            let database = read + *slot;
            let slot = Slot { local: clock.instant_of(database), database, epochs: epochs.clone() };
            // A worker cancelled during the round trip leaves its slot unused.
            let _ = self.waiting.pop_front().map(|answer| answer.send(Ok(slot)));
        }
        if let (Some(first), Some(last)) = (grant.slots[g].first(), grant.slots[g].last()) {
            // What stood before this replica's slots and was not its own.
            let own = self.last.saturating_duration_since(clock.instant_of(read));
            let crowd = first.saturating_sub(own.max(request.lead));
            let end = clock.instant_of(read + *last);
            self.last = end;
            self.patient_until = (end + crowd / 2).checked_sub(2 * lead).unwrap_or(end);
        }
        self.closed = grant.waits[g].map(|(wait, key)| {
            let key = key.and_then(|key| names.iter().position(|&k| k == key));
            // Beyond the horizon others stand before it: it asks again when half of them are through.
            let early = if wait > request.horizon { request.horizon / 2 } else { 2 * lead };
            let now = Instant::now();
            let opens = clock.instant_of(read + wait.saturating_sub(early)).max(now + lead / 2);
            Closed { opens, ask: opens.min(now + RECHECK), key }
        });
    }

    /// Sends those back to the queue whose slot is too far away.
    fn send_back(&mut self, replicas: f64) {
        let Some(Closed { opens, key, .. }) = self.closed else { return };
        let now = Instant::now();
        let wait = opens.saturating_duration_since(now);
        let key = key.map(|k| &self.keys[k]);
        let interval = Duration::from_secs_f64(key.map_or(0.0, |key| key.interval) * replicas);
        let whole = key.is_none_or(|key| key.scope == QuotaScope::App);
        let patience = if whole { SHUT } else { PARKED }.max(interval + interval / 2);
        if whole {
            if wait > patience {
                let none = NoSlot::Shut(wait);
                self.waiting.drain(..).for_each(|answer| drop(answer.send(Err(none.clone()))));
            }
            return;
        }
        while !self.waiting.is_empty() {
            let place = self.waiting.len() as u32 - 1;
            if wait + interval * place <= patience {
                return;
            }
            // It comes back when those before it are through, the ones parked earlier too.
            let slot = self.parked_until.max(opens + interval * place);
            self.parked_until = slot + interval;
            let _ = self
                .waiting
                .pop_back()
                .map(|answer| answer.send(Err(NoSlot::Parked(slot.saturating_duration_since(now)))));
        }
    }

    fn refuse(mut self, none: &NoSlot) {
        self.waiting.drain(..).for_each(|answer| drop(answer.send(Err(none.clone()))));
    }

    fn may_ask(&self, now: Instant) -> bool {
        self.closed.is_none_or(|closed| closed.ask <= now)
    }

    /// Whether nothing needs to be remembered of it.
    fn is_idle(&self) -> bool {
        let now = Instant::now();
        self.waiting.is_empty() && self.may_ask(now) && self.patient_until <= now && self.parked_until <= now
    }
}
