//! The dialect of Tencent's daily reports: token, timestamp and nonce in the query, numbers as JSON
//! numbers, costs in hundredths, and no page beyond the 10,000th row. That a nonce is new isn't checked.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::{Method, StatusCode, http::request::Parts};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::parameters::{bounded, date_range, token_matches};
use super::query::Query;
use crate::{
    dialect::Dialect,
    level::Level,
    number::Number,
    page::{Flaw, Page},
    page_request::PageRequest,
    refusal::Refusal,
    response::Response,
    row::Row,
};

const PATH: &str = "/v3.0/daily_reports/get";
const MAX_DAYS: i32 = 366;
const DEEPEST_ROW: u64 = 10_000;
/// Seconds that the client's clock may be off.
const CLOCK: u64 = 300;
/// What is advertised: the parts of the day. Other targets have no rows.
const TARGETS: [&str; 4] = ["APP_ANDROID", "CONSUMER_PRODUCT", "WECHAT_MINI_GAME", "LIVE_STREAM_ROOM"];

pub(crate) struct Tencent;

#[derive(Deserialize)]
struct DateRange {
    start_date: Date,
    end_date: Date,
}

#[derive(Deserialize)]
struct Filter {
    field: String,
    operator: String,
    values: Vec<String>,
}

impl Dialect for Tencent {
    fn owns(&self, path: &str) -> bool {
        path == PATH
    }

    fn read(&self, parts: &Parts, _body: &[u8], token: Option<&str>) -> Result<PageRequest, Refusal> {
        if parts.method != Method::GET {
            return Err(Refusal::Method);
        }
        let query = Query::of(parts);
        if !token_matches(token, query.get("access_token").map(str::as_bytes)) {
            return Err(Refusal::Token);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let timestamp: u64 = query.parsed("timestamp")?.ok_or(Refusal::Parameter("timestamp"))?;
        if now.abs_diff(timestamp) > CLOCK {
            return Err(Refusal::Parameter("timestamp"));
        }
        if !(1..=32).contains(&query.required("nonce")?.len()) {
            return Err(Refusal::Parameter("nonce"));
        }
        let group_by: Vec<String> = query.json("group_by")?.ok_or(Refusal::Parameter("group_by"))?;
        let (level, grouped) = match query.required("level")? {
            "REPORT_LEVEL_ADVERTISER" => (Level::Account, &["date"][..]),
            "REPORT_LEVEL_ADGROUP" => (Level::Unit, &["date", "adgroup_id"][..]),
            "REPORT_LEVEL_DYNAMIC_CREATIVE" => {
                (Level::Creative, &["date", "adgroup_id", "dynamic_creative_id"][..])
            }
            _ => return Err(Refusal::Parameter("level")),
        };
        if group_by != grouped {
            return Err(Refusal::Parameter("group_by"));
        }
        let columns: Vec<String> = query.json("fields")?.ok_or(Refusal::Parameter("fields"))?;
        if columns.is_empty() || columns.iter().any(|name| !knows(level, name)) {
            return Err(Refusal::Parameter("fields"));
        }
        let range: DateRange = query.json("date_range")?.ok_or(Refusal::Parameter("date_range"))?;
        let days = date_range(Some(range.start_date), Some(range.end_date), MAX_DAYS)
            .ok_or(Refusal::Parameter("date_range"))?;
        let page = bounded(query.parsed("page")?, 1, 99_999).ok_or(Refusal::Parameter("page"))?;
        let size = bounded(query.parsed("page_size")?, 10, 2_000).ok_or(Refusal::Parameter("page_size"))?;
        if page * size > DEEPEST_ROW {
            return Err(Refusal::Parameter("page * page_size"));
        }
        Ok(PageRequest {
            level,
            page,
            size,
            columns,
            parts: query.json("filtering")?.map(parts_of).transpose()?,
            ..PageRequest::new(query.required("account_id")?.to_owned(), days)
        })
    }

    fn page(&self, request: &PageRequest, page: &Page, _request_id: &str) -> Response {
        let total = if page.flaw == Flaw::BadTotal { json!("-") } else { json!(page.total) };
        let rows: Vec<_> = page.rows.iter().map(|row| render(request, row, page.flaw)).collect();
        let body = json!({
            "code": 0,
            "message": "",
            "message_cn": "",
            "data": {
                "list": rows,
                "page_info": {
                    "page": request.page,
                    "page_size": request.size,
                    "total_number": total,
                    "total_page": page.pages(request),
                },
            },
        });
        Response::json(StatusCode::OK, body.to_string())
    }

    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Response {
        let (code, message, chinese) = match refusal {
            Refusal::Method => (10_001, "The method is not allowed.".to_owned(), "请求方法错误".to_owned()),
            Refusal::Token => {
                (11_002, "Access token is invalid.".to_owned(), "您的 access_token 无效".to_owned())
            }
            Refusal::Parameter(name) => {
                (18_001, format!("The parameter {name} is invalid."), format!("参数错误: {name}"))
            }
            Refusal::Throttled => (
                11_017,
                "Application has reached the request limit per minute.".to_owned(),
                "应用请求已达分钟频次上限".to_owned(),
            ),
            Refusal::System => (
                10_000,
                "We are unable to process your request at this time.".to_owned(),
                "系统错误".to_owned(),
            ),
        };
        let trace = format!(" trace_id: {request_id}");
        let body =
            json!({"code": code, "message": message + &trace, "message_cn": chinese + &trace, "errors": []});
        Response::json(StatusCode::OK, body.to_string())
    }
}

/// The parts of the day that the filter keeps; no other filter is known here.
fn parts_of(filters: Vec<Filter>) -> Result<Vec<u64>, Refusal> {
    let [Filter { field, operator, values }] = &filters[..] else {
        return Err(Refusal::Parameter("filtering"));
    };
    let one = operator == "EQUALS" && values.len() == 1;
    if field != "marketing_target_type" || !(one || operator == "IN") {
        return Err(Refusal::Parameter("filtering"));
    }
    let part = |value: &String| {
        let target = value.strip_prefix("MARKETING_TARGET_TYPE_").ok_or(Refusal::Parameter("filtering"))?;
        Ok(TARGETS.iter().position(|known| *known == target).map(|part| part as u64))
    };
    values.iter().map(part).filter_map(Result::transpose).collect()
}

fn render(request: &PageRequest, row: &Row, flaw: Flaw) -> Value {
    let field = |name: &String| {
        let key = matches!(
            (request.level, name.as_str()),
            (Level::Unit, "adgroup_id") | (_, "dynamic_creative_id")
        );
        (flaw != Flaw::NoKey || !key).then(|| Some((name.clone(), value(row, name)?))).flatten()
    };
    request.columns.iter().filter_map(field).collect::<Map<_, _>>().into()
}

/// True if a level's report has the field.
fn knows(level: Level, name: &str) -> bool {
    match name {
        "dynamic_creative_id" | "dynamic_creative_name" => level == Level::Creative,
        "adgroup_id" | "adgroup_name" => level != Level::Account,
        "date" | "account_id" => true,
        name => METRICS.contains(&name),
    }
}

const METRICS: [&str; 13] = [
    "cost",
    "view_count",
    "valid_click_count",
    "ctr",
    "cpc",
    "thousand_display_price",
    "conversions_count",
    "conversions_cost",
    "conversions_rate",
    "deep_conversions_count",
    "praise_count",
    "comment_count",
    "forward_count",
];

fn value(row: &Row, name: &str) -> Option<Value> {
    let metrics = &row.metrics;
    // Money is in whole hundredths.
    let cents = |number| match number {
        Number::Hundredths(cents) => Number::Count(cents).json_number(),
        other => other.json_number(),
    };
    Some(match name {
        "date" => row.time.to_string().into(),
        "adgroup_id" => row.unit_id.into(),
        "adgroup_name" => format!("广告{}", row.unit_id).into(),
        "dynamic_creative_id" => row.creativity_id.into(),
        "dynamic_creative_name" => format!("创意{}", row.index).into(),
        "cost" => metrics.fee.into(),
        "view_count" => metrics.impression.into(),
        "valid_click_count" => metrics.click.into(),
        "ctr" => Number::TenThousandths(metrics.ctr()).json_number(),
        "cpc" => cents(Number::per_click(metrics)),
        "thousand_display_price" => cents(Number::per_thousand(metrics)),
        "conversions_count" => metrics.collect.into(),
        "deep_conversions_count" => metrics.follow.into(),
        "praise_count" => metrics.like.into(),
        "comment_count" => metrics.comment.into(),
        "forward_count" => metrics.share.into(),
        "conversions_cost" | "conversions_rate" => 0.into(),
        _ => return None,
    })
}
