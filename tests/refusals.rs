//! PostgreSQL refuses a statement of ours: the error keeps its kind up to the exit code.

use crate::world::{World, count};

/// Has PostgreSQL refuse updates of partitions with an SQLSTATE, where a condition on `old` and `new` holds.
async fn refuse(world: &World, condition: &str, sqlstate: &str) {
    let sql = format!(
        "create function refuse() returns trigger language plpgsql as $$ begin \
             raise exception 'refused by a test' using errcode = '{sqlstate}'; end $$; \
         create trigger refuse before update on pagemill.partitions for each row \
             when ({condition}) execute function refuse()"
    );
    world.db().await.batch_execute(&sql).await.unwrap();
}

/// 22003: a number out of range. No waiting mends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_cannot_be_sealed_is_incomplete_and_its_source_goes_on() {
    let world = World::of(1_000).await;
    refuse(&world, "new.state = 'sealed'", "22003").await;
    let consumer = world.consumer();
    world.producer(&["--wait", "--timeout", "60s"]).await.exits(3);
    let db = world.db().await;
    let reason: String =
        db.query_one("select reason from pagemill.partitions", &[]).await.unwrap().get("reason");
    assert!(reason.contains("refused by a test"), "{reason}");
    assert_eq!(count(&db, "select count(*) from pagemill.pages where state = 'done'").await, 10);
    assert!(world.dead().await.is_empty());
    let log = consumer.log();
    assert!(!log.contains("stopped taking jobs"), "{log}");
}

/// A refused expansion of a partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_cannot_be_expanded_is_incomplete() {
    let world = World::of(1_000).await;
    refuse(&world, "new.published_at is not null and old.published_at is null", "22003").await;
    world.producer(&["--wait", "--timeout", "60s"]).await.exits(3);
}

/// 53300: too many connections. It is transient, so the producer exits with 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_whose_postgres_is_away_exits_with_4() {
    let world = World::of(1_000).await;
    refuse(&world, "new.published_at is not null and old.published_at is null", "53300").await;
    world.producer(&[]).await.exits(4).prints(&["refused by a test"]);
}
