//! Measures that a page costs the same in a large ledger as in a small one: fills a ledger of each size,
//! and measures every statement of a page's way at both.
//!
//! ```sh
//! cargo run --release -p pagemill-store --example scale -- postgres://postgres@127.0.0.1/postgres 10000 1000000
//! ```
//!
//! Wants a server of its own with `pg_stat_statements` among its `shared_preload_libraries`: the time
//! is the server's, the median of rounds; buffers are pages of 8 KiB touched a call. The databases
//! `pagemill_scale_<pages>` are kept, so that a second run measures at once.

use std::{collections::BTreeMap, time::Duration};

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, date},
};
use pagemill_core::{Column, ColumnShape, DateScope, Kind, Lane, PageJob, Rows, Slice, TableShape};
use pagemill_store::{
    DataTable, NewPartition, Next, PageWrite, PartitionRow, Planned, Proving, RunPlanRequest, Slices, Store,
    StoreConfig,
};
use tokio_postgres::{Client, NoTls};

/// Pages of a large partition.
const PAGES: u32 = 10_000;
const PAGE_ROWS: usize = 100;
const BATCH: u32 = 20;
/// Rows of the data table, equally large beside each ledger: only the ledger differs.
const ROWS: i64 = 10_000_000;
/// Calls of a cheap statement, in so many rounds.
const CALLS: usize = 100;
const ROUNDS: usize = 7;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What was done, and its milliseconds and buffers a call.
type Costs = Vec<(String, f64, f64)>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let server = args.next().ok_or("usage: scale URL PAGES...")?;
    let mut all: Vec<(i64, Costs)> = Vec::new();
    let mut worlds = Vec::new();
    for pages in args {
        worlds.push(World::of(&server, pages.parse()?).await?);
    }
    store_pages(&mut worlds).await?;
    for mut world in worlds {
        world.way_of_a_page().await?;
        world.looks().await?;
        world.sizes().await?;
        all.push((world.pages, world.costs));
    }
    print!("{:40}", "ms and buffers a call");
    all.iter().for_each(|(pages, _)| print!("{:>24}", format!("{pages} pages")));
    println!("{:>12}", "last/first");
    for (i, (name, first, _)) in all[0].1.iter().enumerate() {
        print!("{name:40}");
        all.iter().for_each(|(_, costs)| print!("{:>14.3} {:>9.1}", costs[i].1, costs[i].2));
        println!("{:>12.2}", all.last().map_or(0.0, |(_, costs)| costs[i].1) / first);
    }
    Ok(())
}

async fn connect(url: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

struct World {
    pages: i64,
    store: Store,
    table: DataTable,
    db: Client,
    /// Days of 10,000 pages, open.
    days: Vec<PartitionRow>,
    costs: Costs,
}

impl World {
    async fn of(server: &str, pages: i64) -> Outcome<Self> {
        let database = format!("pagemill_scale_{pages}");
        let admin = connect(server).await?;
        let found = "select from pg_database where datname = $1";
        let there = admin.query_opt(found, &[&database]).await?.is_some();
        if !there {
            admin.batch_execute(&format!("create database {database}")).await?;
        }
        let url = format!("{}/{database}", server.rsplit_once('/').ok_or("a URL with a database")?.0);
        let config = StoreConfig { url: url.clone().into(), schema: "public".into(), connections: 2 };
        let store = Store::connect(&config).await?;
        let table = DataTable::new(store.schema(), "scale", "rows", &shape())?;
        store.migrate(std::slice::from_ref(&table)).await?;
        let db = connect(&url).await?;
        if !there {
            fill(&db, pages).await?;
        }
        db.batch_execute(
            "create extension if not exists pg_stat_statements; delete from rows where account = 'work'",
        )
        .await?;
        let mut days = Vec::new();
        for n in 0..3 {
            let planned = plan(&store, "work", date(2019, 1, 1 + n), true).await?;
            days.extend(planned.open.into_iter().map(|o| o.partition));
        }
        Ok(Self { pages, store, table, db, days, costs: Vec::new() })
    }

    async fn store_batch(&self, day: usize, n: usize) -> Outcome<()> {
        let first = n as u32 * BATCH + 1;
        let pages: Vec<PageWrite> =
            (first..first + BATCH).map(|page| write(&self.table, &self.days[day], page)).collect();
        let written = self.store.pages.write(&self.table, &pages).await?;
        assert!(written.stored.iter().all(|stored| *stored), "a page was refused");
        Ok(())
    }
}

/// Batches of 20 pages into each ledger by turns, so that what else the machine does meets all alike.
async fn store_pages(worlds: &mut [World]) -> Outcome<()> {
    let (rounds, batches) = (25, PAGES as usize / BATCH as usize / 25);
    let mut costs = vec![(Vec::new(), Vec::new()); worlds.len()];
    for day in 0..3 {
        for round in 0..rounds {
            for (world, (times, buffers)) in worlds.iter().zip(&mut costs) {
                world.db.execute("select pg_stat_statements_reset()", &[]).await?;
                for n in 0..batches {
                    world.store_batch(day, round * batches + n).await?;
                }
                let (time, touched) = world.spent().await?;
                times.push(time / batches as f64);
                buffers.push(touched / batches as f64);
            }
        }
    }
    for (world, (times, buffers)) in worlds.iter_mut().zip(costs) {
        world.note("store 20 pages of 100 rows", times, buffers);
    }
    Ok(())
}

/// The ledger as years of pulls leave it: nine tenths of the pages in partitions of 10,000 at most,
/// the others alone in theirs, one run a day of 50 accounts.
async fn fill(db: &Client, pages: i64) -> Outcome<()> {
    let (large, single) = ((pages * 9 / 10 / i64::from(PAGES)).max(1), pages / 10);
    let of_large = pages * 9 / 10 / large;
    eprintln!("{pages} pages: {large} partitions of {of_large}, {single} of 1, {ROWS} rows");
    let proof = "{\"keys\": 100, \"distinct_keys\": 100, \"content_hash\": \"00000000000000ff\", \
                 \"quality\": {\"blank\": [], \"absent\": [], \"unmapped\": []}, \"warnings\": []}";
    let columns = "id, run, source, stream, account, from_date, to_date, lane, page_size, state, total, done, \
                   published_at, closed_at, proof, row_account, date_scope, requested_from";
    db.batch_execute(&format!(
        "set statement_timeout = 0; set synchronous_commit = off; \
         insert into pagemill.runs (request, created_at) \
             select jsonb_build_object('n', n), now() - interval '1 day' * ({single} / 50 + 1 - n) from generate_series(1, {single} / 50 + 1) n; \
         insert into pagemill.partitions ({columns}) \
             select 20250100000000 + n, 1 + n / 50, 'scale', 'rows', (n % 50)::text, d, d, 'pages', 100, 'sealed', 100, 1, now(), now(), '{proof}', (n % 50)::text, 'within', now() \
             from generate_series(0, {single} - 1) n, lateral (select date '2020-01-01' + n / 50 as d) x; \
         insert into pagemill.partitions ({columns}) \
             select 20250200000000 + n, 1, 'scale', 'rows', 'large', d, d, 'pages', 100, 'sealed', 100 * {of_large}, {of_large}, now(), now(), '{proof}', 'large', 'within', now() \
             from generate_series(0, {large} - 1) n, lateral (select date '2020-01-01' + n::int as d) x; \
         insert into pagemill.run_partitions select run, id from pagemill.partitions; \
         insert into pagemill.sealed_cells select source, stream, account, from_date, to_date, id from pagemill.partitions; \
         select pagemill.open_month('2025-01-01'), pagemill.open_month('2025-02-01'); \
         insert into pagemill.pages (partition, page, state, requests, times_stored, rows, total, key_hashes, content_hash, requested_at) \
             select p.id, n, 'done', 1, 1, 100, p.total, \
                 (select array_agg(hashint8extended(p.id, n * 100 + k)) from generate_series(1, 100) k), n, now() - interval '1 day' \
             from pagemill.partitions p, generate_series(1, p.done) n; \
         insert into rows select 'large', date '2020-01-01' + (n / 1000000)::int, n, 'name ' || n, n, n / 100.0, n / 7.0, 1, 1, now() - interval '1 day' \
             from generate_series(0, {ROWS} - 1) n;"
    ))
    .await?;
    db.batch_execute("vacuum analyze").await?;
    db.batch_execute("checkpoint").await?;
    Ok(())
}

impl World {
    /// Makes the calls in rounds, and notes the median round's time and buffers a call.
    async fn cost<F: AsyncFnMut(&Store, usize) -> Outcome<()>>(
        &mut self,
        name: &str,
        (rounds, calls): (usize, usize),
        mut call: F,
    ) -> Outcome<()> {
        call(&self.store, 0).await?;
        let (mut times, mut buffers) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            self.db.execute("select pg_stat_statements_reset()", &[]).await?;
            for n in 0..calls {
                call(&self.store, round * calls + n + 1).await?;
            }
            let (time, touched) = self.spent().await?;
            times.push(time / calls as f64);
            buffers.push(touched / calls as f64);
        }
        self.note(name, times, buffers);
        Ok(())
    }

    /// Milliseconds and buffers since the last reset.
    async fn spent(&self) -> Outcome<(f64, f64)> {
        let sql = "select coalesce(sum(total_exec_time), 0)::float8, coalesce(sum(shared_blks_hit + shared_blks_read), 0)::float8 \
                   from pg_stat_statements s join pg_database d on d.oid = s.dbid \
                   where d.datname = current_database() and toplevel and query not like '%pg_stat_statements%'";
        let row = self.db.query_one(sql, &[]).await?;
        Ok((row.get(0), row.get(1)))
    }

    fn note(&mut self, name: &str, times: Vec<f64>, buffers: Vec<f64>) {
        let median = |mut of: Vec<f64>| {
            of.sort_by(f64::total_cmp);
            of[of.len() / 2]
        };
        self.costs.push((name.to_owned(), median(times), median(buffers)));
    }

    /// Days of 10,000 stored pages are looked at and sealed.
    async fn way_of_a_page(&mut self) -> Outcome<()> {
        let (partitions, table) = (self.days.clone(), self.table.clone());
        let (first, id, run) = (partitions[0].clone(), partitions[0].id, partitions[0].run);
        let cheap = (ROUNDS, CALLS);
        let job = |n: usize| first.job(1 + (n as u32 * 37) % PAGES, 0);
        self.cost("look a page up (start_page)", cheap, async |s, n| {
            s.pages.start(&job(n), false, 8).await?;
            Ok(())
        })
        .await?;
        self.cost("mark a start (redelivered)", cheap, async |s, n| {
            let ahead = PageJob { page: PAGES + 1 + n as u32, ..job(n) };
            s.pages.start(&ahead, true, 8).await?;
            Ok(())
        })
        .await?;
        let started = "delete from pagemill.pages where partition = $1 and state = 'planned'";
        self.db.execute(started, &[&id]).await?;
        self.cost("known pages of 10,000 (expand)", (ROUNDS, 5), async |s, _| {
            s.pages.known(id).await?;
            Ok(())
        })
        .await?;
        self.cost("missing pages of 10,000 (rescue)", (ROUNDS, 5), async |s, _| {
            s.partitions.reissue_missing(id).await?;
            Ok(())
        })
        .await?;
        self.cost("look for a stranded partition", cheap, async |s, _| {
            s.partitions.rescue("scale", Duration::from_secs(86_400)).await?;
            Ok(())
        })
        .await?;
        self.cost("any partition open?", cheap, async |s, _| {
            assert!(s.partitions.any_open(&["scale".into()]).await?);
            Ok(())
        })
        .await?;
        self.cost("open partitions", cheap, async |s, _| {
            s.partitions.open(&["scale".into()]).await?;
            Ok(())
        })
        .await?;
        self.cost("progress of a run", cheap, async |s, _| {
            s.runs.progress(run).await?;
            Ok(())
        })
        .await?;
        self.cost("pace of a run of 10,000 pages", (ROUNDS, 5), async |s, _| {
            s.runs.pace(run).await?;
            Ok(())
        })
        .await?;
        self.cost("status of a run of 10,000 pages", (ROUNDS, 5), async |s, _| {
            s.runs.status(run).await?;
            Ok(())
        })
        .await?;
        let mut seals = partitions.iter();
        // The call that warms up seals as well.
        self.cost("prove 10,000 pages", (2, 1), async |s, _| {
            let partition = seals.next().ok_or("three partitions")?;
            let proving = s.seals.prove(partition.id, Some(&table), 0).await?;
            assert!(matches!(proving, Some(Proving::Ended(_))), "{proving:?}");
            Ok(())
        })
        .await
    }

    /// Measures queries beside those of a page.
    async fn looks(&mut self) -> Outcome<()> {
        let last_day = date(2020, 1, 1) + (self.pages / 10 / 50 - 1).days();
        self.cost("plan 50 slices that are sealed", (ROUNDS, 10), async |s, _| {
            let (request, wanted) = accounts(last_day);
            assert_eq!(s.runs.plan(&request, &wanted).await?.sealed.len(), 50);
            Ok(())
        })
        .await?;
        self.cost("outlook of 50 slices", (ROUNDS, 10), async |s, _| {
            let (request, wanted) = accounts(last_day);
            s.runs.preview(&request, &wanted).await?;
            Ok(())
        })
        .await?;
        self.cost("plan a run of one slice", (ROUNDS, 10), async |s, n| {
            plan(s, "new", date(2018, 1, 1) + (n as i64).days(), true).await?;
            Ok(())
        })
        .await?;
        let closed =
            "update pagemill.partitions set state = 'incomplete', closed_at = now() where account = 'new'";
        self.db.batch_execute(closed).await?;
        self.cost("the 20 newest runs", (ROUNDS, 1), async |s, _| {
            s.runs.recent(20).await?;
            Ok(())
        })
        .await?;
        let one_day = Slices { accounts: vec!["1".into()], days: Some((last_day, last_day)) };
        let table = self.table.clone();
        self.cost("attempts to reload, of a day", (ROUNDS, 5), async |s, _| {
            s.responses.attempts_in_table(&table, &one_day).await?;
            Ok(())
        })
        .await?;
        self.cost("dead letters counted", (ROUNDS, CALLS), async |s, _| {
            s.dead_letters.count("scale").await?;
            Ok(())
        })
        .await?;
        for (name, table) in
            [("a day's 1,000,000 rows, sealed (view)", "rows_sealed"), ("the same, all", "rows")]
        {
            self.cost(name, (3, 1), async |s, _| {
                let sql = format!(
                    "select count(*), sum(fee) from {table} where account = 'large' and day = '2020-01-01'"
                );
                s.query(&sql).await?;
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Measures the disk space, and the updates of hot rows.
    async fn sizes(&self) -> Outcome<()> {
        let sql = "select c.relname::text, s.n_live_tup, s.n_dead_tup, s.n_tup_upd, s.n_tup_hot_upd, s.autovacuum_count, \
                       pg_table_size(c.oid), pg_indexes_size(c.oid) \
                   from pg_class c join pg_stat_user_tables s on s.relid = c.oid where s.n_live_tup > 0 \
                   order by pg_total_relation_size(c.oid) desc";
        eprintln!(
            "{} pages: table, live, dead, updated, heap-only, autovacuums, bytes a row, of index",
            self.pages
        );
        for r in self.db.query(sql, &[]).await? {
            let n = |i| r.get::<_, i64>(i);
            let (name, a_row): (&str, _) = (r.get(0), |i| n(i) as f64 / n(1) as f64);
            eprintln!(
                "{name:24} {:>10} {:>8} {:>8} {:>8} {:>3} {:>8.1} {:>8.1}",
                n(1),
                n(2),
                n(3),
                n(4),
                n(5),
                a_row(6),
                a_row(7)
            );
        }
        Ok(())
    }
}

fn shape() -> TableShape {
    let column = |name: &str, kind, key| ColumnShape { name: name.into(), kind, key };
    TableShape {
        name: "rows".into(),
        columns: vec![
            column("account", Kind::Text, true),
            column("day", Kind::Date, true),
            column("id", Kind::Bigint, true),
            column("name", Kind::Text, false),
            column("impressions", Kind::Bigint, false),
            column("fee", Kind::Numeric, false),
            column("ctr", Kind::Numeric, false),
        ],
        account: Some("account".into()),
        dates: DateScope::Within("day".into()),
    }
}

fn wanted(account: &str, day: Date) -> NewPartition {
    let (source, stream, account) = ("scale".into(), "rows".into(), account.to_owned());
    NewPartition {
        row_account: account.clone(),
        date_scope: "within",
        slice: Slice { source, stream, account, from: day, to: day, part: BTreeMap::new() },
        lane: Lane::High,
        page_size: PAGE_ROWS as u32,
        subset: None,
        chained: false,
        due_if_requested_before: None,
    }
}

async fn plan(store: &Store, account: &str, day: Date, again: bool) -> Outcome<Planned> {
    let requested = serde_json::json!({ "account": account, "day": day, "at": Timestamp::now().to_string() });
    let request = RunPlanRequest { requested, again, owner: "scale".into() };
    Ok(store.runs.plan(&request, &[wanted(account, day)]).await?)
}

fn accounts(day: Date) -> (RunPlanRequest, Vec<NewPartition>) {
    let request = RunPlanRequest { requested: "accounts".into(), again: false, owner: "scale".into() };
    (request, (0..50).map(|n| wanted(&n.to_string(), day)).collect())
}

/// A page of rows that are new to the table, or at least requested later.
fn write(table: &DataTable, partition: &PartitionRow, page: u32) -> PageWrite {
    let first = i64::from(page) * PAGE_ROWS as i64;
    let numbers = || (0..PAGE_ROWS as i64).map(move |n| first + n);
    let text = || Column::with_capacity(Kind::Text, PAGE_ROWS);
    let (mut account, mut name) = (text(), text());
    if let (Column::Text(accounts), Column::Text(names)) = (&mut account, &mut name) {
        for n in numbers() {
            accounts.push(Some("work"));
            names.push(Some(&format!("name {n}")));
        }
    }
    let decimal = |n: i64| Some(rust_decimal::Decimal::new(n, 2));
    let columns = vec![
        account,
        Column::Date(vec![Some(partition.slice.from); PAGE_ROWS]),
        Column::Bigint(numbers().map(Some).collect()),
        name,
        Column::Bigint(numbers().map(Some).collect()),
        Column::Numeric(numbers().map(decimal).collect()),
        Column::Numeric(numbers().map(decimal).collect()),
    ];
    let rows = Rows::new(PAGE_ROWS, columns);
    PageWrite {
        job: partition.job(page, 0),
        key_hashes: rows.key_hashes(table.key()),
        row_hashes: rows.row_hashes(),
        rows,
        total: Some(u64::from(PAGES) * PAGE_ROWS as u64),
        next: Next::Numbered,
        facts: None,
        request_id: None,
        requested_at: Timestamp::now() - SignedDuration::from_secs(1),
        body: None,
        cast_failures: vec![],
        body_digest: None,
        unchanged: None,
    }
}
