//! The dialect of Kuaishou's reports: a JSON body, numbers as JSON numbers, every response HTTP 200. Codes
//! are unverified. Days before the last week are served too.

use hyper::{Method, StatusCode, http::request::Parts};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

use super::parameters::{MAX_PAGE, bounded, date_range, header, token_matches};
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

const PREFIX: &str = "/rest/openapi/v1/report/";
const MAX_DAYS: i32 = 7;

pub(crate) struct Kuaishou;

#[derive(Deserialize)]
struct Body {
    advertiser_id: Option<u64>,
    start_date: Option<Date>,
    end_date: Option<Date>,
    temporal_granularity: Option<String>,
    page: Option<i64>,
    page_size: Option<i64>,
}

impl Dialect for Kuaishou {
    fn owns(&self, path: &str) -> bool {
        level(path).is_some()
    }

    fn read(&self, parts: &Parts, body: &[u8], token: Option<&str>) -> Result<PageRequest, Refusal> {
        if parts.method != Method::POST {
            return Err(Refusal::Method);
        }
        if !token_matches(token, header(parts, "access-token", "")) {
            return Err(Refusal::Token);
        }
        let body: Body = serde_json::from_slice(body).map_err(|_| Refusal::Parameter("body"))?;
        if body.temporal_granularity.is_some_and(|granularity| granularity != "DAILY") {
            return Err(Refusal::Parameter("temporal_granularity"));
        }
        let account = body.advertiser_id.ok_or(Refusal::Parameter("advertiser_id"))?;
        let days =
            date_range(body.start_date, body.end_date, MAX_DAYS).ok_or(Refusal::Parameter("end_date"))?;
        Ok(PageRequest {
            level: level(parts.uri.path()).ok_or(Refusal::Method)?,
            page: bounded(body.page, 1, MAX_PAGE).ok_or(Refusal::Parameter("page"))?,
            size: bounded(body.page_size, 20, 2_000).ok_or(Refusal::Parameter("page_size"))?,
            ..PageRequest::new(account.to_string(), days)
        })
    }

    fn page(&self, request: &PageRequest, page: &Page, request_id: &str) -> Response {
        let total = if page.flaw == Flaw::BadTotal { json!("-") } else { json!(page.total) };
        let rows: Vec<_> = page.rows.iter().map(|row| render(request.level, row, page.flaw)).collect();
        let data = json!({"total_count": total, "details": rows});
        let body = json!({"code": 0, "message": "OK", "request_id": request_id, "data": data});
        Response::json(StatusCode::OK, body.to_string())
    }

    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Response {
        let (code, message) = match refusal {
            Refusal::Method => (400_001, "请求方法错误".to_owned()),
            Refusal::Token => (402_001, "access_token 无效".to_owned()),
            Refusal::Parameter(name) => (400_002, format!("参数错误: {name}")),
            Refusal::Throttled => (400_003, "请求频率超限".to_owned()),
            Refusal::System => (500_000, "系统异常".to_owned()),
        };
        let body = json!({"code": code, "message": message, "request_id": request_id, "data": null});
        Response::json(StatusCode::OK, body.to_string())
    }
}

fn level(path: &str) -> Option<Level> {
    Some(match path.strip_prefix(PREFIX)? {
        "account_report" => Level::Account,
        "campaign_report" => Level::Campaign,
        "unit_report" => Level::Unit,
        "creative_report" => Level::Creative,
        _ => return None,
    })
}

fn render(level: Level, row: &Row, flaw: Flaw) -> Value {
    let metrics = &row.metrics;
    let mut value = json!({
        "stat_date": row.time.to_string(),
        "stat_hour": 0,
        "charge": Number::Hundredths(metrics.fee).json_number(),
        "show": metrics.impression,
        "photo_click": metrics.click,
        "aclick": metrics.click,
        "bclick": metrics.collect,
        "photo_click_ratio": Number::TenThousandths(metrics.ctr()).json_number(),
        "action_ratio": 0.0,
        "impression_1k_cost": Number::per_thousand(metrics).json_number(),
        "photo_click_cost": Number::per_click(metrics).json_number(),
        "action_cost": 0.0,
        "share": metrics.share,
        "comment": metrics.comment,
        "like": metrics.like,
        "follow": metrics.follow,
        "cancel_follow": 0,
        "activation": 0,
        "form_count": 0,
        "conversion_num": metrics.collect,
        "event_pay": 0,
        "event_pay_purchase_amount": 0.0,
    });
    if level != Level::Account {
        value["campaign_id"] = row.campaign_id.into();
        value["campaign_name"] = format!("计划{}", row.campaign_id).into();
    }
    if matches!(level, Level::Unit | Level::Creative) {
        value["unit_id"] = row.unit_id.into();
        value["unit_name"] = format!("广告组{}", row.unit_id).into();
    }
    if level == Level::Creative {
        value["creative_id"] = row.creativity_id.into();
        value["creative_name"] = format!("创意{}", row.index).into();
        value["photo_id"] = (row.creativity_id / 2).into();
    }
    if let (Flaw::NoKey, Some(row)) = (flaw, value.as_object_mut()) {
        row.remove(match level {
            Level::Account => "stat_date",
            Level::Campaign => "campaign_id",
            Level::Unit => "unit_id",
            _ => "creative_id",
        });
    }
    value
}
