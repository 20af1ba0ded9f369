//! The dialect of Ocean Engine's custom reports: arrays as JSON in the query, numbers as texts in some
//! rows and as numbers in others. Every response is HTTP 200. Codes are unverified.

use hyper::{Method, StatusCode, http::request::Parts};
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

const PATH: &str = "/open_api/v3.0/report/custom/get/";
const MAX_DAYS: i32 = 30;

pub(crate) struct OceanEngine;

impl Dialect for OceanEngine {
    fn owns(&self, path: &str) -> bool {
        path == PATH
    }

    fn read(&self, parts: &Parts, _body: &[u8], token: Option<&str>) -> Result<PageRequest, Refusal> {
        if parts.method != Method::GET {
            return Err(Refusal::Method);
        }
        if !token_matches(token, header(parts, "access-token", "")) {
            return Err(Refusal::Token);
        }
        let query = Query::of(parts);
        if query.required("data_topic")? != "BASIC_DATA" {
            return Err(Refusal::Parameter("data_topic"));
        }
        for name in ["filters", "order_by"] {
            query.json::<Vec<Value>>(name)?.ok_or(Refusal::Parameter(name))?;
        }
        let dimensions: Vec<String> = query.json("dimensions")?.ok_or(Refusal::Parameter("dimensions"))?;
        let metrics: Vec<String> = query.json("metrics")?.ok_or(Refusal::Parameter("metrics"))?;
        let level = level(&dimensions).ok_or(Refusal::Parameter("dimensions"))?;
        if metrics.iter().any(|name| number(&Metrics::default(), name).is_none()) {
            return Err(Refusal::Parameter("metrics"));
        }
        let days = date_range(query.parsed("start_time")?, query.parsed("end_time")?, MAX_DAYS)
            .ok_or(Refusal::Parameter("end_time"))?;
        Ok(PageRequest {
            level,
            page: bounded(query.parsed("page")?, 1, MAX_PAGE).ok_or(Refusal::Parameter("page"))?,
            size: bounded(query.parsed("page_size")?, 20, 1_000).ok_or(Refusal::Parameter("page_size"))?,
            columns: dimensions.into_iter().chain(metrics).collect(),
            ..PageRequest::new(query.required("advertiser_id")?.to_owned(), days)
        })
    }

    fn page(&self, request: &PageRequest, page: &Page, request_id: &str) -> Response {
        let total = if page.flaw == Flaw::BadTotal { json!("-") } else { json!(page.total) };
        let rows: Vec<_> = page.rows.iter().map(|row| render(request, row, page.flaw)).collect();
        let body = json!({
            "code": 0,
            "message": "OK",
            "request_id": request_id,
            "data": {
                "rows": rows,
                "total_metrics": metrics(request, &page.sums, Number::json_text),
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
        let (status, code, message) = match refusal {
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, 40_000, "method not allowed".to_owned()),
            Refusal::Token => (StatusCode::OK, 40_105, "access_token 无效".to_owned()),
            Refusal::Parameter(name) => (StatusCode::OK, 40_002, format!("参数错误: {name}")),
            Refusal::Throttled => (StatusCode::OK, 40_100, "请求过于频繁".to_owned()),
            Refusal::System => (StatusCode::OK, 50_000, "系统错误".to_owned()),
        };
        let body = json!({"code": code, "message": message, "request_id": request_id, "data": {}});
        Response::json(status, body.to_string())
    }
}

/// The level of the rows that the dimensions describe.
fn level(dimensions: &[String]) -> Option<Level> {
    let known =
        ["stat_time_day", "cdp_project_id", "cdp_project_name", "cdp_promotion_id", "cdp_promotion_name"];
    let has = |name: &str| dimensions.iter().any(|dimension| dimension == name);
    if !has("stat_time_day") || dimensions.iter().any(|name| !known.contains(&name.as_str())) {
        None
    } else if has("cdp_promotion_id") {
        Some(Level::Creative)
    } else if has("cdp_project_id") {
        Some(Level::Campaign)
    } else {
        Some(Level::Account)
    }
}

fn render(request: &PageRequest, row: &Row, flaw: Flaw) -> Value {
    let write = if row.index.is_multiple_of(2) { Number::json_text } else { Number::json_number };
    let dimension = |name: &String| {
        let value = match name.as_str() {
            "stat_time_day" => row.time.to_string(),
            "cdp_project_id" if request.level == Level::Campaign && flaw == Flaw::NoKey => return None,
            "cdp_project_id" => row.campaign_id.to_string(),
            "cdp_project_name" => format!("项目{}", row.campaign_id),
            "cdp_promotion_id" if flaw == Flaw::NoKey => return None,
            "cdp_promotion_id" => row.creativity_id.to_string(),
            "cdp_promotion_name" => format!("广告{}", row.index),
            _ => return None,
        };
        Some((name.clone(), Value::from(value)))
    };
    json!({
        "dimensions": request.columns.iter().filter_map(dimension).collect::<Map<_, _>>(),
        "metrics": metrics(request, &row.metrics, write),
    })
}

fn metrics(request: &PageRequest, metrics: &Metrics, write: fn(Number) -> Value) -> Map<String, Value> {
    let metric = |name: &String| Some((name.clone(), write(number(metrics, name)?)));
    request.columns.iter().filter_map(metric).collect()
}

fn number(metrics: &Metrics, name: &str) -> Option<Number> {
    Some(match name {
        "stat_cost" => Number::Hundredths(metrics.fee),
        "show_cnt" => Number::Count(metrics.impression),
        "click_cnt" => Number::Count(metrics.click),
        "ctr" => Number::Hundredths(metrics.ctr()),
        "cpc_platform" => Number::per_click(metrics),
        "cpm_platform" => Number::per_thousand(metrics),
        "convert_cnt" => Number::Count(metrics.collect),
        "deep_convert_cnt" => Number::Count(metrics.follow),
        "conversion_cost" | "conversion_rate" => Number::Missing,
        _ => return None,
    })
}
