//! A day is pulled again and again while readers look: they see sealed versions only.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pagemill_simulator::{Fault, Simulator, SimulatorConfig, truth};

use crate::world::{ACCOUNT, DAY, World};

/// What a reader sees of the day: rows, and the sum of their fees in cents.
type Version = (i64, i64);

fn version(simulated: &SimulatorConfig) -> Version {
    let rows = truth(simulated, ACCOUNT, DAY.parse().unwrap());
    rows.fold((0, 0), |(rows, cents), row| (rows + 1, cents + row.metrics.fee as i64))
}

/// Reads the sealed view until it is told to stop, and notes each version that it sees.
async fn read(
    world: &World,
    seen: Arc<Mutex<Vec<Version>>>,
    stop: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<()> {
    let db = world.db().await;
    let sql = format!(
        "select count(*) as rows, coalesce((sum(fee) * 100)::bigint, 0) as cents from {}_creative_sealed where time = '{DAY}'",
        world.source
    );
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let row = db.query_one(&sql, &[]).await.unwrap();
            let now: Version = (row.get("rows"), row.get("cents"));
            let mut seen = seen.lock().unwrap();
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_sealed_versions_only() {
    let first = SimulatorConfig { rows: 2_050, ..SimulatorConfig::default() };
    let world = World::with(first.clone(), "attempts = 1\nstalled_after = \"2s\"").await;
    let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let reader = read(&world, seen.clone(), stop.clone()).await;
    let mut consumers = vec![world.consumer(), world.consumer()];
    world.producer(&["--wait"]).await.ok();
    let mut sealed = vec![version(&first)];
    let mut url = world.simulator.url();
    // Unchanged; rows that come; that go; all of another seed; an attempt that ends incomplete; a reload.
    let broken = vec![Fault::fail_page(7)];
    let of = |rows, seed| SimulatorConfig { rows, seed, port: 0, ..first.clone() };
    for (nth, (simulated, is_sealed)) in [
        (of(2_050, 42), true),
        (of(2_300, 42), true),
        (of(1_700, 42), true),
        (SimulatorConfig { faults: broken.clone(), ..of(2_050, 7) }, false),
        (of(2_050, 43), true),
        (of(2_050, 43), true),
        (SimulatorConfig { faults: broken, ..of(900, 44) }, false),
        (of(2_400, 45), true),
    ]
    .into_iter()
    .enumerate()
    {
        let simulator = Simulator::start(simulated.clone()).await.unwrap();
        let config = fs::read_to_string(world.config()).unwrap();
        fs::write(world.config(), config.replace(&url, &simulator.url())).unwrap();
        url = simulator.url();
        // A consumer reads its config when it begins. In every second pull one of them dies.
        for consumer in consumers.drain(..) {
            consumer.kill_nine().await;
        }
        consumers.extend([world.consumer(), world.consumer()]);
        let killing = async {
            if nth % 2 == 0 {
                tokio::time::sleep(Duration::from_millis(300 + 150 * nth as u64)).await;
                consumers.remove(0).kill_nine().await;
            }
        };
        let producing = world.producer(&["--wait", "--again", "--timeout", "60s"]);
        let (ended, ()) = tokio::join!(producing, killing);
        if is_sealed {
            ended.ok();
            sealed.push(version(&simulated));
        } else {
            ended.exits(3);
        }
        if nth == 4 {
            world.pagemill(&["reload", "--all"]).await.ok();
        }
    }
    stop.store(true, Ordering::Relaxed);
    reader.await.unwrap();
    let seen = seen.lock().unwrap().clone();
    let mut expected: Vec<Version> = vec![(0, 0)];
    expected.extend(&sealed);
    expected.dedup();
    assert_eq!(seen, expected, "each version once, in their order, and nothing between them");
}
