//! The simulator from outside, over plain TCP.

use std::{
    collections::BTreeSet,
    io::Read,
    time::{Duration, Instant},
};

use pagemill_simulator::{
    Fault, FaultKind, Latency, Level, Limits, OAuth, Simulator, SimulatorConfig, core_truth, truth_digest,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const REPORT: &str = "/api/open/jg/data/report/offline/creative";

async fn start(change: impl FnOnce(&mut SimulatorConfig)) -> Simulator {
    let mut config = SimulatorConfig { port: 0, rows: 250, ..Default::default() };
    change(&mut config);
    Simulator::start(config).await.unwrap()
}

struct Client(TcpStream);

impl Client {
    async fn to(simulator: &Simulator) -> Self {
        Self(TcpStream::connect(simulator.address()).await.unwrap())
    }

    /// Sends one request on the kept connection and reads the status, the head in small letters and the
    /// body.
    async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> std::io::Result<(u16, String, Vec<u8>)> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: simulator\r\nAccess-Token: {token}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.0.write_all((head + body).as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).await?;
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), head, body))
    }

    /// An exchange without limits worth a header: its status and body.
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> std::io::Result<(u16, Vec<u8>)> {
        let (status, head, body) = self.exchange(method, path, token, body).await?;
        assert!(!head.contains("retry-after") && !head.contains("x-ratelimit"));
        Ok((status, body))
    }

    async fn json(&mut self, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.send(method, path, token, body).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn page(&mut self, page: u64) -> (u16, Value) {
        self.json("POST", REPORT, "token", &request(page)).await
    }
}

fn rows(body: &Value) -> &[Value] {
    body["data"]["data_list"].as_array().unwrap()
}

fn gunzipped(body: &[u8]) -> Value {
    let mut text = String::new();
    flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn request(page: u64) -> String {
    let day = "2026-11-23";
    json!({"advertiser_id": 1001, "start_date": day, "end_date": day, "page_num": page, "page_size": 100})
        .to_string()
}

#[tokio::test]
async fn pages_are_served_over_a_kept_connection() {
    let simulator = start(|_| ()).await;
    let mut client = Client::to(&simulator).await;
    for (page, rows) in [(1, 100), (2, 100), (3, 50), (4, 0)] {
        let (status, body) = client.page(page).await;
        assert_eq!((status, &body["code"], &body["success"]), (200, &json!(0), &json!(true)));
        assert_eq!(body["data"]["total_count"], 250);
        assert_eq!(body["data"]["data_list"].as_array().unwrap().len(), rows);
        assert_eq!(body["request_id"].as_str().unwrap().len(), 32);
    }
    let (status, stats) = client.json("GET", "/stats", "", "").await;
    assert_eq!((status, &stats["seen"], &stats["served"]), (200, &json!(4), &json!(4)));
    assert!((1..=4).contains(&stats["rate"]["max"].as_u64().unwrap()));
    assert_eq!((&stats["throttled"], &stats["bytes"]), (&json!(0), &json!(simulator.stats().bytes)));
    let address = simulator.address();
    simulator.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn bad_requests_are_refused_in_the_envelope() {
    let simulator = start(|config| config.token = Some("secret".into())).await;
    let mut client = Client::to(&simulator).await;
    let cases = [
        ("POST", "", request(1), 401, 10_003),
        ("POST", "other", request(1), 401, 10_003),
        ("POST", "secret", request(0), 200, 10_002),
        ("POST", "secret", "{".to_owned(), 200, 10_002),
        ("GET", "secret", request(1), 405, 10_001),
        ("POST", "secret", request(1), 200, 0),
    ];
    for (method, token, body, status, code) in cases {
        let (got, response) = client.json(method, REPORT, token, &body).await;
        assert_eq!(
            (got, &response["code"], &response["success"]),
            (status, &json!(code), &json!(code == 0)),
            "{response}"
        );
        assert!(response["msg"].is_string() && response["request_id"].is_string());
    }
    assert_eq!((simulator.stats().refused, simulator.stats().served), (5, 1));
    assert_eq!(client.json("POST", "/api/open/elsewhere", "secret", "{}").await.0, 404);
}

#[tokio::test]
async fn what_exceeds_the_rate_is_throttled() {
    let simulator = start(|config| config.limits = Limits::per_second(3)).await;
    let (mut client, mut served) = (Client::to(&simulator).await, 0);
    let start = Instant::now();
    for _ in 0..20 {
        let (status, body) = client.page(1).await;
        match status {
            200 => served += 1,
            status => assert_eq!(
                (status, &body["code"], &body["msg"]),
                (429, &json!(10_005), &json!("请求频繁,请稍后重试"))
            ),
        }
    }
    // All 20 within the first second, unless the machine stood still.
    let seconds = start.elapsed().as_secs() + 1;
    assert!((3..=3 * seconds).contains(&served), "{served} in {seconds} s");
    let stats = simulator.stats();
    assert_eq!((stats.served, stats.throttled, stats.seen), (served, 20 - served, 20));
}

#[tokio::test]
async fn the_rate_changes_while_it_runs() {
    let simulator = start(|_| ()).await;
    let mut client = Client::to(&simulator).await;
    assert_eq!(client.page(1).await.0, 200);
    for rate in [json!(0), json!(null)] {
        let command = json!({ "rate": rate }).to_string();
        let (status, response) = client.json("POST", "/control", "", &command).await;
        assert_eq!((status, &response["limits"]["rate"]), (200, &rate));
        assert_eq!(client.page(1).await.0, if rate.is_null() { 200 } else { 429 });
    }
    simulator.set_rate(Some(0));
    assert_eq!(client.page(1).await.0, 429);
    simulator.set_limits(Limits::default());
    assert_eq!(client.page(1).await.0, 200);
    for bad in [json!({"rate": -1}), json!({"rate": 1.5}), json!({"rat": 1}), json!({"rate": 1, "on": true})]
    {
        assert_eq!(client.json("POST", "/control", "", &bad.to_string()).await.0, 400, "{bad}");
    }
    let stats = simulator.stats();
    assert_eq!((stats.seen, stats.admitted, stats.served, stats.throttled), (5, 3, 3, 2));
}

/// A request on the account and level: its status, and the rate headers of its response.
async fn limited(client: &mut Client, account: u64, level: &str) -> (u16, String) {
    let path = REPORT.replace("creative", level);
    let body = request(1).replace("1001", &account.to_string());
    let (status, head, _) = client.exchange("POST", &path, "token", &body).await.unwrap();
    let named = |line: &&str| line.starts_with("x-ratelimit-") || line.starts_with("retry-after");
    (status, head.lines().filter(named).collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn limits_hold_by_account_and_by_report() {
    let simulator = start(|config| config.limits.account_rate_per_day = Some(2)).await;
    let mut client = Client::to(&simulator).await;
    let mut statuses = Vec::new();
    for account in [1, 1, 1, 2, 1, 2, 2] {
        statuses.push(limited(&mut client, account, "unit").await.0);
    }
    assert_eq!(statuses, [200, 200, 429, 200, 429, 200, 429]);
    let (status, response) =
        client.json("POST", "/control", "", r#"{"account_rate_per_day":null,"stream_rate":0}"#).await;
    assert_eq!((status, &response["limits"]["stream_rate"]), (200, &json!(0)));
    assert_eq!(limited(&mut client, 1, "unit").await.0, 429);
    simulator.set_limits(Limits { rate_per_minute: Some(0), stream_rate: Some(0), ..Limits::default() });
    assert_eq!(limited(&mut client, 1, "unit").await.0, 429);

    let (_, stats) = client.json("GET", "/stats", "", "").await;
    assert_eq!(stats["throttled_by"], json!({"app": 1, "account": 3, "stream": 1}));
    assert_eq!(stats["served_by_account"], json!({"1": 2, "2": 2}));
    assert_eq!((&stats["throttled"], &stats["admitted"]), (&json!(5), &json!(4)));
}

#[tokio::test]
async fn every_report_has_its_own_limit() {
    let simulator = start(|config| config.limits.stream_rate = Some(0)).await;
    let mut client = Client::to(&simulator).await;
    // One that cannot be read falls under the app's limits only.
    assert_eq!(client.page(0).await.1["code"], 10_002);
    assert_eq!(client.page(1).await.0, 429);
    simulator.set_limits(Limits { stream_rate: Some(1), ..Limits::default() });
    // At most one of each within a second: unless the machine stands still, one of the two is throttled.
    let start = Instant::now();
    let mut statuses = Vec::new();
    for level in ["unit", "campaign", "unit", "campaign"] {
        statuses.push(limited(&mut client, 1001, level).await.0);
    }
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses[2..] == [429, 429] || start.elapsed() >= Duration::from_secs(1), "{statuses:?}");
}

#[tokio::test]
async fn responses_state_what_is_left_and_when_to_come_again() {
    let simulator = start(|config| {
        config.limits = Limits { rate_per_minute: Some(2), ..Limits::per_second(100) };
        config.retry_after = Some(7);
        config.rate_headers = true;
    })
    .await;
    let mut client = Client::to(&simulator).await;
    let mut responses = Vec::new();
    for _ in 0..3 {
        responses.push(limited(&mut client, 1001, "unit").await);
    }
    for ((status, headers), (expected, before)) in responses.iter().zip([
        (200, "x-ratelimit-remaining: 1"),
        (200, "x-ratelimit-remaining: 0"),
        (429, "retry-after: 7 x-ratelimit-remaining: 0"),
    ]) {
        let (headers, seconds) = headers.split_once(" x-ratelimit-reset: ").unwrap();
        assert_eq!((*status, headers), (expected, before));
        assert!((1..=60).contains(&seconds.parse::<u64>().unwrap()), "{seconds}");
    }
    // The fault has the header too; other refusals don't.
    simulator.set_limits(Limits::default());
    simulator.set_fault(Fault::share(FaultKind::Throttle, 1.0));
    assert_eq!(limited(&mut client, 1001, "unit").await, (429, "retry-after: 7".to_owned()));
    simulator.clear_fault(FaultKind::Throttle, None);
    simulator.set_fault(Fault::share(FaultKind::Error500, 1.0));
    assert_eq!(limited(&mut client, 1001, "unit").await, (500, String::new()));
}

#[tokio::test]
async fn rendered_responses_are_the_same_bytes_unless_something_goes_wrong() {
    let simulator = start(|config| {
        config.token = Some("token".into());
        config.rendered = true;
    })
    .await;
    let mut client = Client::to(&simulator).await;
    let report = async |client: &mut Client, page, token| {
        client.send("POST", REPORT, token, &request(page)).await.unwrap()
    };
    let (status, first) = report(&mut client, 1, "token").await;
    let bytes = simulator.stats().bytes;
    assert_eq!((status, bytes), (200, first.len() as u64));
    assert_eq!(report(&mut client, 1, "token").await, (200, first.clone()));
    assert_eq!((simulator.stats().bytes, simulator.stats().served), (2 * bytes, 2));
    assert_ne!(report(&mut client, 2, "token").await.1, first);
    assert_eq!(report(&mut client, 1, "other").await.0, 401);

    // The same request elsewhere is another one.
    let keywords = REPORT.replace("creative", "keyword");
    let (_, other) = client.json("POST", &keywords, "token", &request(1)).await;
    assert_eq!(other["data"]["total_count"], 50);

    for (fault, status) in [(FaultKind::Error500, 500), (FaultKind::Throttle, 429), (FaultKind::Token, 401)] {
        simulator.set_fault(Fault::share(fault, 1.0));
        assert_eq!(report(&mut client, 1, "token").await.0, status);
        simulator.clear_fault(fault, None);
    }
    simulator.set_fault(Fault::share(FaultKind::ShortPage, 1.0));
    let short = client.page(2).await.1;
    assert!(rows(&short).len() < 100);
    simulator.clear_fault(FaultKind::ShortPage, None);
    assert_eq!(rows(&client.page(2).await.1).len(), 100);

    // What was kept is not what is held after a change.
    simulator.set_fault("insert=0.1@1".parse().unwrap());
    assert_eq!(client.page(1).await.1["data"]["total_count"], 250);
    assert_eq!(client.page(1).await.1["data"]["total_count"], 275);
    simulator.clear_fault(FaultKind::Insert, None);
    assert_eq!(report(&mut client, 1, "token").await, (200, first));

    simulator.set_rate(Some(0));
    assert_eq!(report(&mut client, 1, "token").await.0, 429);
}

#[tokio::test]
async fn faults_are_switched_while_it_runs() {
    let simulator = start(|config| config.faults = vec![Fault::fail_page(2)]).await;
    let mut client = Client::to(&simulator).await;
    for _ in 0..3 {
        let (status, body) = client.page(2).await;
        assert_eq!((status, &body["success"]), (500, &json!(false)));
    }
    assert_eq!(client.page(1).await.0, 200);
    let command = r#"{"fault":"fail_page","page":2,"on":false}"#;
    assert_eq!(client.json("POST", "/control", "", command).await, (200, json!({"faults": []})));
    assert_eq!(client.page(2).await.0, 200);
    let command = r#"{"fault":"throttle","page":3,"on":true}"#;
    assert_eq!(
        client.json("POST", "/control", "", command).await,
        (200, json!({"faults": ["throttle=1@3"]}))
    );
    assert_eq!((client.page(2).await.0, client.page(3).await.0), (200, 429));
    for bad in [
        "",
        r#"{"fault":"no","on":true}"#,
        r#"{"fault":"fail_page","on":true}"#,
        r#"{"fault":"hang","rate":2,"on":true}"#,
    ] {
        assert_eq!(client.json("POST", "/control", "", bad).await.0, 400, "{bad}");
    }
    let stats = simulator.stats();
    assert_eq!((stats.faults["fail_page"], stats.faults["throttle"], stats.throttled), (3, 1, 0));
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let simulator = start(|config| config.slow_for = Duration::from_millis(300)).await;
    let plain = Client::to(&simulator).await.page(1).await.1;
    use FaultKind::{Insert, LoopCursor, NeighbourDay, Remove, SilentZeros, Swap, UnknownColumns};
    let elsewhere = [Insert, Remove, Swap, NeighbourDay, UnknownColumns, SilentZeros, LoopCursor];
    for (kind, name) in FaultKind::ALL.into_iter().filter(|(kind, _)| !elsewhere.contains(kind)) {
        let page = if kind == FaultKind::RepeatedPage { 2 } else { 1 };
        simulator.set_fault(Fault { kind, rate: 1.0, page: Some(page) });
        let mut client = Client::to(&simulator).await;
        let start = Instant::now();
        let request = request(page);
        let patience =
            if kind == FaultKind::Hang { Duration::from_millis(300) } else { Duration::from_secs(30) };
        let response = timeout(patience, client.send("POST", REPORT, "token", &request)).await;
        let json = || {
            let (status, body) = response.as_ref().unwrap().as_ref().unwrap();
            (*status, serde_json::from_slice::<Value>(body).ok())
        };
        match kind {
            FaultKind::Error500 | FaultKind::FailPage => assert_eq!(json().0, 500),
            FaultKind::Throttle => assert_eq!(json().0, 429),
            FaultKind::Token | FaultKind::Expire => assert_eq!(json().0, 401),
            FaultKind::Reset => {
                let error = response.unwrap().unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
            FaultKind::Slow => {
                assert_eq!(json().0, 200);
                assert!(start.elapsed() >= Duration::from_millis(300));
            }
            FaultKind::Hang => assert!(response.is_err()),
            FaultKind::Garbage => assert_eq!(json(), (200, None)),
            FaultKind::ErrorIn200 => {
                let (status, body) = json();
                let body = body.unwrap();
                assert_eq!((status, &body["code"], &body["success"]), (200, &json!(10_000), &json!(false)));
            }
            FaultKind::Gzip => {
                let (status, body) = response.unwrap().unwrap();
                assert_eq!((status, rows(&gunzipped(&body)).len()), (200, 100));
            }
            FaultKind::MovingTotal => assert_ne!(json().1.unwrap()["data"]["total_count"], 250),
            FaultKind::ShortPage => {
                let body = json().1.unwrap();
                assert!(rows(&body).len() < 100);
                assert_eq!(body["data"]["total_count"], 250);
            }
            FaultKind::Ties => {
                let body = json().1.unwrap();
                assert_eq!(rows(&body).len(), 100);
                assert_ne!(rows(&body), rows(&plain));
            }
            FaultKind::RepeatedPage => assert_eq!(rows(&json().1.unwrap()), rows(&plain)),
            FaultKind::DeepPage => assert_eq!(json().1.unwrap()["code"], 10_002),
            // Each has a test of its own.
            Insert | Remove | Swap | NeighbourDay | UnknownColumns | SilentZeros | LoopCursor => {
                unreachable!()
            }
            FaultKind::BadTotal => assert_eq!(json().1.unwrap()["data"]["total_count"], "-"),
            FaultKind::NoKey => assert!(json().1.unwrap()["data"]["data_list"][0]["creativity_id"].is_null()),
        }
        simulator.clear_fault(kind, None);
        assert_eq!(simulator.stats().faults[name], 1);
    }
}

/// A request for tokens: what the response's `code` and `data` are.
async fn tokens(client: &mut Client, path: &str, more: Value) -> (Value, Value) {
    let mut body = json!({"app_id": 7, "secret": "s"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = format!("/api/open/oauth2/{path}");
    let (status, response) = client.json("POST", &path, "", &body.to_string()).await;
    assert_eq!((status, &response["success"]), (200, &json!(response["code"] == 0)));
    (response["code"].clone(), response["data"].clone())
}

#[tokio::test]
async fn tokens_are_exchanged_and_rotate() {
    let oauth = OAuth {
        app_id: "7".into(),
        secret: "s".into(),
        accounts: vec!["1001".into(), "1002".into()],
        ..OAuth::default()
    };
    let simulator = start(|config| config.oauth = Some(oauth)).await;
    let mut client = Client::to(&simulator).await;
    assert_eq!(client.page(1).await.0, 401);
    assert_eq!(tokens(&mut client, "access_token", json!({"auth_code": "other"})).await.0, 10_002);
    let (code, first) = tokens(&mut client, "access_token", json!({"auth_code": "code"})).await;
    assert_eq!((code, &first["access_token_expires_in"]), (json!(0), &json!(86_399)));
    assert_eq!(first["approval_advertisers"][1]["advertiser_id"], 1002);
    assert_eq!(tokens(&mut client, "access_token", json!({"auth_code": "code"})).await.0, 10_002);

    let old = first["access_token"].as_str().unwrap();
    let refresh = json!({"refresh_token": first["refresh_token"]});
    assert_eq!(client.json("POST", REPORT, old, &request(1)).await.0, 200);
    let wrong = json!({"refresh_token": first["refresh_token"], "secret": "wrong"});
    assert_eq!(tokens(&mut client, "refresh_token", wrong).await.0, 10_002);
    let (_, second) = tokens(&mut client, "refresh_token", refresh.clone()).await;
    let new = second["access_token"].as_str().unwrap();
    assert_eq!(client.json("POST", REPORT, old, &request(1)).await.0, 401);
    assert_eq!(client.json("POST", REPORT, new, &request(1)).await.0, 200);
    assert_eq!(tokens(&mut client, "refresh_token", refresh).await.0, 10_003);
    let stats = simulator.stats();
    assert_eq!((stats.exchanges, stats.refreshes, stats.denied), (1, 1, 4));
}

#[tokio::test]
async fn access_tokens_expire() {
    let oauth = OAuth { access_for: Duration::from_millis(200), ..OAuth::default() };
    let simulator = start(|config| config.oauth = Some(oauth)).await;
    let mut client = Client::to(&simulator).await;
    let body = r#"{"app_id":"1","secret":"secret","auth_code":"code"}"#;
    let (_, response) = client.json("POST", "/api/open/oauth2/access_token", "", body).await;
    let access = response["data"]["access_token"].as_str().unwrap();
    let began = Instant::now();
    while client.json("POST", REPORT, access, &request(1)).await.0 == 200 {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(100));
}

#[tokio::test]
async fn a_token_that_expired_early_stays_dead() {
    let oauth = OAuth { codes: vec!["one".into(), "two".into()], ..OAuth::default() };
    let simulator = start(|config| config.oauth = Some(oauth)).await;
    let mut client = Client::to(&simulator).await;
    let mut access = Vec::new();
    for code in ["one", "two"] {
        let body = json!({"app_id": 1, "secret": "secret", "auth_code": code}).to_string();
        let (_, response) = client.json("POST", "/api/open/oauth2/access_token", "", &body).await;
        access.push(response["data"]["access_token"].as_str().unwrap().to_owned());
    }
    simulator.set_fault(Fault::share(FaultKind::Expire, 1.0));
    assert_eq!(client.json("POST", REPORT, &access[0], &request(1)).await.0, 401);
    simulator.clear_fault(FaultKind::Expire, None);
    assert_eq!(client.json("POST", REPORT, &access[0], &request(1)).await.0, 401);
    assert_eq!(client.json("POST", REPORT, &access[1], &request(1)).await.0, 200);
}

#[tokio::test]
async fn latency_delays_every_response() {
    let latency: Latency = "60..80ms".parse().unwrap();
    let simulator = start(|config| config.latency = latency).await;
    let mut client = Client::to(&simulator).await;
    for page in 1..=3 {
        let start = Instant::now();
        client.page(page).await;
        assert!(start.elapsed() >= latency.from);
    }
}

#[tokio::test]
async fn the_truth_is_served() {
    let simulator = start(|_| ()).await;
    let mut client = Client::to(&simulator).await;
    let (status, truth) = client.json("GET", "/truth?account=1001&date=2026-11-23", "", "").await;
    let config = SimulatorConfig { rows: 250, ..Default::default() };
    let digest = truth_digest(&config, "1001", "2026-11-23".parse().unwrap());
    assert_eq!((status, &truth["rows"], &truth["digest"]), (200, &json!(250), &json!(digest)));
    assert_eq!(client.json("GET", "/truth?account=1001", "", "").await.0, 400);
}

/// All pages of a report on the day: their rows, in order, and the end of the last one.
async fn all(client: &mut Client, path: &str, list: &str, more: Value) -> (Vec<Value>, Value) {
    let (mut rows, mut page) = (Vec::new(), 1);
    loop {
        let mut body: Value = serde_json::from_str(&request(page)).unwrap();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/api/open/jg/data/report/{path}");
        let (status, response) = client.json("POST", &path, "token", &body.to_string()).await;
        assert_eq!((status, &response["code"]), (200, &json!(0)), "{path}: {response}");
        let new = response.pointer(list).unwrap().as_array().unwrap().clone();
        if new.is_empty() {
            return (rows, response);
        }
        rows.extend(new);
        page += 1;
    }
}

/// A number as a client reads it: without commas; `-` is none.
fn number(value: &Value) -> u64 {
    value.as_str().unwrap().replace([',', '.'], "").parse().unwrap_or(0)
}

#[tokio::test]
async fn every_level_has_a_row_for_each_of_its_own() {
    let simulator = start(|config| config.rows = 1_234).await;
    let mut client = Client::to(&simulator).await;
    for (path, key, level, count) in [
        ("offline/account", "time", Level::Account, 1),
        ("offline/campaign", "campaign_id", Level::Campaign, 3),
        ("offline/unit", "unit_id", Level::Unit, 62),
        ("offline/creative", "creativity_id", Level::Creative, 1_234),
        ("offline/creativity", "creativity_id", Level::Creative, 1_234),
        ("offline/keyword", "keyword_id", Level::Keyword, 247),
        ("offline/note", "note_id", Level::Note, 1_234),
        ("offline/spu", "spu_id", Level::Spu, 25),
        ("offline/search/word", "search_word", Level::SearchWord, 617),
        ("offline/search_term", "search_word", Level::SearchWord, 617),
        ("realtime/campaign", "campaign_id", Level::Campaign, 3),
        ("realtime/unit", "unit_id", Level::Unit, 62),
        ("realtime/creativity", "creativity_id", Level::Creative, 1_234),
        ("realtime/keyword", "keyword_id", Level::Keyword, 247),
        ("realtime/target", "target_id", Level::Target, 124),
        ("realtime/targeting", "target_id", Level::Target, 124),
    ] {
        let live = path.starts_with("realtime");
        let name = match level {
            Level::Creative => "creativity",
            Level::Campaign => "campaign",
            Level::Unit => "unit",
            Level::Keyword => "keyword",
            _ => "target",
        };
        let list = if live { format!("/{name}_dtos") } else { "/data/data_list".to_owned() };
        let (rows, last) = all(&mut client, path, &list, json!({})).await;
        let total = match (live, level) {
            (true, _) => "/page/total_count",
            (false, Level::SearchWord) => "/data/page/total_count",
            (false, _) => "/data/total_count",
        };
        let total = last.pointer(total).unwrap();
        assert_eq!((rows.len(), total), (count, &json!(count)), "{path}");
        let about = |row: &Value| if live { row[format!("base_{name}_dto")].clone() } else { row.clone() };
        let metrics = |row: &Value| if live { row["data"].clone() } else { row.clone() };
        let keys: BTreeSet<_> = rows.iter().map(|row| about(row)[key].to_string()).collect();
        assert_eq!(keys.len(), count, "{path}");
        let sums = last.pointer(if live { "/total_data" } else { "/data/aggregation_data" }).unwrap();
        for metric in ["fee", "impression", "click", "interaction"] {
            let sum: u64 = rows.iter().map(|row| number(&metrics(row)[metric])).sum();
            assert_eq!(sum, number(&sums[metric]), "{path} {metric}");
        }
        let truth = core_truth(
            &SimulatorConfig { rows: 1_234, ..Default::default() },
            level,
            "1001",
            "2026-11-23".parse().unwrap(),
        );
        assert!(truth.starts_with(&format!("{count}:")), "{path} {truth}");
    }
    let body = request(1);
    let (_, one) = client.json("POST", "/api/open/jg/data/report/realtime/account", "token", &body).await;
    let (rows, _) = all(&mut client, "offline/account", "/data/data_list", json!({})).await;
    assert_eq!(number(&one["data"]["impression"]), number(&rows[0]["impression"]));
    assert!(one["hourly_data"].is_array() && one["page"].is_null());
}

#[tokio::test]
async fn columns_are_those_that_were_named() {
    let simulator = start(|_| ()).await;
    let mut client = Client::to(&simulator).await;
    let (rows, last) = all(
        &mut client,
        "offline/campaign",
        "/data/data_list",
        json!({"columns": ["fee", "msgLeadsNum", "reservePV"]}),
    )
    .await;
    let row = rows[0].as_object().unwrap();
    assert!(row.contains_key("msg_leads_num") && row.contains_key("reserve_pv") && row.contains_key("time"));
    assert!(!row.contains_key("click") && last["data"]["aggregation_data"].get("msg_leads_num").is_some());
    for (path, column) in [
        ("offline/creative", "no_such"),
        ("offline/creative", "msg_leads_num"),
        ("offline/keyword", "searchCmtClick"),
        ("realtime/account", "nothing"),
    ] {
        let mut body: Value = serde_json::from_str(&request(1)).unwrap();
        body["columns"] = json!(["fee", column]);
        let path = format!("/api/open/jg/data/report/{path}");
        let (status, response) = client.json("POST", &path, "token", &body.to_string()).await;
        assert_eq!((status, &response["code"]), (200, &json!(10_002)), "{path} {column}");
    }
    // What takes no columns has them all.
    let (rows, _) = all(&mut client, "offline/spu", "/data/data_list", json!({})).await;
    assert!(rows[0].get("msg_leads_num").is_some());

    simulator.set_fault(Fault::share(FaultKind::SilentZeros, 1.0));
    let (rows, _) = all(&mut client, "offline/campaign", "/data/data_list", json!({})).await;
    assert_eq!((&rows[0]["msg_leads_num"], &rows[0]["goods_visit"]), (&json!("0"), &json!("0")));
    assert_ne!(number(&rows[0]["fee"]), 0);
    let (rows, _) =
        all(&mut client, "offline/campaign", "/data/data_list", json!({"columns": ["goodsVisit"]})).await;
    assert_ne!(number(&rows[0]["goods_visit"]), 0);

    simulator.set_fault(Fault::share(FaultKind::UnknownColumns, 1.0));
    let mut body: Value = serde_json::from_str(&request(1)).unwrap();
    assert_eq!(client.json("POST", REPORT, "token", &body.to_string()).await.1["code"], 0);
    body["columns"] = json!(["fee"]);
    assert_eq!(client.json("POST", REPORT, "token", &body.to_string()).await.1["code"], 10_002);
}

#[tokio::test]
async fn rows_come_and_go_once_after_a_page_was_served() {
    for fault in ["insert=0.1@2", "remove=0.1@2"] {
        let faults: Vec<Fault> = vec![fault.parse().unwrap()];
        let simulator = start(|config| config.faults = faults.clone()).await;
        let mut client = Client::to(&simulator).await;
        let first = client.page(1).await.1;
        let second = client.page(2).await.1;
        assert_eq!(
            (&first["data"]["total_count"], &second["data"]["total_count"]),
            (&json!(250), &json!(250))
        );
        let after = client.page(1).await.1;
        assert_ne!(after["data"]["total_count"], 250, "{fault}");
        assert_ne!(rows(&after), rows(&first));
        client.page(2).await;
        assert_eq!(client.page(1).await.1["data"], after["data"], "{fault} happens once");
        let (_, truth) = client.json("GET", "/truth?account=1001&date=2026-11-23", "", "").await;
        assert_eq!(truth["rows"], after["data"]["total_count"]);
        let config = SimulatorConfig { rows: 250, faults, ..Default::default() };
        assert_eq!(truth["digest"], truth_digest(&config, "1001", "2026-11-23".parse().unwrap()));
        let (all, last) = all(&mut client, "offline/creative", "/data/data_list", json!({})).await;
        let sum: u64 = all.iter().map(|row| number(&row["fee"])).sum();
        assert_eq!(sum, number(&last["data"]["aggregation_data"]["fee"]), "{fault}");
        // Another day waits for its own page.
        let other = request(1).replace("2026-11-23", "2026-11-24");
        assert_eq!(client.json("POST", REPORT, "token", &other).await.1["data"]["total_count"], 250);
        assert_eq!(simulator.stats().faults.values().sum::<u64>(), 1);
    }
}

/// A client that reads page by page finds as many keys as the total states, each once. Yet it keeps a row that went,
/// and misses one that moved onto the page that it had read.
#[tokio::test]
async fn a_swap_goes_unnoticed_by_the_total() {
    let faults: Vec<Fault> = vec!["swap=0.004@1".parse().unwrap()];
    let simulator = start(|config| config.faults = faults.clone()).await;
    let mut client = Client::to(&simulator).await;
    let ids = |rows: &[Value]| rows.iter().map(|row| row["creativity_id"].to_string()).collect::<Vec<_>>();
    let mut read = Vec::new();
    for page in 1..=3 {
        let body = client.page(page).await.1;
        assert_eq!(body["data"]["total_count"], 250);
        read.extend(ids(rows(&body)));
    }
    let distinct: BTreeSet<_> = read.iter().collect();
    assert_eq!((read.len(), distinct.len()), (250, 250));
    let (held, last) = all(&mut client, "offline/creative", "/data/data_list", json!({})).await;
    let sum: u64 = held.iter().map(|row| number(&row["fee"])).sum();
    assert_eq!(sum, number(&last["data"]["aggregation_data"]["fee"]));
    let held = ids(&held);
    let missed: Vec<_> = held.iter().filter(|id| !read.contains(id)).collect();
    let gone: Vec<_> = read.iter().filter(|id| !held.contains(id)).collect();
    assert_eq!((held.len(), missed, gone), (250, vec![&held[99]], vec![&read[0]]));
    assert_eq!(held.last(), read.last(), "the new row stands on the last page");
    let (_, truth) = client.json("GET", "/truth?account=1001&date=2026-11-23", "", "").await;
    let config = SimulatorConfig { rows: 250, faults, ..Default::default() };
    assert_eq!(truth["digest"], truth_digest(&config, "1001", "2026-11-23".parse().unwrap()));
    assert_eq!(simulator.stats().faults["swap"], 1);
}

#[tokio::test]
async fn a_report_can_begin_with_rows_of_the_day_before() {
    let simulator = start(|_| ()).await;
    let mut client = Client::to(&simulator).await;
    let (own, _) = all(&mut client, "offline/creative", "/data/data_list", json!({})).await;
    simulator.set_fault("neighbour_day=0.01".parse().unwrap());
    let (rows, last) = all(&mut client, "offline/creative", "/data/data_list", json!({})).await;
    assert!(rows[..3].iter().all(|row| row["time"] == "2026-11-22"));
    assert_eq!((&rows[3..], &last["data"]["total_count"]), (&own[..], &json!(253)));
    let sum: u64 = rows.iter().map(|row| number(&row["fee"])).sum();
    assert_eq!(sum, number(&last["data"]["aggregation_data"]["fee"]));
    // Of several days the first one's neighbour comes, and each row once.
    let (rows, _) = all(
        &mut client,
        "offline/creative",
        "/data/data_list",
        json!({"start_date": "2026-11-22", "end_date": "2026-11-23"}),
    )
    .await;
    assert_eq!(
        (rows.len(), &rows[0]["time"], &rows[3]["time"]),
        (503, &json!("2026-11-21"), &json!("2026-11-22"))
    );
    let faults = vec!["neighbour_day=0.01".parse().unwrap()];
    let day = "2026-11-23".parse().unwrap();
    let config = SimulatorConfig { rows: 250, ..Default::default() };
    let with_fault = SimulatorConfig { faults, ..config.clone() };
    assert_eq!(truth_digest(&with_fault, "1001", day), truth_digest(&config, "1001", day));
}

#[tokio::test]
async fn a_placement_is_a_part_of_the_day() {
    let simulator = start(|_| ()).await;
    let mut client = Client::to(&simulator).await;
    let mut sum = 0;
    for placement in [1, 2, 4, 7] {
        let (rows, last) =
            all(&mut client, "offline/creative", "/data/data_list", json!({"placement": [placement]})).await;
        assert!(rows.iter().all(|row| row["placement"] == placement));
        assert_eq!(last["data"]["total_count"], rows.len());
        let fee: u64 = rows.iter().map(|row| number(&row["fee"])).sum();
        assert_eq!(fee, number(&last["data"]["aggregation_data"]["fee"]));
        sum += rows.len();
    }
    assert_eq!(sum, 250);
}
