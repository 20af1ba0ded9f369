//! `pagemill plan`: due partitions, requests and the expected end.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::world::{DAY, Output, World, count, run};

/// `HH:MM UTC` in so many minutes.
fn in_minutes(minutes: i64) -> String {
    (Timestamp::now() + minutes.minutes()).strftime("%H:%M UTC").to_string()
}

async fn plan(world: &World, args: &[&str]) -> Output {
    world.pagemill(&[&["plan", "--json"], args].concat()).await
}

async fn runs(world: &World) -> i64 {
    count(&world.db().await, "select count(*) from pagemill.runs").await
}

/// The producer over all days that the API still changes.
async fn restated(world: &World) -> Value {
    let args = ["--date", "yesterday", "--lookback", "restate", "--wait", "--json"];
    run(world.command("pagemill-producer", &args)).await.ok().json()
}

/// The seals become older by so much.
async fn age_seals(world: &World, interval: &str) {
    let sql = format!(
        "update pagemill.partitions set closed_at = closed_at - interval '{interval}', \
         requested_from = requested_from - interval '{interval}'"
    );
    world.db().await.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_sends_nothing_writes_nothing_and_knows_what_was_seen_before() {
    let world = World::of(30_050).await;
    world.configure("", "rate = { per_second = 100 }");
    let unknown = plan(&world, &["--date", DAY]).await.ok().json();
    assert_eq!(
        (&unknown["requests"], &unknown["at_least"], &unknown["on_time"], &unknown["sources"][0]["due"]),
        (&json!(1), &json!(true), &Value::Null, &json!(1)),
        "{unknown}"
    );
    let words = world.pagemill(&["plan", "--date", DAY]).await.ok();
    words.prints(&["at least 1 request at 100/s", "account 1001 2026-01-15", "due"]);
    assert_eq!((world.simulator.stats().seen, runs(&world).await), (0, 0));

    // Its first page is stored and the others wait: an unfinished run would go on.
    world.configure("", "");
    world.producer(&[]).await.ok();
    world.configure("", "rate = { per_second = 100 }");
    let open = plan(&world, &["--date", DAY]).await.ok().json();
    assert_eq!(
        (&open["continues"], &open["requests"], &open["at_least"]),
        (&json!("1"), &json!(300), &json!(false))
    );
    let other = plan(&world, &["--date", "2026-01-16"]).await.ok().json();
    let source = &other["sources"][0];
    assert_eq!(
        (&source["requests"], &source["others"], &source["seconds"]),
        (&json!(1), &json!(300), &json!(3.01))
    );

    world.configure("", "");
    let _consumer = world.consumer();
    world.assert_sealed_truth().await;
    let seen = world.simulator.stats().seen;
    let sealed = plan(&world, &["--date", DAY]).await.ok().json();
    assert_eq!(
        (&sealed["requests"], &sealed["partitions"][0]["state"]),
        (&json!(0), &json!("sealed")),
        "{sealed}"
    );
    // Again, and for a day that nobody has pulled: the total of the newest day is used.
    for args in [&["--date", DAY, "--again"][..], &["--date", "2026-01-16"]] {
        let known = plan(&world, args).await.ok().json();
        assert_eq!(
            (&known["requests"], &known["at_least"], &known["partitions"][0]["rows"]),
            (&json!(301), &json!(false), &json!(30_050)),
            "{known}"
        );
    }
    let some = plan(&world, &["--date", DAY, "--pages", "3-7"]).await.ok().json();
    assert_eq!(some["requests"], 0, "it is sealed");
    let month = world.pagemill(&["plan", "--from", "2025-12-01", "--to", DAY]).await.ok();
    month.prints(&["2025-12-01..2026-01-15", "13545 requests", "without a rate limit"]);
    assert_eq!((world.simulator.stats().seen, runs(&world).await), (seen, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_whether_it_ends_in_time() {
    let world = World::of(30_050).await;
    let consumer = world.consumer();
    world.producer(&["--wait"]).await.ok();
    consumer.kill_nine().await;
    world.configure("", "rate = { per_second = 1 }");
    // 301 requests at one a second are five minutes.
    let late = plan(&world, &["--date", DAY, "--again", "--by", &in_minutes(3)]).await.exits(3).json();
    assert_eq!((&late["on_time"], &late["sources"][0]["seconds"]), (&json!(false), &json!(301.0)), "{late}");
    let early = plan(&world, &["--date", DAY, "--again", "--by", &in_minutes(30)]).await.ok().json();
    assert_eq!(early["on_time"], true, "{early}");
    // The config's deadline, in words; --by goes over it.
    let deadline = format!("rate = {{ per_second = 1 }}\ndeadline = \"{}\"", in_minutes(3));
    world.configure("", &deadline);
    let words = world.pagemill(&["plan", "--date", DAY, "--again"]).await.exits(3);
    words.prints(&["301 requests at 1/s: 5m 1s", "on time: NO (deadline"]);
    plan(&world, &["--date", DAY, "--again", "--by", &in_minutes(30)]).await.ok();
    // Nothing is due: that is in time.
    assert_eq!(plan(&world, &["--date", DAY]).await.ok().json()["on_time"], true);
    world.pagemill(&["plan", "--by", "9"]).await.exits(2).prints(&["not a time of day", "10:15"]);
    world.pagemill(&["plan", "--lookback", "often"]).await.exits(2).prints(&["restate"]);
    assert_eq!(runs(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restatement_windows_make_the_right_days_due_again() {
    let world = World::of(50).await;
    // Final at once: the hour of the test is no matter.
    world.configure("", "ready_at = \"00:00\"\nrestate = [\"2d\", \"10d weekly\"]");
    let _consumer = world.consumer();
    let requested = ["--date", "yesterday", "--lookback", "restate"];
    let due = |plan: &Value| plan["sources"][0]["due"].as_u64().unwrap();

    // As far back as the longest window, and all of it is due: it was never pulled.
    let first = restated(&world).await;
    assert_eq!((&first["sealed"], &first["partitions"]), (&json!(10), &json!(10)));
    assert_eq!(due(&plan(&world, &requested).await.ok().json()), 0);

    // A day later the two newest days are not what they were.
    age_seals(&world, "24 hours").await;
    let next = plan(&world, &requested).await.ok().json();
    assert_eq!(due(&next), 2, "{next}");
    let state = |n: usize| (next["partitions"][n]["state"].clone(), next["partitions"][n]["lane"].clone());
    assert_eq!(state(0), (json!("due"), json!("pages")));
    assert_eq!(state(1), (json!("due"), json!("low")));
    assert_eq!(state(2).0, "sealed");
    assert_eq!(restated(&world).await["partitions"], 2);

    // A week after their seal the older ones are due too; the newest two were sealed today.
    age_seals(&world, "6 days").await;
    assert_eq!(restated(&world).await["partitions"], 10);
    age_seals(&world, "6 days").await;
    // Of the newest six the seals are now older than their days: before the end of a day none is final.
    assert_eq!(due(&plan(&world, &requested).await.ok().json()), 6);

    // Beyond the windows a seal holds forever.
    let old = ["--from", DAY, "--to", DAY];
    run(world.command("pagemill-producer", &[&old[..], &["--wait"]].concat())).await.ok();
    age_seals(&world, "100 days").await;
    assert_eq!(due(&plan(&world, &old).await.ok().json()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seal_of_requests_before_ready_at_is_not_the_last_word() {
    let world = World::of(50).await;
    world.configure("", "ready_at = \"10:15 Asia/Shanghai\"");
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.ok();
    let db = world.db().await;
    // Sealed a little later, in both cases: what counts is when the data was requested.
    for (requested, state) in [("2026-01-16T02:15:00Z", "sealed"), ("2026-01-16T02:14:59Z", "due")] {
        let sql = format!(
            "update pagemill.partitions set requested_from = '{requested}', closed_at = '2026-01-16T02:20:00Z'"
        );
        db.batch_execute(&sql).await.unwrap();
        let seen = plan(&world, &["--date", DAY]).await.ok().json();
        assert_eq!(seen["partitions"][0]["state"], state, "requested at {requested}");
    }
    // The report of today is final tomorrow.
    let today = plan(&world, &["--date", "today"]).await.ok().json();
    assert_eq!(today["partitions"][0]["provisional"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weeks_and_streams_without_dates_are_one_partition_each() {
    let world = World::of(50).await;
    world.configure("", "stream.creative = { days_per_partition = 7 }");
    let weeks = plan(&world, &["--from", "2026-01-01", "--to", DAY]).await.ok().json();
    let days: Vec<(&str, &str)> = weeks["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["from"].as_str().unwrap(), p["to"].as_str().unwrap()))
        .collect();
    // Whole weeks, from Monday on, the newest first.
    assert_eq!(
        days,
        [("2026-01-12", "2026-01-18"), ("2026-01-05", "2026-01-11"), ("2025-12-29", "2026-01-04")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_says_whether_it_will_be_on_time() {
    let world = World::of(30_050).await;
    world.producer(&[]).await.ok();
    let with_deadline = |minutes| {
        let more = format!("rate = {{ per_second = 1 }}\ndeadline = \"{}\"", in_minutes(minutes));
        world.configure("", &more);
    };
    // 300 pages are left, at one a second.
    with_deadline(3);
    let late = world.pagemill(&["status", "1", "--json"]).await.ok().json();
    assert_eq!((&late["on_time"], &late["state"]), (&json!(false), &json!("running")), "{late}");
    world.pagemill(&["status", "1"]).await.ok().prints(&["on time: NO", "deadline"]);
    with_deadline(12 * 60);
    let early = world.pagemill(&["status", "1", "--json"]).await.ok().json();
    assert_eq!(early["on_time"], true, "{early}");
    let expected: Timestamp = early["expected"].as_str().unwrap().parse().unwrap();
    assert!(expected > Timestamp::now() && early["deadline"].is_string(), "{early}");

    // Nobody pulls it, and minutes go by: it stands still.
    let older = "update pagemill.runs set created_at = created_at - interval '1 hour'; \
        update pagemill.pages set requested_at = requested_at - interval '1 hour'";
    world.db().await.batch_execute(older).await.unwrap();
    world.pagemill(&["status", "1"]).await.ok().prints(&["on time: NO, it stands still"]);

    // It ends, and its end is known.
    let deadline = in_minutes(12 * 60);
    world.configure("", &format!("deadline = \"{deadline}\""));
    let _consumer = world.consumer();
    world.ended().await;
    let ended = world.pagemill(&["status", "1", "--json"]).await.ok().json();
    assert_eq!((&ended["on_time"], &ended["state"]), (&json!(true), &json!("complete")), "{ended}");
    world.pagemill(&["status", "1"]).await.ok().prints(&["on time: yes, ended"]);
    // Without a deadline there is no such line.
    world.configure("", "");
    let plain = world.pagemill(&["status", "1", "--json"]).await.ok().json();
    assert_eq!(plain.get("on_time"), None);
}
