//! The faults of a seed: what a step may do to the processes, the queue, the API and the clock.

use super::{
    super::{
        api::{Key, Mode, Rows},
        process::Killed,
        queue::PublishFault,
    },
    STREAMS, World,
};

/// Where a process may die within a step.
const CRASH_POINTS: [&str; 12] = [
    "before-expansion",
    "after-expansion",
    "before-commit",
    "after-commit",
    "before-ack",
    "before-repair",
    "after-repair",
    "inside-proof",
    "before-apply",
    "inside-apply",
    "after-apply",
    "requeue-before-publish",
];

impl World<'_> {
    pub(super) fn kill(&mut self) {
        let Some(n) = self.rng.choice(0..self.processes.len()) else { return };
        self.report.kills += 1;
        let place = self.processes[n].queue.gate.place().unwrap_or("start");
        self.note(format!("{} is killed at {place}", self.processes[n].name));
        self.remove(n);
    }

    /// A frozen process loses its connection, and goes on later as if nothing had been.
    pub(super) fn freeze(&mut self) {
        let Some(n) = self.rng.choice(0..self.processes.len()) else { return };
        let steps = self.rng.u32(5..30);
        self.processes[n].frozen_until = self.step + steps;
        self.processes[n].queue.reconnect();
        self.note(format!("{} is frozen for {steps} steps", self.processes[n].name));
    }

    pub(super) fn reconnect(&mut self) {
        let Some(n) = self.rng.choice(0..self.processes.len()) else { return };
        self.processes[n].queue.reconnect();
        self.note(format!("{} loses its connection to the queue", self.processes[n].name));
    }

    pub(super) fn cut_queue(&mut self) {
        let faults =
            [PublishFault::Lost, PublishFault::HalfLost, PublishFault::ConfirmLost, PublishFault::Duplicated];
        let fault = faults[self.rng.usize(0..faults.len())];
        self.broker.arm(fault);
        self.note(format!("the next publish: {fault:?}"));
    }

    /// All connections to PostgreSQL end, in a transaction or between two.
    pub(super) async fn cut_database(&mut self) {
        self.machines.observer.cut_connections().await;
        self.note("all connections to PostgreSQL end");
    }

    /// PostgreSQL reads, and refuses to write, for some steps.
    pub(super) async fn refuse_writes(&mut self) {
        let steps = self.rng.u32(3..20);
        self.machines.observer.set_read_only(true).await;
        self.read_only_until = Some(self.step + steps);
        self.note(format!("PostgreSQL refuses to write for {steps} steps"));
    }

    pub(super) async fn allow_writes(&mut self) {
        if self.read_only_until.take().is_some() {
            self.machines.observer.set_read_only(false).await;
            self.note("PostgreSQL writes again");
        }
    }

    /// Drives a process with a crash point armed, or with a commit whose answer is lost.
    pub(super) async fn crash(&mut self) {
        let point = CRASH_POINTS[self.rng.usize(0..CRASH_POINTS.len())];
        let lost = point == "after-commit" && self.rng.bool();
        let armed = match lost {
            true => fail::cfg(point, "1*return"),
            false => fail::cfg_callback(point, || std::panic::resume_unwind(Box::new(Killed))),
        };
        self.note(if lost { "the answer to a commit is lost".into() } else { format!("{point} kills") });
        self.drive_any().await;
        if armed.is_ok() {
            fail::remove(point);
        }
    }

    /// Rows come or go. The new count is one that the slice never had: a total then identifies one version.
    pub(super) fn move_rows(&mut self) {
        let key = self.any_slice("numbered");
        let mut rows = self.machines.api.rows(&key);
        let count = rows.len();
        let wanted = if count < 15 { self.rng.usize(0..9) } else { self.rng.usize(15..33) };
        if self.machines.api.had_count(&key, wanted) {
            return;
        }
        while rows.len() < wanted {
            rows.insert(self.rng.i64(0..100), self.rng.i64(0..10_000));
        }
        while rows.len() > wanted {
            let id = self.rng.choice(rows.keys().copied()).expect("there are rows");
            rows.remove(&id);
        }
        self.machines.api.set_rows(&key, rows);
        self.note(format!("{key:?} moves from {count} to {wanted} rows"));
    }

    pub(super) fn restate(&mut self) {
        let stream = STREAMS[self.rng.usize(0..STREAMS.len())];
        let key = self.any_slice(stream);
        let rows: Rows =
            self.machines.api.rows(&key).keys().map(|id| (*id, self.rng.i64(0..10_000))).collect();
        self.machines.api.set_rows(&key, rows);
        self.note(format!("{key:?} is restated"));
    }

    fn any_slice(&mut self, stream: &str) -> Key {
        let day = self.days[self.rng.usize(0..self.days.len())];
        (stream.to_owned(), day.to_string())
    }

    pub(super) fn change_mode(&mut self) {
        let modes =
            [Mode::Away, Mode::Throttling, Mode::Refusing, Mode::Garbage, Mode::Healthy, Mode::Healthy];
        let mode = modes[self.rng.usize(0..modes.len())];
        self.machines.api.set_mode(mode);
        self.note(format!("the API is {mode:?}"));
    }

    pub(super) fn advance_clock(&mut self) {
        let seconds = self.rng.i64(5..45);
        self.now += seconds;
        self.note(format!("{seconds} s pass"));
    }
}
