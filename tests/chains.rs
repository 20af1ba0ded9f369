//! Pages that follow one another, and reports that are prepared first: nothing is lost when a process
//! dies between two pages, and a task is polled until its file is there.

use std::{
    os::unix::process::ExitStatusExt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use pagemill_simulator::{Level, SimulatorConfig, core_truth, core_truth_sql};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::world::{ACCOUNT, DAY, World, count};

/// SIGABRT: the crash point was reached.
const ABORTED: i32 = 6;

async fn a_consumer_dies_at(point: &str) {
    let simulated = SimulatorConfig { rows: 2_600, ..SimulatorConfig::default() };
    let world = World::speaking("meta", &["ad"], simulated).await;
    world.producer(&[]).await.ok();
    let mut victim = world.consumer_with(&[("PAGEMILL_CRASH_AT", point)]);
    let status = victim.end().await;
    assert_eq!(status.signal(), Some(ABORTED), "{point} was not reached: {}", victim.log());
    let _consumer = world.consumer();
    assert_eq!(world.ended().await["state"], "complete");
    let db = world.db().await;
    let sql =
        core_truth_sql(&format!("{}_ad", world.source), ["ad_id", "spend * 100", "impressions", "clicks"]);
    let digest: String = db.query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(digest, core_truth(&world.simulated, Level::Creative, ACCOUNT, DAY.parse().unwrap()));
    assert!(world.dead().await.is_empty());
    read_again(&world).await;
}

/// The stored responses make the same rows for every kind of paging.
async fn read_again(world: &World) {
    let reloaded = world.pagemill(&["reload", "--all", "--json"]).await.ok().json();
    assert!(reloaded["pages"].as_u64() > Some(0), "{reloaded}");
    assert_eq!((&reloaded["changed_rows"], &reloaded["failed"]), (&0.into(), &serde_json::json!([])));
    world.pagemill(&["verify", "1"]).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_goes_on_after_a_death_before_the_next_page_is_published() {
    a_consumer_dies_at("before-expansion").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_goes_on_after_a_death_before_the_ack() {
    a_consumer_dies_at("after-expansion").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_goes_on_after_a_death_before_the_commit() {
    a_consumer_dies_at("before-commit").await;
}

const TASK: &str = r#"
title = "A report that is prepared first"
time_zone = "UTC"
response = { code = "code", ok = 0, rows = "rows" }

[stream.report]
path = "/tasks"
body = { day = "{from}" }
account_column = "account"
dates = { within = "day" }
columns = [
  { name = "account", type = "text", param = "account", key = true },
  { name = "day", type = "date", key = true },
  { name = "id", type = "bigint", key = true },
  { name = "fee", type = "numeric" },
]

[stream.report.pager]
kind = "task"
task_id = "id"
poll = { path = "/tasks/{task}", method = "GET" }
state = "state"
done = "READY"
failed = "FAILED"
file_url = "url"
poll_every = "100ms"
file = { format = "csv" }
"#;

/// Serves one request a connection: the first task fails when it is polled, the second is
/// ready at the third look.
async fn serve(mut stream: TcpStream, address: String, looks: Arc<AtomicU32>) -> std::io::Result<()> {
    let mut request = vec![0; 4_096];
    let read = stream.read(&mut request).await?;
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let body = if request.starts_with("POST /tasks ") {
        format!(r#"{{"code":0,"id":"task-{}"}}"#, looks.load(Ordering::Relaxed))
    } else if request.starts_with("GET /tasks/task-0 ") {
        looks.store(1, Ordering::Relaxed);
        r#"{"code":0,"state":"FAILED"}"#.to_owned()
    } else if request.starts_with("GET /tasks/task-1 ") {
        match looks.fetch_add(1, Ordering::Relaxed) {
            1 | 2 => r#"{"code":0,"state":"RUNNING"}"#.to_owned(),
            _ => format!(r#"{{"code":0,"state":"READY","url":"http://{address}/file.csv"}}"#),
        }
    } else {
        assert!(!request.to_lowercase().contains("authorization"), "a file's host gets no token");
        format!("day,id,fee\n{DAY},1,1.50\n{DAY},2,\"2.25\"\n{DAY},9007199254740993,0\n")
    };
    let response =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(response.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_prepared_first_is_polled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let looks = Arc::new(AtomicU32::new(0));
    tokio::spawn({
        let (address, looks) = (address.clone(), looks.clone());
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, address.clone(), looks.clone()));
            }
        }
    });
    let world = World::of(10).await;
    let name = &world.source;
    let definition = format!("name = \"{name}\"\nbase_url = \"http://{address}\"\n{TASK}");
    std::fs::write(world.dir.path().join("task.toml"), definition).unwrap();
    let config = format!(
        "[postgres]\nurl = \"{}\"\n[amqp]\nurl = \"{}\"\n[consumer]\nretry = [\"100ms\", \"200ms\"]\n\
         [[source]]\nuse = \"task.toml\"\naccounts = [\"{ACCOUNT}\"]\n",
        world.postgres_url(),
        crate::world::amqp_url(),
    );
    std::fs::write(world.config(), config).unwrap();
    world.pagemill(&["migrate"]).await.ok();
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.ok();
    let db = world.db().await;
    assert_eq!(
        count(&db, &format!("select sum(fee * 100)::bigint from {name}_report where id > 0")).await,
        375
    );
    assert_eq!(count(&db, &format!("select max(id) from {name}_report")).await, 9_007_199_254_740_993);
    // The failed task cost an attempt, the looks none.
    assert_eq!(count(&db, "select attempts::bigint from pagemill.pages").await, 1);
    assert!(looks.load(Ordering::Relaxed) >= 3);
    read_again(&world).await;
}
