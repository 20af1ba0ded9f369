//! Every wrong input has a clear error: what, where, and what to do. No panic, no hang.

use std::fs;

use pagemill_simulator::SimulatorConfig;

use crate::world::{DAY, World, postgres_url, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_typed_wrong_is_named() {
    let world = World::of(100).await;
    let producer = |args: &'static [&'static str]| run(world.command("pagemill-producer", args));
    for (args, words) in [
        (&["--date", "tomorow"][..], &["tomorow", "YYYY-MM-DD"][..]),
        (&["--date", "2026-02-30"], &["2026-02-30"]),
        (&["--from", "2026-01-15", "--to", "2026-01-14"], &["--from 2026-01-15 is after --to 2026-01-14"]),
        (&["--from", "2026-01-15"], &["--to"]),
        (&["--date", "2999-01-01"], &["has not come yet"]),
        (&[], &["no day", "--date"]),
        (&["--date", DAY, "--stream", "creativ"], &["unknown stream 'creativ'", "creative"]),
        (&["--date", DAY, "--source", "xhs"], &["unknown source 'xhs'"]),
        (&["--date", DAY, "--account", "7"], &["unknown account '7'", "1001"]),
        (&["--date", DAY, "--pages", "0-3"], &["pages count from 1"]),
        (&["--date", DAY, "--pages", "9-3"], &["page 9 comes after page 3"]),
    ] {
        producer(args).await.exits(2).prints(words);
    }
    world.pagemill(&["verify", "99"]).await.exits(2).prints(&["no run 99"]);
    world.pagemill(&["dead", "show", "99"]).await.exits(2).prints(&["no dead letter 99"]);
    world.pagemill(&["query", "selec 1"]).await.exits(1).prints(&["42601", "syntax error"]);
    world.pagemill(&["query", "drop table pagemill.runs"]).await.exits(1).prints(&["read-only"]);
    world
        .pagemill(&["sources", "show", "xhs"])
        .await
        .exits(2)
        .prints(&["neither a shipped definition (xiaohongshu, "]);
    assert_eq!(world.simulator.stats().seen, 0, "nothing of it reached the API");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_config_is_named_by_key_and_line() {
    let world = World::of(100).await;
    let valid = fs::read_to_string(world.config()).unwrap();
    for (from, to, words) in [
        ("grace = \"2s\"", "grase = \"2s\"", &["pagemill.toml", "line 6", "grase"][..]),
        ("grace = \"2s\"", "grace = \"2\"", &["line 6", "grace", "20s"]),
        ("[consumer]", "[consumer", &["line 5"]),
        ("use = \"xiaohongshu\"", "use = \"xiaohongsu\"", &["xiaohongsu", "shipped"]),
        ("streams = [\"creative\"]", "streams = [\"creatives\"]", &["no stream creatives", "creative"]),
        (
            "token = { env = \"TEST_TOKEN\" }",
            "token = { env = \"NO_SUCH_TOKEN\" }",
            &["NO_SUCH_TOKEN is not set"],
        ),
        ("token = { env = \"TEST_TOKEN\" }", "token = { file = \"nowhere\" }", &["nowhere"]),
        ("token = { env = \"TEST_TOKEN\" }", "", &["wants a token"]),
        (
            "token = { env = \"TEST_TOKEN\" }",
            "token = \"abc\"",
            &["line 15, token", "never the secret itself"],
        ),
        ("accounts = [\"1001\"]", "", &["no accounts"]),
        ("rate = \"unlimited\"", "rate = { per_second = 0 }", &["rate.per_second", "above 0"]),
        ("rate = \"unlimited\"", "ratte = 3", &["ratte"]),
        ("rate = \"unlimited\"", "base_url = \"nowhere\"", &["base_url"]),
    ] {
        assert!(valid.contains(from), "{from}");
        fs::write(world.config(), valid.replacen(from, to, 1)).unwrap();
        run(world.command("pagemill-consumer", &["--until-idle"])).await.exits(2).prints(words);
    }
    let mut command = world.command("pagemill-consumer", &["--config", "no-such.toml"]);
    command.env_remove("PAGEMILL_CONFIG");
    run(command).await.exits(2).prints(&["no-such.toml", "pagemill.example.toml"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_away_or_refuse_are_named() {
    let world = World::of(100).await;
    let valid = fs::read_to_string(world.config()).unwrap();
    let (postgres, amqp) = (world.postgres_url(), crate::world::amqp_url());
    for (from, to, code, words) in [
        (&*postgres, "postgres://postgres@127.0.0.1:1/x", 4, &["127.0.0.1:1/x", "is it running"][..]),
        (&*postgres, "not a url", 2, &["postgres.url", "postgres://user@host"]),
        (&*amqp, "amqp://guest:guest@127.0.0.1:1/%2f", 4, &["127.0.0.1:1", "RabbitMQ"]),
        (&*amqp, "http://x", 2, &["amqp.url", "amqp://user:password@host"]),
    ] {
        fs::write(world.config(), valid.replacen(from, to, 1)).unwrap();
        run(world.command("pagemill-consumer", &["--until-idle"])).await.exits(code).prints(words);
    }
    let wrong = amqp.replacen("guest:guest", "guest:hunter2", 1);
    if wrong != amqp {
        fs::write(world.config(), valid.replacen(&amqp, &wrong, 1)).unwrap();
        let ran = run(world.command("pagemill-producer", &["--date", DAY]))
            .await
            .exits(2)
            .prints(&["password", "amqp.url"]);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    let unknown = format!("{}/no_such_database", postgres_url().rsplit_once('/').unwrap().0);
    fs::write(world.config(), valid.replacen(&postgres, &unknown, 1)).unwrap();
    world.pagemill(&["status"]).await.exits(2).prints(&["no_such_database"]);
}

/// A role whose password is wrong, on a server that requires one: PostgreSQL's own message, and the config key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_log_in_is_refused() {
    let world = World::of(100).await;
    let role = format!("nologin_{}", world.source);
    world.db().await.batch_execute(&format!("create role {role} nologin")).await.unwrap();
    let valid = fs::read_to_string(world.config()).unwrap();
    let url = world.postgres_url();
    let (scheme, rest) = url.split_once("://").unwrap();
    let other = format!("{scheme}://{role}:hunter2@{}", rest.split_once('@').unwrap().1);
    fs::write(world.config(), valid.replacen(&url, &other, 1)).unwrap();
    let ran = world.pagemill(&["status"]).await;
    world.db().await.batch_execute(&format!("drop role {role}")).await.unwrap();
    let ran = ran.exits(2).prints(&[&role, "check user, password and database in postgres.url"]);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_behind_or_anothers_is_refused() {
    let world = World::unmigrated(SimulatorConfig { rows: 100, ..SimulatorConfig::default() }, "").await;
    for binary in ["pagemill-producer", "pagemill-consumer"] {
        let args: &[&str] = if binary == "pagemill-producer" { &["--date", DAY] } else { &[] };
        run(world.command(binary, args)).await.exits(2).prints(&["there is no ledger", "pagemill migrate"]);
    }
    world.pagemill(&["status"]).await.exits(2).prints(&["pagemill migrate"]);
    let table = format!("{}_creative", world.source);
    world
        .db()
        .await
        .batch_execute(&format!("create table {table} (time date, creativity_id text)"))
        .await
        .unwrap();
    world.pagemill(&["migrate"]).await.exits(2).prints(&[&table, "exists with other columns", "table = "]);
    world.db().await.batch_execute(&format!("drop table {table}")).await.unwrap();
    world.pagemill(&["migrate"]).await.ok();
    let again = world.pagemill(&["migrate"]).await.ok();
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
}
