//! The dialect of Meta's insights: fields with commas, a cursor to the next page, numbers as texts, an
//! `error` with a status of its own kind. Cursors in the middle of a page are refused.

use hyper::{Method, StatusCode, http::request::Parts};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::parameters::{MAX_PAGE, bounded, date_range, header, token_matches};
use super::query::Query;
use crate::{
    dialect::Dialect,
    level::Level,
    metrics::Metrics,
    number::Number,
    page::{Flaw, Page},
    page_request::PageRequest,
    refusal::Refusal,
    response::Response,
    row::Row,
};

const MAX_DAYS: i32 = 1_130;
const MAX_LIMIT: u64 = 500;

pub(crate) struct Meta;

#[derive(Deserialize)]
struct TimeRange {
    since: Date,
    until: Date,
}

impl Dialect for Meta {
    fn owns(&self, path: &str) -> bool {
        account(path).is_some()
    }

    fn read(&self, parts: &Parts, _body: &[u8], token: Option<&str>) -> Result<PageRequest, Refusal> {
        if parts.method != Method::GET {
            return Err(Refusal::Method);
        }
        let query = Query::of(parts);
        let given = query.get("access_token").map(str::as_bytes);
        if !token_matches(token, given.or_else(|| header(parts, "authorization", "Bearer "))) {
            return Err(Refusal::Token);
        }
        let level = match query.get("level") {
            Some("account") | None => Level::Account,
            Some("campaign") => Level::Campaign,
            Some("adset") => Level::Unit,
            Some("ad") => Level::Creative,
            Some(_) => return Err(Refusal::Parameter("level")),
        };
        if query.required("time_increment")? != "1" {
            return Err(Refusal::Parameter("time_increment"));
        }
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let columns = list(query.required("fields")?);
        if columns.iter().any(|name| !knows(level, name)) {
            return Err(Refusal::Parameter("fields"));
        }
        let sums = query.get("summary").map(list).unwrap_or_default();
        if sums.iter().any(|name| number(&Metrics::default(), name).is_none()) {
            return Err(Refusal::Parameter("summary"));
        }
        let range: TimeRange = query.json("time_range")?.ok_or(Refusal::Parameter("time_range"))?;
        let days = date_range(Some(range.since), Some(range.until), MAX_DAYS)
            .ok_or(Refusal::Parameter("time_range"))?;
        let size = bounded(query.parsed("limit")?, 25, MAX_LIMIT).ok_or(Refusal::Parameter("limit"))?;
        let first = query.get("after").map_or(Some(0), row).ok_or(Refusal::Parameter("after"))?;
        if !first.is_multiple_of(size) || first / size >= MAX_PAGE {
            return Err(Refusal::Parameter("after"));
        }
        Ok(PageRequest {
            level,
            page: first / size + 1,
            size,
            columns,
            sums: !sums.is_empty(),
            address: address(parts),
            ..PageRequest::new(account(parts.uri.path()).ok_or(Refusal::Method)?.to_owned(), days)
        })
    }

    fn page(&self, request: &PageRequest, page: &Page, _request_id: &str) -> Response {
        let rows: Vec<_> = page.rows.iter().map(|row| render(request, row, page.flaw)).collect();
        let first = (request.page - 1) * request.size;
        let after = cursor(page.next.map_or(first + request.size, |next| (next - 1) * request.size));
        let mut body = json!({"data": rows});
        if !rows.is_empty() {
            body["paging"] = json!({"cursors": {"before": cursor(first), "after": after}});
        }
        // The cursor after the last row is there too: only `next` shows that there is more.
        if page.next.is_some() {
            body["paging"]["next"] = format!("{}&after={after}", request.address).into();
        }
        if request.sums {
            let sum = |name: &&str| Some(((*name).to_owned(), number(&page.sums, name)?.json_text()));
            body["summary"] =
                ["spend", "impressions", "clicks"].iter().filter_map(sum).collect::<Map<_, _>>().into();
        }
        Response::json(StatusCode::OK, body.to_string())
    }

    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Response {
        let (status, kind, code, subcode, message) = match refusal {
            Refusal::Method => {
                (StatusCode::BAD_REQUEST, "GraphMethodException", 100, 33, "Unsupported request".to_owned())
            }
            Refusal::Token => (
                StatusCode::BAD_REQUEST,
                "OAuthException",
                190,
                463,
                "Error validating access token: Session has expired".to_owned(),
            ),
            Refusal::Parameter(name) => (
                StatusCode::BAD_REQUEST,
                "OAuthException",
                100,
                0,
                format!("(#100) Invalid parameter: {name}"),
            ),
            Refusal::Throttled => (
                StatusCode::BAD_REQUEST,
                "OAuthException",
                17,
                2_446_079,
                "(#17) User request limit reached".to_owned(),
            ),
            Refusal::System => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "OAuthException",
                1,
                99,
                "Please reduce the amount of data you're asking for, then retry your request".to_owned(),
            ),
        };
        let error = json!({
            "message": message, "type": kind, "code": code, "error_subcode": subcode, "fbtrace_id": request_id,
        });
        Response::json(status, json!({ "error": error }).to_string())
    }
}

/// `/v25.0/act_1001/insights` is about 1001.
fn account(path: &str) -> Option<&str> {
    let (version, rest) = path.strip_prefix("/v")?.split_once("/act_")?;
    let account = rest.strip_suffix("/insights")?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(&version.replace('.', "")) && digits(account)).then_some(account)
}

/// A cursor hides the row that it points at.
fn cursor(row: u64) -> String {
    format!("QVFIU{row:x}ZDZD")
}

fn row(cursor: &str) -> Option<u64> {
    u64::from_str_radix(cursor.strip_prefix("QVFIU")?.strip_suffix("ZDZD")?, 16).ok()
}

/// The request's address without its cursor. It bears the token, as the platform's own links do.
fn address(parts: &Parts) -> String {
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("after="));
    format!("http://{host}{}?{}", parts.uri.path(), query.collect::<Vec<_>>().join("&"))
}

/// True if a level's report has the field.
fn knows(level: Level, name: &str) -> bool {
    match name {
        "account_currency" | "account_id" | "date_start" | "date_stop" | "actions" | "action_values" => true,
        "campaign_id" | "campaign_name" => level != Level::Account,
        "adset_id" | "adset_name" => matches!(level, Level::Unit | Level::Creative),
        "ad_id" | "ad_name" => level == Level::Creative,
        name => number(&Metrics::default(), name).is_some(),
    }
}

fn render(request: &PageRequest, row: &Row, flaw: Flaw) -> Value {
    let key = match request.level {
        Level::Account => "date_start",
        Level::Campaign => "campaign_id",
        Level::Unit => "adset_id",
        _ => "ad_id",
    };
    let field = |name: &str| {
        let value = match name {
            "account_currency" => "USD".into(),
            "account_id" => request.account.clone().into(),
            "date_start" | "date_stop" => row.time.to_string().into(),
            "campaign_id" => row.campaign_id.to_string().into(),
            "campaign_name" => format!("Campaign {}", row.campaign_id).into(),
            "adset_id" => row.unit_id.to_string().into(),
            "adset_name" => format!("Ad set {}", row.unit_id).into(),
            "ad_id" => row.creativity_id.to_string().into(),
            "ad_name" => format!("Ad {}", row.index).into(),
            "actions" => json!([{"action_type": "link_click", "value": row.metrics.click.to_string()}]),
            name => match number(&row.metrics, name)? {
                // What there is none of is left out.
                Number::Missing => return None,
                number => number.json_text(),
            },
        };
        (flaw != Flaw::NoKey || name != key).then(|| (name.to_owned(), value))
    };
    let always = ["date_start", "date_stop"].into_iter();
    always.chain(request.columns.iter().map(String::as_str)).filter_map(field).collect::<Map<_, _>>().into()
}

fn number(metrics: &Metrics, name: &str) -> Option<Number> {
    Some(match name {
        "spend" => Number::Hundredths(metrics.fee),
        "impressions" => Number::Count(metrics.impression),
        "clicks" => Number::Count(metrics.click),
        "inline_link_clicks" => Number::Count(metrics.click),
        "reach" => Number::Count(metrics.impression),
        "frequency" => Number::Hundredths(100),
        "ctr" => Number::Hundredths(metrics.ctr()),
        "cpc" => Number::per_click(metrics),
        "cpm" => Number::per_thousand(metrics),
        _ => return None,
    })
}
