//! What must hold after every step, read from the ledger and the data tables.

use std::collections::BTreeMap;

use futures_util::future::try_join;
use jiff::civil::Date;
use pagemill_core::PageJob;
use tokio_postgres::{Client, Statement, types::ToSql};

use super::api::{Api, Key, Rows};
use crate::credentials::SOLE_ACCOUNT;

/// A partition as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Partition {
    pub(super) id: i64,
    pub(super) key: Key,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) opened: i64,
    pub(super) first_page: i32,
    pub(super) last_page: Option<i32>,
    pub(super) done: i32,
    pub(super) dead: i32,
}

/// A page as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Page {
    pub(super) state: String,
    pub(super) generation: i32,
    pub(super) attempts: i32,
}

/// The ledger of one seed's days.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) partitions: BTreeMap<i64, Partition>,
    pub(super) pages: BTreeMap<(i64, i32), Page>,
}

const PARTITIONS: &str = "select id, stream, from_date::text as day, state, reason, extract(epoch from opened_at)::bigint as opened, \
        first_page, last_page, done, dead from pagemill.partitions \
    where source = 'step' and stream in ('chain', 'numbered') and account = $3 and parent is null \
        and from_date between $1 and $2";
const PAGES: &str = "select partition, page, state, generation, attempts from pagemill.pages \
    where partition in (select id from pagemill.partitions where source = 'step' \
        and stream in ('chain', 'numbered') and account = $3 and parent is null and from_date between $1 and $2)";
const CLOCK: &str = "update public.stepper_clock set at = to_timestamp($1)";

/// The connections to this database but the observer's.
const CONNECTIONS: &str = "select pid from pg_stat_activity where datname = current_database() \
    and pid <> pg_backend_pid() and backend_type = 'client backend' order by backend_start, pid";

/// A connection that looks at the ledger from outside, sets its clock, and makes its faults.
pub(super) struct Observer {
    client: Client,
    partitions: Statement,
    pages: Statement,
    clock: Statement,
}

impl Observer {
    pub(super) async fn new(client: Client) -> Self {
        let settings = "set synchronous_commit = off; set plan_cache_mode = force_generic_plan";
        client.batch_execute(settings).await.expect("settings can be made");
        let prepare = async |sql| client.prepare(sql).await.expect("the ledger has this shape");
        let (partitions, pages, clock) =
            (prepare(PARTITIONS).await, prepare(PAGES).await, prepare(CLOCK).await);
        Self { client, partitions, pages, clock }
    }

    /// The ledger of these days.
    pub(super) async fn read(&self, first: Date, last: Date) -> Ledger {
        Ledger::read(self, first, last).await
    }

    /// Dead letters that wait for an operator, by their ids on the queue.
    pub(super) async fn waiting_letters(&self, ledger: &Ledger) -> Vec<String> {
        let sql = "select message_id from pagemill.dead_letters \
            where partition = any($1) and requeued_at is null and dropped_at is null";
        let partitions: Vec<i64> = ledger.partitions.keys().copied().collect();
        let rows = self.client.query(sql, &[&partitions]).await.expect("dead letters can be read");
        rows.iter().map(|row| row.get("message_id")).collect()
    }

    /// Sets the database's clock to a virtual second.
    pub(super) async fn set_now(&self, now: i64) {
        self.client.execute(&self.clock, &[&(now as f64)]).await.expect("the clock can be set");
    }

    /// Sets the database's clock to a virtual microsecond.
    pub(super) async fn set_micros(&self, now: i64) {
        self.client.execute(&self.clock, &[&(now as f64 / 1e6)]).await.expect("the clock can be set");
    }

    /// The server's processes of all connections but the observer's, the oldest first.
    pub(super) async fn connections(&self) -> Vec<i32> {
        let rows = self.client.query(CONNECTIONS, &[]).await.expect("connections can be listed");
        rows.iter().map(|row| row.get("pid")).collect()
    }

    /// Ends connections, as a restart of the server would.
    pub(super) async fn cut(&self, mut connections: Vec<i32>) {
        let end = "select pg_terminate_backend(pid) from unnest($1::int[]) pid";
        self.client.query(end, &[&connections]).await.expect("connections can be ended");
        // That takes a moment.
        while !connections.is_empty() {
            let alive = self.connections().await;
            connections.retain(|pid| alive.contains(pid));
        }
    }

    /// From now on the database reads only, as a standby does, or it writes again.
    pub(super) async fn set_read_only(&self, is_read_only: bool) {
        let value = if is_read_only { "on" } else { "off" };
        let sql = format!(
            "do $$ begin execute format('alter database %I set default_transaction_read_only = {value}', \
             current_database()); end $$"
        );
        self.client.batch_execute(&sql).await.expect("the database can be altered");
        // The setting is read when a connection begins.
        self.cut(self.connections().await).await;
    }

    /// The rows of a slice in its data table.
    pub(super) async fn rows(&self, (stream, day): &Key) -> Rows {
        let sql =
            format!("select id, (amount * 100)::bigint as cents from public.step_{stream} where day = $1");
        let day: Date = day.parse().expect("a day");
        let rows = self.client.query(&sql, &[&day]).await.expect("the table can be read");
        rows.iter().map(|row| (row.get("id"), row.get("cents"))).collect()
    }
}

/// An invariant that does not hold.
#[derive(Debug)]
pub(super) struct Violation {
    /// Which invariant.
    pub(super) invariant: &'static str,
    /// What was found.
    pub(super) found: String,
}

fn violation(invariant: &'static str, found: String) -> Violation {
    Violation { invariant, found }
}

impl Ledger {
    async fn read(observer: &Observer, first: Date, last: Date) -> Self {
        let days: [&(dyn ToSql + Sync); 3] = [&first, &last, &SOLE_ACCOUNT];
        // Both are sent before the first reply comes.
        let partitions = observer.client.query(&observer.partitions, &days);
        let pages = observer.client.query(&observer.pages, &days);
        let (partitions, pages) = try_join(partitions, pages).await.expect("the ledger can be read");
        let partitions: BTreeMap<i64, Partition> = (partitions.iter())
            .map(|row| Partition {
                id: row.get("id"),
                key: (row.get("stream"), row.get("day")),
                state: row.get("state"),
                reason: row.get("reason"),
                opened: row.get("opened"),
                first_page: row.get("first_page"),
                last_page: row.get("last_page"),
                done: row.get("done"),
                dead: row.get("dead"),
            })
            .map(|partition| (partition.id, partition))
            .collect();
        let pages = (pages.iter())
            .map(|row| {
                let page = Page {
                    state: row.get("state"),
                    generation: row.get("generation"),
                    attempts: row.get("attempts"),
                };
                ((row.get("partition"), row.get("page")), page)
            })
            .collect();
        Self { partitions, pages }
    }

    /// Open partitions.
    pub(super) fn open(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values().filter(|partition| partition.state == "open")
    }

    /// The newest attempt at each slice.
    pub(super) fn newest(&self) -> BTreeMap<&Key, &Partition> {
        self.partitions.values().map(|partition| (&partition.key, partition)).collect()
    }

    /// Compares the ledger with what it was a step before.
    pub(super) fn check(&self, before: &Self, api: &Api) -> Result<(), Violation> {
        for (at, page) in &before.pages {
            let Some(now) = self.pages.get(at) else {
                return Err(violation("no page disappears", format!("{at:?}: {page:?}")));
            };
            if now.generation < page.generation {
                return Err(violation(
                    "no generation goes backwards",
                    format!("{at:?}: {page:?}, then {now:?}"),
                ));
            }
            if page.state == "done" && now.state != "done" && now.generation == page.generation {
                return Err(violation("what is done stays done", format!("{at:?}: {page:?}, then {now:?}")));
            }
        }
        let mut open: BTreeMap<&Key, i64> = BTreeMap::new();
        for partition in self.open() {
            if let Some(other) = open.insert(&partition.key, partition.id) {
                let found = format!("{:?}: partitions {other} and {}", partition.key, partition.id);
                return Err(violation("one open attempt a slice", found));
            }
        }
        for partition in self.partitions.values() {
            self.check_counts(partition)?;
        }
        for ((id, number), page) in &self.pages {
            let Some(partition) = self.partitions.get(id).filter(|p| p.key.0 == "numbered") else { continue };
            let failures = api.failures(&partition.key, &number.to_string()) as i32;
            if page.attempts > failures {
                let found = format!("page {number} of {id}: {page:?}, and {failures} failed responses");
                return Err(violation("a failure is charged once", found));
            }
        }
        Ok(())
    }

    /// The counters of a partition are those of its pages.
    fn check_counts(&self, partition: &Partition) -> Result<(), Violation> {
        let count = |state: &str| {
            let last = partition.last_page.unwrap_or(i32::MAX);
            let pages = self.pages.range((partition.id, partition.first_page)..=(partition.id, last));
            pages.filter(|(_, page)| page.state == state).count() as i32
        };
        let (done, dead) = (count("done"), count("dead"));
        if partition.state == "open" && (partition.done, partition.dead) != (done, dead) {
            let found = format!("{partition:?}: {done} pages are done, {dead} dead");
            return Err(violation("counters are those of the pages", found));
        }
        Ok(())
    }

    /// A job that was acked is done, dead, obsolete, or published again.
    pub(super) fn check_acked(&self, acked: &[PageJob], on_their_way: &[PageJob]) -> Result<(), Violation> {
        for job in acked {
            let at = (job.partition, job.page as i32);
            let page = self.pages.get(&at);
            let settled = page.is_some_and(|page| {
                page.generation > job.generation as i32 || matches!(page.state.as_str(), "done" | "dead")
            });
            // A page beyond a total that has become smaller is no page any more.
            let closed = self.partitions.get(&job.partition).is_none_or(|partition| {
                partition.state != "open" || partition.last_page.is_some_and(|last| job.page as i32 > last)
            });
            let again = |other: &PageJob| {
                (other.partition, other.page) == (job.partition, job.page)
                    && other.generation >= job.generation
            };
            if !settled && !closed && !on_their_way.iter().any(again) {
                return Err(violation(
                    "nothing is acked that is not in the ledger",
                    format!("{job:?}\n  page {page:?}\n  {:?}", self.partitions.get(&job.partition)),
                ));
            }
        }
        Ok(())
    }

    /// Partitions that were sealed since a step before.
    pub(super) fn newly_sealed<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Partition> {
        self.partitions.values().filter(|partition| {
            let was = before.partitions.get(&partition.id);
            partition.state == "sealed" && was.is_none_or(|was| was.state != "sealed")
        })
    }

    /// Open pages that no message and no process brings: they wait for a rescue.
    pub(super) fn stranded(&self, on_their_way: &[PageJob]) -> usize {
        let missing = |partition: &Partition| {
            let last = partition.last_page.unwrap_or(partition.first_page);
            (partition.first_page..=last)
                .filter(|number| {
                    let page = self.pages.get(&(partition.id, *number));
                    let ended = page.is_some_and(|page| matches!(page.state.as_str(), "done" | "dead"));
                    let job = |job: &PageJob| (job.partition, job.page as i32) == (partition.id, *number);
                    !ended && !on_their_way.iter().any(job)
                })
                .count()
        };
        self.open().map(missing).sum()
    }
}

/// A slice that has just been sealed holds what the API held: its ids at one moment of the attempt, and of each id
/// an amount that it had during the attempt.
pub(super) async fn check_sealed(
    observer: &Observer,
    api: &Api,
    partition: &Partition,
    now: i64,
) -> Result<(), Violation> {
    let stored = observer.rows(&partition.key).await;
    let truths = api.between(&partition.key, partition.opened, now);
    let ids_held = truths.iter().any(|truth| truth.keys().eq(stored.keys()));
    let amount_held = |(id, cents): (&i64, &i64)| truths.iter().any(|truth| truth.get(id) == Some(cents));
    if ids_held && stored.iter().all(amount_held) {
        return Ok(());
    }
    let found = format!("{partition:?}\n  stored {stored:?}\n  the API had {truths:?}");
    Err(violation("a seal is the truth at its time", found))
}
