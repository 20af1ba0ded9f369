//! The collector's transaction on a real PostgreSQL: fenced, free of deadlocks, sealed once.

mod common;

use common::{World, closed, page, reason};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp, civil::date};
use pagemill_core::{Failure, Lane, Slice, Verdict};
use pagemill_store::{
    NewPartition, PageStart, PageWrite, PlanDecision, RunPlanRequest, StoreErrorKind, Unwanted,
};
use proptest::{prelude::*, test_runner::TestRunner};

/// Whatever the order in which the times_stored of a page arrive, and however often each: the one that
/// was requested last is there at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_order_of_versions_ends_at_the_newest() {
    let world = World::new().await;
    let job = world.partition(false).await;
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig { cases: 24, ..ProptestConfig::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    // Each case has a page and rows of its own.
    let case = std::cell::Cell::new(0);
    let orders = prop::collection::vec(0..5_i64, 1..12);
    let runtime = tokio::runtime::Handle::current();
    let checked = tokio::task::block_in_place(|| {
        runner.run(&orders, |order| {
            case.set(case.get() + 1);
            let ids: Vec<i64> = (case.get() * 10..case.get() * 10 + 10).collect();
            let newest = *order.iter().max().unwrap();
            runtime.block_on(async {
                for version in &order {
                    let write = page(&job, case.get() as u32, &ids, *version, *version, 1_000);
                    world.store.pages.write(&world.table, &[write]).await.unwrap();
                }
                let rows = world.rows().await;
                let of_case: Vec<_> = rows.iter().filter(|(id, _)| ids.contains(id)).collect();
                prop_assert_eq!(of_case.len(), 10);
                prop_assert!(of_case.iter().all(|(_, value)| *value == newest), "{:?}: {:?}", order, of_case);
                Ok(())
            })
        })
    });
    checked.unwrap();
    let done = world.store.partitions.get(job.partition).await.unwrap().progress.done;
    assert_eq!(done, i64::from(case.get() as u32), "a page counts once, however often it is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_of_the_same_keys_never_deadlock() {
    let world = World::new().await;
    let job = world.partition(false).await;
    let deadlocks = "select deadlocks::text from pg_stat_database where datname = current_database()";
    let writers = (0..8_i64).map(|writer| {
        let (store, table, job) = (world.store.clone(), world.table.clone(), job.clone());
        tokio::spawn(async move {
            for round in 0..25_i64 {
                // Every writer has its own pages, and all have the same keys, in another order each.
                let number = (writer * 25 + round + 1) as u32;
                let ids: Vec<i64> = (0..200).map(|i| (i * 73 + writer * 31 + round * 17) % 200).collect();
                let write = page(&job, number, &ids, writer, round * 8 + writer, 100_000);
                store.pages.write(&table, &[write]).await.unwrap();
            }
        })
    });
    join_all(writers).await.into_iter().for_each(|ended| ended.unwrap());
    // The eighth writer's last page was requested last, and holds every key.
    assert_eq!(world.rows().await, (0..200).map(|id| (id, 7)).collect::<Vec<_>>());
    let (_, rows) = world.store.query(deadlocks).await.unwrap();
    assert_eq!(rows[0][0].as_deref(), Some("0"));
}

#[tokio::test]
async fn new_rows_are_copied_and_what_is_in_their_way_gives_way() {
    let world = World::new().await;
    world
        .execute(
            "create table ways (at bigint generated always as identity, way text); \
             create function note() returns trigger language plpgsql as \
                 $$ begin insert into public.ways (way) values (left(current_query(), 6)); return null; end $$; \
             create trigger note after insert on test_rows execute function note()",
        )
        .await;
    let job = world.partition(false).await;
    let write = async |pages: &[PageWrite]| world.store.pages.write(&world.table, pages).await.unwrap();

    write(&[page(&job, 1, &[1, 2], 10, 100, 8)]).await;
    write(&[page(&job, 2, &[3, 4], 20, 101, 8)]).await;
    // A copy of a page that is stored hinders nobody.
    let written = write(&[page(&job, 2, &[3, 4], 20, 101, 8), page(&job, 3, &[5, 6], 30, 102, 8)]).await;
    assert_eq!(written.stored, [false, true]);
    // What a closed attempt left: one row requested earlier, one later, by a clock that has stepped back since.
    world
        .execute(
            "insert into test_rows select '7', '2026-01-15', id, 99, 0, 0, to_timestamp(at) \
             from (values (7, 60), (8, 200)) as v(id, at)",
        )
        .await;
    let written = write(&[page(&job, 4, &[7, 8], 40, 103, 8)]).await;
    assert_eq!((written.stored, written.progress[0].done), (vec![true], 4));

    let values = [(1, 10), (2, 10), (3, 20), (4, 20), (5, 30), (6, 30), (7, 40), (8, 40)];
    assert_eq!(world.rows().await, values);
    let (_, ways) = world.store.query("select way from ways order by at").await.unwrap();
    let ways: Vec<_> = ways.iter().map(|row| row[0].clone().unwrap()).collect();
    // The last but one is that of the rows that were left; of the last batch the copy failed.
    assert_eq!(ways, ["copy \"", "copy \"", "copy \"", "insert", "insert"]);
}

/// The fence in the upsert's condition sees the row as it is once its lock is there, not as it was when the upsert began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_row_that_is_committed_meanwhile_stays() {
    let world = World::new().await;
    let job = world.partition(false).await;
    world.store.pages.write(&world.table, &[page(&job, 1, &[1, 2], 10, 100, 4)]).await.unwrap();
    let mut other = world.connect().await;
    let newer = other.transaction().await.unwrap();
    newer
        .execute("update test_rows set value = 99, _fetched_at = to_timestamp(300) where id = 1", &[])
        .await
        .unwrap();
    let writing = {
        let (store, table) = (world.store.clone(), world.table.clone());
        let older = page(&job, 2, &[1, 2], 20, 200, 4);
        tokio::spawn(async move { store.pages.write(&table, &[older]).await.unwrap() })
    };
    let observer = world.connect().await;
    let waits = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
    while !observer.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(!writing.is_finished(), "the write did not meet the row's lock");
    }
    newer.commit().await.unwrap();
    assert_eq!(writing.await.unwrap().stored, [true]);
    assert_eq!(world.rows().await, [(1, 99), (2, 20)]);
}

/// If consumers store the last pages at once, exactly one sees the end, and the seal is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_pages_at_once_seal_once() {
    let world = World::new().await;
    for round in 0..5 {
        let job = world.partition(round > 0).await;
        let writes = (1..=8_u32).map(|number| {
            let ids: Vec<i64> = (0..10).map(|i| i64::from(number) * 10 + i).collect();
            let write = page(&job, number, &ids, round, 1_000 + round, 80);
            let (store, table) = (world.store.clone(), world.table.clone());
            tokio::spawn(async move {
                let written = store.pages.write(&table, &[write]).await.unwrap();
                let ended = written.progress[0].has_ended();
                (
                    ended,
                    if ended {
                        store.seals.prove(job.partition, Some(&table), 0).await.unwrap()
                    } else {
                        None
                    },
                )
            })
        });
        let ends: Vec<_> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(ends.iter().filter(|(ended, _)| *ended).count(), 1);
        let reports: Vec<_> = ends.into_iter().filter(|(_, s)| s.is_some()).map(|(_, s)| closed(s)).collect();
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].verdict, Verdict::Complete);
        world.apply(job.partition).await;
        assert!(world.seal(job.partition, 0).await.is_none(), "sealing again does nothing");
    }
    assert_eq!(world.rows().await.len(), 80);
}

/// A key on two pages hides a missing row from a count; the seal sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_key_is_no_seal() {
    let world = World::new().await;
    let job = world.partition(false).await;
    let first: Vec<i64> = (0..10).collect();
    let second: Vec<i64> = (9..19).collect();
    let writes = [page(&job, 1, &first, 1, 1, 20), page(&job, 2, &second, 2, 2, 20)];
    let written = world.store.pages.write(&world.table, &writes).await.unwrap();
    assert_eq!(written.stored, [true, true]);
    let report = closed(world.seal(job.partition, 0).await);
    assert_eq!(reason(report), "1 rows repeat a key that came before");
    assert_eq!(world.rows().await[9], (9, 2), "the later request wins");
    // A closed partition takes no page more.
    let late = page(&job, 2, &second, 3, 3, 20);
    assert_eq!(world.store.pages.write(&world.table, &[late]).await.unwrap().stored, [false]);
    assert_eq!(
        world.store.pages.start(&job, true, 5).await.unwrap(),
        PageStart::Unwanted(Unwanted::Obsolete)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rescue_raises_the_generation_and_voids_older_copies() {
    let world = World::new().await;
    let job = world.partition(false).await;
    let ids: Vec<i64> = (0..10).collect();
    world.store.pages.write(&world.table, &[page(&job, 1, &ids, 1, 1, 30)]).await.unwrap();
    let order = world.store.partitions.reissue_missing(job.partition).await.unwrap().unwrap();
    let ordered: Vec<(u32, u32)> = order.jobs.iter().map(|j| (j.page, j.generation)).collect();
    assert_eq!(ordered, [(2, 1), (3, 1)]);
    let older = page(&job, 2, &ids, 9, 9, 30);
    assert_eq!(world.store.pages.write(&world.table, &[older]).await.unwrap().stored, [false]);
    let newer = PageWrite { job: order.jobs[0].clone(), ..page(&job, 2, &[10, 11], 2, 2, 30) };
    assert_eq!(world.store.pages.write(&world.table, &[newer]).await.unwrap().stored, [true]);
    assert_eq!(world.rows().await.len(), 12);
    // Page 3 again: the job of its first rescue is void.
    let again = world.store.partitions.reissue_missing(job.partition).await.unwrap().unwrap();
    assert_eq!((again.jobs[0].page, again.jobs[0].generation), (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_of_operators_only_read() {
    let world = World::new().await;
    let error = world.store.query("delete from test_rows").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Permanent);
    assert!(error.to_string().contains("read-only"), "{error}");
}

/// What the outlook says is what a plan then does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outlook_is_what_planning_comes_to() {
    let world = World::new().await;
    let wanted = |day: i8, due: Option<Timestamp>| NewPartition {
        slice: Slice {
            source: "test".into(),
            stream: "rows".into(),
            account: "7".into(),
            from: date(2026, 1, day),
            to: date(2026, 1, day),
            part: Default::default(),
        },
        row_account: "7".into(),
        date_scope: "within",
        lane: Lane::High,
        page_size: 10,
        subset: None,
        chained: false,
        due_if_requested_before: due,
    };
    let request = |name: &str, again: bool| RunPlanRequest {
        requested: serde_json::json!({ "name": name }),
        again,
        owner: "test".into(),
    };
    // Day 15 is sealed, with 20 rows; day 16 is open; day 17 was never heard of.
    let job = world.partition(false).await;
    let ids: Vec<i64> = (0..20).collect();
    let writes = [page(&job, 1, &ids[..10], 1, 1, 20), page(&job, 2, &ids[10..], 1, 2, 20)];
    world.store.pages.write(&world.table, &writes).await.unwrap();
    closed(world.seal(job.partition, 0).await);
    world.store.runs.plan(&request("open", false), &[wanted(16, None)]).await.unwrap();

    let now = world.store.clock().await.unwrap().now();
    let days = [wanted(17, None), wanted(16, None), wanted(15, None)];
    let restated = [wanted(15, Some(now))];
    let seen = world.store.runs.preview(&request("new", false), &days).await.unwrap();
    assert_eq!((seen.continues, seen.others.len()), (None, 0));
    let stands: Vec<_> = seen.partitions.iter().map(|p| (&p.decision, p.rows, p.pages)).collect();
    assert_eq!(stands[0], (&PlanDecision::Due { sealed_at: None }, Some(20), 2), "from the total of day 15");
    assert_eq!(stands[1], (&PlanDecision::Open(2), Some(20), 2), "its total is not stated yet");
    assert!(matches!(stands[2], (PlanDecision::Sealed { run: 1, .. }, Some(20), 0)));
    let due_again = world.store.runs.preview(&request("new", false), &restated).await.unwrap();
    assert!(matches!(due_again.partitions[0].decision, PlanDecision::Due { sealed_at: Some(_) }));
    assert_eq!((due_again.partitions[0].pages, due_again.others["test"]), (2, 1));
    let forced = world.store.runs.preview(&request("new", true), &[wanted(15, None)]).await.unwrap();
    assert!(matches!(forced.partitions[0].decision, PlanDecision::Due { .. }));
    let continued = world.store.runs.preview(&request("open", false), &[wanted(16, None)]).await.unwrap();
    assert_eq!(continued.continues, Some(2));

    let planned = world.store.runs.plan(&request("new", false), &days).await.unwrap();
    assert_eq!(planned.run, Some(3), "no outlook has made a run");
    assert_eq!((planned.open.len(), planned.sealed.len()), (2, 1));
    let again = world.store.runs.plan(&request("restated", false), &restated).await.unwrap();
    assert_eq!((again.open.len(), again.sealed.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pace_of_a_run_is_that_of_its_last_minutes() {
    let world = World::new().await;
    let job = world.partition(false).await;
    let now = world.store.clock().await.unwrap().now();
    let seconds_ago = |n: i64| (now - SignedDuration::from_secs(n)).as_second();
    let ids: Vec<i64> = (0..10).collect();
    let writes =
        [page(&job, 1, &ids, 1, seconds_ago(3_600), 500), page(&job, 2, &ids, 1, seconds_ago(40), 500)];
    world.store.pages.write(&world.table, &writes).await.unwrap();
    let pace = world.store.runs.pace(job.run).await.unwrap();
    let source = &pace.sources[0];
    assert_eq!(
        (source.source.as_str(), source.open, source.remaining, source.ended_at),
        ("test", 1, 48, None)
    );
    assert_eq!(source.lately, 1, "the page of an hour ago does not count");
    assert!((39.0..60.0).contains(&source.lately_seconds), "{source:?}");
    assert_eq!(world.store.runs.pace(99).await.unwrap_err().kind(), StoreErrorKind::Invalid);
}

/// Two starts without an end make a page suspected. Crashes while it runs alone count; a return in good order takes its
/// start back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_kills_its_process_while_alone_is_poisoned() {
    let world = World::new().await;
    let (job, pages) = (world.partition(false).await, &world.store.pages);
    let start = async || pages.start(&job, true, 2).await.unwrap();
    for _ in 0..3 {
        assert_eq!(start().await, PageStart::Fetch { suspected: false });
        pages.clear_start_marks(&[(job.partition, job.page)]).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(start().await, PageStart::Fetch { suspected: false });
    }
    for _ in 0..2 {
        assert_eq!(start().await, PageStart::Fetch { suspected: true });
        pages.start_alone(&job).await.unwrap();
    }
    assert_eq!(start().await, PageStart::Poisoned { crashes: 2 });
    pages.clear_start_marks(&[(job.partition, job.page)]).await.unwrap();
    assert_eq!(start().await, PageStart::Fetch { suspected: true });
}

/// A page that is dead waits for its operator: a copy of its job that still comes stores nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_dead_page_stores_nothing() {
    let world = World::new().await;
    let job = world.partition(false).await;
    let dead = world.store.dead_letters.record(&job, &Failure::permanent("HTTP 500")).await.unwrap();
    assert!(dead.is_some());
    let write = page(&job, 1, &[1, 2, 3], 1, 1_000, 30);
    let written = world.store.pages.write(&world.table, &[write]).await.unwrap();
    assert_eq!((written.stored, world.rows().await), (vec![false], vec![]));
}

/// A failure that comes after the page was stored by a copy of its job changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_failure_leaves_a_done_page_done() {
    let world = World::new().await;
    let job = world.partition(false).await;
    let write = page(&job, 1, &[1, 2, 3], 1, 1_000, 30);
    assert_eq!(world.store.pages.write(&world.table, &[write]).await.unwrap().stored, [true]);
    let failure = Failure::permanent("HTTP 500");
    assert_eq!(world.store.pages.record_failure(&job, &failure).await.unwrap(), None);
    assert!(world.store.dead_letters.record(&job, &failure).await.unwrap().is_none());
    assert!(matches!(world.store.pages.look_up(&job).await.unwrap(), Some(Unwanted::Done(_))));
}

/// A partition that is not published yet is its producer's while the producer is alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rescue_leaves_a_partition_to_its_live_producer() {
    let world = World::new().await;
    let (job, store) = (world.partition(false).await, &world.store);
    let idle = std::time::Duration::ZERO;
    assert!(store.partitions.rescue("test", idle).await.unwrap().is_none());
    store.runs.release_lease(job.run, "test").await.unwrap();
    let rescued = store.partitions.rescue("test", idle).await.unwrap().unwrap();
    assert_eq!(rescued.partition.id, job.partition);
}
