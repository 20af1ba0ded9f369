//! Notices that jobs are lost: a partition is open, and nothing is on the way that could complete it.

use std::{
    convert::Infallible,
    fs,
    mem::replace,
    time::{Duration, Instant},
};

use pagemill_core::ConfigDuration;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::{PATIENCE, World, count, missing_pages, progress_of};

/// Between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A ledger that has not moved for so long is reason to look at the queues.
const STILL: Duration = Duration::from_secs(3);
/// The queues must be empty in each look for so long. RabbitMQ counts a quorum queue's messages every 5 s, so the
/// last look counts what is there after the first.
const EMPTY: Duration = Duration::from_secs(6);
/// Between two looks at the queues.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The rescue's default.
const STALLED_AFTER: Duration = Duration::from_secs(120);
/// Lines of each consumer's log that are shown.
const LOG_LINES: usize = 8;

/// Looks at ledger and queues while a test waits.
pub(super) struct LostJobs<'a> {
    world: &'a World,
    progress: String,
    moved: Instant,
    looked: Instant,
    counted: Instant,
    empty_since: Option<Instant>,
    /// True once the queues could not be counted.
    failed: bool,
}

impl<'a> LostJobs<'a> {
    pub(super) fn watch(world: &'a World) -> Self {
        let now = Instant::now();
        Self {
            world,
            progress: String::new(),
            moved: now,
            looked: now,
            counted: now,
            empty_since: None,
            failed: false,
        }
    }

    /// Panics if jobs are lost. Looks now and then only, however often it is called.
    pub(super) async fn look(&mut self, db: &Client) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let progress = progress_of(db).await;
        if progress != self.progress {
            (self.progress, self.moved, self.empty_since) = (progress, Instant::now(), None);
        }
        if self.moved.elapsed() < STILL || self.counted.elapsed() < COUNT_EVERY {
            return;
        }
        self.counted = Instant::now();
        if self.rescue_is_near() || count(db, WAITS).await == 0 {
            self.empty_since = None;
            return;
        }
        let queues = match self.queues().await {
            Ok(queues) => queues,
            Err(failed) => {
                if !replace(&mut self.failed, true) {
                    eprintln!("this test does not notice lost jobs: {failed}");
                }
                self.empty_since = None;
                return;
            }
        };
        if queues.iter().any(|queue| queue.messages > 0) {
            self.empty_since = None;
            return;
        }
        let since = *self.empty_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= EMPTY {
            let missing = missing_pages(db).await;
            let queues: Vec<String> =
                queues.iter().map(|queue| format!("{}: {}", queue.name, queue.messages)).collect();
            panic!(
                "jobs are lost: {missing}; messages in the queues, unacked included: {}{}",
                queues.join(", "),
                self.last_lines()
            );
        }
    }

    /// Looks until jobs are lost.
    pub(super) async fn until_lost(mut self) -> Infallible {
        let db = self.world.db().await;
        loop {
            self.look(&db).await;
            sleep(LOOK_EVERY).await;
        }
    }

    /// True if the rescue publishes lost jobs again while the test is still patient.
    fn rescue_is_near(&self) -> bool {
        let config: toml::Table = fs::read_to_string(self.world.config()).unwrap().parse().unwrap();
        let configured = config["consumer"].get("stalled_after").and_then(|value| value.as_str());
        let stalled_after =
            configured.map_or(STALLED_AFTER, |text| text.parse::<ConfigDuration>().unwrap().get());
        // It looks every half of that.
        stalled_after * 3 / 2 < PATIENCE
    }

    /// The queues through which jobs travel, or why they cannot be counted.
    async fn queues(&self) -> Result<Vec<Queue>, String> {
        let vhost = self.world.broker.vhost();
        let columns = ["list_queues", "-p", &vhost, "name", "messages_ready", "messages_unacknowledged"];
        let listed = self.world.broker.try_rabbitmqctl(&columns).await?;
        let prefix = format!("pagemill.{}.", self.world.source);
        let queue = |line: &str| {
            let mut columns = line.split('\t');
            let name = columns.next()?.strip_prefix(&prefix)?.to_owned();
            let messages = columns.filter_map(|number| number.trim().parse::<u64>().ok()).sum();
            (name != "dead").then_some(Queue { name, messages })
        };
        let queues: Vec<Queue> = listed.lines().filter_map(queue).collect();
        if queues.is_empty() {
            return Err(format!("rabbitmqctl {columns:?} lists no queue of {prefix}"));
        }
        Ok(queues)
    }

    /// The last lines of each consumer's log.
    fn last_lines(&self) -> String {
        let mut logs: Vec<_> =
            fs::read_dir(self.world.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        let shown = logs.iter().map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            format!("\n{}:\n{last}", path.file_name().unwrap().display())
        });
        shown.collect()
    }
}

/// A queue of the world's source.
struct Queue {
    name: String,
    /// Ready and unacked.
    messages: u64,
}

/// More than 0 if a partition is open and no producer works on it: a producer has jobs of its own, and a lease.
const WAITS: &str = "select count(*) from pagemill.partitions where state in ('open', 'proved') and parent is null \
    and not exists (select from pagemill.runs where lease_until > now())";
