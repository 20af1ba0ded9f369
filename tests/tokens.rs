//! Tokens that rotate: granted once by a person, refreshed once for all consumers.

use std::{fs, time::Duration};

use pagemill_simulator::{Fault, FaultKind, OAuth, SimulatorConfig};
use tokio::time::{Instant, sleep};

use crate::world::{Output, PATIENCE, World, count, run, slow};

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const SECRET: &str = "an-app-secret-5c1d";
const ENVIRONMENT: [(&str, &str); 2] = [("PAGEMILL_KEY", KEY), ("TEST_SECRET", SECRET)];
const AUTH: &str = r#"auth = { kind = "oauth2", header = "Access-Token", refresh_before = "1s", authorize_url = "https://example.com/auth?appId={app_id}&redirectUri={redirect_uri}&state={state}", exchange = { path = "/api/open/oauth2/access_token", body = { app_id = "{app_id:int}", secret = "{secret}", auth_code = "{code}" } }, refresh = { path = "/api/open/oauth2/refresh_token", body = { app_id = "{app_id:int}", secret = "{secret}", refresh_token = "{refresh_token}" } }, response = { access_token = "data.access_token", access_expires_in = "data.access_token_expires_in", refresh_token = "data.refresh_token", refresh_expires_in = "data.refresh_token_expires_in", accounts = "data.approval_advertisers", account = "advertiser_id" } }"#;

fn granting(simulated: SimulatorConfig, access_for: Duration, refresh_for: Duration) -> SimulatorConfig {
    let oauth =
        OAuth { app_id: "7".into(), secret: SECRET.into(), access_for, refresh_for, ..OAuth::default() };
    SimulatorConfig { oauth: Some(oauth), ..simulated }
}

/// A world whose source takes its tokens from the app, and its accounts from them.
async fn world(simulated: SimulatorConfig, settings: &str, more: &str) -> World {
    let world = World::with(simulated, settings).await;
    world.configure(settings, more);
    let config = fs::read_to_string(world.config()).unwrap();
    let fixed = "accounts = [\"1001\"]\ntoken = { env = \"TEST_TOKEN\" }\n";
    assert!(config.contains(fixed), "{config}");
    let app = format!("accounts = \"token\"\napp_id = 7\nsecret = {{ env = \"TEST_SECRET\" }}\n{AUTH}\n");
    fs::write(world.config(), config.replace(fixed, &app)).unwrap();
    world
}

async fn pagemill(world: &World, args: &[&str]) -> Output {
    let mut command = world.command("pagemill", args);
    command.envs(ENVIRONMENT);
    run(command).await
}

async fn produce(world: &World) -> Output {
    let mut command = world.command("pagemill-producer", &["--date", crate::world::DAY]);
    command.envs(ENVIRONMENT);
    run(command).await
}

async fn granted(world: &World) {
    pagemill(world, &["auth", &world.source, "--code", "code"]).await.ok().prints(&["accounts: 1001"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_refresh_an_expiring_token_once_each_time() {
    let simulated = granting(slow(40_000), Duration::from_secs(4), Duration::from_secs(3_600));
    let world = world(simulated, "", "rate = { per_second = 40 }").await;
    granted(&world).await;
    let begun = Instant::now();
    produce(&world).await.ok();
    let consumers = [world.consumer_with(&ENVIRONMENT), world.consumer_with(&ENVIRONMENT)];
    world.assert_nothing_lost().await;
    let (stats, lived) = (world.simulator.stats(), begun.elapsed().as_secs());
    // Each token was valid for at least 3 s before it was replaced, and was refreshed by one consumer.
    assert!((2..=lived / 3 + 1).contains(&stats.refreshes), "{lived} s: {stats:?}");
    assert_eq!(stats.denied, 0, "{stats:?}");
    let version = count(&world.db().await, "select version from pagemill.tokens").await;
    assert_eq!(version as u64, 1 + stats.refreshes);
    for consumer in &consumers {
        assert!(
            !consumer.log().contains(SECRET) && !consumer.log().contains("access-"),
            "{}",
            consumer.log()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_dies_before_its_time_is_replaced_once() {
    let hour = Duration::from_secs(3_600);
    let faults = vec![Fault::share(FaultKind::Expire, 0.02)];
    let simulated = granting(SimulatorConfig { faults, ..slow(30_000) }, hour, 24 * hour);
    let world = world(simulated, "attempts = 9", "").await;
    granted(&world).await;
    produce(&world).await.ok();
    let _consumers = [world.consumer_with(&ENVIRONMENT), world.consumer_with(&ENVIRONMENT)];
    world.assert_nothing_lost().await;
    let stats = world.simulator.stats();
    assert!(stats.refreshes >= 2, "{stats:?}");
    assert_eq!((stats.refreshes, stats.denied), (stats.faults["expire"], 0), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_refresh_token_says_what_to_do() {
    let second = Duration::from_secs(1);
    let simulated = granting(slow(1_000), second, second);
    let world = world(simulated, "attempts = 2", "").await;
    granted(&world).await;
    let db = world.db().await;
    let expired = "select (refresh_expires_at < now())::int::bigint from pagemill.tokens";
    let begun = Instant::now();
    while count(&db, expired).await == 0 {
        assert!(begun.elapsed() < PATIENCE, "the refresh token does not expire");
        sleep(Duration::from_millis(20)).await;
    }
    produce(&world).await.ok();
    let consumer = world.consumer_with(&ENVIRONMENT);
    let begun = Instant::now();
    while world.dead().await.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{}", consumer.log());
        sleep(Duration::from_millis(100)).await;
    }
    let dead = world.dead().await;
    let error = dead[0]["error"].as_str().unwrap();
    assert!(error.contains(&format!("run `pagemill auth {}`", world.source)), "{error}");
    assert!(!error.contains("refresh-") && !error.contains(SECRET), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_is_granted_from_url_to_stored_tokens() {
    let simulated = granting(slow(1_000), Duration::from_secs(86_399), Duration::from_secs(2_591_999));
    let world = world(simulated, "", "").await;
    let source = world.source.as_str();
    // Before access is granted, and without what it takes.
    produce(&world).await.exits(2).prints(&["never granted", &format!("pagemill auth {source}")]);
    pagemill(&world, &["auth", source, "--status"]).await.ok().prints(&["never granted"]);
    pagemill(&world, &["auth", source]).await.exits(2).prints(&["--redirect-uri"]);
    let mut keyless = world.command("pagemill", &["auth", source, "--code", "code"]);
    keyless.env("TEST_SECRET", SECRET).env_remove("PAGEMILL_KEY");
    run(keyless).await.exits(2).prints(&["PAGEMILL_KEY", "openssl rand -base64 32"]);
    pagemill(&world, &["auth", "elsewhere"]).await.exits(2).prints(&["unknown source 'elsewhere'", source]);

    let requested = ["auth", source, "--redirect-uri", "https://a.example/b?c=d", "--state", "x y"];
    let url = "https://example.com/auth?appId=7&redirectUri=https%3A%2F%2Fa.example%2Fb%3Fc%3Dd&state=x%20y";
    pagemill(&world, &requested).await.ok().prints(&[url, "--code CODE"]);
    pagemill(&world, &["auth", source, "--code", "wrong-code"])
        .await
        .exits(1)
        .prints(&["not accepted", "auth_code"]);
    let ran = pagemill(&world, &["auth", source, "--code", "code", "--json"]).await.ok();
    assert_eq!(
        ran.json(),
        serde_json::json!({
            "credential": "default", "access_expires_in": 86_399, "refresh_expires_in": 2_591_999,
            "refreshable": true, "accounts": ["1001"],
        })
    );
    let ran = pagemill(&world, &["auth", source, "--status"]).await.ok().prints(&[
        "23 h 59 min left",
        "29 days 23 h left",
        "1001",
    ]);
    assert!(!ran.stdout.contains("access-") && !ran.stdout.contains("refresh-"), "{}", ran.stdout);
    let status = pagemill(&world, &["auth", source, "--status", "--json"]).await.ok().json();
    assert!(status["access_expires_in"].as_i64() > Some(86_000) && status["version"] == 1, "{status}");
    // With a key that is not theirs nothing is begun.
    let mut other = world.command("pagemill-producer", &["--date", crate::world::DAY]);
    other.env("TEST_SECRET", SECRET).env("PAGEMILL_KEY", "07".repeat(32));
    run(other).await.exits(2).prints(&["does not open with this PAGEMILL_KEY"]);
    produce(&world).await.ok().prints(&["1000 rows"]);
}

/// Which credential goes with a request is a matter of its account, whose lists come from a file and
/// from a query.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_account_is_requested_with_its_own_credential() {
    let world = World::of(250).await;
    std::fs::write(world.dir.path().join("mine.txt"), "1001 # ours\n\n# 1003\n").unwrap();
    world.db().await.batch_execute("create table theirs as select '1002' as id").await.unwrap();
    let config = std::fs::read_to_string(world.config()).unwrap();
    let config = config.replace("accounts = [\"1001\"]\ntoken = { env = \"TEST_TOKEN\" }\n", "")
        + "[[source.credential]]\nname = \"mine\"\ntoken = { env = \"TEST_TOKEN\" }\naccounts = { file = \"mine.txt\" }\n\
           [[source.credential]]\nname = \"theirs\"\ntoken = { file = \"dead.token\" }\naccounts = { sql = \"select id from theirs\" }\n";
    std::fs::write(world.config(), config).unwrap();
    std::fs::write(world.dir.path().join("dead.token"), "a-dead-token").unwrap();
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.exits(3);
    let db = world.db().await;
    let states: Vec<(String, String)> = (db
        .query("select account, state from pagemill.partitions order by account", &[])
        .await
        .unwrap()
        .iter())
    .map(|row| (row.get(0), row.get(1)))
    .collect();
    let expected = [("1001", "sealed"), ("1002", "incomplete")].map(|(a, s)| (a.to_owned(), s.to_owned()));
    assert_eq!(states, expected);
    let dead = world.dead().await;
    assert_eq!((dead.len(), &dead[0]["account"]), (1, &serde_json::json!("1002")));
    assert!(!dead[0].to_string().contains("a-dead-token"));
}
