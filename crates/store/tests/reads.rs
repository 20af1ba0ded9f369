//! Functions that read rows of the ledger and that no other test of the crate calls.

mod common;

use std::{collections::HashMap, time::Duration};

use common::{World, closed, page, reason};
use pagemill_core::Failure;
use pagemill_store::{
    ConsumerBeat, DeadFilter, Following, PartitionState, RunProgress, RunState, StoreErrorKind, Unwanted,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_and_its_partitions_are_read() {
    let world = World::new().await;
    let store = &world.store;
    let job = world.partition(false).await;
    let sources = ["test".to_owned()];
    assert!(store.partitions.any_open(&sources).await.unwrap());
    assert_eq!(store.partitions.open(&sources).await.unwrap()[0].id, job.partition);
    assert_eq!(store.partitions.of_run(job.run).await.unwrap()[0].id, job.partition);
    assert_eq!(
        store.runs.progress(job.run).await.unwrap(),
        RunProgress { open_partitions: 1, ..RunProgress::default() }
    );
    assert!(store.runs.renew_lease(job.run, "test").await.unwrap());
    store.runs.release_lease(job.run, "test").await.unwrap();

    let order = store.partitions.rescue("test", Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(order.jobs[0].page, 1);
    store.partitions.mark_published(job.partition).await.unwrap();
    let mut write = page(&order.jobs[0], 1, &[1, 2], 1, 1, 2);
    write.job = order.jobs[0].clone();
    write.facts = Some(serde_json::json!({ "blank": [], "absent": [], "unmapped": ["new"], "sums": {} }));
    assert_eq!(store.pages.write(&world.table, &[write]).await.unwrap().stored, [true]);
    let page = store.pages.following(job.partition, 1).await.unwrap();
    assert_eq!(page, Following::Nothing);
    closed(world.seal(job.partition, 0).await);
    assert_eq!(store.runs.recent(10).await.unwrap()[0], store.runs.status(job.run).await.unwrap());
    assert_eq!(store.runs.status(job.run).await.unwrap().state, RunState::Complete);
    assert_eq!(store.runs.warnings(job.run).await.unwrap(), []);

    world.execute("update pagemill.partitions set proof = jsonb_set(proof, '{warnings}', '[\"odd\"]')").await;
    let warnings = store.runs.warnings(job.run).await.unwrap();
    assert_eq!(warnings[0].text, "odd");
    let again = world.partition(true).await;
    let closed = store.partitions.close_incomplete(again.partition, "stopped").await.unwrap().unwrap();
    assert_eq!((closed.state, closed.reason.as_deref()), (PartitionState::Incomplete, Some("stopped")));
    assert!(!store.partitions.any_open(&sources).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_dead_letters_are_read() {
    let world = World::new().await;
    let (store, letters) = (&world.store, &world.store.dead_letters);
    let job = world.partition(false).await;
    let failure = Failure::permanent("HTTP 500");
    assert_eq!(store.pages.record_failure(&job, &failure).await.unwrap(), Some(1));
    assert_eq!(store.pages.record_throttled(&job, &failure).await.unwrap(), Some(1));
    assert_eq!(store.pages.look_up(&job).await.unwrap(), None);

    let dead = letters.record(&job, &failure).await.unwrap().unwrap();
    assert_eq!((dead.attempts, dead.progress.as_ref().unwrap().dead), (1, 1));
    assert!(letters.record(&job, &failure).await.unwrap().is_none(), "it is dead already");
    assert!(matches!(store.pages.look_up(&job).await.unwrap(), Some(Unwanted::Dead(_))));
    let unconfirmed = async |age| {
        let found = letters.unconfirmed("test", Duration::from_secs(age)).await.unwrap();
        found.into_iter().map(|(id, message, _)| (id, message)).collect::<Vec<_>>()
    };
    assert_eq!(unconfirmed(0).await, [(job.id(), job.encode())]);
    assert_eq!(unconfirmed(60).await, [], "its process may be about to publish it");
    letters.confirm(&job.id()).await.unwrap();
    assert_eq!(unconfirmed(0).await, []);
    assert_eq!(letters.find_open(&job.id()).await.unwrap().unwrap().id, dead.id);
    assert_eq!(letters.known(&[job.id()]).await.unwrap(), HashMap::from([(job.id(), true)]));
    assert_eq!(letters.count("test").await.unwrap(), 1);
    let all = DeadFilter::default();
    let row = &letters.list(&all).await.unwrap()[0];
    assert_eq!((row.id, row.page, row.partition), (dead.id, Some(1), Some(job.partition)));
    let group = &letters.groups().await.unwrap()[0];
    assert_eq!((group.count, group.error.as_str()), (1, "HTTP 500"));
    assert!(reason(closed(world.seal(job.partition, 0).await)).contains("dead"));

    // Requeued twice, as after a crash before the publish: the job is the same.
    let _lock = letters.lock().await.unwrap();
    for _ in 0..2 {
        let requeued = letters.requeue(&all).await.unwrap();
        let requeued = requeued[0].job.as_ref().unwrap();
        assert_eq!((requeued.page, requeued.generation), (1, 1));
    }
    assert_eq!(store.partitions.get(job.partition).await.unwrap().progress.dead, 0);
    let mut write = page(&job, 1, &[1], 1, 1, 1);
    write.job = job.at(1, 1);
    store.pages.write(&world.table, &[write]).await.unwrap();
    let requeued = letters.requeue(&all).await.unwrap();
    assert_eq!(requeued[0].job.as_ref().unwrap_err(), "requeued before, and done since");
    letters.mark_requeued(&[dead.id]).await.unwrap();
    assert_eq!(letters.known(&[job.id()]).await.unwrap(), HashMap::from([(job.id(), false)]));

    closed(world.seal(job.partition, 0).await);
    world.partition(true).await;
    world.execute("update pagemill.dead_letters set requeued_at = null, published_at = null").await;
    let requeued = letters.requeue(&all).await.unwrap();
    assert!(requeued[0].job.as_ref().unwrap_err().contains("was pulled again by run"));
}

#[tokio::test]
async fn consumers_are_counted() {
    let world = World::new().await;
    let consumers = &world.store.consumers;
    let sources = vec!["test".to_owned()];
    let beat = ConsumerBeat { id: "a".into(), sources: sources.clone(), workers: 1, prefetch: 1 };
    assert_eq!(consumers.beat(&beat).await.unwrap(), [("test".to_owned(), 1)].into());
    assert_eq!(consumers.count_alive(&sources).await.unwrap(), 1);
    consumers.leave("a").await.unwrap();
    assert_eq!(consumers.count_alive(&sources).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let world = World::new().await;
    let store = &world.store;
    assert_eq!(store.runs.status(9).await.unwrap_err().kind(), StoreErrorKind::Invalid);
    assert_eq!(store.runs.progress(9).await.unwrap_err().kind(), StoreErrorKind::Invalid);
    assert_eq!(store.partitions.get(9).await.unwrap_err().kind(), StoreErrorKind::Invalid);
}
