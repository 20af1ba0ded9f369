//! The dialects of Xiaohongshu's offline and realtime reports: what requests and responses look like. Codes
//! other than 0, 10002 and 10005 are unverified.

mod columns;
mod digits;
mod metric;
mod page;
mod row;
mod selection;

use hyper::{Method, StatusCode, http::request::Parts};
use jiff::civil::Date;
use serde::Deserialize;

use page::{render, render_realtime};

use super::parameters::{MAX_PAGE, bounded, date_range, header, token_matches};
use super::query::Query;
use crate::{
    dialect::Dialect, level::Level, page::Page, page_request::PageRequest, refusal::Refusal,
    response::Response,
};

const OFFLINE: &str = "/api/open/jg/data/report/offline/";
const REALTIME: &str = "/api/open/jg/data/report/realtime/";
const PAGE_SIZE: u64 = 20;
const MAX_PAGE_SIZE: u64 = 100;
const MAX_DAYS: i32 = 31;
/// The values that `placement` can be filtered by, in the order of [`crate::Row::part`].
const PLACEMENTS: [u64; 4] = [1, 2, 4, 7];

/// Reports by day, until yesterday.
pub(crate) struct Offline;

/// Reports on a day that still goes on.
pub(crate) struct Realtime;

impl Dialect for Offline {
    fn owns(&self, path: &str) -> bool {
        offline(path).is_some()
    }

    fn read(&self, parts: &Parts, body: &[u8], token: Option<&str>) -> Result<PageRequest, Refusal> {
        let level = offline(parts.uri.path()).ok_or(Refusal::Method)?;
        let request = read(parts, body, token, level, MAX_DAYS)?;
        check_columns(request, false)
    }

    fn page(&self, request: &PageRequest, page: &Page, request_id: &str) -> Response {
        Response::json(StatusCode::OK, render(request, page, request_id))
    }

    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Response {
        refuse(refusal, request_id)
    }
}

impl Dialect for Realtime {
    fn owns(&self, path: &str) -> bool {
        realtime(path).is_some()
    }

    fn read(&self, parts: &Parts, body: &[u8], token: Option<&str>) -> Result<PageRequest, Refusal> {
        let level = realtime(parts.uri.path()).ok_or(Refusal::Method)?;
        let request = read(parts, body, token, level, 1)?;
        check_columns(request, true)
    }

    fn page(&self, request: &PageRequest, page: &Page, request_id: &str) -> Response {
        Response::json(StatusCode::OK, render_realtime(request, page, request_id))
    }

    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Response {
        refuse(refusal, request_id)
    }
}

/// The level that an offline report's path names.
fn offline(path: &str) -> Option<Level> {
    Some(match path.strip_prefix(OFFLINE)? {
        "account" => Level::Account,
        "campaign" => Level::Campaign,
        "unit" => Level::Unit,
        "creative" | "creativity" => Level::Creative,
        "keyword" => Level::Keyword,
        "note" => Level::Note,
        "spu" => Level::Spu,
        "search/word" | "search_term" => Level::SearchWord,
        _ => return None,
    })
}

/// The level that a realtime report's path names.
fn realtime(path: &str) -> Option<Level> {
    Some(match path.strip_prefix(REALTIME)? {
        "account" => Level::Account,
        "campaign" => Level::Campaign,
        "unit" => Level::Unit,
        "creativity" => Level::Creative,
        "keyword" => Level::Keyword,
        "target" | "targeting" => Level::Target,
        _ => return None,
    })
}

/// One unknown column fails the request. Endpoints that don't take columns don't look at them.
fn check_columns(mut request: PageRequest, realtime: bool) -> Result<PageRequest, Refusal> {
    let known = columns::known(request.level, realtime);
    if known.is_empty() {
        request.columns.clear();
    }
    if request.columns.iter().any(|name| columns::named(known, name).is_none()) {
        return Err(Refusal::Parameter("columns"));
    }
    Ok(request)
}

/// The page that is requested, or why there is none.
fn read(
    parts: &Parts,
    body: &[u8],
    token: Option<&str>,
    level: Level,
    most_days: i32,
) -> Result<PageRequest, Refusal> {
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
        #[serde(default)]
        columns: Vec<String>,
        #[serde(default)]
        placement: Vec<u64>,
    }

    if parts.method != Method::POST {
        return Err(Refusal::Method);
    }
    if !token_matches(token, header(parts, "access-token", "")) {
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
    let days = date_range(Some(start), Some(end), most_days).ok_or(Refusal::Parameter("end_date"))?;
    if body.time_unit.is_some_and(|unit| unit != "DAY") {
        return Err(Refusal::Parameter("time_unit"));
    }
    // Unlike the real one: some clients can put the page's number only into the query.
    let page_num = Query::of(parts).parsed("page_num")?.or(body.page_num);
    let page = bounded(page_num, 1, MAX_PAGE).ok_or(Refusal::Parameter("page_num"))?;
    let size = bounded(body.page_size, PAGE_SIZE, MAX_PAGE_SIZE).ok_or(Refusal::Parameter("page_size"))?;
    let part = |value: &u64| PLACEMENTS.iter().position(|placement| placement == value);
    let parts = body.placement.iter().map(|value| part(value).map(|part| part as u64));
    let parts = parts.collect::<Option<Vec<_>>>().ok_or(Refusal::Parameter("placement"))?;
    let parts = Some(parts).filter(|parts| !parts.is_empty());
    Ok(PageRequest { level, page, size, columns: body.columns, parts, ..PageRequest::new(account, days) })
}

/// The response to a request that gets no page.
fn refuse(refusal: &Refusal, request_id: &str) -> Response {
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
    Response::json(status, body)
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use jiff::civil::date;

    use super::*;

    fn read_creative(token: &str, body: &str) -> Result<PageRequest, Refusal> {
        let request = Request::post("/").header("Access-Token", token).body(()).unwrap();
        read(&request.into_parts().0, body.as_bytes(), Some("secret"), Level::Creative, MAX_DAYS)
    }

    #[test]
    fn an_ok_request_is_read_with_its_defaults() {
        let body =
            r#"{"advertiser_id":1001,"start_date":"2026-11-23","end_date":"2026-11-24","columns":["fee"]}"#;
        let request = read_creative("secret", body).unwrap();
        let (start, end) = (date(2026, 11, 23), date(2026, 11, 24));
        assert_eq!((request.account.as_str(), request.start, request.end), ("1001", start, end));
        assert_eq!((request.page, request.size), (1, 20));
        assert_eq!(request.days().collect::<Vec<_>>(), [start, end]);
        assert_ne!(request.hash(), PageRequest { page: 2, ..request.clone() }.hash());
    }

    #[test]
    fn a_bad_request_is_refused_with_the_bad_parameter() {
        let body = |more: &str| {
            format!(r#"{{"advertiser_id":"7","start_date":"2026-11-23","end_date":"2026-11-23"{more}}}"#)
        };
        assert_eq!(read_creative("", &body("")), Err(Refusal::Token));
        assert_eq!(read_creative("other", &body("")), Err(Refusal::Token));
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
            assert_eq!(read_creative("secret", &body), Err(Refusal::Parameter(name)), "{body}");
        }
        assert!(read_creative("secret", &body(r#","page_size":100,"time_unit":"DAY""#)).is_ok());
    }

    #[test]
    fn the_querys_page_goes_over_the_bodys() {
        let page = |uri: &str, body: &str| {
            let request = Request::post(uri).header("Access-Token", "any").body(()).unwrap();
            let body =
                format!(r#"{{"advertiser_id":7,"start_date":"2026-11-23","end_date":"2026-11-23"{body}}}"#);
            let request = read(&request.into_parts().0, body.as_bytes(), None, Level::Creative, MAX_DAYS);
            request.map(|request| request.page)
        };
        assert_eq!(page("/?page_num=3", r#","page_num":2"#), Ok(3));
        assert_eq!(page("/?page_size=3", r#","page_num":2"#), Ok(2));
        assert_eq!(page("/?page_num=x", ""), Err(Refusal::Parameter("page_num")));
    }

    #[test]
    fn only_its_own_paths_are_its_own() {
        assert!(Offline.owns("/api/open/jg/data/report/offline/creative"));
        assert!(Offline.owns("/api/open/jg/data/report/offline/search/word"));
        assert!(!Offline.owns("/api/open/jg/data/report/offline/"));
        assert!(!Offline.owns("/api/open/jg/data/report/realtime/campaign"));
        assert!(Realtime.owns("/api/open/jg/data/report/realtime/targeting"));
        assert!(!Realtime.owns("/api/open/jg/data/report/realtime/creative"));
    }
}
