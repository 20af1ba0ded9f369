//! Every pager, encoding and proof of identity, against a server that responses what a test says.

use std::{sync::Arc, time::Duration};

use jiff::civil::date;
use pagemill_core::{Column, Failure, FailureClass, FetchedPage, Lane, PageJob, Slice, WriteMode};
use pagemill_source::{Client, Credential, Definition, Fetch, Paging};
use ring::hmac;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const TOKEN: &str = "canary 7f3a";
const SECRET: &str = "canary-secret";

/// A definition with one stream, of these keys.
fn definition(url: &str, top: &str, stream: &str) -> Definition {
    let text = format!(
        r#"name = "demo"
title = "Demo"
base_url = "{url}/v1"
time_zone = "UTC"
{top}
[stream.rows]
path = "/rows"
dates = {{ within = "day" }}
columns = [{{ name = "day", type = "date", key = true }}, {{ name = "id", type = "bigint", key = true }}, {{ name = "fee", type = "numeric" }}]
{stream}
"#
    );
    Definition::parse("demo.toml", &text, toml::Table::new()).unwrap()
}

fn job() -> PageJob {
    PageJob {
        v: PageJob::VERSION,
        partition: 1,
        run: 1,
        slice: Slice {
            source: "demo".into(),
            stream: "rows".into(),
            account: "10/01".into(),
            from: date(2026, 11, 23),
            to: date(2026, 11, 24),
            part: Default::default(),
        },
        page: 1,
        page_size: 2,
        generation: 0,
        attempt: 0,
        lane: Lane::High,
        cursor: None,
        write_mode: WriteMode::Direct,
        baseline: None,
    }
}

fn at(page: u32, cursor: &str) -> PageJob {
    PageJob { page, cursor: Some(cursor.into()), ..job() }
}

fn row(id: u32) -> String {
    format!(r#"{{"day":"2026-11-23","id":{id},"fee":"{id}.50"}}"#)
}

/// Responses each request with the next of these; `{url}` in them is the server's own.
async fn serving(responses: &[(&str, String)]) -> (String, JoinHandle<Vec<Request>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let responses: Vec<_> = responses
        .iter()
        .map(|(head, body)| {
            let (head, body) = (head.replace("{url}", &url), body.replace("{url}", &url));
            format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        })
        .collect();
    let server = tokio::spawn(async move {
        let mut requests = Vec::new();
        for response in responses {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests.push(read(&mut stream).await);
            stream.write_all(response.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
        requests
    });
    (url, server)
}

#[derive(Debug)]
struct Request {
    line: String,
    head: String,
    body: String,
}

impl Request {
    fn query(&self) -> Vec<(String, String)> {
        let target = self.line.split(' ').nth(1).unwrap();
        let url: reqwest::Url = format!("http://h{target}").parse().unwrap();
        url.query_pairs().into_owned().collect()
    }

    fn value(&self, key: &str) -> Option<String> {
        self.query().into_iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }
}

async fn read(stream: &mut TcpStream) -> Request {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the request broke off");
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() == length.parse::<usize>().unwrap() {
            let line = head.lines().next().unwrap().to_owned();
            return Request { line, head: head.to_owned(), body: body.to_owned() };
        }
    }
}

fn client(definition: Definition) -> Client {
    Client::new(Arc::new(definition)).unwrap()
}

fn credential() -> Credential {
    Credential { token: TOKEN.into(), secret: Some(SECRET.into()) }
}

async fn fetch(client: &Client, job: &PageJob) -> Result<Fetch, Failure> {
    let fetched = client.fetch(job, Some(&credential())).await;
    if let Err(failure) | Ok(Fetch::RestartTask(failure)) = &fetched {
        assert!(!failure.message.contains(TOKEN) && !failure.message.contains(SECRET), "{failure}");
    }
    fetched
}

async fn page(client: &Client, job: &PageJob) -> FetchedPage {
    match fetch(client, job).await.unwrap() {
        Fetch::Page(page) => *page,
        other => panic!("{other:?}"),
    }
}

fn ids(page: &FetchedPage) -> Vec<i64> {
    let Column::Bigint(ids) = &page.rows.columns()[1] else { unreachable!() };
    ids.iter().map(|id| id.unwrap()).collect()
}

fn list(ids: impl IntoIterator<Item = u32>) -> String {
    ids.into_iter().map(row).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn a_page_by_number_with_its_total_in_a_header() {
    let (url, server) = serving(&[("200 OK\r\nx-total: 7", format!("[{}]", list([3, 4])))]).await;
    let client = client(definition(
        &url,
        "response = { rows = \"$\", total_header = \"X-Total\" }",
        r#"method = "GET"
pager = { kind = "page", first_page = 0, size = 2, max_result_window = 100 }
arrays = "repeat"
headers = { X-Account = "{account}", X-Day = "{from:%Y%m%d}" }
query = { p = "{page}", n = "{page_size}", id = [1, "{account}"], until = "{to+1}", in = { day = "{from:int}" } }"#,
    ));
    let got = page(&client, &PageJob { page: 2, ..job() }).await;
    assert_eq!((ids(&got), got.total, got.next.as_deref()), (vec![3, 4], Some(7), None));
    let request = &server.await.unwrap()[0];
    let line = "GET /v1/rows?id=1&id=10%2F01&in=%7B%22day%22%3A20261123%7D&n=2&p=1&until=2026-11-25 HTTP/1.1";
    assert_eq!(request.line, line);
    assert!(
        request.head.contains("\r\nx-account: 10/01\r\n") && request.head.contains("\r\nx-day: 20261123")
    );
    assert!(!request.head.contains(TOKEN), "without [auth] no token goes out");
}

#[tokio::test]
async fn by_offset_as_a_form_with_the_token_in_the_body() {
    let (url, server) = serving(&[("200 OK", format!(r#"{{"n":9,"list":[{}]}}"#, list([5])))]).await;
    let definition = definition(
        &url,
        "auth = { kind = \"token\" }\nresponse = { rows = \"list\", total = \"n\" }",
        r#"encoding = "form"
pager = { kind = "offset", first_offset = 1, size = 2 }
arrays = "brackets"
body = { start = "{offset:int}", token = "{token}", kinds = ["a&b", "c"], o = { x = [1] } }"#,
    );
    assert_eq!(definition.stream("rows").unwrap().paging(), Paging::Numbered);
    let got = page(&client(definition), &PageJob { page: 3, ..job() }).await;
    assert_eq!((got.total, got.rows.len()), (Some(9), 1));
    let request = &server.await.unwrap()[0];
    assert!(request.head.contains("content-type: application/x-www-form-urlencoded"), "{}", request.head);
    let body = "kinds%5B%5D=a%26b&kinds%5B%5D=c&o=%7B%22x%22%3A%5B1%5D%7D&start=5&token=canary+7f3a";
    assert_eq!(request.body, body);
}

#[tokio::test]
async fn cursor_by_cursor() {
    let response =
        |ids: &[u32], after: &str| format!(r#"{{"data":[{}],"paging":{after}}}"#, list(ids.iter().copied()));
    let (url, server) = serving(&[
        ("200 OK", response(&[1, 2], r#"{"cursors":{"after":"c=1&x"},"next":"http://elsewhere/"}"#)),
        ("200 OK", response(&[3], r#"{"cursors":{"after":"c2"}}"#)),
        ("200 OK", response(&[], r#"{"cursors":{"after":""},"next":"x"}"#)),
    ])
    .await;
    let definition = definition(
        &url,
        "response = { rows = \"data\", error = \"error\", code = \"error.code\", message = \"error.message\" }",
        r#"method = "GET"
pager = { kind = "cursor", size = 2, next = "paging.cursors.after", has_more = "paging.next" }
query = { after = "{cursor}" }"#,
    );
    assert_eq!(definition.stream("rows").unwrap().paging(), Paging::Chained);
    let client = client(definition);
    let first = page(&client, &job()).await;
    assert_eq!((ids(&first), first.total, first.next.as_deref()), (vec![1, 2], None, Some("c=1&x")));
    let second = page(&client, &at(2, "c=1&x")).await;
    assert_eq!((ids(&second), second.next), (vec![3], None), "without `more` it is the last");
    assert_eq!(page(&client, &at(3, "c2")).await.next, None, "an empty cursor is none");
    let requests = server.await.unwrap();
    assert_eq!(requests[0].line, "GET /v1/rows HTTP/1.1", "no cursor in the first request");
    assert_eq!(requests[1].value("after").as_deref(), Some("c=1&x"));
    let lost = fetch(&client, &PageJob { page: 2, ..job() }).await.unwrap_err();
    assert_eq!(lost, Failure::permanent("page 2 comes without its cursor"));
}

#[tokio::test]
async fn an_error_that_only_failures_have() {
    let error = |error: &str| ("200 OK", format!(r#"{{"data":[],"error":{error}}}"#));
    let errors = [
        error(r#"{"code":17,"message":"slow down"}"#),
        error(r#"{"code":99,"message":"no canary 7f3a here"}"#),
        error(r#""just words""#),
        error("null"),
    ];
    let (url, _server) = serving(&errors).await;
    let client = client(definition(
        &url,
        r#"auth = { kind = "token", header = "Authorization", prefix = "Bearer " }
response = { rows = "data", error = "error", code = "error.code", message = "error.message" }
rules = [{ class = "throttled", code = 17 }]"#,
        "method = \"GET\"\npager = { kind = \"single\" }",
    ));
    for (class, said) in [
        (FailureClass::Throttled, "HTTP 200, code 17: slow down"),
        (FailureClass::Permanent, "HTTP 200, code 99: no *** here"),
        (FailureClass::Permanent, "HTTP 200: just words"),
    ] {
        let failure = fetch(&client, &job()).await.unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (class, said));
    }
    assert_eq!(page(&client, &job()).await.total, Some(0), "a single response says its total by its rows");
}

#[tokio::test]
async fn link_by_link_within_one_origin() {
    let body = |id: u32| format!("[{}]", list([id]));
    let (url, server) = serving(&[
        ("200 OK\r\nlink: <{url}/v1/rows?page=2&access_token=canary+7f3a&k=v>; rel=\"next\"", body(1)),
        ("200 OK\r\nlink: <?page=3>; rel=next", body(2)),
        ("200 OK", body(3)),
    ])
    .await;
    let client = client(definition(
        &url,
        "auth = { kind = \"token\", header = \"X-Token\" }\nresponse = { rows = \"$\" }",
        "method = \"GET\"\npager = { kind = \"link\", size = 2, link_header = true }\nquery = { access_token = \"{token}\", from = \"{from}\" }",
    ));
    let first = page(&client, &job()).await;
    let second_link = format!("{url}/v1/rows?page=2&k=v");
    assert_eq!((first.total, first.next.as_deref()), (None, Some(&*second_link)), "stored without the token");
    let second = page(&client, &at(2, &second_link)).await;
    let third_link = format!("{url}/v1/rows?page=3");
    assert_eq!(second.next.as_deref(), Some(&*third_link), "a relative link is made whole");
    assert_eq!(page(&client, &at(3, &third_link)).await.next, None);
    let requests = server.await.unwrap();
    assert_eq!(requests[1].line, "GET /v1/rows?page=2&k=v&access_token=canary+7f3a HTTP/1.1");
    assert!(requests.iter().all(|request| request.head.contains("\r\nx-token: canary 7f3a")));

    let foreign = fetch(&client, &at(2, "http://169.254.169.254/latest?secret=x")).await.unwrap_err();
    let host = url.strip_prefix("http://").unwrap();
    let said = format!("a link leads from {host} to 169.254.169.254:80, and is not followed");
    assert_eq!(foreign, Failure::permanent(said));
}

#[tokio::test]
async fn a_link_in_the_body() {
    let response = format!(r#"{{"rows":[{}],"next":"/v1/more?b=2"}}"#, list([1]));
    let (url, _server) = serving(&[("200 OK", response)]).await;
    let client = client(definition(
        &url,
        "response = { rows = \"rows\" }",
        "method = \"GET\"\npager = { kind = \"link\", size = 2, next = \"next\" }",
    ));
    assert_eq!(page(&client, &job()).await.next, Some(format!("{url}/v1/more?b=2")));
}

const TASK: &str = r#"encoding = "json"
pager = { kind = "task", task_id = "data.id", state = "data.state", done = ["DONE"], failed = ["FAILED"], file_url = "data.url", poll_every = "5s", poll = { path = "/tasks/{task}", method = "GET", query = { t = "{task}" } }, file = { format = "csv" } }
body = { from = "{from}" }"#;

const CODES: &str = "auth = { kind = \"token\", header = \"X-Token\" }\nresponse = { code = \"code\", ok = 0, message = \"msg\" }\nnumbers = { null = [\"\"] }";

#[tokio::test]
async fn a_task_from_its_creation_to_its_file() {
    let elsewhere = "\u{feff}day,id,fee,extra\r\n2026-11-23,1,\"1,5\",x\r\n2026-11-23,2,,\"a\"\"b\r\nc\"\r\n";
    let (files, file_server) = serving(&[("200 OK\r\ncontent-type: text/csv", elsewhere.to_owned())]).await;
    let state = |state: &str| {
        ("200 OK", format!(r#"{{"code":0,"data":{{"state":"{state}","url":"{files}/f.csv?sig=1"}}}}"#))
    };
    let (url, server) =
        serving(&[("200 OK", r#"{"code":0,"data":{"id":77}}"#.into()), state("RUNNING"), state("DONE")])
            .await;
    let definition = definition(&url, CODES, TASK);
    assert_eq!(definition.stream("rows").unwrap().paging(), Paging::Single);
    let client = client(definition);
    for (job, line) in [(job(), "POST /v1/rows HTTP/1.1"), (at(1, "77"), "GET /v1/tasks/77?t=77 HTTP/1.1")] {
        let Fetch::Preparing { cursor, wait } = fetch(&client, &job).await.unwrap() else { panic!("{line}") };
        assert_eq!((cursor.as_str(), wait), ("77", Duration::from_secs(5)));
    }
    let got = page(&client, &at(1, "77")).await;
    assert_eq!(
        (ids(&got), got.total, got.unmapped.as_slice()),
        (vec![1, 2], Some(2), &["extra".to_owned()][..])
    );
    assert_eq!(
        (got.cast_failures[0].column.as_str(), got.cast_failures[0].count),
        ("fee", 1),
        "1,5 without thousands"
    );
    let requests = server.await.unwrap();
    assert!(requests.iter().all(|request| request.head.contains("x-token: canary 7f3a")));
    let file = &file_server.await.unwrap()[0];
    assert_eq!(file.line, "GET /f.csv?sig=1 HTTP/1.1");
    assert!(!file.head.contains("canary"), "another host gets no token: {}", file.head);
}

#[tokio::test]
async fn a_task_that_fails_is_created_anew() {
    let (url, _server) = serving(&[
        ("200 OK", r#"{"code":0,"data":{"state":"FAILED"}}"#.into()),
        ("404 Not Found", r#"{"code":40,"msg":"no such task"}"#.into()),
        ("503 Busy", String::new()),
        ("200 OK", r#"{"code":0,"data":{"state":"DONE","url":"{url}/f"}}"#.into()),
        ("403 Forbidden", "<Error>Request has expired</Error>".into()),
    ])
    .await;
    let client = client(definition(&url, CODES, TASK));
    for said in [
        "the API's task ended as FAILED",
        "the API does not know the task, it seems: HTTP 404, code 40: no such task",
    ] {
        let Fetch::RestartTask(failure) = fetch(&client, &at(1, "77")).await.unwrap() else {
            panic!("{said}")
        };
        assert_eq!(failure, Failure::transient(said));
    }
    assert_eq!(fetch(&client, &at(1, "77")).await.unwrap_err(), Failure::transient("HTTP 503"));
    let failure = fetch(&client, &at(1, "77")).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient);
    assert!(failure.message.starts_with("HTTP 403 for the task's file, from 127.0.0.1:"), "{failure}");
}

#[tokio::test]
async fn a_task_whose_last_look_holds_the_rows() {
    let response = format!(r#"{{"state":"ok","rows":[{}]}}"#, list(1..=9));
    let (url, _server) = serving(&[("200 OK", response)]).await;
    let client = client(definition(
        &url,
        "response = { rows = \"rows\" }",
        "pager = { kind = \"task\", task_id = \"id\", state = \"state\", done = \"ok\", poll_every = \"1s\", poll = { path = \"/t\", method = \"GET\", query = { id = \"{task}\" } } }",
    ));
    let got = page(&client, &at(1, "x")).await;
    assert_eq!((got.rows.len(), got.total), (9, Some(9)), "more rows than two pages: it is all of them");
}

#[tokio::test]
async fn a_signed_request_is_new_each_time() {
    let response = ("200 OK", r#"{"rows":[],"n":0}"#.to_owned());
    let (url, server) = serving(&[response.clone(), response]).await;
    let client = client(definition(
        &url,
        r#"response = { rows = "rows", total = "n" }
[auth]
kind = "token"
[auth.sign]
algorithm = "hmac-sha256"
query = "sign"
text = "{method}{path}?{query}:{timestamp}{nonce}""#,
        "method = \"GET\"\npager = { kind = \"page\", size = 2 }\nquery = { access_token = \"{token}\", timestamp = \"{timestamp}\", nonce = \"{nonce}\", page = \"{page}\" }",
    ));
    page(&client, &job()).await;
    page(&client, &job()).await;
    let requests = server.await.unwrap();
    for request in &requests {
        let mut query = request.query();
        let (key, signature) = query.pop().unwrap();
        query.sort();
        let text = query.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&");
        let (time, nonce) = (request.value("timestamp").unwrap(), request.value("nonce").unwrap());
        assert_eq!((key.as_str(), nonce.len()), ("sign", 32));
        let text = format!("GET/v1/rows?{text}:{time}{nonce}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let expected: String =
            hmac::sign(&key, text.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(signature, expected);
    }
    assert_ne!(requests[0].value("nonce"), requests[1].value("nonce"));
    let unsigned = client.fetch(&job(), Some(&TOKEN.into())).await.unwrap_err();
    assert_eq!(unsigned.class, FailureClass::Token, "no secret");
}

#[tokio::test]
async fn a_part_of_a_day() {
    let response = ("200 OK", r#"{"rows":[],"n":0}"#.to_owned());
    let (url, server) = serving(&[response]).await;
    let definition = definition(
        &url,
        "response = { rows = \"rows\", total = \"n\" }\nparams = { caliber = 1 }",
        r#"pager = { kind = "page", size = 2, max_result_window = 10000 }
body = { page = "{page:int}", filters = [{ field = "a" }], caliber = "{params.caliber}" }
split_by = [{ name = "placement", values = [1, 2], set = { placement = ["{value:int}"] } }, { name = "bid", values = ["x", "y"], set = { filters = [{ field = "bid", value = "{value}" }] } }]"#,
    );
    let stream = definition.stream("rows").unwrap();
    assert_eq!(stream.max_result_window(), Some(10_000));
    let of = |name: &str, values: [&str; 2]| (name.to_owned(), values.map(str::to_owned).to_vec());
    assert_eq!(stream.split_by(), [of("placement", ["1", "2"]), of("bid", ["x", "y"])]);
    let client = client(definition);
    let mut part = job();
    part.slice.part = [("placement".into(), "2".into()), ("bid".into(), "y".into())].into();
    page(&client, &part).await;
    let body: serde_json::Value = serde_json::from_str(&server.await.unwrap()[0].body).unwrap();
    let expected = serde_json::json!({
        "page": 1, "caliber": 1, "placement": [2], "filters": [{ "field": "a" }, { "field": "bid", "value": "y" }],
    });
    assert_eq!(body, expected);
    part.slice.part = [("placement".into(), "3".into())].into();
    let failure = fetch(&client, &part).await.unwrap_err();
    assert_eq!(failure, Failure::permanent("stream rows has no part placement = 3 in its split_by"));
}

#[tokio::test]
async fn what_is_asked_for_is_shown_without_secrets() {
    let definition = definition(
        "https://api.example.com",
        "auth = { kind = \"token\", header = \"Authorization\", prefix = \"Bearer \" }\nresponse = { rows = \"$\" }",
        "pager = { kind = \"single\" }\nquery = { t = \"{token}\" }\nbody = { from = \"{from}\" }",
    );
    let text = "POST https://api.example.com/v1/rows?t=***\nauthorization: Bearer ***\ncontent-type: application/json\n{\"from\":\"2026-11-23\"}";
    assert_eq!(definition.describe_request(&job()).unwrap(), text);
}
