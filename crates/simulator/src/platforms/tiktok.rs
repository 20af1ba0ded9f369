//! The dialect of TikTok's basic reports: arrays as JSON in the query, numbers as texts, `-` where there
//! is none, every response HTTP 200. Deleted ads are never left out.

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

const PATH: &str = "/open_api/v1.3/report/integrated/get/";
const MAX_DAYS: i32 = 30;

pub(crate) struct TikTok;

impl Dialect for TikTok {
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
        if query.required("report_type")? != "BASIC" {
            return Err(Refusal::Parameter("report_type"));
        }
        let (level, id) = match query.required("data_level")? {
            "AUCTION_ADVERTISER" => (Level::Account, "advertiser_id"),
            "AUCTION_CAMPAIGN" => (Level::Campaign, "campaign_id"),
            "AUCTION_ADGROUP" => (Level::Unit, "adgroup_id"),
            "AUCTION_AD" => (Level::Creative, "ad_id"),
            _ => return Err(Refusal::Parameter("data_level")),
        };
        let dimensions: Vec<String> = query.json("dimensions")?.ok_or(Refusal::Parameter("dimensions"))?;
        if dimensions.len() != 2
            || [id, "stat_time_day"].iter().any(|name| !dimensions.iter().any(|d| d == name))
        {
            return Err(Refusal::Parameter("dimensions"));
        }
        query.json::<Vec<Map<String, Value>>>("filtering")?;
        let columns: Vec<String> =
            query.json("metrics")?.unwrap_or_else(|| vec!["spend".to_owned(), "impressions".to_owned()]);
        if columns.iter().any(|name| !knows(level, name)) {
            return Err(Refusal::Parameter("metrics"));
        }
        let days = date_range(query.parsed("start_date")?, query.parsed("end_date")?, MAX_DAYS)
            .ok_or(Refusal::Parameter("end_date"))?;
        Ok(PageRequest {
            level,
            page: bounded(query.parsed("page")?, 1, MAX_PAGE).ok_or(Refusal::Parameter("page"))?,
            size: bounded(query.parsed("page_size")?, 10, 1_000).ok_or(Refusal::Parameter("page_size"))?,
            columns,
            sums: query.parsed("enable_total_metrics")?.unwrap_or(false),
            ..PageRequest::new(query.required("advertiser_id")?.to_owned(), days)
        })
    }

    fn page(&self, request: &PageRequest, page: &Page, request_id: &str) -> Response {
        let total = if page.flaw == Flaw::BadTotal { json!("-") } else { json!(page.total) };
        let rows: Vec<_> = page.rows.iter().map(|row| render(request, row, page.flaw)).collect();
        let mut data = json!({
            "list": rows,
            "page_info": {
                "page": request.page,
                "page_size": request.size,
                "total_number": total,
                "total_page": page.pages(request),
            },
        });
        if request.sums {
            let sum = |name: &String| {
                let sum = number(&page.sums, name).map_or_else(|| "-".into(), Number::json_text);
                (name.clone(), sum)
            };
            data["total_metrics"] = request.columns.iter().map(sum).collect::<Map<_, _>>().into();
        }
        let body = json!({"code": 0, "message": "OK", "request_id": request_id, "data": data});
        Response::json(StatusCode::OK, body.to_string())
    }

    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Response {
        let (code, message) = match refusal {
            Refusal::Method => (40_006, "The method is not allowed.".to_owned()),
            Refusal::Token => (40_105, "Access token is incorrect or has been revoked.".to_owned()),
            Refusal::Parameter(name) => (40_002, format!("{name}: Invalid value.")),
            Refusal::Throttled => (40_100, "Requests made too frequently.".to_owned()),
            Refusal::System => (50_000, "System error.".to_owned()),
        };
        let body = json!({"code": code, "message": message, "request_id": request_id, "data": {}});
        Response::json(StatusCode::OK, body.to_string())
    }
}

/// True if a level's report has the metric; names and ids of what is above a level are metrics too.
fn knows(level: Level, name: &str) -> bool {
    match name {
        "campaign_name" => level != Level::Account,
        "adgroup_name" | "campaign_id" => matches!(level, Level::Unit | Level::Creative),
        "ad_name" | "adgroup_id" => level == Level::Creative,
        name => number(&Metrics::default(), name).is_some(),
    }
}

fn render(request: &PageRequest, row: &Row, flaw: Flaw) -> Value {
    let mut dimensions = json!({"stat_time_day": format!("{} 00:00:00", row.time)});
    if flaw != Flaw::NoKey {
        let (name, id) = match request.level {
            Level::Account => ("advertiser_id", request.account.clone()),
            Level::Campaign => ("campaign_id", row.campaign_id.to_string()),
            Level::Unit => ("adgroup_id", row.unit_id.to_string()),
            _ => ("ad_id", row.creativity_id.to_string()),
        };
        dimensions[name] = id.into();
    }
    let metric = |name: &String| {
        let value = match name.as_str() {
            "campaign_id" => row.campaign_id.to_string().into(),
            "campaign_name" => format!("Campaign {}", row.campaign_id).into(),
            "adgroup_id" => row.unit_id.to_string().into(),
            "adgroup_name" => format!("Ad group {}", row.unit_id).into(),
            "ad_name" => format!("Ad {}", row.index).into(),
            name => number(&row.metrics, name)?.json_text(),
        };
        Some((name.clone(), value))
    };
    json!({"dimensions": dimensions, "metrics": request.columns.iter().filter_map(metric).collect::<Map<_, _>>()})
}

fn number(metrics: &Metrics, name: &str) -> Option<Number> {
    Some(match name {
        "spend" => Number::Hundredths(metrics.fee),
        "impressions" => Number::Count(metrics.impression),
        "clicks" => Number::Count(metrics.click),
        "ctr" => Number::Hundredths(metrics.ctr()),
        "cpc" => Number::per_click(metrics),
        "cpm" => Number::per_thousand(metrics),
        "reach" => Number::Count(metrics.impression),
        "frequency" => Number::Hundredths(100),
        "conversion" => Number::Count(metrics.collect),
        "cost_per_conversion" => Number::Missing,
        "likes" => Number::Count(metrics.like),
        "comments" => Number::Count(metrics.comment),
        "shares" => Number::Count(metrics.share),
        "follows" => Number::Count(metrics.follow),
        _ => return None,
    })
}
