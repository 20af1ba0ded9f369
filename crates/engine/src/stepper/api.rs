//! The report API of the stepper: it moves rows, restates values, throttles and dies, and remembers what it said.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Rows a page, in every stream.
pub(super) const PAGE_SIZE: usize = 2;

/// The rows of a slice at some time: amounts (in cents) by id.
pub(super) type Rows = BTreeMap<i64, i64>;

/// How the API responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As it should.
    Healthy,
    /// HTTP 503.
    Away,
    /// HTTP 429.
    Throttling,
    /// HTTP 400, which no retry mends.
    Refusing,
    /// HTTP 200 with half a document.
    Garbage,
}

/// A stream and a day.
pub(super) type Key = (String, String);

/// The API. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Api(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: i64,
    mode: Option<Mode>,
    /// What each slice held, and since which virtual second.
    history: HashMap<Key, Vec<(i64, Rows)>>,
    /// Requests so far, and failed responses among them, by slice and page.
    requests: HashMap<(Key, String), u32>,
    failures: HashMap<(Key, String), u32>,
}

impl Api {
    /// Serves on a port of its own; its base URL.
    pub(super) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let api = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(api.clone().connection(stream));
            }
        });
        url
    }

    pub(super) fn set_now(&self, now: i64) {
        self.state().now = now;
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.state().mode = Some(mode);
    }

    /// Sets the rows of a slice from now on.
    pub(super) fn set_rows(&self, key: &Key, rows: Rows) {
        let mut state = self.state();
        let now = state.now;
        state.history.entry(key.clone()).or_default().push((now, rows));
    }

    /// The rows of a slice now.
    pub(super) fn rows(&self, key: &Key) -> Rows {
        self.state().history[key].last().expect("a slice has rows").1.clone()
    }

    /// True if a slice has had so many rows before.
    pub(super) fn had_count(&self, key: &Key, count: usize) -> bool {
        self.state().history[key].iter().any(|(_, rows)| rows.len() == count)
    }

    /// What a slice held at some time from one virtual second to another, the newest last.
    pub(super) fn between(&self, key: &Key, from: i64, to: i64) -> Vec<Rows> {
        let state = self.state();
        let history = &state.history[key];
        let first = history.iter().rposition(|(since, _)| *since <= from).unwrap_or(0);
        history[first..].iter().filter(|(since, _)| *since <= to).map(|(_, rows)| rows.clone()).collect()
    }

    /// Failed responses for a page, throttled ones aside.
    pub(super) fn failures(&self, key: &Key, page: &str) -> u32 {
        self.state().failures.get(&(key.clone(), page.to_owned())).copied().unwrap_or(0)
    }

    /// Requests so far, and how many pages they were for.
    pub(super) fn counts(&self) -> (u32, usize) {
        let state = self.state();
        (state.requests.values().sum(), state.requests.len())
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        *state = State { now: state.now, ..State::default() };
    }

    async fn connection(self, mut stream: TcpStream) {
        let mut received = Vec::new();
        loop {
            while !received.windows(4).any(|w| w == b"\r\n\r\n") {
                let mut chunk = [0; 2_048];
                match stream.read(&mut chunk).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => received.extend_from_slice(&chunk[..n]),
                }
            }
            let target = String::from_utf8_lossy(&received).split(' ').nth(1).unwrap_or("").to_owned();
            received.clear();
            let (status, body) = self.respond(&target);
            let retry = if status.starts_with("429") { "retry-after: 0\r\n" } else { "" };
            let length = body.len();
            let response = format!("HTTP/1.1 {status}\r\n{retry}content-length: {length}\r\n\r\n{body}");
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// Status line and body for `/STREAM?day=..&page=..`
    fn respond(&self, target: &str) -> (&'static str, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let stream = path.trim_start_matches('/').to_owned();
        let key = (stream, query["day"].to_owned());
        let page = query.get("page").or(query.get("after")).copied().unwrap_or("").to_owned();
        let mut state = self.state();
        let place = (key.clone(), page.clone());
        *state.requests.entry(place.clone()).or_default() += 1;
        let mode = state.mode.unwrap_or(Mode::Healthy);
        if !matches!(mode, Mode::Healthy | Mode::Throttling) {
            *state.failures.entry(place).or_default() += 1;
        }
        match mode {
            Mode::Away => ("503 Service Unavailable", "{}".into()),
            Mode::Throttling => ("429 Too Many Requests", "{}".into()),
            Mode::Refusing => ("400 Bad Request", "{}".into()),
            Mode::Garbage => ("200 OK", "{\"rows\": [{\"id\":".into()),
            Mode::Healthy => {
                ("200 OK", page_of(&state.history[&key].last().unwrap().1, &key, &page).to_string())
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A page by number, of a stream that states totals; or after an id, of a chain.
fn page_of(rows: &Rows, (stream, day): &Key, page: &str) -> Value {
    let row = |(id, cents): (&i64, &i64)| {
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        json!({ "id": id, "day": day, "amount": amount })
    };
    if stream == "chain" {
        let after: i64 = page.parse().unwrap_or(i64::MIN);
        let mut rest = rows.range(after.saturating_add(1)..);
        let shown: Vec<_> = rest.by_ref().take(PAGE_SIZE).collect();
        let next = rest.next().and(shown.last()).map(|(id, _)| id.to_string());
        return json!({ "rows": shown.into_iter().map(row).collect::<Vec<_>>(), "next": next });
    }
    let skipped = (page.parse::<usize>().unwrap_or(1) - 1) * PAGE_SIZE;
    let shown: Vec<_> = rows.iter().skip(skipped).take(PAGE_SIZE).map(row).collect();
    json!({ "rows": shown, "total": rows.len() })
}
