//! The simulator from outside, over plain TCP.

use std::time::{Duration, Instant};

use pagemill_simulator::{Fault, FaultKind, Latency, OAuth, Simulator, SimulatorConfig, truth_digest};
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

    /// Sends one request on the kept connection and answers the status and the body.
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> std::io::Result<(u16, Vec<u8>)> {
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
        assert!(!head.contains("retry-after"));
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).await?;
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body))
    }

    async fn json(&mut self, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(method, path, token, body).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn page(&mut self, page: u64) -> (u16, Value) {
        self.json("POST", REPORT, "token", &request(page)).await
    }
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
        let (got, answer) = client.json(method, REPORT, token, &body).await;
        assert_eq!(
            (got, &answer["code"], &answer["success"]),
            (status, &json!(code), &json!(code == 0)),
            "{answer}"
        );
        assert!(answer["msg"].is_string() && answer["request_id"].is_string());
    }
    assert_eq!((simulator.stats().refused, simulator.stats().served), (5, 1));
    assert_eq!(client.json("POST", "/api/open/elsewhere", "secret", "{}").await.0, 404);
}

#[tokio::test]
async fn what_exceeds_the_rate_is_throttled() {
    let simulator = start(|config| config.rate = Some(3)).await;
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
    for (kind, name) in FaultKind::ALL {
        simulator.set_fault(Fault { kind, rate: 1.0, page: Some(1) });
        let mut client = Client::to(&simulator).await;
        let start = Instant::now();
        let request = request(1);
        let patience =
            if kind == FaultKind::Hang { Duration::from_millis(300) } else { Duration::from_secs(30) };
        let answer = timeout(patience, client.ask("POST", REPORT, "token", &request)).await;
        let json = || {
            let (status, body) = answer.as_ref().unwrap().as_ref().unwrap();
            (*status, serde_json::from_slice::<Value>(body).ok())
        };
        match kind {
            FaultKind::Error500 | FaultKind::FailPage => assert_eq!(json().0, 500),
            FaultKind::Throttle => assert_eq!(json().0, 429),
            FaultKind::Token | FaultKind::Expire => assert_eq!(json().0, 401),
            FaultKind::Reset => {
                let error = answer.unwrap().unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
            FaultKind::Slow => {
                assert_eq!(json().0, 200);
                assert!(start.elapsed() >= Duration::from_millis(300));
            }
            FaultKind::Hang => assert!(answer.is_err()),
            FaultKind::Garbage => assert_eq!(json(), (200, None)),
            FaultKind::BadTotal => assert_eq!(json().1.unwrap()["data"]["total_count"], "-"),
            FaultKind::NoKey => assert!(json().1.unwrap()["data"]["data_list"][0]["creativity_id"].is_null()),
        }
        simulator.clear_fault(kind, None);
        assert_eq!(simulator.stats().faults[name], 1);
    }
}

/// A request for tokens: what the answer's `code` and `data` are.
async fn tokens(client: &mut Client, path: &str, more: Value) -> (Value, Value) {
    let mut body = json!({"app_id": 7, "secret": "s"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = format!("/api/open/oauth2/{path}");
    let (status, answer) = client.json("POST", &path, "", &body.to_string()).await;
    assert_eq!((status, &answer["success"]), (200, &json!(answer["code"] == 0)));
    (answer["code"].clone(), answer["data"].clone())
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
    let (_, answer) = client.json("POST", "/api/open/oauth2/access_token", "", body).await;
    let access = answer["data"]["access_token"].as_str().unwrap();
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
        let (_, answer) = client.json("POST", "/api/open/oauth2/access_token", "", &body).await;
        access.push(answer["data"]["access_token"].as_str().unwrap().to_owned());
    }
    simulator.set_fault(Fault::share(FaultKind::Expire, 1.0));
    assert_eq!(client.json("POST", REPORT, &access[0], &request(1)).await.0, 401);
    simulator.clear_fault(FaultKind::Expire, None);
    assert_eq!(client.json("POST", REPORT, &access[0], &request(1)).await.0, 401);
    assert_eq!(client.json("POST", REPORT, &access[1], &request(1)).await.0, 200);
}

#[tokio::test]
async fn latency_delays_every_answer() {
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
async fn the_truth_is_told() {
    let simulator = start(|_| ()).await;
    let mut client = Client::to(&simulator).await;
    let (status, truth) = client.json("GET", "/truth?account=1001&date=2026-11-23", "", "").await;
    let config = SimulatorConfig { rows: 250, ..Default::default() };
    let digest = truth_digest(&config, "1001", "2026-11-23".parse().unwrap());
    assert_eq!((status, &truth["rows"], &truth["digest"]), (200, &json!(250), &json!(digest)));
    assert_eq!(client.json("GET", "/truth?account=1001", "", "").await.0, 400);
}
