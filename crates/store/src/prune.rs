//! Keeps the ledger small: what is old enough goes, by months where a whole month may.
//!
//! First the ledger decides and notes it (`partitions.pruned_at`, and what is to be done in
//! `pagemill.pruning`), then rows go. A prune that dies in between is gone on with by the next.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use deadpool_postgres::{Object, Transaction};
use pagemill_core::{AttemptFacts, PruneAction, Retention};
use serde::Serialize;
use tokio_postgres::Row;

use crate::{Store, StoreError, StoreErrorKind, retry::with_retry, runs::PLAN_LOCK};

/// What a prune took away, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Attempts at slices that were removed: newer ones stand in their place.
    pub attempts: u64,
    /// Page rows.
    pub pages: u64,
    /// Stored responses.
    pub responses: u64,
    /// Months that were dropped as a whole, with the disk space that came back at once.
    pub months: Vec<Month>,
    /// Runs of which no attempt is left.
    pub runs: u64,
    /// Dead letters that were requeued or dropped long ago.
    pub dead_letters: u64,
    /// Consumers that are gone.
    pub consumers: u64,
}

/// A month's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Month {
    /// `pages_202601`
    pub table: String,
    /// What it takes up, its indexes included.
    pub bytes: u64,
}

/// Attempts decided on in one transaction, during which nothing can be planned.
const ATTEMPTS: i64 = 200;
/// Partitions cleared together,
const PARTITIONS: i64 = 100;
/// and rows deleted in one transaction.
const ROWS: i64 = 2_000;

/// A month is dropped under a lock for which all others wait: it is had soon, or tried for again.
const LOCK_WAIT: &str = "set local lock_timeout = '100ms'";
const LOCK_PAUSE: Duration = Duration::from_millis(500);
const LOCK_TRIES: usize = 60;

/// Closed attempts, wholes only, that may have something left to lose.
const CLOSED: &str = "select w.id, extract(epoch from now() - w.closed_at)::float8 as closed_for, \
        exists (select from pagemill.partitions f where coalesce(f.top, f.id) = w.id and f.state = 'open') as has_open, \
        exists (select from pagemill.partitions f join pagemill.dead_letters d on d.partition = f.id \
                where coalesce(f.top, f.id) = w.id and d.dropped_at is null and d.published_at is null) as dead_wait, \
        not n.newer or (w.state = 'sealed' and not n.newer_sealed) as stands \
    from pagemill.partitions w \
    cross join lateral (select count(*) > 0 as newer, coalesce(bool_or(n.state = 'sealed'), false) as newer_sealed \
        from pagemill.partitions n where (n.source, n.stream, n.account, n.from_date, n.to_date) \
            = (w.source, w.stream, w.account, w.from_date, w.to_date) and n.id > w.id and n.parent is null) n \
    where w.parent is null and w.state <> 'open' and w.id > $1 \
        and w.closed_at <= now() - make_interval(secs => $2) and (w.pruned_at is null or n.newer) \
    order by w.id limit $3";

/// The attempts' partitions, and how many pages and responses each has to lose.
const CHOSEN: &str = "select f.id, c.action, \
        case when c.action <> 'responses' and f.pruned_at is null \
            then (select count(*) from pagemill.pages g where g.partition = f.id) else 0 end as pages, \
        case when f.responses_pruned_at is null then (select count(*) from pagemill.responses b where b.partition = f.id) else 0 end as responses \
    from unnest($1::bigint[], $2::text[]) as c(id, action) join pagemill.partitions f on coalesce(f.top, f.id) = c.id";

/// What is said of the partitions from now on.
const MARK: &str = "update pagemill.partitions p set responses_pruned_at = coalesce(p.responses_pruned_at, now()), \
        pruned_at = case when c.action = 'responses' then p.pruned_at else coalesce(p.pruned_at, now()) end, \
        pruned = case when c.action = 'responses' or p.pruned_at is not null then p.pruned else (\
            select jsonb_build_object('rows', coalesce(sum(g.rows) filter (where g.state = 'done'), 0), \
                'requests', coalesce(sum(g.requests), 0), 'throttled', coalesce(sum(g.throttled), 0)) \
            from pagemill.pages g where g.partition = p.id) end \
    from unnest($1::bigint[], $2::text[]) as c(id, action) where p.id = c.id";

/// The newest attempts in whose place older ones stood.
const MARK_NEWER: &str = "update pagemill.partitions p set older_pruned_at = now() from (\
        select distinct n.id from pagemill.partitions w \
        cross join lateral (select id from pagemill.partitions n \
            where (n.source, n.stream, n.account, n.from_date, n.to_date) = (w.source, w.stream, w.account, w.from_date, w.to_date) \
                and n.parent is null order by n.id desc limit 1) n \
        where w.id = any($1)) n \
    where coalesce(p.top, p.id) = n.id";

const NOTE: &str = "insert into pagemill.pruning as t (partition, action) select * from unnest($1::bigint[], $2::text[]) \
    on conflict (partition) do update set action = excluded.action";

/// Rows of the month `$1` to `$2` that stay; `$3` are partitions that a dry run would prune.
const STAYS: &str = "select exists (select from pagemill.partitions p where p.id between $1 and $2 and p.id <> all($3) \
    and (p.state = 'open' or p.{marked} is null and exists (select from pagemill.{month} g where g.partition = p.id))) as stays";

const RUNS: &str = "pagemill.runs r where r.created_at < now() - make_interval(secs => $1) \
    and coalesce(r.lease_until < now(), true) \
    and not exists (select from pagemill.run_partitions rp where rp.run = r.id and rp.partition <> all($2)) \
    and not exists (select from pagemill.partitions p where p.run = r.id and p.id <> all($2))";

const LETTERS: &str = "pagemill.dead_letters d \
    where greatest(d.dropped_at, d.published_at) < now() - make_interval(secs => $1) \
    and not exists (select from pagemill.partitions p where p.id = d.partition and p.state = 'open')";

const CONSUMERS: &str =
    "pagemill.consumers where heartbeat_at < now() - make_interval(secs => greatest($1::float8, 86400))";

/// Partitions that were decided on, and the action for each.
#[derive(Default)]
struct Decided {
    partitions: Vec<i64>,
    actions: Vec<&'static str>,
}

impl Store {
    /// Takes out of the ledger what is older than `retention` says; a dry run only looks. Never
    /// touched: what is open, what dead letters wait for, and the partition and proof of the newest
    /// attempt at a slice (and of the newest sealed one). Safe beside running consumers and other
    /// prunes.
    ///
    /// # Errors
    /// As any query. What was done stays done; another prune goes on from there.
    pub async fn prune(&self, retention: &Retention, dry_run: bool) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let going = self.decide(retention, dry_run, &mut pruned).await?;
        self.drop_months(&going, dry_run, &mut pruned).await?;
        if !dry_run {
            fail::fail_point!("prune-before-delete");
            while self.clear().await? {}
        }
        if let Some(history) = retention.history {
            self.prune_rest(history, &going, dry_run, &mut pruned).await?;
        }
        Ok(pruned)
    }

    /// Decides on all closed attempts and notes it. A dry run returns what it would have noted.
    async fn decide(
        &self,
        retention: &Retention,
        dry_run: bool,
        pruned: &mut Pruned,
    ) -> Result<Decided, StoreError> {
        let mut all = Decided::default();
        let Some(shortest) = retention.shortest() else { return Ok(all) };
        let mut last = Some(0);
        while let Some(after) = last {
            let (next, counts, decided) =
                with_retry(|| self.decide_some(retention, shortest, after, dry_run)).await?;
            pruned.attempts += counts.attempts;
            pruned.pages += counts.pages;
            pruned.responses += counts.responses;
            if dry_run {
                all.partitions.extend(decided.partitions);
                all.actions.extend(decided.actions);
            }
            last = next;
        }
        Ok(all)
    }

    /// Those with an id above `after`; where to go on.
    async fn decide_some(
        &self,
        retention: &Retention,
        shortest: Duration,
        after: i64,
        dry_run: bool,
    ) -> Result<(Option<i64>, Pruned, Decided), StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        tx.batch_execute("set local statement_timeout = '10min'").await?;
        if !dry_run {
            // Neither a plan nor a requeue meanwhile: it might open what is decided on here.
            tx.batch_execute(PLAN_LOCK).await?;
        }
        let closed = tx.query(CLOSED, &[&after, &shortest.as_secs_f64(), &ATTEMPTS]).await?;
        let (mut wholes, mut actions) = (Vec::new(), Vec::new());
        for row in &closed {
            if let Some(action) = note(retention.action(&facts(row))) {
                wholes.push(row.get::<_, i64>("id"));
                actions.push(action);
            }
        }
        let mut counts = Pruned {
            attempts: actions.iter().filter(|f| **f == ATTEMPT).count() as u64,
            ..Pruned::default()
        };
        let mut decided = Decided::default();
        for row in tx.query(CHOSEN, &[&wholes, &actions]).await? {
            decided.partitions.push(row.get("id"));
            decided.actions.extend(actions.iter().find(|f| **f == row.get::<_, &str>("action")));
            counts.pages += row.get::<_, i64>("pages") as u64;
            counts.responses += row.get::<_, i64>("responses") as u64;
        }
        if !dry_run && !wholes.is_empty() {
            let gone: Vec<i64> =
                wholes.iter().zip(&actions).filter(|(_, f)| **f == ATTEMPT).map(|(id, _)| *id).collect();
            tx.execute(MARK, &[&decided.partitions, &decided.actions]).await?;
            tx.execute(MARK_NEWER, &[&gone]).await?;
            tx.execute(NOTE, &[&decided.partitions, &decided.actions]).await?;
        }
        tx.commit().await?;
        let next = closed.last().filter(|_| closed.len() as i64 == ATTEMPTS).map(|row| row.get("id"));
        Ok((next, counts, decided))
    }

    /// Drops the months that are over and of which nothing stays.
    async fn drop_months(
        &self,
        going: &Decided,
        dry_run: bool,
        pruned: &mut Pruned,
    ) -> Result<(), StoreError> {
        let months = {
            let client = self.database.client().await?;
            client
                .query(
                    "select p.relname::text as parent, right(c.relname, 6) as month, pg_total_relation_size(c.oid) as bytes from pg_inherits i \
                     join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent \
                     where i.inhparent = any(array['pagemill.pages', 'pagemill.responses']::regclass[]) \
                         and c.relname ~ '_[0-9]{6}$' and right(c.relname, 6) < to_char(now(), 'YYYYMM') order by month, parent",
                    &[],
                )
                .await?
        };
        for row in months {
            let (parent, month): (&str, &str) = (row.get("parent"), row.get("month"));
            let table = format!("{parent}_{month}");
            let lower = month.parse::<i64>().unwrap_or(0) * 100_000_000;
            let marked = if parent == "pages" { "pruned_at" } else { "responses_pruned_at" };
            let lost: Vec<i64> = going.losing(parent == "pages").collect();
            let sql = STAYS.replace("{marked}", marked).replace("{month}", &table);
            let stays: bool = {
                let client = self.database.client().await?;
                client.query_one(&sql, &[&lower, &(lower + 99_999_999), &lost]).await?.get("stays")
            };
            if stays {
                continue;
            }
            let bytes = if dry_run { Some(row.get("bytes")) } else { self.drop_month(parent, month).await? };
            pruned.months.extend(bytes.map(|bytes: i64| Month { table, bytes: bytes as u64 }));
        }
        Ok(())
    }

    /// `None` where it stays after all: something in it is to be kept, or the lock is not to be had;
    /// then its rows are deleted, and the next prune drops it.
    async fn drop_month(&self, parent: &str, month: &str) -> Result<Option<i64>, StoreError> {
        let drop = async || {
            let mut client = self.database.client().await?;
            let tx = client.transaction().await?;
            tx.batch_execute(LOCK_WAIT).await?;
            let bytes = tx
                .query_one("select pagemill.drop_month($1, $2) as bytes", &[&parent, &month])
                .await?
                .get("bytes");
            tx.commit().await?;
            Ok::<_, StoreError>(bytes)
        };
        let pauses =
            ConstantBuilder::default().with_delay(LOCK_PAUSE).with_max_times(LOCK_TRIES).with_jitter();
        match drop.retry(pauses).when(|e| e.kind() == StoreErrorKind::Retriable).await {
            Err(e) if e.kind() == StoreErrorKind::Retriable => {
                tracing::warn!(month, parent, error = %e, "a month cannot be dropped now: its rows are deleted");
                Ok(None)
            }
            dropped => dropped,
        }
    }

    /// Does what is noted, for some partitions; whether there were any. Parts come before their whole.
    async fn clear(&self) -> Result<bool, StoreError> {
        let client = self.database.client().await?;
        let sql = "select partition, action from pagemill.pruning order by partition desc limit $1";
        let noted = client.query(sql, &[&PARTITIONS]).await?;
        let of = |actions: &[&str]| -> Vec<i64> {
            noted.iter().filter(|r| actions.contains(&r.get("action"))).map(|r| r.get("partition")).collect()
        };
        delete_rows(&client, "responses", &of(&[RESPONSES, PAGES, ATTEMPT])).await?;
        delete_rows(&client, "pages", &of(&[PAGES, ATTEMPT])).await?;
        drop(client);
        with_retry(|| self.remove(&noted)).await?;
        Ok(!noted.is_empty())
    }

    /// The partitions that go, and the notes.
    async fn remove(&self, noted: &[Row]) -> Result<(), StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        let going: Vec<i64> = noted
            .iter()
            .filter(|r| r.get::<_, &str>("action") == ATTEMPT)
            .map(|r| r.get("partition"))
            .collect();
        for sql in [
            "delete from pagemill.dead_letters where partition = any($1)",
            "delete from pagemill.run_partitions where partition = any($1)",
            "delete from pagemill.partitions where id = any($1)",
        ] {
            tx.execute(sql, &[&going]).await?;
        }
        let (partitions, actions): (Vec<i64>, Vec<&str>) =
            noted.iter().map(|r| (r.get::<_, i64>("partition"), r.get::<_, &str>("action"))).unzip();
        // A note may have become a stronger one meanwhile.
        tx.execute(
            "delete from pagemill.pruning t using unnest($1::bigint[], $2::text[]) as u(partition, action) \
             where t.partition = u.partition and t.action = u.action",
            &[&partitions, &actions],
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Runs without attempts, dead letters that ended, consumers that are gone.
    async fn prune_rest(
        &self,
        history: Duration,
        going: &Decided,
        dry_run: bool,
        pruned: &mut Pruned,
    ) -> Result<(), StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        let (age, gone) = (history.as_secs_f64(), going.gone());
        pruned.runs = count_or_delete(&tx, dry_run, RUNS, &[&age, &gone]).await?;
        pruned.dead_letters = count_or_delete(&tx, dry_run, LETTERS, &[&age]).await?;
        pruned.consumers = count_or_delete(&tx, dry_run, CONSUMERS, &[&age]).await?;
        tx.commit().await?;
        Ok(())
    }
}

const RESPONSES: &str = "responses";
const PAGES: &str = "pages";
const ATTEMPT: &str = "attempt";

/// As the ledger notes it.
fn note(action: PruneAction) -> Option<&'static str> {
    match action {
        PruneAction::Stays => None,
        PruneAction::LosesResponses => Some(RESPONSES),
        PruneAction::LosesPages => Some(PAGES),
        PruneAction::Goes => Some(ATTEMPT),
    }
}

fn facts(row: &Row) -> AttemptFacts {
    let closed = Duration::try_from_secs_f64(row.get::<_, f64>("closed_for").max(0.0)).ok();
    AttemptFacts {
        closed: closed.filter(|_| !row.get::<_, bool>("has_open")),
        dead_wait: row.get("dead_wait"),
        stands: row.get("stands"),
    }
}

impl Decided {
    /// Partitions that lose their pages, or their responses.
    fn losing(&self, pages: bool) -> impl Iterator<Item = i64> {
        let all = self.partitions.iter().zip(&self.actions);
        all.filter(move |(_, action)| !pages || **action != RESPONSES).map(|(id, _)| *id)
    }

    /// Partitions that go altogether.
    fn gone(&self) -> Vec<i64> {
        let all = self.partitions.iter().zip(&self.actions);
        all.filter(|(_, action)| **action == ATTEMPT).map(|(id, _)| *id).collect()
    }
}

/// Deletes the rows of these partitions, some at a time, so that no transaction is long.
async fn delete_rows(client: &Object, table: &str, partitions: &[i64]) -> Result<(), StoreError> {
    let sql = format!(
        "delete from pagemill.{table} where partition = any($1) and (partition, page) in (\
             select partition, page from pagemill.{table} where partition = any($1) limit $2)"
    );
    while with_retry(async || Ok(client.execute(&sql, &[&partitions, &ROWS]).await?)).await? > 0 {}
    Ok(())
}

async fn count_or_delete(
    tx: &Transaction<'_>,
    dry_run: bool,
    rows: &str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<u64, StoreError> {
    if dry_run {
        let count: i64 =
            tx.query_one(&format!("select count(*) as count from {rows}"), params).await?.get("count");
        return Ok(count as u64);
    }
    Ok(tx.execute(&format!("delete from {rows}"), params).await?)
}
