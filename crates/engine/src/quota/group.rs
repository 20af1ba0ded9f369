//! Workers under the same quotas that wait for their slots.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use pagemill_core::QuotaScope;
use pagemill_store::{DatabaseClock, SlotGrant, SlotRequest};
use tokio::sync::oneshot;

use super::{LATE, NoSlot, QuotaKey};

/// Jobs wait in the queue instead of in a worker while their source permits nothing for longer than this.
const SOURCE_PATIENCE: Duration = Duration::from_secs(15);
/// Jobs of one account or stream that permits nothing for longer than this are snoozed, so that they keep no
/// worker from the others.
const KEY_PATIENCE: Duration = Duration::from_secs(1);
/// A closed quota is tried so often all the same: an operator may have opened it.
const RECHECK: Duration = Duration::from_secs(2);

/// A worker that waits for a slot.
pub(super) struct WaitingWorker {
    pub(super) keys: Arc<[Arc<QuotaKey>]>,
    pub(super) reply: oneshot::Sender<Result<ReservedSlot, NoSlot>>,
}

/// When a request may be sent.
#[derive(Debug)]
pub(crate) struct ReservedSlot {
    pub(crate) local: Instant,
    pub(crate) database: Timestamp,
    pub(crate) epochs: Vec<(Arc<QuotaKey>, i64)>,
}

/// Workers under the same quotas.
pub(crate) struct Group {
    pub(super) keys: Arc<[Arc<QuotaKey>]>,
    pub(crate) waiting: VecDeque<oneshot::Sender<Result<ReservedSlot, NoSlot>>>,
    pub(super) closed: Option<Closed>,
    /// No quota is lost by reserving no sooner.
    pub(super) patient_until: Instant,
    /// The last slot reserved for this group.
    last: Instant,
    /// Snoozed jobs will take the quota's slots up to here.
    snoozed_until: Instant,
}

/// There is no slot for now.
#[derive(Clone, Copy)]
pub(super) struct Closed {
    /// When there will be a slot.
    opens: Instant,
    /// When to reserve again.
    pub(super) reserve_at: Instant,
    /// Which of the group's keys has none.
    key: Option<usize>,
}

impl ReservedSlot {
    /// True if it is neither missed nor void: this process may have been stopped or starved past it, or the rate
    /// has backed off since.
    pub(crate) fn is_usable_at(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.local) <= LATE
            && self.epochs.iter().all(|(key, epoch)| *epoch >= key.epoch())
    }
}

impl Group {
    pub(crate) fn new(keys: Arc<[Arc<QuotaKey>]>) -> Self {
        let now = Instant::now();
        Self {
            keys,
            waiting: VecDeque::new(),
            closed: None,
            patient_until: now,
            last: now,
            snoozed_until: now,
        }
    }

    /// Hands out the slots that were granted to group `g` of a request.
    pub(crate) fn hand_out(
        &mut self,
        g: usize,
        grant: &SlotGrant,
        request: &SlotRequest,
        clock: &DatabaseClock,
        lead: Duration,
    ) {
        let names = &request.groups[g].0;
        let epochs: Vec<_> = self.keys.iter().cloned().zip(names.iter().map(|&k| grant.epochs[k])).collect();
        epochs.iter().for_each(|(key, epoch)| key.raise_epoch(*epoch));
        let read = grant.clock.read();
        for slot in &grant.slots[g] {
            let database = read + *slot;
            let slot = ReservedSlot { local: clock.instant_of(database), database, epochs: epochs.clone() };
            // A worker cancelled during the round trip leaves its slot unused.
            let _ = self.waiting.pop_front().map(|reply| reply.send(Ok(slot)));
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
            // Beyond the horizon others stand before it: it reserves again when half of them are through.
            let early = if wait > request.horizon { request.horizon / 2 } else { 2 * lead };
            let now = Instant::now();
            let opens = clock.instant_of(read + wait.saturating_sub(early)).max(now + lead / 2);
            Closed { opens, reserve_at: opens.min(now + RECHECK), key }
        });
    }

    /// Sends the jobs whose slot is too far away back to the queue.
    pub(super) fn snooze_distant(&mut self, replicas: f64) {
        let Some(Closed { opens, key, .. }) = self.closed else { return };
        let now = Instant::now();
        let wait = opens.saturating_duration_since(now);
        let key = key.map(|k| &self.keys[k]);
        let interval = Duration::from_secs_f64(key.map_or(0.0, |key| key.interval) * replicas);
        let whole = key.is_none_or(|key| key.scope == QuotaScope::App);
        let patience = if whole { SOURCE_PATIENCE } else { KEY_PATIENCE }.max(interval + interval / 2);
        if whole {
            if wait > patience {
                let none = NoSlot::Exhausted(wait);
                self.waiting.drain(..).for_each(|reply| drop(reply.send(Err(none.clone()))));
            }
            return;
        }
        while !self.waiting.is_empty() {
            let place = self.waiting.len() as u32 - 1;
            if wait + interval * place <= patience {
                return;
            }
            // It comes back when those before it are through, the ones snoozed earlier too.
            let slot = self.snoozed_until.max(opens + interval * place);
            self.snoozed_until = slot + interval;
            let _ = self
                .waiting
                .pop_back()
                .map(|reply| reply.send(Err(NoSlot::Snoozed(slot.saturating_duration_since(now)))));
        }
    }

    pub(super) fn refuse(mut self, none: &NoSlot) {
        self.waiting.drain(..).for_each(|reply| drop(reply.send(Err(none.clone()))));
    }

    pub(super) fn may_reserve(&self, now: Instant) -> bool {
        self.closed.is_none_or(|closed| closed.reserve_at <= now)
    }

    /// True if nothing of the group needs to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        let now = Instant::now();
        self.waiting.is_empty()
            && self.may_reserve(now)
            && self.patient_until <= now
            && self.snoozed_until <= now
    }
}
