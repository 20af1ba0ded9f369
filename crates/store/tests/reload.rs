//! Stored responses read again on a real PostgreSQL: fenced, resumable, with the proof going on.

mod common;

use common::{World, closed, page};
use pagemill_core::{PageJob, Slice, Verdict};
use pagemill_store::{AttemptResponses, DataTable, PageWrite, Rewritten, Slices, compress};

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

fn wrote(rows: u64) -> Rewritten {
    Rewritten { rows, superseded: false }
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
        let recount = self
            .store
            .partitions
            .recount(&self.table, &self.store.partitions.get(partition).await.unwrap())
            .await;
        let recount = recount.unwrap();
        assert!(recount.agrees(), "{recount:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_read_again_goes_over_its_own_rows_only() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    // Row 9 came on both pages, on the second one later.
    let pages =
        [with_response(&job, 1, &ids(0, 10), 1, 1, 19), with_response(&job, 2, &ids(9, 19), 1, 2, 19)];
    store.pages.write(table, &pages).await.unwrap();
    closed(store.partitions.seal(job.partition, None, 0).await.unwrap());
    // A newer attempt has rows 0 to 4, and is not sealed.
    let newer = world.partition(true).await;
    store.pages.write(table, &[page(&newer, 1, &ids(0, 5), 5, 100, 19)]).await.unwrap();

    let again = |value| [page(&job, 1, &ids(0, 10), value, 1, 19)];
    assert_eq!(store.responses.rewrite(table, &again(2)).await.unwrap(), wrote(4));
    let rows = world.rows().await;
    assert!(rows.iter().all(|(id, value)| match id {
        0..5 => *value == 5,
        5..9 => *value == 2,
        _ => *value == 1,
    }));
    assert_eq!(
        store.responses.rewrite(table, &again(2)).await.unwrap(),
        wrote(0),
        "an unchanged row is not written"
    );
    // Another request than the ledger has: the page was fetched again meanwhile.
    let stale = page(&job, 2, &ids(9, 19), 7, 1, 19);
    assert_eq!(store.responses.rewrite(table, &[stale]).await.unwrap(), wrote(0));
    // It keeps its fence: a request in between goes over it.
    let between = page(&newer, 2, &ids(5, 10), 3, 3, 19);
    store.pages.write(table, &[between]).await.unwrap();
    assert_eq!(world.rows().await[5], (5, 3));
}

/// What a sealed pull no longer has may have been deleted: an older attempt must not bring it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_attempt_writes_nothing() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let older = world.partition(false).await;
    store.pages.write(table, &[with_response(&older, 1, &ids(0, 10), 1, 1, 10)]).await.unwrap();
    closed(store.partitions.seal(older.partition, None, 0).await.unwrap());
    let newer = world.partition(true).await;
    let attempts = world.in_table(table).await;
    assert_eq!(
        attempts.iter().map(|a| a.partition.id).collect::<Vec<_>>(),
        [older.partition, newer.partition]
    );
    store.pages.write(table, &[with_response(&newer, 1, &ids(0, 8), 1, 2, 8)]).await.unwrap();
    closed(store.partitions.seal(newer.partition, None, 0).await.unwrap());
    let again = [page(&older, 1, &ids(0, 10), 2, 1, 10)];
    assert_eq!(
        store.responses.rewrite(table, &again).await.unwrap(),
        Rewritten { rows: 0, superseded: true }
    );
    assert!(world.rows().await.iter().all(|(_, value)| *value == 1));
    let attempts = world.in_table(table).await;
    assert_eq!(attempts.iter().map(|a| a.partition.id).collect::<Vec<_>>(), [newer.partition]);
    let whole = store.responses.whole_attempts(table, &Slices::default()).await.unwrap();
    assert_eq!(whole.len(), 2, "both can be compared");
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
    closed(store.partitions.seal(job.partition, None, 0).await.unwrap());
    let counts = |a: &[AttemptResponses]| (a[0].pages, a[0].responses, a[0].stale);
    assert_eq!(counts(&world.in_table(&first).await), (3, 2, 0));
    assert_eq!(counts(&world.in_table(&second).await), (3, 2, 2));
    store.responses.rewrite(&second, &[page(&job, 2, &ids(10, 20), 2, 2, 30)]).await.unwrap();
    assert_eq!(counts(&world.in_table(&second).await), (3, 2, 1));
    assert_eq!(store.responses.pages(job.partition, Some(&second)).await.unwrap(), [1]);
    assert_eq!(store.responses.pages(job.partition, None).await.unwrap(), [2, 1], "the latest request first");
    let responses = store.responses.get(job.partition, &[1]).await.unwrap();
    assert_eq!(responses[0].body.as_deref(), Ok(&b"{}"[..]));
    assert_eq!(responses[0].key_hashes, pages[0].key_hashes);
    let other = Slices { accounts: vec!["8".into()], days: None };
    assert!(store.responses.attempts_in_table(&second, &other).await.unwrap().is_empty());
}

/// `verify` holds the table against the certificate: both go on with what is read again, and so
/// does the certificate of the whole that a part belongs to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proof_goes_on_with_what_is_read_again() {
    let world = World::new().await;
    let (store, table) = (&world.store, &world.table);
    let job = world.partition(false).await;
    let pages =
        [with_response(&job, 1, &ids(0, 10), 1, 1, 15), with_response(&job, 2, &ids(10, 15), 1, 2, 15)];
    store.pages.write(table, &pages).await.unwrap();
    assert_eq!(closed(store.partitions.seal(job.partition, None, 0).await.unwrap()).verdict, Verdict::Sealed);
    world.assert_agrees(job.partition).await;
    store.responses.rewrite(table, &[page(&job, 1, &ids(0, 10), 4, 1, 15)]).await.unwrap();
    world.assert_agrees(job.partition).await;

    let whole = world.partition(true).await;
    store.pages.write(table, &[with_response(&whole, 1, &ids(0, 10), 1, 3, 15)]).await.unwrap();
    let slice =
        |kind: &str| Slice { part: [("kind".to_owned(), kind.to_owned())].into(), ..whole.slice.clone() };
    let parts = store.partitions.split(whole.partition, &[slice("a"), slice("b")]).await.unwrap();
    for (part, of) in parts.iter().zip([ids(0, 8), ids(8, 15)]) {
        store
            .pages
            .write(table, &[with_response(&part.job(1, 0), 1, &of, 1, 4, of.len() as u64)])
            .await
            .unwrap();
        closed(store.partitions.seal(part.id, Some(table), 0).await.unwrap());
    }
    closed(store.partitions.seal(whole.partition, Some(table), 0).await.unwrap());
    world.assert_agrees(whole.partition).await;
    let of_table = world.in_table(table).await;
    assert_eq!(of_table.len(), 3, "the whole's own first page, and its parts");
    store.responses.rewrite(table, &[page(&parts[1].job(1, 0), 1, &ids(8, 15), 9, 4, 7)]).await.unwrap();
    store.responses.rewrite(table, &[page(&whole, 1, &ids(0, 10), 9, 3, 15)]).await.unwrap();
    assert_eq!(world.rows().await[7..9], [(7, 1), (8, 9)]);
    world.assert_agrees(whole.partition).await;
    // Only the parts are compared.
    let compared = store.responses.whole_attempts(table, &Slices::default()).await.unwrap();
    let ids: Vec<i64> = compared.iter().map(|a| a.partition.id).collect();
    assert_eq!(ids, [job.partition, parts[0].id, parts[1].id]);
}
