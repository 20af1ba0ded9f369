//! The dialect of Xiaohongshu's offline reports: what its requests and answers look like. All levels
//! answer with the creative level's rows. Codes other than 0, 10002 and 10005 are unverified.

mod number;
mod page;
mod row;

use hyper::{Method, StatusCode, http::request::Parts};
use jiff::civil::Date;
use serde::Deserialize;

use page::render;

use crate::{
    answer::Answer,
    dialect::{Asked, Dialect, LAST_PAGE, Page, Refusal, admits, header, span, within},
};

const PREFIX: &str = "/api/open/jg/data/report/offline/";
const LEVELS: [&str; 8] = ["account", "campaign", "unit", "creative", "creativity", "keyword", "note", "spu"];
const PAGE_SIZE: u64 = 20;
const MAX_PAGE_SIZE: u64 = 100;
const MAX_DAYS: i32 = 31;

/// The dialect.
pub(crate) struct Xiaohongshu;

impl Dialect for Xiaohongshu {
    fn owns(&self, path: &str) -> bool {
        owns(path)
    }

    fn read(&self, parts: &Parts, body: &[u8], token: Option<&str>) -> Result<Asked, Refusal> {
        read(parts, body, token)
    }

    fn page(&self, _asked: &Asked, page: &Page, request_id: &str) -> Answer {
        Answer::json(StatusCode::OK, render(page, request_id))
    }

    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Answer {
        refuse(refusal, request_id)
    }
}

/// Whether the path is one of the dialect's reports.
fn owns(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|level| LEVELS.contains(&level))
}

/// What the request asks for, if it may.
fn read(parts: &Parts, body: &[u8], token: Option<&str>) -> Result<Asked, Refusal> {
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
    if !admits(token, header(parts, "access-token", "")) {
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
    let days = span(Some(start), Some(end), MAX_DAYS).ok_or(Refusal::Parameter("end_date"))?;
    if body.time_unit.is_some_and(|unit| unit != "DAY") {
        return Err(Refusal::Parameter("time_unit"));
    }
    let page = within(body.page_num, 1, LAST_PAGE).ok_or(Refusal::Parameter("page_num"))?;
    let size = within(body.page_size, PAGE_SIZE, MAX_PAGE_SIZE).ok_or(Refusal::Parameter("page_size"))?;
    Ok(Asked { page, size, ..Asked::new(account, days) })
}

/// The answer to a request that gets no page.
fn refuse(refusal: &Refusal, request_id: &str) -> Answer {
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

#[cfg(test)]
mod tests {
    use hyper::Request;
    use jiff::civil::date;

    use super::*;

    fn ask(token: &str, body: &str) -> Result<Asked, Refusal> {
        let request = Request::post("/").header("Access-Token", token).body(()).unwrap();
        read(&request.into_parts().0, body.as_bytes(), Some("secret"))
    }

    #[test]
    fn a_good_request_is_read_with_its_defaults() {
        let body =
            r#"{"advertiser_id":1001,"start_date":"2026-11-23","end_date":"2026-11-24","columns":["fee"]}"#;
        let asked = ask("secret", body).unwrap();
        let (start, end) = (date(2026, 11, 23), date(2026, 11, 24));
        assert_eq!((asked.account.as_str(), asked.start, asked.end), ("1001", start, end));
        assert_eq!((asked.page, asked.size), (1, 20));
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
