//! The dialect of TikTok's basic reports: arrays as JSON in the query, numbers as texts, `-` where there
//! is none, every answer HTTP 200. That deleted ads are left out unless asked for isn't held.

use hyper::{Method, StatusCode, http::request::Parts};
use serde_json::{Map, Value, json};

use crate::{
    answer::Answer,
    dialect::{Asked, Dialect, Flaw, LAST_PAGE, Page, Refusal, admits, header, span, within},
    figure::Figure,
    query::Query,
    row::{Level, Metrics, Row},
};

const PATH: &str = "/open_api/v1.3/report/integrated/get/";
const MAX_DAYS: i32 = 30;

pub(crate) struct TikTok;

impl Dialect for TikTok {
    fn owns(&self, path: &str) -> bool {
        path == PATH
    }

    fn read(&self, parts: &Parts, _body: &[u8], token: Option<&str>) -> Result<Asked, Refusal> {
        if parts.method != Method::GET {
            return Err(Refusal::Method);
        }
        if !admits(token, header(parts, "access-token", "")) {
            return Err(Refusal::Token);
        }
        let query = Query::of(parts);
        if query.need("report_type")? != "BASIC" {
            return Err(Refusal::Parameter("report_type"));
        }
        let (level, id) = match query.need("data_level")? {
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
        let days = span(query.read("start_date")?, query.read("end_date")?, MAX_DAYS)
            .ok_or(Refusal::Parameter("end_date"))?;
        Ok(Asked {
            level,
            page: within(query.read("page")?, 1, LAST_PAGE).ok_or(Refusal::Parameter("page"))?,
            size: within(query.read("page_size")?, 10, 1_000).ok_or(Refusal::Parameter("page_size"))?,
            columns,
            sums: query.read("enable_total_metrics")?.unwrap_or(false),
            ..Asked::new(query.need("advertiser_id")?.to_owned(), days)
        })
    }

    fn page(&self, asked: &Asked, page: &Page, request_id: &str) -> Answer {
        let total = if page.flaw == Flaw::BadTotal { json!("-") } else { json!(page.total) };
        let rows: Vec<_> = page.rows.iter().map(|row| render(asked, row, page.flaw)).collect();
        let mut data = json!({
            "list": rows,
            "page_info": {
                "page": asked.page,
                "page_size": asked.size,
                "total_number": total,
                "total_page": page.pages(asked),
            },
        });
        if asked.sums {
            let sum = |name: &String| {
                let sum = figure(&page.sums, name).map_or_else(|| "-".into(), Figure::text);
                (name.clone(), sum)
            };
            data["total_metrics"] = asked.columns.iter().map(sum).collect::<Map<_, _>>().into();
        }
        let body = json!({"code": 0, "message": "OK", "request_id": request_id, "data": data});
        Answer::json(StatusCode::OK, body.to_string())
    }

    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Answer {
        let (code, message) = match refusal {
            Refusal::Method => (40_006, "The method is not allowed.".to_owned()),
            Refusal::Token => (40_105, "Access token is incorrect or has been revoked.".to_owned()),
            Refusal::Parameter(name) => (40_002, format!("{name}: Invalid value.")),
            Refusal::Throttled => (40_100, "Requests made too frequently.".to_owned()),
            Refusal::System => (50_000, "System error.".to_owned()),
        };
        let body = json!({"code": code, "message": message, "request_id": request_id, "data": {}});
        Answer::json(StatusCode::OK, body.to_string())
    }
}

/// Whether a level's report has the metric; names and ids of what is above a level are metrics too.
fn knows(level: Level, name: &str) -> bool {
    match name {
        "campaign_name" => level != Level::Account,
        "adgroup_name" | "campaign_id" => matches!(level, Level::Unit | Level::Creative),
        "ad_name" | "adgroup_id" => level == Level::Creative,
        name => figure(&Metrics::default(), name).is_some(),
    }
}

fn render(asked: &Asked, row: &Row, flaw: Flaw) -> Value {
    let mut dimensions = json!({"stat_time_day": format!("{} 00:00:00", row.time)});
    if flaw != Flaw::NoKey {
        let (name, id) = match asked.level {
            Level::Account => ("advertiser_id", asked.account.clone()),
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
            name => figure(&row.metrics, name)?.text(),
        };
        Some((name.clone(), value))
    };
    json!({"dimensions": dimensions, "metrics": asked.columns.iter().filter_map(metric).collect::<Map<_, _>>()})
}

fn figure(metrics: &Metrics, name: &str) -> Option<Figure> {
    Some(match name {
        "spend" => Figure::Hundredths(metrics.fee),
        "impressions" => Figure::Count(metrics.impression),
        "clicks" => Figure::Count(metrics.click),
        "ctr" => Figure::Hundredths(metrics.ctr()),
        "cpc" => Figure::per_click(metrics),
        "cpm" => Figure::per_thousand(metrics),
        "reach" => Figure::Count(metrics.impression),
        "frequency" => Figure::Hundredths(100),
        "conversion" => Figure::Count(metrics.collect),
        "cost_per_conversion" => Figure::Missing,
        "likes" => Figure::Count(metrics.like),
        "comments" => Figure::Count(metrics.comment),
        "shares" => Figure::Count(metrics.share),
        "follows" => Figure::Count(metrics.follow),
        _ => return None,
    })
}
