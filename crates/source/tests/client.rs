//! The client against a server that says exactly what a test wants, byte by byte.

use std::{io::Write, sync::Arc, time::Duration};

use flate2::{Compression, write::GzEncoder};
use jiff::civil::date;
use pagemill_core::{Failure, FailureClass, FetchedPage, Lane, PageJob, Slice, WriteMode};
use pagemill_source::{Client, Credential, Definition, Fetch};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const TOKEN: &str = "canary-7f3a";
const PAGE: &str = r#"{"code":0,"success":true,"msg":"成功","request_id":"r-1","data":{"total_count":2,"data_list":[
    {"time":"2026-11-23","creativity_id":"9007199254740993","creativity_name":"秋日穿搭","fee":"1,234.50","ctr":"3.59%","follow":"-"},
    {"time":"2026-11-23","creativity_id":2,"creativity_name":"b","fee":"0.5","ctr":"0%","follow":"3"}]}}"#;

fn job() -> PageJob {
    PageJob {
        v: PageJob::VERSION,
        partition: 1,
        run: 1,
        slice: Slice {
            source: "xiaohongshu".into(),
            stream: "creative".into(),
            account: "1001".into(),
            from: date(2026, 11, 23),
            to: date(2026, 11, 23),
            part: Default::default(),
        },
        page: 7,
        page_size: 100,
        generation: 0,
        attempt: 0,
        lane: Lane::High,
        cursor: None,
        write_mode: WriteMode::Direct,
        baseline: None,
    }
}

fn client(base_url: &str, overrides: &str) -> Client {
    let overrides = format!("base_url = \"{base_url}\"\n{overrides}").parse().unwrap();
    let definition = Definition::load("xiaohongshu", overrides).unwrap();
    Client::new(Arc::new(definition)).unwrap()
}

/// Responses one request with these bytes; returns the request.
async fn answering(response: Vec<u8>) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = request(&mut stream).await;
        // The client may hang up in the middle: that is what some tests want.
        let _ = stream.write_all(&response).await;
        let _ = stream.shutdown().await;
        request
    });
    (url, server)
}

async fn request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the request broke off");
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() == length.parse::<usize>().unwrap() {
            return text.into_owned();
        }
    }
}

fn http(head: &str, body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Asks for a page with the token.
async fn ask(client: &Client, job: &PageJob) -> Result<FetchedPage, Failure> {
    match client.fetch(job, Some(&Credential::from(TOKEN))).await? {
        Fetch::Page(page) => Ok(*page),
        other => panic!("{other:?}"),
    }
}

/// What the client makes of a response.
async fn fetch(response: Vec<u8>, overrides: &str) -> Result<FetchedPage, Failure> {
    let (url, server) = answering(response).await;
    let page = ask(&client(&url, overrides), &job()).await;
    server.await.unwrap();
    if let Err(failure) = &page {
        assert!(!failure.message.contains(TOKEN), "{failure}");
    }
    page
}

async fn failure(response: Vec<u8>, overrides: &str) -> (FailureClass, String) {
    let failure = fetch(response, overrides).await.unwrap_err();
    (failure.class, failure.message)
}

#[tokio::test]
async fn a_good_page_and_the_request_for_it() {
    let (url, server) = answering(http("200 OK", PAGE.as_bytes())).await;
    let page = ask(&client(&url, ""), &job()).await.unwrap();
    assert_eq!((page.rows.len(), page.total, page.request_id.as_deref()), (2, Some(2), Some("r-1")));
    assert_eq!(page.body, PAGE.as_bytes());
    assert!(page.cast_failures.is_empty());

    let request = server.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/open/jg/data/report/offline/creative HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\naccess-token: canary-7f3a"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "advertiser_id": 1001, "start_date": "2026-11-23", "end_date": "2026-11-23", "time_unit": "DAY",
            "page_num": 7, "page_size": 100, "data_caliber": 0, "sort_column": "creativity_id", "sort": "asc",
            "columns": [
                "fee", "impression", "click", "ctr", "acp", "cpm", "like", "comment", "collect", "follow", "share",
                "interaction", "cpi", "actionButtonClick", "actionButtonCtr", "screenshot", "picSave", "reservePV",
            ],
        })
    );
}

#[tokio::test]
async fn a_compressed_page() {
    let page = fetch(http("200 OK\r\ncontent-encoding: gzip", &gzip(PAGE.as_bytes())), "").await.unwrap();
    assert_eq!((page.rows.len(), page.body.as_ref()), (2, PAGE.as_bytes()));
    let broken = http("200 OK\r\ncontent-encoding: gzip", b"no gzip at all, though it says so");
    let (class, said) = failure(broken, "").await;
    assert_eq!(class, FailureClass::Transient);
    assert!(said.starts_with("the response of 127.0.0.1:"), "{said}");
}

#[tokio::test]
async fn throttled_with_a_time_to_wait() {
    let failure = fetch(http("429 Too Many Requests\r\nretry-after: 7", b""), "").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Throttled);
    assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
    let failure = fetch(http("429 Too Many Requests\r\nretry-after: soon", b""), "").await.unwrap_err();
    assert_eq!(failure.retry_after, None);
}

#[tokio::test]
async fn errors_in_a_good_status() {
    let body = |code: u32, message: &str| {
        http("200 OK", format!(r#"{{"code":{code},"msg":"{message}","request_id":"q"}}"#).as_bytes())
    };
    for (response, class, said) in [
        (body(10005, "x"), FailureClass::Throttled, "HTTP 200, code 10005: x (request q)"),
        (
            body(1, "请求频繁,请稍后重试"),
            FailureClass::Throttled,
            "HTTP 200, code 1: 请求频繁,请稍后重试 (request q)",
        ),
        (body(1, "系统错误"), FailureClass::Transient, "HTTP 200, code 1: 系统错误 (request q)"),
        (body(10002, "columns"), FailureClass::Permanent, "HTTP 200, code 10002: columns (request q)"),
        (
            body(9, "token canary-7f3a 已过期"),
            FailureClass::Token,
            "HTTP 200, code 9: token *** 已过期 (request q)",
        ),
        (body(9, "other"), FailureClass::Permanent, "HTTP 200, code 9: other (request q)"),
    ] {
        assert_eq!(failure(response, "").await, (class, said.to_owned()));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let response = http("302 Found\r\nlocation: http://169.254.169.254/latest?token=x", b"");
    let said = "HTTP 302: a redirect to 169.254.169.254:80, not followed".to_owned();
    assert_eq!(failure(response, "").await, (FailureClass::Permanent, said));
}

#[tokio::test]
async fn a_body_is_bounded_also_when_decompressed() {
    let small = "limits.max_body_bytes = 100_000";
    let said = (FailureClass::Permanent, "the response is larger than 100000 bytes".to_owned());
    assert_eq!(failure(http("200 OK", &vec![b' '; 100_001]), small).await, said);
    let bomb = gzip(&vec![b' '; 50_000_000]);
    assert!(bomb.len() < 100_000);
    assert_eq!(failure(http("200 OK\r\ncontent-encoding: gzip", &bomb), small).await, said);
    let mut endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    (0..100).for_each(|_| endless.extend_from_slice(&[b"1000\r\n", &[b' '; 4096][..], b"\r\n"].concat()));
    assert_eq!(failure(endless, small).await, said);
}

#[tokio::test]
async fn what_is_no_json() {
    let response = http("200 OK\r\ncontent-type: text/html", b"<html>\r\n502 Bad Gateway</html>");
    let said = "HTTP 200, but no JSON (text/html): <html> 502 Bad Gateway</html>".to_owned();
    assert_eq!(failure(response, "").await, (FailureClass::Transient, said));
    let response = http("502 Bad Gateway\r\ncontent-type: text/html", b"<html>");
    assert_eq!(failure(response, "").await, (FailureClass::Transient, "HTTP 502: <html>".to_owned()));
}

#[tokio::test]
async fn half_a_response() {
    let mut response = http("200 OK", PAGE.as_bytes());
    response.truncate(response.len() - 50);
    let (class, said) = failure(response, "").await;
    assert_eq!(class, FailureClass::Transient);
    assert!(said.starts_with("no whole response from 127.0.0.1:"), "{said}");
}

#[tokio::test]
async fn half_a_response_that_throttles_still_does() {
    let mut response = http("429 Too Many Requests\r\nretry-after: 3", &[b' '; 500]);
    response.truncate(response.len() - 50);
    let failure = fetch(response, "").await.unwrap_err();
    assert_eq!((failure.class, failure.retry_after), (FailureClass::Throttled, Some(Duration::from_secs(3))));
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    drop(listener);
    let failure = ask(&client(&format!("http://{place}"), ""), &job()).await.unwrap_err();
    assert_eq!(failure, Failure::transient(format!("connection refused by {place}")));
}

#[tokio::test]
async fn nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let client = client(&format!("http://{place}"), "limits.timeout = \"100ms\"");
    let failure = ask(&client, &job()).await.unwrap_err();
    assert_eq!(failure, Failure::transient(format!("no whole response from {place} within 100ms")));
}

#[tokio::test]
async fn a_token_must_be_there_and_fit() {
    let definition = Arc::new(Definition::shipped("xiaohongshu").unwrap());
    let client = Client::new(definition).unwrap();
    let failure = client.fetch(&job(), None).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Token);
    let failure = client.fetch(&job(), Some(&"two\nlines".into())).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Token);
    assert!(failure.message.starts_with("the token of source xiaohongshu"), "{failure}");
    assert!(!format!("{:?}", Credential::from(TOKEN)).contains(TOKEN));
}
