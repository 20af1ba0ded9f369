//! A test that waits for lost jobs ends within seconds, and names them.

use std::{panic::AssertUnwindSafe, time::Instant};

use futures_util::FutureExt as _;

use crate::world::{PATIENCE, World, slow};

/// Takes all jobs out of the world's queue that no consumer holds.
pub(crate) async fn lose_jobs(world: &World) {
    let (_connection, channel) = world.broker().await;
    let name = format!("pagemill.{}.pages", world.source);
    channel.queue_purge(name.as_str().into(), Default::default()).await.unwrap();
}

/// What a wait panics with.
pub(crate) async fn failure<T>(waiting: impl Future<Output = T>) -> String {
    let Err(panic) = AssertUnwindSafe(waiting).catch_unwind().await else { panic!("it ended") };
    *panic.downcast::<String>().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_lost_jobs_ends_and_names_them() {
    let world = World::with(slow(60_000), "").await;
    world.producer(&[]).await.ok();
    let _consumer = world.consumer();
    world.pages_done(10).await;
    lose_jobs(&world).await;
    let begun = Instant::now();
    let (ended, pages_done, producer) = tokio::join!(
        failure(world.ended()),
        failure(world.pages_done(600)),
        failure(world.producer(&["--wait"]))
    );
    let took = begun.elapsed();
    for failure in [ended, pages_done, producer] {
        for words in ["jobs are lost", "of 600 pages done", "pages: 0", "consumer-0.log:", "taking jobs"] {
            assert!(failure.contains(words), "{words:?} is not in: {failure}");
        }
    }
    assert!(took < PATIENCE / 2, "{took:?}");
}

/// Where the rescue publishes lost jobs again, a wait goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_jobs_that_are_rescued_goes_on() {
    let world = World::with(slow(2_000), "stalled_after = \"12s\"").await;
    world.producer(&[]).await.ok();
    lose_jobs(&world).await;
    let _consumer = world.consumer();
    world.assert_sealed_truth().await;
}
