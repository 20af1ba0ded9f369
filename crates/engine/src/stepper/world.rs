//! One seed: processes, faults, a clock and an API, moved step by step.

mod faults;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    ops::RangeInclusive,
    time::Duration,
};

use fastrand::Rng;
use jiff::{
    ToSpan,
    civil::{Date, date},
};
use pagemill_core::DateWord;

use super::{
    api::{Api, Key, Mode, Rows},
    ledger::{Ledger, Observer, Violation, check_sealed},
    process::{self, Process, Progress},
    queue::{Broker, StepQueue},
};
use crate::{app::App, run::request::RunRequest};

/// Steps with faults, before everything is mended.
const STEPS: RangeInclusive<u32> = 40..=90;
/// Rounds in which a mended world must come to rest.
const ROUNDS: u32 = 400;
/// Steps that a report shows.
const SHOWN: usize = 40;
/// Days of a seed.
const DAYS: i32 = 2;
const CONSUMERS: usize = 2;
const OPERATOR: &str = "operator";
const RESCUE: &str = "rescue";
const STREAMS: [&str; 2] = ["numbered", "chain"];

/// What all seeds share: a database, an API, and the apps of the machines.
pub(super) struct Machines {
    pub(super) api: Api,
    pub(super) observer: Observer,
    pub(super) apps: Vec<App>,
    /// The virtual second at which each seed begins.
    pub(super) start: i64,
}

/// What the seeds found, in the words of Jepsen's reports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) seeds: u32,
    pub(super) steps: u32,
    pub(super) kills: u32,
    /// Partitions that were sealed.
    pub(super) sealed: usize,
    /// Partitions that were closed without a seal.
    pub(super) incomplete: usize,
    /// Rows of the API that a closed world had not stored. None may be.
    pub(super) lost: usize,
    /// Rows stored that the API did not have. None may be.
    pub(super) unexpected: usize,
    /// Pages that were issued again while a rescue ran.
    pub(super) recovered: usize,
    /// Requests beyond one a page.
    pub(super) duplicated: u32,
}

/// What a producer pulls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pull {
    /// Slices that are not sealed.
    Missing,
    /// All slices, sealed or not.
    Again,
}

pub(super) struct World<'a> {
    machines: &'a mut Machines,
    rng: Rng,
    broker: Broker,
    processes: Vec<Process>,
    days: Vec<Date>,
    ledger: Ledger,
    report: Report,
    step: u32,
    /// The virtual second.
    now: i64,
    trace: VecDeque<String>,
    /// True if a process, or a rescue, has run since the last look at the ledger.
    is_changed: bool,
    is_rescued: bool,
    /// How a process has failed that must not.
    failed: Option<Violation>,
    /// True once no process may fail any more.
    is_quiet: bool,
    /// The rows that each slice was sealed with.
    sealed_rows: BTreeMap<Key, (i64, Rows)>,
    /// The step at which the database writes again.
    read_only_until: Option<u32>,
}

impl<'a> World<'a> {
    /// Runs a seed to its end. Returns its report and, if an invariant did not hold, which one, with the last steps.
    pub(super) async fn run(machines: &'a mut Machines, seed: u64) -> (Report, Option<String>) {
        let mut world = Self::new(machines, seed);
        let ended = match world.disturb().await {
            Ok(()) => world.mend_and_compare().await,
            failed => failed,
        };
        let failed = ended.err().map(|violation| world.describe(seed, &violation));
        let (requests, pages) = world.machines.api.counts();
        world.report.duplicated = requests.saturating_sub(pages as u32);
        world.report.seeds = 1;
        (world.report, failed)
    }

    fn new(machines: &'a mut Machines, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        machines.api.clear();
        // Each seed has days of its own, all of them past.
        let first = date(1, 1, 1).saturating_add((seed as i64 % 360_000 * i64::from(DAYS)).days());
        let days: Vec<Date> = (0..DAYS).map(|n| first.saturating_add(n.days())).collect();
        machines.api.set_now(machines.start);
        for stream in STREAMS {
            for day in &days {
                // A few days have enough pages to stand on those of the attempt before.
                let count = if rng.u8(0..10) == 0 { rng.i64(18..30) } else { rng.i64(0..8) };
                let rows = (0..count).map(|id| (id * 10, rng.i64(0..10_000))).collect();
                machines.api.set_rows(&(stream.to_owned(), day.to_string()), rows);
            }
        }
        let mut world = Self {
            now: machines.start,
            machines,
            rng,
            broker: Broker::default(),
            processes: Vec::new(),
            days,
            ledger: Ledger::default(),
            report: Report::default(),
            step: 0,
            trace: VecDeque::new(),
            is_changed: true,
            is_rescued: false,
            failed: None,
            is_quiet: false,
            sealed_rows: BTreeMap::new(),
            read_only_until: None,
        };
        for n in 0..CONSUMERS {
            world.start_consumer(n);
        }
        world.start_producer(Pull::Missing);
        world
    }

    /// The steps with faults.
    async fn disturb(&mut self) -> Result<(), Violation> {
        let steps = self.rng.u32(STEPS);
        while self.step < steps {
            if self.read_only_until.is_some_and(|until| until <= self.step) {
                self.allow_writes().await;
            }
            match self.rng.u32(0..100) {
                0..64 => self.drive_any().await,
                64 => self.cut_database().await,
                65 if self.rng.bool() => self.refuse_writes().await,
                66..70 => self.kill(),
                70..73 => self.freeze(),
                73..76 => self.reconnect(),
                76..79 => self.cut_queue(),
                79..83 => self.crash().await,
                83..86 => self.move_rows(),
                86..88 => self.restate(),
                88..91 => self.change_mode(),
                91..94 => self.advance_clock(),
                94 => self.broker.reverse(),
                95 => self.broker.duplicate(),
                96 => {
                    let pull = if self.rng.bool() { Pull::Again } else { Pull::Missing };
                    self.start_producer(pull);
                }
                97..99 => self.start(RESCUE, process::rescue),
                99 => self.start_operator(),
                _ => {}
            }
            self.end_step().await?;
        }
        Ok(())
    }

    /// Clears all faults, and waits until all is at rest; then pulls all days once more and compares them.
    async fn mend_and_compare(&mut self) -> Result<(), Violation> {
        self.allow_writes().await;
        self.note("all faults are cleared");
        self.machines.api.set_mode(Mode::Healthy);
        self.broker.disarm();
        self.processes.iter_mut().for_each(|process| process.frozen_until = 0);
        self.run_until_idle().await?;
        let closed = self.ledger.partitions.values();
        self.report.sealed = closed.clone().filter(|partition| partition.state == "sealed").count();
        self.report.incomplete = closed.filter(|partition| partition.state == "incomplete").count();
        let newest: BTreeMap<Key, i64> =
            self.ledger.newest().into_iter().map(|(key, partition)| (key.clone(), partition.id)).collect();
        self.is_quiet = true;
        // The pools learn which of their connections have ended.
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.start_producer(Pull::Again);
        self.run_until_idle().await?;
        for stream in STREAMS {
            for day in self.days.clone() {
                let key = (stream.to_owned(), day.to_string());
                self.check_quiet_pull(&key, newest.get(&key).copied()).await?;
            }
        }
        Ok(())
    }

    /// The newest attempt at a slice is newer than another, is sealed, and holds what the API has.
    async fn check_quiet_pull(&mut self, key: &Key, before: Option<i64>) -> Result<(), Violation> {
        let (stored, truth) = (self.machines.observer.rows(key).await, self.machines.api.rows(key));
        let missing = |from: &Rows, of: &Rows| from.iter().filter(|(id, v)| of.get(id) != Some(v)).count();
        self.report.lost += missing(&truth, &stored);
        self.report.unexpected += missing(&stored, &truth);
        let newest = self.ledger.newest();
        let is_sealed =
            newest.get(key).is_some_and(|newest| newest.state == "sealed" && Some(newest.id) > before);
        if is_sealed && stored == truth {
            return Ok(());
        }
        let found = format!("{:?}\n  stored {stored:?}\n  the API has {truth:?}", newest.get(key));
        Err(Violation { invariant: "a quiet pull is sealed, and is the truth", found })
    }

    /// Drives every process until no partition is open, no message waits and no dead letter is left.
    async fn run_until_idle(&mut self) -> Result<(), Violation> {
        for _ in 0..ROUNDS {
            for n in 0..CONSUMERS {
                if !self.processes.iter().any(|process| process.name == consumer_name(n)) {
                    self.start_consumer(n);
                }
            }
            let busy = self.drive_all().await;
            self.end_step().await?;
            if busy || self.broker.ready() > 0 {
                continue;
            }
            let unqueued = self.unqueued_letters().await;
            if let Some(due) = self.broker.next_due() {
                self.set_now(due.max(self.now));
            } else if self.ledger.unclosed().next().is_some() || !unqueued.is_empty() {
                self.set_now(self.now + 60);
                self.start(RESCUE, process::rescue);
            } else if !self.broker.dead().is_empty() {
                self.start_operator();
            } else {
                return Ok(());
            }
        }
        let jobs = self.broker.jobs();
        let open: Vec<_> = self.ledger.unclosed().collect();
        let unqueued = self.unqueued_letters().await;
        let found = format!(
            "still open: {open:?}\n  pages {:?}\n  on their way: {jobs:?}\n  letters of no queue: {unqueued:?}",
            self.ledger.pages
        );
        Err(Violation { invariant: "nothing is lost", found })
    }

    /// Dead letters that wait for an operator, and are not in their queue. While no process is at work, only a rescue
    /// brings them there.
    async fn unqueued_letters(&self) -> Vec<String> {
        let queued = self.broker.dead();
        let mut waiting = self.machines.observer.waiting_letters(&self.ledger).await;
        waiting.retain(|letter| !queued.contains(letter));
        waiting
    }

    /// One step of each process; true if any process but an idle consumer is left.
    async fn drive_all(&mut self) -> bool {
        let mut n = 0;
        while n < self.processes.len() {
            let before = self.processes.len();
            self.drive(n).await;
            n += usize::from(self.processes.len() == before);
        }
        self.processes.iter().any(|process| {
            !process.name.starts_with("consumer") || process.queue.gate.place() != Some("take")
        })
    }

    async fn drive_any(&mut self) {
        let awake: Vec<usize> =
            (0..self.processes.len()).filter(|n| self.processes[*n].frozen_until <= self.step).collect();
        match self.rng.choice(awake) {
            Some(n) => self.drive(n).await,
            None => self.start_consumer(0),
        }
    }

    async fn drive(&mut self, n: usize) {
        let process = &self.processes[n];
        let from = process.queue.gate.place().unwrap_or("start");
        if from == "take" && self.broker.ready() == 0 {
            return;
        }
        self.machines.observer.set_now(self.now).await;
        let process = &mut self.processes[n];
        self.is_changed = true;
        self.is_rescued |= process.name == RESCUE;
        let progress = process.step().await;
        let (name, to) = (process.name.clone(), process.queue.gate.place().unwrap_or("end"));
        let what = match &progress {
            Progress::Waits => format!("{from} -> {to}"),
            Progress::Ended => format!("{from} -> ended"),
            Progress::Failed(error) => format!("{from} -> failed: {error}"),
            Progress::Killed => format!("{from} -> killed"),
            Progress::Hangs => format!("{from} -> hangs"),
            Progress::Panicked => format!("{from} -> panicked"),
        };
        let errors = self.broker.take_errors();
        let what = format!("{name}: {what} {}", errors.join("; ")).trim_end().to_owned();
        let invariant = match progress {
            Progress::Hangs => Some("no process hangs"),
            Progress::Panicked => Some("no process panics"),
            Progress::Failed(_) if self.is_quiet => Some("without faults no process fails"),
            _ if self.is_quiet && !errors.is_empty() => Some("without faults no process fails"),
            _ => None,
        };
        if let Some(invariant) = invariant {
            self.failed.get_or_insert(Violation { invariant, found: what.clone() });
        }
        self.note(what);
        if !matches!(progress, Progress::Waits) {
            self.remove(n);
        }
    }

    /// Takes a process that is gone off the list; what it held returns to the lanes.
    fn remove(&mut self, n: usize) {
        let process = self.processes.remove(n);
        let queue = process.queue.clone();
        drop(process);
        queue.reconnect();
    }

    fn start_consumer(&mut self, n: usize) {
        let most = self.rng.usize(1..5);
        self.start(consumer_name(n), |app, queue| process::consume(app, queue, most));
    }

    fn start_producer(&mut self, pull: Pull) {
        let (first, last) = (self.days[0], self.days[self.days.len() - 1]);
        let mut request = RunRequest::days(DateWord::Day(first), DateWord::Day(last));
        request.repull_sealed = pull == Pull::Again;
        let owner = format!("producer {}", self.step);
        self.start(owner.clone(), |app, queue| process::produce(app, queue, request, owner));
    }

    /// One at a time: a second one would wait for the first one's lock, and the first one for its next step.
    fn start_operator(&mut self) {
        if self.processes.iter().all(|process| process.name != OPERATOR) {
            self.start(OPERATOR, process::requeue_all);
        }
    }

    fn start<F>(&mut self, name: impl Into<String>, begin: impl FnOnce(App, StepQueue) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + 'static,
    {
        let machine = self.rng.usize(0..self.machines.apps.len());
        let app = self.machines.apps[machine].clone();
        let app = App { store: app.store.restarted(), ..app };
        let queue = StepQueue::new(&self.broker, "step", &app.settings.retry);
        let name = name.into();
        self.note(format!("{name} starts"));
        let future = begin(app, queue.clone());
        self.processes.push(Process::new(name, &queue, future));
    }

    fn set_now(&mut self, now: i64) {
        self.now = now;
        self.machines.api.set_now(now);
        self.broker.set_now(now);
    }

    /// A second passes. Invariants are checked if a process has run.
    async fn end_step(&mut self) -> Result<(), Violation> {
        self.step += 1;
        self.report.steps += 1;
        if let Some(violation) = self.failed.take() {
            return Err(violation);
        }
        if std::mem::take(&mut self.is_changed) {
            self.look().await?;
        }
        self.set_now(self.now + 1);
        Ok(())
    }

    /// Reads the ledger after a step of a process, and checks every invariant.
    async fn look(&mut self) -> Result<(), Violation> {
        let (first, last) = (self.days[0], self.days[self.days.len() - 1]);
        let ledger = self.machines.observer.read(first, last).await;
        ledger.check(&self.ledger, &self.machines.api)?;
        let acked = self.broker.take_acked();
        let on_their_way = self.broker.jobs();
        ledger.check_acked(&acked, &on_their_way)?;
        ledger.check_published(&self.ledger, &on_their_way)?;
        if std::mem::take(&mut self.is_rescued) {
            self.report.recovered += ledger.reissued(&self.ledger);
        }
        let before = std::mem::replace(&mut self.ledger, ledger);
        if self.ledger.any_dead(&acked) {
            let unqueued = self.unqueued_letters().await;
            let acked = |letter: &String| acked.iter().any(|job| job.id() == *letter);
            if let Some(found) = unqueued.into_iter().find(acked) {
                return Err(Violation { invariant: "a dead letter is in its queue before the ack", found });
            }
        }
        self.check_sealed_rows(&before).await
    }

    /// What has just been sealed is the truth. Readers see it until a newer attempt is sealed, and of a slice that never was
    /// sealed nothing: one slice a look is compared.
    async fn check_sealed_rows(&mut self, before: &Ledger) -> Result<(), Violation> {
        for partition in self.ledger.newly_sealed(before) {
            let rows = check_sealed(&self.machines.observer, &self.machines.api, partition, self.now).await?;
            self.sealed_rows.insert(partition.key.clone(), (partition.id, rows));
        }
        let keys = STREAMS.len() * self.days.len();
        let nth = self.step as usize % keys;
        let key = (STREAMS[nth % STREAMS.len()].to_owned(), self.days[nth / STREAMS.len()].to_string());
        let (id, sealed) = self.sealed_rows.get(&key).cloned().unwrap_or_default();
        let newest = self.ledger.newest_sealed().get(&key).map(|newest| newest.id);
        let seen = self.machines.observer.sealed_rows(&key).await;
        if newest.unwrap_or(0) == id && seen == sealed {
            return Ok(());
        }
        let found = format!("{key:?} sealed by {newest:?}\n  sealed {id}: {sealed:?}\n  now {seen:?}");
        Err(Violation { invariant: "readers see what was sealed last", found })
    }

    fn note(&mut self, what: impl Into<String>) {
        if self.trace.len() == SHOWN {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>4} {:>6} s  {}", self.step, self.now % 1_000_000, what.into()));
    }

    fn describe(&self, seed: u64, violation: &Violation) -> String {
        let mut text = format!("seed {seed}: {} does not hold\n  {}\n", violation.invariant, violation.found);
        let _ = writeln!(text, "the last steps:");
        for line in &self.trace {
            let _ = writeln!(text, "  {line}");
        }
        let _ = write!(
            text,
            "again: eval \"$(scripts/servers env)\"; PAGEMILL_STEPPER_SEED={seed} cargo test -p pagemill-engine --all-features --lib stepper::one_seed -- --nocapture"
        );
        text
    }
}

fn consumer_name(n: usize) -> String {
    format!("consumer {n}")
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.kills += other.kills;
        self.sealed += other.sealed;
        self.incomplete += other.incomplete;
        self.lost += other.lost;
        self.unexpected += other.unexpected;
        self.recovered += other.recovered;
        self.duplicated += other.duplicated;
    }
}
