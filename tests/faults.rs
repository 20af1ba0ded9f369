//! Faults around a run: of the API, the broker, the database.

use pagemill_simulator::{Fault, FaultKind, SimulatorConfig};

use crate::world::{World, slow};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_fails_in_every_way_is_pulled_whole() {
    use FaultKind::{Error500, Garbage, Reset, Throttle, Token};
    let faults = [Error500, Garbage, Reset, Throttle, Token].map(|kind| Fault::share(kind, 0.04)).to_vec();
    let world =
        World::with(SimulatorConfig { rows: 20_000, faults, ..SimulatorConfig::default() }, "attempts = 9")
            .await;
    let consumers = [world.consumer(), world.consumer()];
    world.producer(&["--wait"]).await.ok();
    world.assert_sealed_truth().await;
    let stats = world.simulator.stats();
    assert!(stats.faults.len() == 5 && stats.seen > 210, "{stats:?}");
    let status = world.status().await;
    assert!(status["requests"].as_u64() >= Some(200) && status["throttled"].as_u64() > Some(0), "{status}");
    drop(consumers);
    world.assert_no_secret_in_logs();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_key_and_bad_totals_are_dead_with_their_reason() {
    let faults = vec!["no_key=1@3".parse().unwrap(), "bad_total=1@5".parse().unwrap()];
    let world = World::with(SimulatorConfig { rows: 1_000, faults, ..SimulatorConfig::default() }, "").await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.exits(3);
    let errors: Vec<String> =
        world.dead().await.iter().map(|d| d["error"].as_str().unwrap().to_owned()).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().any(|e| e.contains("creativity_id")), "{errors:?}");
    assert!(errors.iter().any(|e| e.contains("the total") && e.contains("no number")), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_closes_all_connections_is_lived_through() {
    let world = World::on_own_vhost(slow(40_000)).await;
    world.producer(&[]).await.ok();
    let consumers = [world.consumer(), world.consumer()];
    for pages in [50, 150, 250] {
        world.pages_done(pages).await;
        world.close_all_connections().await;
    }
    world.assert_nothing_lost().await;
    drop(consumers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_ends_connections_in_a_loop_costs_nothing() {
    let world = World::with(slow(40_000), "").await;
    world.producer(&[]).await.ok();
    let _consumers = [world.consumer(), world.consumer()];
    let db = world.db().await;
    for pages in (20..=300).step_by(20) {
        world.pages_done(pages).await;
        let ended = "select pg_terminate_backend(pid) from pg_stat_activity \
                     where datname = current_database() and application_name = 'pagemill'";
        db.query(ended, &[]).await.unwrap();
    }
    world.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_waited_for() {
    let world = World::with(slow(20_000), "").await;
    world.producer(&[]).await.ok();
    let consumer = world.consumer();
    world.pages_done(30).await;
    let postgres = World::of(0).await;
    let admin = postgres.db().await;
    let name =
        world.db().await.query_one("select current_database()::text", &[]).await.unwrap().get::<_, String>(0);
    admin.batch_execute(&format!("alter database {name} allow_connections false")).await.unwrap();
    let ended = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
    admin.query(ended, &[&name]).await.unwrap();
    consumer.logs("stopped taking jobs").await;
    admin.batch_execute(&format!("alter database {name} allow_connections true")).await.unwrap();
    consumer.logs("taking jobs again").await;
    world.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_queue_is_rescued_from_the_ledger() {
    let world = World::with(slow(2_000), "stalled_after = \"2s\"").await;
    world.producer(&[]).await.ok();
    let (_connection, channel) = world.broker().await;
    let name = format!("pagemill.{}.pages", world.source);
    channel.queue_purge(name.as_str().into(), Default::default()).await.unwrap();
    let consumer = world.consumer();
    world.assert_sealed_truth().await;
    assert!(consumer.log().contains("publishing the missing pages again"), "{}", consumer.log());
}
