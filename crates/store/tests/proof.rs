//! The proof of completeness on a real PostgreSQL: repair_rounds, chains, parts, sums, missing rows, warnings.

mod common;

use common::{World, closed, page, reason, repair};
use pagemill_core::{PageJob, Slice, Verdict};
use pagemill_store::{Following, KnownPage, Next, PageWrite, StreamRules};
use serde_json::json;

const ROUNDS: u32 = 3;

fn ids(from: i64, to: i64) -> Vec<i64> {
    (from..to).collect()
}

/// A row came in at the front between the first page and the others: every key after it moved on by
/// one, and the total with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_state_an_older_total_are_fetched_again() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    let before = page(&job, 1, &ids(0, 10), 1, 1, 20);
    let moved = [page(&job, 2, &ids(9, 19), 1, 2, 21)];
    store.pages.write(table, &[before]).await.unwrap();
    store.pages.write(table, &moved).await.unwrap();
    // The page that states the older total, its neighbour, and the page that the new total adds.
    let ordered = repair(world.seal(job.partition, ROUNDS).await);
    assert_eq!(ordered, [(1, 1), (2, 1), (3, 0)]);
    assert!(world.seal(job.partition, ROUNDS).await.is_none(), "pages are under way");
    let again: Vec<PageWrite> = [(1, ids(-1, 9)), (2, ids(9, 19)), (3, ids(19, 20))]
        .iter()
        .zip(&ordered)
        .map(|((number, ids), (_, generation))| {
            let write = page(&job, *number, ids, 1, 10, 21);
            PageWrite { job: job.at(*number, *generation), ..write }
        })
        .collect();
    store.pages.write(table, &again).await.unwrap();
    let report = closed(world.seal(job.partition, ROUNDS).await);
    assert_eq!((report.verdict, report.rows), (Verdict::Complete, 21));
    let recount =
        store.seals.recount(table, &store.partitions.get(job.partition).await.unwrap()).await.unwrap();
    assert!(recount.agrees(), "{recount:?}");
    assert_eq!((recount.repair_rounds, recount.pages, recount.table_keys), (1, 3, 21));
}

/// One response states a larger total, and later ones take it back: the pages that were requested by it
/// are no more, and the seal holds what is stated now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_total_that_is_taken_back_leaves_no_pages_behind() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    let pages = [page(&job, 1, &ids(0, 10), 1, 1, 20), page(&job, 2, &ids(10, 20), 1, 2, 41)];
    store.pages.write(table, &pages).await.unwrap();
    let ordered = repair(world.seal(job.partition, ROUNDS).await);
    assert_eq!(ordered, [(1, 1), (2, 1), (3, 0), (4, 0), (5, 0)]);
    let again: Vec<PageWrite> = ordered
        .iter()
        .map(|&(number, generation)| {
            let from = i64::from(number - 1) * 10;
            let write = page(&job, number, &ids(from.min(20), (from + 10).min(20)), 1, 10, 20);
            PageWrite { job: job.at(number, generation), ..write }
        })
        .collect();
    store.pages.write(table, &again).await.unwrap();
    let report = closed(world.seal(job.partition, ROUNDS).await);
    assert_eq!((report.verdict, report.rows), (Verdict::Complete, 20));
    let partition = store.partitions.get(job.partition).await.unwrap();
    assert_eq!((partition.progress.total, partition.progress.done), (Some(20), 2));
    let recount = store.seals.recount(table, &partition).await.unwrap();
    assert!(recount.agrees(), "{recount:?}");
    assert_eq!((recount.pages, recount.table_keys), (2, 20));
}

/// A response that is under way for a page beyond a total that has become smaller: the page has a new generation, so
/// the response is refused. Found by the stepper.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_beyond_a_smaller_total_keeps_its_generation() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    let pages = [page(&job, 1, &ids(0, 10), 1, 1, 20), page(&job, 2, &ids(10, 20), 1, 2, 21)];
    store.pages.write(table, &pages).await.unwrap();
    let ordered = repair(world.seal(job.partition, ROUNDS).await);
    assert_eq!(ordered, [(1, 1), (2, 1), (3, 0)]);
    // The total is 20 again, and a key comes twice: the proof fails once more.
    let again: Vec<PageWrite> = [(1, ids(0, 10)), (2, ids(9, 19)), (3, vec![])]
        .iter()
        .zip(&ordered)
        .map(|((number, ids), (_, generation))| {
            let write = page(&job, *number, ids, 1, 10, 20);
            PageWrite { job: job.at(*number, *generation), ..write }
        })
        .collect();
    store.pages.write(table, &again).await.unwrap();
    let ordered = repair(world.seal(job.partition, ROUNDS).await);
    assert_eq!(ordered, [(1, 2), (2, 2)]);
    let third = store.pages.known(job.partition).await.unwrap()[2];
    assert_eq!(third, KnownPage { page: 3, generation: 1, has_ended: false });
    let under_way = PageWrite { job: job.at(3, 0), ..page(&job, 3, &ids(20, 21), 1, 11, 21) };
    assert_eq!(store.pages.write(table, &[under_way]).await.unwrap().stored, [false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_total_that_never_rests_ends_incomplete_after_the_last_round() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    let mut ordered = vec![(1, 0), (2, 0)];
    for round in 0..=i64::from(ROUNDS) {
        for (number, generation) in &ordered {
            let (number, time) = (*number, 10 * round + i64::from(*number));
            let write = page(
                &job,
                number,
                &ids(i64::from(number) * 10, i64::from(number) * 10 + 10),
                1,
                time,
                20 - (time as u64 % 2),
            );
            store
                .pages
                .write(table, &[PageWrite { job: job.at(number, *generation), ..write }])
                .await
                .unwrap();
        }
        let sealing = world.seal(job.partition, ROUNDS).await;
        if round < i64::from(ROUNDS) {
            ordered = repair(sealing);
            assert_eq!(ordered.len(), 2);
        } else {
            assert!(reason(closed(sealing)).starts_with("the API's total moved"));
        }
    }
}

/// A row went while another came: the count is right, the sum is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_see_what_a_count_does_not() {
    let world = World::ruled(StreamRules { sums: vec![3], ..StreamRules::default() }).await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    let summed = |stored: &str| Some(json!({ "sums": { "value": stored }, "stated": { "value": "30.0" } }));
    let write = PageWrite { facts: summed("20"), ..page(&job, 1, &ids(0, 10), 2, 1, 10) };
    store.pages.write(table, &[write]).await.unwrap();
    assert_eq!(repair(world.seal(job.partition, 1).await), [(1, 1)]);
    let again = PageWrite { job: job.at(1, 1), facts: summed("20"), ..page(&job, 1, &ids(0, 10), 2, 2, 10) };
    store.pages.write(table, &[again]).await.unwrap();
    let report = closed(world.seal(job.partition, 1).await);
    assert_eq!(reason(report), "the stored sums are not the API's own: value 20, stated 30.0");

    let job = world.partition(true).await;
    let right = PageWrite { facts: summed("30"), ..page(&job, 1, &ids(0, 10), 3, 5, 10) };
    store.pages.write(table, &[right]).await.unwrap();
    assert_eq!(closed(world.seal(job.partition, 1).await).verdict, Verdict::Complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_ends_with_the_page_that_names_no_next() {
    let world = World::ruled(StreamRules { chained: true, ..StreamRules::default() }).await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    let chained = |number: u32, next: Next| {
        let from = i64::from(number) * 10;
        PageWrite { next, total: None, ..page(&job, number, &ids(from, from + 10), 1, from, 0) }
    };
    let written = store.pages.write(table, &[chained(1, Next::Is("b".into()))]).await.unwrap();
    assert!(!written.progress[0].has_ended());
    let following = store.pages.following(job.partition, 1).await.unwrap();
    assert_eq!(following, Following::Page { cursor: "b".into(), generation: 0 });
    // Its job is lost: the rescue finds where the chain goes on.
    let order = store.partitions.reissue_missing(job.partition).await.unwrap().unwrap();
    assert_eq!((order.jobs[0].page, order.jobs[0].cursor.as_deref()), (2, Some("b")));
    let second = PageWrite { job: order.jobs[0].clone(), ..chained(2, Next::Last) };
    let written = store.pages.write(table, &[second]).await.unwrap();
    assert!(written.progress[0].has_ended());
    assert_eq!(store.pages.following(job.partition, 2).await.unwrap(), Following::Nothing);
    let report = closed(world.seal(job.partition, ROUNDS).await);
    assert_eq!((report.verdict, report.rows), (Verdict::Complete, 20));
    assert_eq!(store.partitions.get(job.partition).await.unwrap().progress.total, Some(20), "counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_goes_in_circles_is_incomplete() {
    let world = World::ruled(StreamRules { chained: true, ..StreamRules::default() }).await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    for (number, next) in [(1, "b"), (2, "c"), (3, "b")] {
        let from = i64::from(number) * 10;
        let write = page(&job, number, &ids(from, from + 10), 1, from, 0);
        store
            .pages
            .write(table, &[PageWrite { next: Next::Is(next.into()), total: None, ..write }])
            .await
            .unwrap();
    }
    assert_eq!(store.pages.following(job.partition, 3).await.unwrap(), Following::CursorLoop);
    let report = closed(world.seal(job.partition, ROUNDS).await);
    assert_eq!(reason(report), "page 3 names the same next page as page 1: the API goes in circles");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_stand_for_a_whole_that_is_too_deep() {
    let world = World::ruled(StreamRules { window: Some(10), ..StreamRules::default() }).await;
    let (store, table) = (&world.store, &world.table);
    for (values, expected) in [
        (vec!["a", "b"], None),
        (
            vec!["a"],
            Some(
                "the parts have 8 rows, but the API states 16 for the whole: does split_by name every value?",
            ),
        ),
    ] {
        let job = world.partition(values.len() == 1).await;
        store.pages.write(table, &[page(&job, 1, &ids(0, 10), 1, 1, 16)]).await.unwrap();
        let parts: Vec<Slice> = (values.iter())
            .map(|value| Slice {
                part: [("kind".to_owned(), (*value).to_owned())].into(),
                ..job.slice.clone()
            })
            .collect();
        let open = store.partitions.split(job.partition, &parts).await.unwrap();
        assert_eq!(open.len(), values.len());
        assert_eq!(
            store.partitions.split(job.partition, &parts).await.unwrap().len(),
            values.len(),
            "split once"
        );
        for (number, part) in (0..).zip(&open) {
            assert!(world.seal(job.partition, ROUNDS).await.is_none());
            let from = number * 8;
            let first = part.job(1, 0);
            assert_eq!(first.slice, parts[number as usize]);
            store.pages.write(table, &[page(&first, 1, &ids(from, from + 8), 1, 2, 8)]).await.unwrap();
            let report = closed(world.seal(part.id, ROUNDS).await);
            assert_eq!((report.verdict, report.partition.parent), (Verdict::Complete, Some(job.partition)));
        }
        let report = closed(world.seal(job.partition, ROUNDS).await);
        match expected {
            Some(expected) => assert_eq!(reason(report), expected),
            None => {
                assert_eq!(report.verdict, Verdict::Complete);
                let whole = store.partitions.get(job.partition).await.unwrap();
                let recount = store.seals.recount(table, &whole).await.unwrap();
                assert!(recount.agrees(), "{recount:?}");
                assert_eq!((recount.parts, recount.ledger_keys), (Some(2), 16));
            }
        }
    }
}

/// A part that is too deep itself proves the sums of its own parts, and the whole adds those up too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_add_up_over_two_levels_of_parts() {
    let rules = StreamRules { window: Some(10), sums: vec![3], ..StreamRules::default() };
    let world = World::ruled(rules).await;
    let (store, table) = (&world.store, &world.table);
    let part_of = |slice: &Slice, name: &str, value: &str| {
        let mut part = slice.clone();
        part.part.insert(name.to_owned(), value.to_owned());
        part
    };
    let read = async |job: &PageJob, ids: &[i64], total, stated: &str, stored: &str| {
        let facts = Some(json!({ "sums": { "value": stored }, "stated": { "value": stated } }));
        let write = PageWrite { facts, ..page(job, 1, ids, 1, 1, total) };
        store.pages.write(table, &[write]).await.unwrap();
    };
    let seal = async |partition| world.seal(partition, ROUNDS).await;
    let whole = world.partition(false).await;
    read(&whole, &ids(0, 10), 16, "16.5", "10.5").await;
    let kinds = ["a", "b"].map(|kind| part_of(&whole.slice, "kind", kind));
    let kinds = store.partitions.split(whole.partition, &kinds).await.unwrap();
    let deep = kinds[0].job(1, 0);
    read(&deep, &ids(0, 10), 12, "12.30", "10.5").await;
    let sizes = ["s", "l"].map(|size| part_of(&deep.slice, "size", size));
    let sizes = store.partitions.split(deep.partition, &sizes).await.unwrap();
    for (part, ids, sum) in
        [(&sizes[0], ids(0, 6), "6.10"), (&sizes[1], ids(6, 12), "6.2"), (&kinds[1], ids(12, 16), "4.2")]
    {
        read(&part.job(1, 0), &ids, ids.len() as u64, sum, sum).await;
        assert_eq!(closed(seal(part.id).await).verdict, Verdict::Complete);
    }
    for (partition, sum) in [(deep.partition, "12.30"), (whole.partition, "16.50")] {
        assert_eq!(closed(seal(partition).await).verdict, Verdict::Complete);
        let row = store.partitions.get(partition).await.unwrap();
        let recount = store.seals.recount(table, &row).await.unwrap();
        assert_eq!(recount.sums, json!({ "value": sum }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tampered_row_is_found() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    store.pages.write(table, &[page(&job, 1, &ids(0, 10), 1, 1, 10)]).await.unwrap();
    closed(world.seal(job.partition, ROUNDS).await);
    let recount = async || {
        store.seals.recount(table, &store.partitions.get(job.partition).await.unwrap()).await.unwrap()
    };
    assert!(recount().await.agrees());
    world.execute("update test_rows set value = 2 where id = 3").await;
    assert!(!recount().await.agrees(), "all keys are there, and one value is another");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_was_filled_and_is_blank_now_is_a_warning() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let pull = async |again: bool, value: i64, facts: Option<serde_json::Value>| {
        let job = world.partition(again).await;
        let write = PageWrite { facts, ..page(&job, 1, &ids(0, 10), value, job.partition % 1_000, 10) };
        store.pages.write(table, &[write]).await.unwrap();
        closed(world.seal(job.partition, ROUNDS).await)
    };
    assert!(pull(false, 5, None).await.warnings.is_empty());
    let blank = json!({ "blank": ["value"], "unmapped": ["extra"] });
    assert_eq!(
        pull(true, 0, Some(blank)).await.warnings,
        [
            "value: all zero or NULL; it carried values on 2026-01-15",
            "extra: a new field that no column takes"
        ]
    );
}
