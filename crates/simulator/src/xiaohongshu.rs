//! The dialect of Xiaohongshu's offline reports: what its requests and answers look like. All levels
//! answer with the creative level's rows. Codes other than 0, 10002 and 10005 are unverified.

mod number;
mod page;
mod row;
pub(crate) mod token;

use bytes::Bytes;
use hyper::{Method, StatusCode, http::request::Parts};
use jiff::civil::Date;
use serde::Deserialize;

pub(crate) use page::{Flaw, page};

use crate::{
    answer::Answer,
    random::{hash, mix},
};

const PREFIX: &str = "/api/open/jg/data/report/offline/";
const LEVELS: [&str; 8] = ["account", "campaign", "unit", "creative", "creativity", "keyword", "note", "spu"];
const PAGE_SIZE: u64 = 20;
const MAX_PAGE_SIZE: u64 = 100;
const MAX_DAYS: i32 = 31;

/// Which page of which rows is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) account: String,
    pub(crate) start: Date,
    pub(crate) end: Date,
    pub(crate) page: u64,
    pub(crate) size: u64,
}

impl Asked {
    pub(crate) fn days(&self) -> impl Iterator<Item = Date> {
        self.start.series(jiff::Span::new().days(1)).take_while(|day| *day <= self.end)
    }

    /// Equal for equal requests.
    pub(crate) fn hash(&self) -> u64 {
        let day = |day: Date| (day.year() as u64) << 16 | (day.month() as u64) << 8 | day.day() as u64;
        let parts = [day(self.start), day(self.end), self.page, self.size];
        parts.into_iter().fold(hash(&self.account), |hash, part| mix(hash ^ part))
    }
}

/// Why a request is not answered with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Method,
    Token,
    Parameter(&'static str),
    Throttled,
    System,
}

/// Whether the path is one of the dialect's reports.
pub(crate) fn owns(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|level| LEVELS.contains(&level))
}

/// The access token that the request carries, if any.
pub(crate) fn access_token(parts: &Parts) -> &str {
    parts.headers.get("access-token").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What the request asks for, if it may.
pub(crate) fn read(parts: &Parts, body: &[u8], accepts: impl FnOnce(&str) -> bool) -> Result<Asked, Refusal> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Number(u64),
        Text(String),
    }
    #[derive(Deserialize)]
    struct Body {
        advertiser_id: Option<Id>,
        start_date: Option<Date>,
        end_date: Option<Date>,
        time_unit: Option<String>,
        page_num: Option<i64>,
        page_size: Option<i64>,
    }

    if parts.method != Method::POST {
        return Err(Refusal::Method);
    }
    if !accepts(access_token(parts)) {
        return Err(Refusal::Token);
    }
    let body: Body = serde_json::from_slice(body).map_err(|_| Refusal::Parameter("请求体"))?;
    let account = match body.advertiser_id {
        Some(Id::Number(id)) => id.to_string(),
        Some(Id::Text(id)) if !id.is_empty() => id,
        Some(Id::Text(_)) | None => return Err(Refusal::Parameter("advertiser_id")),
    };
    let start = body.start_date.ok_or(Refusal::Parameter("start_date"))?;
    let end = body.end_date.ok_or(Refusal::Parameter("end_date"))?;
    let days = start.until(end).map_or(i32::MAX, |span| span.get_days()) + 1;
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(Refusal::Parameter("end_date"));
    }
    if body.time_unit.is_some_and(|unit| unit != "DAY") {
        return Err(Refusal::Parameter("time_unit"));
    }
    let within = |value: Option<i64>, default, max| {
        value
            .map_or(Some(default), |value| u64::try_from(value).ok())
            .filter(|value| (1..=max).contains(value))
    };
    // Far beyond any last page, and far from overflow.
    let page = within(body.page_num, 1, u64::from(u32::MAX)).ok_or(Refusal::Parameter("page_num"))?;
    let size = within(body.page_size, PAGE_SIZE, MAX_PAGE_SIZE).ok_or(Refusal::Parameter("page_size"))?;
    Ok(Asked { account, start, end, page, size })
}

/// The answer to a request that gets no page.
pub(crate) fn refuse(refusal: Refusal, request_id: &str) -> Answer {
    let (status, code, message) = match refusal {
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, 10_001, "请求方法错误".to_owned()),
        Refusal::Token => {
            (StatusCode::UNAUTHORIZED, 10_003, "access token 无效或已过期,请重新授权".to_owned())
        }
        Refusal::Parameter(name) => (StatusCode::OK, 10_002, format!("参数错误: {name}")),
        Refusal::Throttled => (StatusCode::TOO_MANY_REQUESTS, 10_005, "请求频繁,请稍后重试".to_owned()),
        Refusal::System => (StatusCode::INTERNAL_SERVER_ERROR, 10_000, "系统错误".to_owned()),
    };
    let body = format!(r#"{{"code":{code},"success":false,"msg":"{message}","request_id":"{request_id}"}}"#);
    Answer::json(status, body)
}

/// What a gateway in front of the API answers when it is ill, with a status as if all were well.
pub(crate) fn garbage() -> Answer {
    let body = Bytes::from_static(b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n");
    Answer::new(StatusCode::OK, "text/html", body)
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use jiff::civil::date;

    use super::*;

    fn ask(token: &str, body: &str) -> Result<Asked, Refusal> {
        let request = Request::post("/").header("Access-Token", token).body(()).unwrap();
        read(&request.into_parts().0, body.as_bytes(), |token| token == "secret")
    }

    #[test]
    fn a_good_request_is_read_with_its_defaults() {
        let body =
            r#"{"advertiser_id":1001,"start_date":"2026-11-23","end_date":"2026-11-24","columns":["fee"]}"#;
        let asked = ask("secret", body).unwrap();
        let (start, end) = (date(2026, 11, 23), date(2026, 11, 24));
        assert_eq!(asked, Asked { account: "1001".into(), start, end, page: 1, size: 20 });
        assert_eq!(asked.days().collect::<Vec<_>>(), [start, end]);
        assert_ne!(asked.hash(), Asked { page: 2, ..asked.clone() }.hash());
    }

    #[test]
    fn a_bad_request_is_told_what_is_bad() {
        let body = |more: &str| {
            format!(r#"{{"advertiser_id":"7","start_date":"2026-11-23","end_date":"2026-11-23"{more}}}"#)
        };
        assert_eq!(ask("", &body("")), Err(Refusal::Token));
        assert_eq!(ask("other", &body("")), Err(Refusal::Token));
        let bad = [
            ("not json".to_owned(), "请求体"),
            ("{}".to_owned(), "advertiser_id"),
            (r#"{"advertiser_id":1}"#.to_owned(), "start_date"),
            (r#"{"advertiser_id":1,"start_date":"2026-11-23"}"#.to_owned(), "end_date"),
            (
                r#"{"advertiser_id":1,"start_date":"2026-11-23","end_date":"2026-11-22"}"#.to_owned(),
                "end_date",
            ),
            (
                r#"{"advertiser_id":1,"start_date":"2026-11-01","end_date":"2026-12-02"}"#.to_owned(),
                "end_date",
            ),
            (body(r#","time_unit":"HOUR""#), "time_unit"),
            (body(r#","page_num":0"#), "page_num"),
            (body(r#","page_num":-1"#), "page_num"),
            (body(r#","page_size":0"#), "page_size"),
            (body(r#","page_size":101"#), "page_size"),
        ];
        for (body, name) in bad {
            assert_eq!(ask("secret", &body), Err(Refusal::Parameter(name)), "{body}");
        }
        assert!(ask("secret", &body(r#","page_size":100,"time_unit":"DAY""#)).is_ok());
    }

    #[test]
    fn only_its_own_paths_are_its_own() {
        assert!(owns("/api/open/jg/data/report/offline/creative"));
        assert!(!owns("/api/open/jg/data/report/offline/"));
        assert!(!owns("/api/open/jg/data/report/realtime/creative"));
    }
}
