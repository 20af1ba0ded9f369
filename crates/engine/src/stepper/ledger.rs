//! What must hold after every step, read from the ledger and the data tables.

use std::{collections::BTreeMap, ops::RangeInclusive};

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
    pub(super) repair_rounds: i32,
    /// True if the ledger notes its pages as published.
    pub(super) published: bool,
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
        first_page, last_page, done, dead, repair_rounds, \
        published_at is not null as published from pagemill.partitions \
    where source = 'step' and stream in ('chain', 'numbered') and account = $3 and parent is null \
        and from_date between $1 and $2";
const PAGES: &str = "select partition, page, state, generation, attempts from pagemill.pages \
    where partition in (select id from pagemill.partitions where source = 'step' \
        and stream in ('chain', 'numbered') and account = $3 and parent is null and from_date between $1 and $2)";
const CLOCK: &str = "update public.stepper_clock set at = to_timestamp($1)";

/// Ends every connection to this database but the observer's.
const CUT: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'";

/// A connection that looks at the ledger from outside, sets its clock, and makes its faults.
pub(super) struct Observer {
    client: Client,
    partitions: Statement,
    pages: Statement,
    clock: Statement,
    /// Reads the rows of a day, by the table or view.
    rows: BTreeMap<String, Statement>,
}

impl Observer {
    pub(super) async fn new(client: Client) -> Self {
        let settings = "set synchronous_commit = off; set plan_cache_mode = force_generic_plan";
        client.batch_execute(settings).await.expect("settings can be made");
        let prepare = async |sql| client.prepare(sql).await.expect("the ledger has this shape");
        let (partitions, pages, clock) =
            (prepare(PARTITIONS).await, prepare(PAGES).await, prepare(CLOCK).await);
        let mut rows = BTreeMap::new();
        for relation in ["step_numbered", "step_chain", "step_numbered_sealed", "step_chain_sealed"] {
            let sql =
                format!("select id, (amount * 100)::bigint as cents from public.{relation} where day = $1");
            rows.insert(relation.to_owned(), client.prepare(&sql).await.expect("the tables have this shape"));
        }
        Self { client, partitions, pages, clock, rows }
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

    /// Ends all connections but the observer's, as a restart of the server would.
    pub(super) async fn cut_connections(&self) {
        // A backend takes a moment to end.
        while !self.client.query(CUT, &[]).await.expect("connections can be ended").is_empty() {}
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
        self.cut_connections().await;
    }

    /// The rows of a slice in its data table.
    pub(super) async fn rows(&self, key: &Key) -> Rows {
        self.rows_of(key, "").await
    }

    /// The rows of a slice that readers see.
    pub(super) async fn sealed_rows(&self, key: &Key) -> Rows {
        self.rows_of(key, "_sealed").await
    }

    async fn rows_of(&self, (stream, day): &Key, view: &str) -> Rows {
        let statement = &self.rows[&format!("step_{stream}{view}")];
        let day: Date = day.parse().expect("a day");
        let rows = self.client.query(statement, &[&day]).await.expect("the table can be read");
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
                repair_rounds: row.get("repair_rounds"),
                published: row.get("published"),
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

    /// Partitions that are to be sealed yet.
    pub(super) fn unclosed(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values().filter(|partition| matches!(partition.state.as_str(), "open" | "proved"))
    }

    /// Open partitions.
    pub(super) fn open(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values().filter(|partition| partition.state == "open")
    }

    /// The newest sealed attempt at each slice.
    pub(super) fn newest_sealed(&self) -> BTreeMap<&Key, &Partition> {
        let sealed = self.partitions.values().filter(|partition| partition.state == "sealed");
        sealed.map(|partition| (&partition.key, partition)).collect()
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
        for partition in before.partitions.values() {
            let now = self.partitions.get(&partition.id).map(|now| now.state.as_str());
            if partition.state == "sealed" && now != Some("sealed") {
                return Err(violation("what is sealed stays sealed", format!("{partition:?}, then {now:?}")));
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
        if (partition.done, partition.dead) != (done, dead) {
            let found = format!("{partition:?}: {done} pages are done, {dead} dead");
            return Err(violation("counters are those of the pages", found));
        }
        Ok(())
    }

    /// A job that was acked is done, dead, obsolete, or published again; and what follows from it has been published.
    pub(super) fn check_acked(&self, acked: &[PageJob], on_their_way: &[PageJob]) -> Result<(), Violation> {
        for job in acked {
            let found = || {
                let (page, partition) = (self.page_of(job), self.partitions.get(&job.partition));
                format!("{job:?}\n  page {page:?}\n  {partition:?}")
            };
            let Some(partition) = self.partitions.get(&job.partition) else {
                return Err(violation("no partition disappears", found()));
            };
            let settled = self.page_of(job).is_some_and(|page| {
                page.generation > job.generation as i32 || matches!(page.state.as_str(), "done" | "dead")
            });
            // A page beyond a total that has become smaller is no page any more.
            let closed =
                partition.state != "open" || partition.last_page.is_some_and(|last| job.page as i32 > last);
            let again = |other: &PageJob| {
                (other.partition, other.page) == (job.partition, job.page)
                    && other.generation >= job.generation
            };
            // Another copy of the job has the rest to do.
            if on_their_way.iter().any(again) {
                continue;
            }
            if !settled && !closed {
                return Err(violation("nothing is acked that is not in the ledger", found()));
            }
            if let Some(missing) = self.unpublished_after(job, partition, on_their_way) {
                let found = format!("page {missing} is not on its way\n  {}", found());
                return Err(violation("what follows a page is published before its ack", found));
            }
        }
        Ok(())
    }

    fn page_of(&self, job: &PageJob) -> Option<&Page> {
        self.pages.get(&(job.partition, job.page as i32))
    }

    /// A page that follows a done one, and that nobody has published. After a repair only a rescue knows.
    fn unpublished_after(
        &self,
        job: &PageJob,
        partition: &Partition,
        on_their_way: &[PageJob],
    ) -> Option<i32> {
        let page = self.page_of(job)?;
        let number = job.page as i32;
        let current = page.state == "done" && page.generation == job.generation as i32;
        if partition.state != "open" || partition.repair_rounds > 0 || !current {
            return None;
        }
        let following = match (partition.key.0.as_str(), partition.last_page) {
            ("numbered", Some(last)) if number == partition.first_page => number + 1..=last,
            ("chain", last) if last.is_none_or(|last| number < last) => number + 1..=number + 1,
            _ => return None,
        };
        self.unknown(partition, following, on_their_way)
    }

    /// The first of these pages that has had no event, and that no message is on its way for.
    fn unknown(
        &self,
        partition: &Partition,
        pages: RangeInclusive<i32>,
        on_their_way: &[PageJob],
    ) -> Option<i32> {
        pages.into_iter().find(|number| {
            // A page of a higher generation is in the hands of the process that raised it.
            let known = self.pages.get(&(partition.id, *number));
            let known = known.is_some_and(|page| page.generation > 0 || page.state != "planned");
            let job = |job: &PageJob| (job.partition, job.page as i32) == (partition.id, *number);
            !known && !on_their_way.iter().any(job)
        })
    }

    /// When the pages of a partition are noted as published, they are.
    pub(super) fn check_published(&self, before: &Self, on_their_way: &[PageJob]) -> Result<(), Violation> {
        let newly = |partition: &&Partition| {
            let was = before.partitions.get(&partition.id).is_some_and(|before| before.published);
            partition.published && !was && partition.repair_rounds == 0
        };
        for partition in self.open().filter(newly) {
            let Some(last) = partition.last_page else { continue };
            if let Some(page) = self.unknown(partition, partition.first_page..=last, on_their_way) {
                let found = format!("page {page} of {partition:?} is not on its way");
                return Err(violation("what is noted as published is published", found));
            }
        }
        Ok(())
    }

    /// True if a job that was acked left its page dead.
    pub(super) fn any_dead(&self, acked: &[PageJob]) -> bool {
        acked.iter().any(|job| self.page_of(job).is_some_and(|page| page.state == "dead"))
    }

    /// Pages that were issued again since a step before.
    pub(super) fn reissued(&self, before: &Self) -> usize {
        let raised = |(at, page): (&(i64, i32), &Page)| {
            page.generation > before.pages.get(at).map_or(0, |page| page.generation)
        };
        self.pages.iter().filter(|entry| raised((entry.0, entry.1))).count()
    }

    /// Partitions that were sealed since a step before.
    pub(super) fn newly_sealed<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Partition> {
        self.partitions.values().filter(|partition| {
            let was = before.partitions.get(&partition.id);
            partition.state == "sealed" && was.is_none_or(|was| was.state != "sealed")
        })
    }
}

/// Returns the rows of a slice that has just been sealed. They are what the API held: their ids at one moment of the attempt, and of each id
/// an amount that it had during the attempt.
pub(super) async fn check_sealed(
    observer: &Observer,
    api: &Api,
    partition: &Partition,
    now: i64,
) -> Result<Rows, Violation> {
    let stored = observer.rows(&partition.key).await;
    let truths = api.between(&partition.key, partition.opened, now);
    let ids_held = truths.iter().any(|truth| truth.keys().eq(stored.keys()));
    let amount_held = |(id, cents): (&i64, &i64)| truths.iter().any(|truth| truth.get(id) == Some(cents));
    if ids_held && stored.iter().all(amount_held) {
        return Ok(stored);
    }
    let found = format!("{partition:?}\n  stored {stored:?}\n  the API had {truths:?}");
    Err(violation("a seal is the truth at its time", found))
}
