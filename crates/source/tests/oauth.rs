//! Access granted: the requests as a definition writes them, and what their responses mean.

use std::{sync::Arc, time::Duration};

use pagemill_core::{Failure, FailureClass};
use pagemill_source::{Client, Definition, Granted, OAuthApp};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const DEFINITION: &str = r#"
name = "shop"
title = "Shop"
base_url = "http://127.0.0.1:1"
time_zone = "UTC"
rate = { per_second = 1 }
auth.kind = "oauth2"
auth.header = "Authorization"
auth.prefix = "Bearer "
auth.refresh_before = "5m"
auth.authorize_url = "https://shop.example/grant?id={app_id}&to={redirect_uri}&state={state}"
auth.exchange = { path = "/token", encoding = "form", body = { grant_type = "authorization_code", client_id = "{app_id}", client_secret = "{secret}", code = "{code}" } }
auth.refresh = { path = "/token", method = "GET", query = { id = "{app_id}", secret = "{secret}", token = "{refresh_token}" } }
auth.response = { access_token = ["data.token", "access_token"], access_expires_in = "expires_in", refresh_token = "refresh_token", refresh_expires_in = "lives", accounts = "data.shops", account = "id" }
response = { code = "code", ok = [0], message = "msg", rows = "rows", total = "total" }
rules = [{ class = "transient", code = 9 }]
stream.orders = { title = "Orders", path = "/orders", pager = { kind = "page", first_page = 1, size = 10 }, body = { page = "{page:int}" }, dates = "none", columns = [{ name = "id", type = "bigint", key = true }] }
"#;

fn parsed(overrides: &str) -> Result<Definition, String> {
    Definition::parse("shop.toml", DEFINITION, overrides.parse().unwrap()).map_err(|e| e.to_string())
}

fn client(base_url: &str) -> Client {
    Client::new(Arc::new(parsed(&format!("base_url = \"{base_url}\"")).unwrap())).unwrap()
}

fn app() -> OAuthApp {
    OAuthApp { id: "7".into(), secret: "hunter2&".into() }
}

/// A client for a server that gives this response once, and what it then was asked.
async fn answering(head: &str, body: &str) -> (Client, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("http://{}", listener.local_addr().unwrap()));
    let response =
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 8192];
        let mut read = 0;
        loop {
            read += stream.read(&mut buffer[read..]).await.unwrap();
            let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() == length.parse::<usize>().unwrap() {
                stream.write_all(response.as_bytes()).await.unwrap();
                return text;
            }
        }
    });
    (client, asked)
}

async fn exchanged(head: &str, body: &str) -> Result<Granted, Failure> {
    answering(head, body).await.0.exchange_code(&app(), "the-code", None).await
}

#[tokio::test]
async fn a_code_becomes_tokens() {
    let body = r#"{"code":0,"expires_in":"3600","refresh_token":"r1","lives":0,"data":{"token":"a1","shops":[{"id":9007199254740993},{"id":"x"},{}]}}"#;
    let (client, asked) = answering("200 OK", body).await;
    let granted = client.exchange_code(&app(), "the-code", None).await.unwrap();
    assert_eq!(granted.access_token.expose_secret(), "a1");
    assert_eq!(granted.access_expires_in, Some(Duration::from_secs(3_600)));
    assert_eq!(granted.refresh_token.unwrap().expose_secret(), "r1");
    assert_eq!(
        (granted.refresh_expires_in, granted.accounts),
        (None, vec!["9007199254740993".into(), "x".into()])
    );
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /token HTTP/1.1"), "{asked}");
    let body = asked.rsplit("\r\n").next().unwrap();
    let mut pairs: Vec<_> = body.split('&').collect();
    pairs.sort();
    assert_eq!(
        pairs,
        ["client_id=7", "client_secret=hunter2%26", "code=the-code", "grant_type=authorization_code"]
    );
}

#[tokio::test]
async fn a_refresh_token_becomes_the_next_ones() {
    // The usual OAuth response, without the source's own code.
    let (client, asked) = answering("200 OK", r#"{"access_token":"a2","expires_in":86399}"#).await;
    let granted = client.refresh(&app(), &"r1".into()).await.unwrap();
    assert_eq!(granted.access_token.expose_secret(), "a2");
    assert!(granted.refresh_token.is_none() && granted.accounts.is_empty());
    let asked = asked.await.unwrap();
    let line = asked.lines().next().unwrap();
    assert!(
        line.starts_with("GET /token?") && line.contains("token=r1") && line.contains("secret=hunter2%26"),
        "{line}"
    );
}

#[tokio::test]
async fn a_refusal_is_classed_by_the_rules_and_tells_no_secret() {
    for (head, body, class, words) in [
        (
            "200 OK",
            r#"{"code":4,"msg":"bad the-code for hunter2&"}"#,
            FailureClass::Permanent,
            "bad *** for ***",
        ),
        ("200 OK", r#"{"code":9,"msg":"later"}"#, FailureClass::Transient, "later"),
        ("401 Unauthorized", r#"{"code":5}"#, FailureClass::Token, "HTTP 401"),
        ("503 Busy", "<html>", FailureClass::Transient, "HTTP 503"),
        ("200 OK", "access_token=a1&expires=1", FailureClass::Transient, "no JSON"),
        ("200 OK", r#"{"code":0,"data":{}}"#, FailureClass::Permanent, "data.token or access_token"),
        ("200 OK", r#"{"code":0,"access_token":""}"#, FailureClass::Permanent, "without an access token"),
        ("400 Bad", r#"{"code":1,"access_token":"a1"}"#, FailureClass::Permanent, "HTTP 400"),
    ] {
        let failure = exchanged(head, body).await.unwrap_err();
        assert!(failure.class == class && failure.message.contains(words), "{failure:?}");
        for secret in ["hunter2", "the-code", "a1"] {
            assert!(!failure.message.contains(secret), "{failure:?}");
        }
    }
}

#[test]
fn the_url_that_a_person_opens() {
    let client = client("http://127.0.0.1:1");
    let url = client.authorize_url("7&x", Some("https://a/b?c=d&e"), "s t").unwrap();
    assert_eq!(
        url.as_str(),
        "https://shop.example/grant?id=7%26x&to=https%3A%2F%2Fa%2Fb%3Fc%3Dd%26e&state=s%20t"
    );
    assert!(client.authorize_url("7", None, "s").unwrap_err().message.contains("--redirect-uri"));
    assert_eq!(client.refresh_before(), Duration::from_secs(300));
}

#[test]
fn what_is_wrong_with_an_auth_is_named() {
    for (overrides, words) in [
        ("auth.refresh.query.token = \"x\"", ["auth.refresh", "must carry {refresh_token}"]),
        ("auth.exchange.body.code = \"x\"", ["auth.exchange", "must carry {code}"]),
        ("auth.exchange.body.code = \"{refresh_token}\"", ["auth.exchange.body.code", "no placeholder"]),
        ("auth.response.access_token = []", ["auth.response.access_token", "access token"]),
        ("auth.authorize_url = \"shop.example/{app_id}\"", ["auth.authorize_url", "https://"]),
        ("auth.authorize_url = \"https://shop.example/{account}\"", ["auth.authorize_url", "no placeholder"]),
        ("auth.refresh_before = \"soon\"", ["auth", "soon"]),
    ] {
        let error = parsed(overrides).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{overrides}: {error}");
    }
}
