//! Each platform's shipped definition against the simulator that speaks its dialect: what lies in the
//! tables is what the platform has, through errors in HTTP 200, throttling and garbage.

use pagemill_simulator::{Fault, FaultKind, Level, SimulatorConfig, core_truth, core_truth_sql};

use crate::world::{ACCOUNT, DAY, World};

/// A stream, what its rows stand for, and the expressions of its id, spend in hundredths, impressions
/// and clicks.
type Stream = (&'static str, Level, [&'static str; 4]);

/// The streams end sealed, through some failures of each kind, and hold the truth.
async fn assert_pulled(definition: &'static str, streams: &[Stream], rows: u64) {
    let faults = [FaultKind::Throttle, FaultKind::Error500, FaultKind::Garbage, FaultKind::Reset];
    let faults = faults.map(|kind| Fault::share(kind, 0.05)).to_vec();
    let simulated = SimulatorConfig { rows, faults, ..SimulatorConfig::default() };
    let names: Vec<_> = streams.iter().map(|(name, ..)| *name).collect();
    let world = World::speaking(definition, &names, simulated).await;
    let consumer = world.consumer();
    world.producer(&[]).await.ok();
    let status = world.ended().await;
    let dead = world.dead().await;
    assert_eq!(status["state"], "complete", "{status} {dead:?} {}", consumer.log());
    let db = world.db().await;
    for (name, level, columns) in streams {
        let sql = core_truth_sql(&format!("{}_{name}", world.source), *columns);
        let digest: String = db.query_one(&sql, &[]).await.unwrap().get(0);
        let truth = core_truth(&world.simulated, *level, ACCOUNT, DAY.parse().unwrap());
        assert_eq!(digest, truth, "{definition} {name}");
    }
    world.pagemill(&["verify", status["run"].as_str().unwrap()]).await.ok();
    world.assert_no_secret_in_logs();
}

/// Some pages and a short one of the largest page that the definitions request.
const ROWS: u64 = 1_750;

#[tokio::test]
async fn xiaohongshu() {
    use Level::{Account, Campaign, Creative, Keyword, Note, SearchWord, Spu, Unit};
    let offline = [
        ("creative", Creative, "creativity_id"),
        ("creative_all", Creative, "creativity_id"),
        ("account", Account, "0"),
        ("campaign", Campaign, "campaign_id"),
        ("unit", Unit, "unit_id"),
        ("keyword", Keyword, "keyword_id"),
        ("note", Note, "note_id"),
        ("spu", Spu, "spu_id"),
        ("search_word", SearchWord, "search_word"),
    ];
    let streams = offline.map(|(name, level, id)| (name, level, [id, "fee * 100", "impression", "click"]));
    assert_pulled("xiaohongshu", &streams, ROWS).await;
}

#[tokio::test]
async fn xiaohongshu_realtime() {
    use Level::{Account, Campaign, Creative, Keyword, Target, Unit};
    let realtime = [
        ("realtime_account", Account, "0"),
        ("realtime_campaign", Campaign, "campaign_id"),
        ("realtime_unit", Unit, "unit_id"),
        ("realtime_creativity", Creative, "creativity_id"),
        ("realtime_keyword", Keyword, "keyword_id"),
        ("realtime_target", Target, "target_id"),
    ];
    let streams = realtime.map(|(name, level, id)| (name, level, [id, "fee * 100", "impression", "click"]));
    assert_pulled("xiaohongshu", &streams, ROWS).await;
}

#[tokio::test]
async fn ocean_engine() {
    let streams = [
        ("promotion", Level::Creative, ["cdp_promotion_id", "stat_cost * 100", "show_cnt", "click_cnt"]),
        ("project", Level::Campaign, ["cdp_project_id", "stat_cost * 100", "show_cnt", "click_cnt"]),
        ("account", Level::Account, ["0", "stat_cost * 100", "show_cnt", "click_cnt"]),
    ];
    assert_pulled("oceanengine", &streams, ROWS).await;
}

#[tokio::test]
async fn tencent() {
    let streams = [
        ("creative", Level::Creative, ["dynamic_creative_id", "cost", "view_count", "valid_click_count"]),
        ("adgroup", Level::Unit, ["adgroup_id", "cost", "view_count", "valid_click_count"]),
        ("account", Level::Account, ["0", "cost", "view_count", "valid_click_count"]),
    ];
    assert_pulled("tencent", &streams, ROWS).await;
}

/// Beyond row 10,000 nothing is shown: the day is pulled in parts.
#[tokio::test]
async fn tencent_too_deep() {
    let creative =
        ("creative", Level::Creative, ["dynamic_creative_id", "cost", "view_count", "valid_click_count"]);
    assert_pulled("tencent", &[creative], 10_700).await;
}

#[tokio::test]
async fn kuaishou() {
    let streams = [
        ("creative", Level::Creative, ["creative_id", "charge * 100", "\"show\"", "photo_click"]),
        ("unit", Level::Unit, ["unit_id", "charge * 100", "\"show\"", "photo_click"]),
        ("campaign", Level::Campaign, ["campaign_id", "charge * 100", "\"show\"", "photo_click"]),
        ("account", Level::Account, ["0", "charge * 100", "\"show\"", "photo_click"]),
    ];
    assert_pulled("kuaishou", &streams, ROWS).await;
}

#[tokio::test]
async fn baidu() {
    let streams = [
        ("creative", Level::Creative, ["idea_id", "cost * 100", "impression", "click"]),
        ("adgroup", Level::Unit, ["ad_group_id", "cost * 100", "impression", "click"]),
        ("campaign", Level::Campaign, ["campaign_id", "cost * 100", "impression", "click"]),
        ("account", Level::Account, ["0", "cost * 100", "impression", "click"]),
        ("feed_creative", Level::Creative, ["idea_id", "cost * 100", "impression", "click"]),
        ("feed_adgroup", Level::Unit, ["ad_group_id", "cost * 100", "impression", "click"]),
        ("feed_campaign", Level::Campaign, ["campaign_id", "cost * 100", "impression", "click"]),
        ("feed_account", Level::Account, ["0", "cost * 100", "impression", "click"]),
    ];
    assert_pulled("baidu", &streams, ROWS).await;
}

#[tokio::test]
async fn meta() {
    let streams = [
        ("ad", Level::Creative, ["ad_id", "spend * 100", "impressions", "clicks"]),
        ("adset", Level::Unit, ["adset_id", "spend * 100", "impressions", "clicks"]),
        ("campaign", Level::Campaign, ["campaign_id", "spend * 100", "impressions", "clicks"]),
        ("account", Level::Account, ["0", "spend * 100", "impressions", "clicks"]),
    ];
    assert_pulled("meta", &streams, ROWS).await;
}

#[tokio::test]
async fn tiktok() {
    let streams = [
        ("ad", Level::Creative, ["ad_id", "spend * 100", "impressions", "clicks"]),
        ("adgroup", Level::Unit, ["adgroup_id", "spend * 100", "impressions", "clicks"]),
        ("campaign", Level::Campaign, ["campaign_id", "spend * 100", "impressions", "clicks"]),
        ("account", Level::Account, ["0", "spend * 100", "impressions", "clicks"]),
    ];
    assert_pulled("tiktok", &streams, ROWS).await;
}

#[tokio::test]
async fn an_example_in_thirty_lines() {
    assert!(include_str!("../sources/example.toml").lines().count() <= 30);
    let reports = ("reports", Level::Creative, ["id", "spend * 100", "views", "clicks"]);
    assert_pulled("example", &[reports], ROWS).await;
}
