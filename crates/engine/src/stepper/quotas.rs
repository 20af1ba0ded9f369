//! Seeded courses of request slots: replicas reserve over the real SQL, send on time or late, are throttled and die,
//! and no window of any quota ever holds more requests than it permits.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use jiff::{civil::Date, tz::TimeZone};
use pagemill_core::QuotaScope;
use pagemill_store::{DatabaseClock, QuotaLimits, SlotRequest, Store};
use tokio::sync::oneshot;

use super::ledger::{Observer, Violation};
use crate::quota::{Group, LATE, QuotaKey, ReservedSlot};

const STEPS: u32 = 150;
const REPLICAS: usize = 3;
/// The zone in which days end.
const ZONE: &str = "Asia/Shanghai";
/// Microseconds that an answer, or a request, is under way.
const TRANSIT: std::ops::Range<i64> = 100..900;
const SECOND: i64 = 1_000_000;

/// One quota, as the API sees it.
struct Permitted {
    limits: QuotaLimits,
    /// When requests arrived, in microseconds.
    arrived: Vec<i64>,
    /// Requests by day, as the database's clock named it when they were reserved.
    by_day: BTreeMap<Date, u32>,
}

/// A process that reserves slots, and what it knows.
struct Replica {
    keys: Vec<Arc<QuotaKey>>,
    slots: Vec<ReservedSlot>,
    /// The newest epoch that it has seen of each quota.
    seen: HashMap<String, i64>,
}

/// One seed of slots.
pub(super) struct QuotaWorld<'a> {
    store: &'a Store,
    observer: &'a Observer,
    rng: Rng,
    quotas: BTreeMap<String, Permitted>,
    replicas: Vec<Replica>,
    /// Microseconds since the start, by an honest clock.
    now: i64,
    /// The start by the database's clock, which a step back moves.
    database: i64,
    start: Instant,
    zone: TimeZone,
    trace: Vec<String>,
    sent: u32,
}

impl<'a> QuotaWorld<'a> {
    /// Runs a seed to its end; the requests that were sent.
    ///
    /// # Errors
    /// The invariant that did not hold, and all steps.
    pub(super) async fn run(
        store: &'a Store,
        observer: &'a Observer,
        from: i64,
        seed: u64,
    ) -> Result<u32, String> {
        let mut slots = Self::new(store, observer, from, seed).await;
        let ended = slots.steps().await;
        ended.map_err(|found| {
            let trace = slots.trace.join("\n  ");
            format!(
                "seed {seed}: {} does not hold\n  {}\nthe steps:\n  {trace}\nagain: eval \"$(scripts/servers env)\"; \
                 PAGEMILL_STEPPER_SEED={seed} cargo test -p pagemill-engine --all-features --lib stepper::slots -- --nocapture",
                found.invariant, found.found
            )
        })?;
        Ok(slots.sent)
    }

    async fn new(store: &'a Store, observer: &'a Observer, from: i64, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut quotas = BTreeMap::new();
        let app = format!("seed{seed}");
        for name in [app.clone(), format!("{app}@a"), format!("{app}@b")] {
            let limits = limits(&mut rng);
            store.quotas.ensure(&name, &limits, ZONE).await.expect("a quota can be recorded");
            quotas.insert(name, Permitted { limits, arrived: Vec::new(), by_day: BTreeMap::new() });
        }
        let keys = |quotas: &BTreeMap<String, Permitted>| {
            let key = |(name, permitted): (&String, &Permitted)| {
                Arc::new(QuotaKey::new(name.clone(), QuotaScope::App, permitted.limits, 0.1))
            };
            quotas.iter().map(key).collect()
        };
        let replica = || Replica { keys: keys(&quotas), slots: Vec::new(), seen: HashMap::new() };
        let replicas = (0..REPLICAS).map(|_| replica()).collect();
        // Some seconds before a midnight of the zone, for the most part.
        let day = from.div_euclid(86_400) * 86_400 + 16 * 3_600;
        let start = if rng.u8(0..4) > 0 { day + 86_400 - rng.i64(1..8) } else { day + rng.i64(0..86_400) };
        let trace = quotas.iter().map(|(name, permitted)| format!("{name}: {:?}", permitted.limits));
        let trace = trace.collect();
        Self {
            store,
            observer,
            rng,
            quotas,
            replicas,
            now: 0,
            database: start * SECOND,
            start: Instant::now() + Duration::from_secs(3_600),
            zone: TimeZone::get(ZONE).expect("a zone"),
            trace,
            sent: 0,
        }
    }

    async fn steps(&mut self) -> Result<(), Violation> {
        for _ in 0..STEPS {
            match self.rng.u32(0..100) {
                0..25 => self.reserve().await,
                25..90 => self.send_next().await?,
                90..94 => {
                    let n = self.rng.usize(0..REPLICAS);
                    self.replicas[n].slots.clear();
                    self.note(format!("replica {n} dies"));
                }
                94..96 => self.now += self.rng.i64(0..5 * SECOND),
                96..99 => self.now += self.rng.i64(0..70 * SECOND),
                _ => self.step_back(),
            }
        }
        Ok(())
    }

    /// A replica reserves slots for some workers of one account or of both, in one round trip.
    async fn reserve(&mut self) {
        let n = self.rng.usize(0..REPLICAS);
        // The app's quota is the first; each account has one more.
        let mut keys: Vec<usize> = vec![0, 1, 2];
        let mut groups: Vec<(Vec<usize>, u32)> =
            vec![(vec![0, 1], self.rng.u32(1..9)), (vec![0, 2], self.rng.u32(1..9))];
        if self.rng.u8(0..3) > 0 {
            let left_out = self.rng.usize(0..2);
            groups.remove(left_out);
            groups[0].0[1] = 1;
            keys.remove(1 + left_out);
        }
        let held: Vec<Arc<QuotaKey>> = keys.iter().map(|&k| self.replicas[n].keys[k].clone()).collect();
        let keys = held.iter().map(|key| key.name.clone()).collect();
        let lead = Duration::from_millis(5);
        let horizon = Duration::from_secs(if self.rng.bool() { 1 } else { 20 });
        let request = SlotRequest { keys, groups, lead, horizon };
        let sent = self.instant();
        self.now += self.rng.i64(TRANSIT);
        self.observer.set_micros(self.database + self.now).await;
        let grant = self.store.quotas.reserve(&request).await.expect("the database answers");
        let grant = grant.expect("the quotas are recorded");
        self.now += self.rng.i64(TRANSIT);
        let clock = DatabaseClock::tie(grant.clock.read(), sent, self.instant());
        let replica = &mut self.replicas[n];
        let mut granted = 0;
        for (g, (names, wants)) in request.groups.iter().enumerate() {
            let keys: Vec<_> = names.iter().map(|&k| held[k].clone()).collect();
            let mut group = Group::new(keys.into());
            let (replies, workers): (Vec<_>, Vec<_>) = (0..*wants).map(|_| oneshot::channel()).unzip();
            group.waiting.extend(replies);
            group.hand_out(g, &grant, &request, &clock, lead);
            let slots = workers.into_iter().filter_map(|mut worker| worker.try_recv().ok()?.ok());
            let before = replica.slots.len();
            replica.slots.extend(slots);
            granted += replica.slots.len() - before;
        }
        for (name, epoch) in request.keys.iter().zip(&grant.epochs) {
            replica.see(name, *epoch);
        }
        self.note(format!("replica {n} reserves: {granted} slots"));
    }

    /// The worker whose slot comes next sends its request: on time, or late.
    async fn send_next(&mut self) -> Result<(), Violation> {
        let slots = self.replicas.iter().enumerate().flat_map(|(n, replica)| {
            replica.slots.iter().enumerate().map(move |(at, slot)| (slot.local, n, at))
        });
        let Some((local, n, at)) = slots.min() else {
            self.now += self.rng.i64(0..2 * SECOND);
            return Ok(());
        };
        let slot = self.replicas[n].slots.remove(at);
        let until = local.saturating_duration_since(self.start).as_micros() as i64;
        let late = LATE.as_micros() as i64;
        let wakes = match self.rng.u8(0..20) {
            0 => until + self.rng.i64(late..SECOND),
            1..5 => until + self.rng.i64(0..late),
            _ => until,
        };
        self.now = self.now.max(wakes);
        if !slot.is_usable_at(self.instant()) {
            self.note(format!("replica {n} leaves a slot unused"));
            return Ok(());
        }
        let arrives = self.now + self.rng.i64(TRANSIT);
        // The first slot of a day may be a rounded microsecond before it.
        let day = (slot.database + Duration::from_micros(1)).to_zoned(self.zone.clone()).date();
        self.note(format!("replica {n} sends for {}, arrives {arrives}", slot.database));
        self.sent += 1;
        for (key, epoch) in &slot.epochs {
            let seen = self.replicas[n].seen.get(&key.name).copied().unwrap_or(0);
            if *epoch < seen {
                let found = format!("{}: a slot of epoch {epoch}, and {seen} was seen", key.name);
                return Err(Violation { invariant: "no slot of an older epoch is used", found });
            }
            let quota = self.quotas.get_mut(&key.name).expect("a quota of this seed");
            quota.arrive(&key.name, arrives, day)?;
        }
        if self.rng.u8(0..12) == 0 {
            self.throttle(n, &slot).await;
        }
        Ok(())
    }

    /// The API throttles a request.
    async fn throttle(&mut self, n: usize, slot: &ReservedSlot) {
        let (key, epoch) = &slot.epochs[self.rng.usize(0..slot.epochs.len())];
        let pause = self.rng.bool().then(|| Duration::from_millis(self.rng.u64(0..3_000)));
        self.observer.set_micros(self.database + self.now).await;
        let back_off = self.store.quotas.back_off(&key.name, *epoch, pause).await.expect("it answers");
        if let Some(back_off) = back_off {
            key.raise_epoch(back_off.epoch);
            self.replicas[n].see(&key.name, back_off.epoch);
        }
        self.note(format!("replica {n} is throttled, pause {pause:?}"));
    }

    /// The database's clock is set back a little.
    fn step_back(&mut self) {
        let micros = self.rng.i64(0..3 * SECOND);
        self.database -= micros;
        self.note(format!("the database's clock steps back by {micros} µs"));
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now as u64)
    }

    fn note(&mut self, what: String) {
        self.trace.push(format!("{:>10} µs  {what}", self.now));
    }
}

impl Replica {
    fn see(&mut self, key: &str, epoch: i64) {
        let seen = self.seen.entry(key.to_owned()).or_default();
        *seen = epoch.max(*seen);
    }
}

impl Permitted {
    /// Counts a request, and checks every window that ends with it.
    fn arrive(&mut self, name: &str, at: i64, day: Date) -> Result<(), Violation> {
        self.arrived.push(at);
        self.arrived.sort_unstable();
        let day_used = self.by_day.entry(day).or_default();
        *day_used += 1;
        if self.limits.per_day.is_some_and(|most| *day_used > most) {
            let found = format!("{name}: {day_used} requests on {day}");
            return Err(Violation { invariant: "no day holds more than it permits", found });
        }
        let exceeds = |most: u32, micros: i64| {
            self.arrived.windows(most as usize + 1).any(|run| run[most as usize] - run[0] < micros)
        };
        if let Some(rate) = self.limits.per_second {
            // A burst may come on top of what a window permits.
            let most = rate.max(1.0).floor() as u32 + self.limits.burst - 1;
            if exceeds(most, (SECOND as f64 / rate.min(1.0)) as i64) {
                let found = format!("{name}: {:?}", self.arrived);
                return Err(Violation { invariant: "no second holds more than it permits", found });
            }
        }
        if self.limits.per_minute.is_some_and(|most| exceeds(most, 60 * SECOND)) {
            let found = format!("{name}: {:?}", self.arrived);
            return Err(Violation { invariant: "no minute holds more than it permits", found });
        }
        Ok(())
    }
}

/// What a quota permits: some windows, or none.
fn limits(rng: &mut Rng) -> QuotaLimits {
    if rng.u8(0..3) == 0 {
        return QuotaLimits { per_second: None, per_minute: None, per_day: None, burst: 1 };
    }
    let rate = [0.5, 5.0, 20.0, 50.0, 100.0][rng.usize(0..5)];
    QuotaLimits {
        per_second: (rng.u8(0..4) > 0).then_some(rate),
        per_minute: (rng.u8(0..3) == 0).then(|| rng.u32(3..20)),
        per_day: (rng.u8(0..3) == 0).then(|| rng.u32(3..12)),
        burst: if rng.u8(0..3) == 0 { rng.u32(2..5) } else { 1 },
    }
}
