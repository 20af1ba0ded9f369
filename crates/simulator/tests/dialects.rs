//! Each platform's dialect from outside: all pages of a day give the truth, and what is refused is
//! refused as the platform does.

use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};
use pagemill_simulator::{Fault, FaultKind, Level, Simulator, SimulatorConfig, core_truth};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ROWS: u64 = 1_050;
const DAY: &str = "2026-01-15";
const TOKEN: &str = "right";

/// One request, and where its response has what.
struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

struct Received {
    status: u16,
    head: String,
    body: Value,
}

/// The rows of a response as `id|spend in hundredths|impressions|clicks`.
type Rows = fn(&Value) -> Vec<[String; 4]>;

async fn send(simulator: &Simulator, request: Request) -> Received {
    let mut stream = TcpStream::connect(simulator.address()).await.unwrap();
    let Request { method, path, headers, body } = request;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        simulator.address(),
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    Received {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or_else(|_| panic!("{response}")),
    }
}

fn get(path: &str, query: &[(&str, Value)], headers: Vec<(&'static str, String)>) -> Request {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let query: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query.iter().map(|(name, value)| (name, text(value))))
        .finish();
    Request { method: "GET", path: format!("{path}?{query}"), headers, body: String::new() }
}

fn post(path: &str, headers: Vec<(&'static str, String)>, body: Value) -> Request {
    Request { method: "POST", path: path.to_owned(), headers, body: body.to_string() }
}

fn bearer(name: &'static str, token: &str) -> Vec<(&'static str, String)> {
    vec![(name, token.to_owned())]
}

fn oceanengine(token: &str, page: u64, size: u64) -> Request {
    let query = [
        ("advertiser_id", json!("1001")),
        ("data_topic", json!("BASIC_DATA")),
        ("dimensions", json!(["stat_time_day", "cdp_promotion_id"])),
        ("metrics", json!(["stat_cost", "show_cnt", "click_cnt"])),
        ("filters", json!([])),
        ("order_by", json!([])),
        ("start_time", json!(DAY)),
        ("end_time", json!(DAY)),
        ("page", json!(page)),
        ("page_size", json!(size)),
    ];
    get("/open_api/v3.0/report/custom/get/", &query, bearer("Access-Token", token))
}

fn tencent(token: &str, page: u64, size: u64) -> Request {
    tencent_of(token, page, size, None)
}

fn tencent_of(token: &str, page: u64, size: u64, target: Option<&str>) -> Request {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut query = vec![
        ("access_token", json!(token)),
        ("timestamp", json!(now)),
        ("nonce", json!("0123456789abcdef")),
        ("account_id", json!("1001")),
        ("level", json!("REPORT_LEVEL_DYNAMIC_CREATIVE")),
        ("date_range", json!({"start_date": DAY, "end_date": DAY})),
        ("group_by", json!(["date", "adgroup_id", "dynamic_creative_id"])),
        ("fields", json!(["date", "dynamic_creative_id", "cost", "view_count", "valid_click_count"])),
        ("page", json!(page)),
        ("page_size", json!(size)),
    ];
    if let Some(target) = target {
        let values = [format!("MARKETING_TARGET_TYPE_{target}")];
        query.push((
            "filtering",
            json!([{"field": "marketing_target_type", "operator": "EQUALS", "values": values}]),
        ));
    }
    get("/v3.0/daily_reports/get", &query, vec![])
}

fn kuaishou(token: &str, page: u64, size: u64) -> Request {
    let body = json!({
        "advertiser_id": 1001, "start_date": DAY, "end_date": DAY, "temporal_granularity": "DAILY",
        "page": page, "page_size": size,
    });
    post("/rest/openapi/v1/report/creative_report", bearer("Access-Token", token), body)
}

fn baidu(token: &str, page: u64, size: u64) -> Request {
    let report = json!({
        "reportType": 2_665_235, "timeUnit": "DAY", "startDate": DAY, "endDate": DAY,
        "columns": ["date", "userName", "ideaInfo", "cost", "impression", "click"],
        "sorts": [{"column": "date", "sortRule": "ASC"}, {"column": "ideaInfo", "sortRule": "ASC"}],
        "filters": [], "startRow": page.wrapping_sub(1).wrapping_mul(size), "rowCount": size, "needSum": true,
    });
    let header = json!({"userName": "1001", "accessToken": token});
    post(
        "/json/sms/service/OpenApiReportService/getReportData",
        vec![],
        json!({"header": header, "body": report}),
    )
}

fn tiktok(token: &str, page: u64, size: u64) -> Request {
    let query = [
        ("advertiser_id", json!("1001")),
        ("report_type", json!("BASIC")),
        ("data_level", json!("AUCTION_AD")),
        ("dimensions", json!(["ad_id", "stat_time_day"])),
        ("metrics", json!(["spend", "impressions", "clicks", "cpc"])),
        ("enable_total_metrics", json!("true")),
        ("start_date", json!(DAY)),
        ("end_date", json!(DAY)),
        ("page", json!(page)),
        ("page_size", json!(size)),
    ];
    get("/open_api/v1.3/report/integrated/get/", &query, bearer("Access-Token", token))
}

fn example(token: &str, page: u64, size: u64) -> Request {
    let query = [
        ("account", json!("1001")),
        ("day_gte", json!(DAY)),
        ("day_lte", json!(DAY)),
        ("_page", json!(page)),
        ("_limit", json!(size)),
    ];
    get("/reports", &query, vec![("Authorization", format!("Bearer {token}"))])
}

fn meta(token: &str, after: Option<&str>, size: u64) -> Request {
    let mut query = vec![
        ("access_token", json!(token)),
        ("level", json!("ad")),
        ("fields", json!("ad_id,spend,impressions,clicks")),
        ("time_range", json!({"since": DAY, "until": DAY})),
        ("time_increment", json!(1)),
        ("summary", json!("spend,impressions,clicks")),
        ("limit", json!(size)),
    ];
    query.extend(after.map(|after| ("after", json!(after))));
    get("/v25.0/act_1001/insights", &query, vec![])
}

/// The reports that are requested by page numbers: request, page size, rows, and where the total stands.
type Numbered = (fn(&str, u64, u64) -> Request, u64, Rows, &'static str);

const NUMBERED: [Numbered; 6] = [
    (
        oceanengine,
        500,
        |b| {
            rows(
                b,
                "/data/rows",
                [
                    "/dimensions/cdp_promotion_id",
                    "/metrics/stat_cost",
                    "/metrics/show_cnt",
                    "/metrics/click_cnt",
                ],
                true,
            )
        },
        "/data/page_info/total_number",
    ),
    (
        tencent,
        500,
        |b| {
            rows(
                b,
                "/data/list",
                ["/dynamic_creative_id", "/cost", "/view_count", "/valid_click_count"],
                false,
            )
        },
        "/data/page_info/total_number",
    ),
    (
        kuaishou,
        1_000,
        |b| rows(b, "/data/details", ["/creative_id", "/charge", "/show", "/photo_click"], true),
        "/data/total_count",
    ),
    (
        baidu,
        200,
        |b| rows(b, "/body/data/0/rows", ["/ideaInfo/ideaId", "/cost", "/impression", "/click"], true),
        "/body/data/0/totalRowCount",
    ),
    (
        tiktok,
        500,
        |b| {
            rows(
                b,
                "/data/list",
                ["/dimensions/ad_id", "/metrics/spend", "/metrics/impressions", "/metrics/clicks"],
                true,
            )
        },
        "/data/page_info/total_number",
    ),
    (example, 100, |b| rows(b, "", ["/id", "/spend", "/metrics/views", "/metrics/clicks"], true), ""),
];

/// The rows at the pointer; `units` if the spend is in whole units with decimals.
fn rows(body: &Value, at: &str, columns: [&str; 4], units: bool) -> Vec<[String; 4]> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let all = body.pointer(at).and_then(Value::as_array).unwrap_or_else(|| panic!("no rows: {body}"));
    all.iter()
        .map(|row| {
            let mut row = columns.map(|column| text(row.pointer(column).unwrap_or_else(|| panic!("{row}"))));
            if units {
                let (whole, rest) = row[1].split_once('.').unwrap_or((&row[1], ""));
                row[1] = format!("{whole}{rest:0<2}").trim_start_matches('0').to_owned();
                if row[1].is_empty() {
                    row[1] = "0".to_owned();
                }
            }
            row
        })
        .collect()
}

fn digest(rows: &[[String; 4]]) -> String {
    let weigh = |row: &[String; 4]| {
        let hash = Md5::digest(row.join("|").as_bytes());
        hash.iter().take(8).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte)) >> 4
    };
    format!("{}:{}", rows.len(), rows.iter().map(weigh).sum::<u128>())
}

async fn start(change: impl FnOnce(&mut SimulatorConfig)) -> (Simulator, String) {
    let mut config =
        SimulatorConfig { port: 0, rows: ROWS, token: Some(TOKEN.to_owned()), ..Default::default() };
    change(&mut config);
    let truth = core_truth(&config, Level::Creative, "1001", DAY.parse().unwrap());
    (Simulator::start(config).await.unwrap(), truth)
}

#[tokio::test]
async fn all_pages_together_are_the_truth() {
    let (simulator, truth) = start(|_| ()).await;
    for (request, size, read, total) in NUMBERED {
        let mut all = Vec::new();
        for page in 1..=ROWS.div_ceil(size) {
            let response = send(&simulator, request(TOKEN, page, size)).await;
            assert_eq!(response.status, 200, "{}", response.body);
            match total {
                "" => assert!(response.head.contains(&format!("x-total-count: {ROWS}"))),
                total => assert_eq!(response.body.pointer(total), Some(&json!(ROWS))),
            }
            all.extend(read(&response.body));
        }
        assert_eq!(digest(&all), truth);
        let beyond = send(&simulator, request(TOKEN, 11, 900)).await;
        assert!(read(&beyond.body).is_empty());
    }
}

#[tokio::test]
async fn cursors_lead_through_all_rows() {
    let (simulator, truth) = start(|_| ()).await;
    let (mut all, mut after) = (Vec::new(), None::<String>);
    for page in 1.. {
        let response = send(&simulator, meta(TOKEN, after.as_deref(), 200)).await;
        let columns = ["/ad_id", "/spend", "/impressions", "/clicks"];
        all.extend(rows(&response.body, "/data", columns, true));
        assert!(
            response.body["summary"]["spend"].is_string() && response.body["data"][0]["date_start"] == DAY
        );
        after = response.body["paging"]["cursors"]["after"].as_str().map(str::to_owned);
        let Some(next) = response.body["paging"]["next"].as_str() else {
            assert_eq!(page, 6);
            break;
        };
        // The link leads to the same page as the cursor.
        let path = next.strip_prefix(&simulator.url()).unwrap().to_owned();
        let request = Request { method: "GET", path, headers: vec![], body: String::new() };
        let followed = send(&simulator, request).await.body["data"].clone();
        assert_eq!(followed, send(&simulator, meta(TOKEN, after.as_deref(), 200)).await.body["data"]);
    }
    assert_eq!(digest(&all), truth);
}

#[tokio::test]
async fn links_lead_from_page_to_page() {
    let (simulator, _) = start(|_| ()).await;
    let response = send(&simulator, example(TOKEN, 2, 500)).await;
    let next = response.head.split("<http").find(|link| link.contains("rel=\"next\"")).unwrap();
    assert!(next.contains("&_page=3>") && next.contains("_limit=500"), "{next}");
    let response = send(&simulator, example(TOKEN, 3, 500)).await;
    assert!(!response.head.contains("rel=\"next\"") && response.head.contains("rel=\"prev\""));
}

#[tokio::test]
async fn tencent_is_ten_thousand_rows_deep_and_its_parts_make_the_day() {
    let (simulator, truth) = start(|config| config.rows = 10_400).await;
    let total = |response: &Received| response.body["data"]["page_info"]["total_number"].as_u64().unwrap();
    let last = send(&simulator, tencent(TOKEN, 10, 1_000)).await;
    assert_eq!((total(&last), last.body["data"]["list"].as_array().unwrap().len()), (10_400, 1_000));
    let beyond = send(&simulator, tencent(TOKEN, 11, 1_000)).await;
    assert_ne!(beyond.body["code"], 0);
    let mut all = Vec::new();
    for target in ["APP_ANDROID", "CONSUMER_PRODUCT", "WECHAT_MINI_GAME", "LIVE_STREAM_ROOM", "BANK"] {
        for page in 1..=4 {
            let response = send(&simulator, tencent_of(TOKEN, page, 1_000, Some(target))).await;
            assert!(total(&response) < 4_000 && (target == "BANK") == (total(&response) == 0));
            all.extend(NUMBERED[1].2(&response.body));
        }
    }
    assert_eq!(digest(&all), truth);
}

/// A request of a token and page size, where its response has its code, and status and code of four refusals:
/// a bad token, a bad page size, throttling, a system error.
type Refusals = (fn(&str, u64) -> Request, &'static str, [(u16, Value); 4]);

fn refusals() -> [Refusals; 7] {
    let meta_page: fn(&str, u64) -> Request = |token, size| meta(token, None, size);
    [
        (
            |t, s| oceanengine(t, 1, s),
            "/code",
            [(200, json!(40_105)), (200, json!(40_002)), (200, json!(40_100)), (200, json!(50_000))],
        ),
        (
            |t, s| tencent(t, 1, s),
            "/code",
            [(200, json!(11_002)), (200, json!(18_001)), (200, json!(11_017)), (200, json!(10_000))],
        ),
        (
            |t, s| kuaishou(t, 1, s),
            "/message",
            [
                (200, json!("access_token 无效")),
                (200, json!("参数错误: page_size")),
                (200, json!("请求频率超限")),
                (200, json!("系统异常")),
            ],
        ),
        (
            |t, s| baidu(t, 1, s),
            "/header/status",
            [(200, json!(2)), (200, json!(2)), (200, json!(2)), (200, json!(3))],
        ),
        (meta_page, "/error/code", [(400, json!(190)), (400, json!(100)), (400, json!(17)), (500, json!(1))]),
        (
            |t, s| tiktok(t, 1, s),
            "/code",
            [(200, json!(40_105)), (200, json!(40_002)), (200, json!(40_100)), (200, json!(50_000))],
        ),
        (
            |t, s| example(t, 1, s),
            "/error",
            [
                (401, json!("no such token")),
                (400, json!("_limit is missing or bad")),
                (429, json!("slow down")),
                (500, json!("something broke")),
            ],
        ),
    ]
}

#[tokio::test]
async fn refusals_come_in_each_platforms_envelope() {
    let (simulator, _) = start(|_| ()).await;
    for (request, at, [token, parameter, throttled, system]) in refusals() {
        let refused = async |request: Request, expected: &(u16, Value)| {
            let response = send(&simulator, request).await;
            assert_eq!(
                (response.status, response.body.pointer(at)),
                (expected.0, Some(&expected.1)),
                "{}",
                response.body
            );
        };
        refused(request("wrong", 100), &token).await;
        refused(request(TOKEN, 5_000), &parameter).await;
        for (kind, expected) in [(FaultKind::Throttle, throttled), (FaultKind::Error500, system)] {
            simulator.set_fault(Fault::share(kind, 1.0));
            refused(request(TOKEN, 100), &expected).await;
            simulator.clear_fault(kind, None);
        }
    }
}

#[tokio::test]
async fn sums_stated_are_those_of_all_rows() {
    let (simulator, _) = start(|_| ()).await;
    let (mut spend, mut clicks) = (0, 0);
    for page in 1..=3 {
        for row in NUMBERED[4].2(&send(&simulator, tiktok(TOKEN, page, 500)).await.body) {
            spend += row[1].parse::<u64>().unwrap();
            clicks += row[3].parse::<u64>().unwrap();
        }
    }
    let spend = format!("{}.{:02}", spend / 100, spend % 100);
    let tiktok = send(&simulator, tiktok(TOKEN, 3, 500)).await.body;
    assert_eq!(tiktok["data"]["total_metrics"]["spend"], spend);
    assert_eq!(tiktok["data"]["total_metrics"]["cpc"].as_str().map(|cpc| cpc.contains('.')), Some(true));
    let ocean = send(&simulator, oceanengine(TOKEN, 1, 20)).await.body;
    assert_eq!(ocean["data"]["total_metrics"]["stat_cost"], spend);
    let baidu = send(&simulator, baidu(TOKEN, 1, 20)).await.body;
    assert_eq!(baidu["body"]["data"][0]["summary"]["cost"].as_f64(), spend.parse().ok());
    assert_eq!(baidu["body"]["data"][0]["summary"]["click"], clicks);
}

#[tokio::test]
async fn tencents_clock_and_nonce_are_looked_at() {
    let (simulator, _) = start(|_| ()).await;
    let ok = tencent(TOKEN, 1, 10).path;
    let timestamp = ok.split("timestamp=").nth(1).unwrap().split('&').next().unwrap();
    for (from, to) in [(timestamp, "1700000000"), ("0123456789abcdef", ""), ("adgroup_id", "campaign_id")] {
        let path = ok.replacen(from, to, 1);
        let response =
            send(&simulator, Request { method: "GET", path, headers: vec![], body: String::new() }).await;
        assert_eq!(response.body["code"], 18_001, "{from} for {to}");
    }
}

#[tokio::test]
async fn a_cursor_can_lead_back() {
    let config = SimulatorConfig { port: 0, rows: ROWS, ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.unwrap();
    let links = async || {
        let query =
            [("account", "1001"), ("day_gte", DAY), ("day_lte", DAY), ("_limit", "100"), ("_page", "3")];
        let query = query.map(|(name, value)| (name, json!(value)));
        send(&simulator, get("/reports", &query, bearer("Authorization", "Bearer any"))).await.head
    };
    assert!(links().await.contains("_page=4>; rel=\"next\""));
    simulator.set_fault(Fault::share(FaultKind::LoopCursor, 1.0));
    assert!(links().await.contains("_page=2>; rel=\"next\""));
}
