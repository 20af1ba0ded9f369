//! Stored responses read again on a real PostgreSQL: an attempt of its own, whose rows are staged and proved.

mod common;

use common::{World, closed, page};
use pagemill_core::{PageJob, Slice, Verdict};
use pagemill_store::{
    AttemptResponses, DataTable, PageWrite, PartitionRow, Reload, Slices, compress, decompress,
};

fn ids(from: i64, to: i64) -> Vec<i64> {
    (from..to).collect()
}

/// A page with a response to keep.
fn with_response(
    job: &PageJob,
    number: u32,
    of: &[i64],
    value: i64,
    requested: i64,
    total: u64,
) -> PageWrite {
    PageWrite { body: Some(compress(b"{}")), ..page(job, number, of, value, requested, total) }
}

impl World {
    /// The table, as a definition of this decode_hash fills it.
    fn decoded_by(&self, decode_hash: i64) -> DataTable {
        self.table.clone().decoded_by(decode_hash)
    }

    async fn in_table(&self, table: &DataTable) -> Vec<AttemptResponses> {
        self.store.responses.attempts_in_table(table, &Slices::default()).await.unwrap()
    }

    async fn assert_agrees(&self, partition: i64) {
        let partition = self.store.partitions.get(partition).await.unwrap();
        let recount = self.store.seals.recount(&self.table, &partition).await.unwrap();
        assert!(recount.agrees() && recount.superseded_by.is_none(), "{recount:?}");
    }

    /// A sealed pull of 15 rows on two pages, of one value.
    async fn pulled(&self, value: i64, requested: i64) -> PageJob {
        let job = self.partition(true).await;
        let pages = [
            with_response(&job, 1, &ids(0, 10), value, requested, 15),
            with_response(&job, 2, &ids(10, 15), value, requested + 1, 15),
        ];
        self.store.pages.write(&self.table, &pages).await.unwrap();
        assert_eq!(closed(self.seal(job.partition, 0).await).verdict, Verdict::Complete);
        job
    }

    async fn reload(&self, attempt: i64) -> Vec<(PartitionRow, i64)> {
        match self.store.responses.open_reload(attempt).await.unwrap() {
            Reload::Open(opened) => opened,
            other => panic!("not open: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_replaces_the_rows_at_once() {
    let world = World::new().await;
    let job = world.pulled(1, 1).await;
    let opened = world.reload(job.partition).await;
    let (copy, of) = &opened[0];
    assert_eq!(
        (opened.len(), *of, copy.reload_of, copy.run),
        (1, job.partition, Some(job.partition), job.run)
    );
    let again =
        |number, of: &[i64], requested| with_response(&copy.job(number, 0), number, of, 4, requested, 15);
    world.store.pages.write(&world.table, &[again(1, &ids(0, 10), 1)]).await.unwrap();
    assert!(world.rows().await.iter().all(|(_, value)| *value == 1), "readers see what was sealed");
    world.store.pages.write(&world.table, &[again(2, &ids(10, 15), 2)]).await.unwrap();
    closed(world.seal(copy.id, 0).await);
    assert!(world.rows().await.iter().all(|(_, value)| *value == 4));
    // The pull is verified by its reload.
    world.assert_agrees(job.partition).await;
    // Both are one pull.
    let whole = world.store.responses.whole_attempts(&world.table, &Slices::default()).await.unwrap();
    assert_eq!(whole.iter().map(|a| a.partition.id).collect::<Vec<_>>(), [job.partition]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_that_is_being_pulled_is_not_reloaded() {
    let world = World::new().await;
    let job = world.pulled(1, 1).await;
    let newer = world.partition(true).await;
    let reload = world.store.responses.open_reload(job.partition).await.unwrap();
    assert!(matches!(reload, Reload::Pulled(run) if run == newer.run), "{reload:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_goes_before_a_reload() {
    let world = World::new().await;
    let job = world.pulled(1, 1).await;
    let opened = world.reload(job.partition).await;
    let newer = world.pulled(2, 10).await;
    let reload = world.store.partitions.get(opened[0].0.id).await.unwrap();
    assert_eq!(reload.reason.as_deref(), Some("superseded by a newer run"));
    let reload = world.store.responses.open_reload(job.partition).await.unwrap();
    assert!(matches!(reload, Reload::Replaced), "its rows are no longer in the table: {reload:?}");
    world.assert_agrees(newer.partition).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_was_left_gives_way_to_the_next() {
    let world = World::new().await;
    let job = world.pulled(1, 1).await;
    let left = world.reload(job.partition).await;
    let next = world.reload(job.partition).await;
    let reason = world.store.partitions.get(left[0].0.id).await.unwrap().reason;
    assert_eq!(reason.as_deref(), Some("superseded by a newer reload"));
    assert_ne!(next[0].0.id, left[0].0.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_record_the_definition_that_decoded_them() {
    let world = World::new().await;
    let store = &world.store;
    let (first, second) = (world.decoded_by(1), world.decoded_by(2));
    let job = world.partition(false).await;
    let pages =
        [with_response(&job, 1, &ids(0, 10), 1, 1, 30), with_response(&job, 2, &ids(10, 20), 1, 2, 30)];
    store.pages.write(&first, &pages).await.unwrap();
    // Without a response.
    store.pages.write(&first, &[page(&job, 3, &ids(20, 30), 1, 3, 30)]).await.unwrap();
    closed(world.seal(job.partition, 0).await);
    let counts = |a: &[AttemptResponses]| (a[0].pages, a[0].responses, a[0].stale);
    assert_eq!(counts(&world.in_table(&first).await), (3, 2, 0));
    assert_eq!(counts(&world.in_table(&second).await), (3, 2, 2));
    assert_eq!(store.responses.pages(job.partition).await.unwrap(), [2, 1], "the latest request first");
    let responses = store.responses.get(job.partition, &[1]).await.unwrap();
    assert_eq!(decompress(&responses[0].body).unwrap(), b"{}");
    let other = Slices { accounts: vec!["8".into()], days: None };
    assert!(store.responses.attempts_in_table(&second, &other).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_attempt_is_reloaded_with_its_parts() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let whole = world.partition(true).await;
    store.pages.write(table, &[with_response(&whole, 1, &ids(0, 10), 1, 3, 15)]).await.unwrap();
    let slice =
        |kind: &str| Slice { part: [("kind".to_owned(), kind.to_owned())].into(), ..whole.slice.clone() };
    let parts = store.partitions.split(whole.partition, &[slice("a"), slice("b")]).await.unwrap();
    let write = |job: &PageJob, of: Vec<i64>, value| with_response(job, 1, &of, value, 4, of.len() as u64);
    for (part, of) in parts.iter().zip([ids(0, 8), ids(8, 15)]) {
        store.pages.write(table, &[write(&part.job(1, 0), of, 1)]).await.unwrap();
        closed(world.seal(part.id, 0).await);
    }
    closed(world.seal(whole.partition, 0).await);
    world.assert_agrees(whole.partition).await;
    assert_eq!(world.in_table(table).await.len(), 3, "the whole's own first page, and its parts");

    let opened = world.reload(whole.partition).await;
    let copies: Vec<(Option<i64>, i64)> = opened.iter().map(|(copy, of)| (copy.root, *of)).collect();
    let root = Some(opened[0].0.id);
    assert_eq!(copies, [(None, whole.partition), (root, parts[0].id), (root, parts[1].id)]);
    let jobs: Vec<PageJob> = opened.iter().map(|(copy, _)| copy.job(1, 0)).collect();
    store.pages.write(table, &[with_response(&jobs[0], 1, &ids(0, 10), 9, 3, 15)]).await.unwrap();
    store.pages.write(table, &[write(&jobs[1], ids(0, 8), 9), write(&jobs[2], ids(8, 15), 9)]).await.unwrap();
    for job in jobs.iter().rev() {
        closed(world.seal(job.partition, 0).await);
    }
    assert!(world.rows().await.iter().all(|(_, value)| *value == 9));
    world.assert_agrees(whole.partition).await;
    // Only the parts of the pull are compared.
    let compared = store.responses.whole_attempts(table, &Slices::default()).await.unwrap();
    let ids: Vec<i64> = compared.iter().map(|a| a.partition.id).collect();
    assert_eq!(ids, [parts[0].id, parts[1].id]);
}
