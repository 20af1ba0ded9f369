//! The dialect of Baidu's reports: account and token within the body, rows counted from a start row, the
//! outcome in `header.status` (0 well, 1 partly failed, 2 failed, 3 system error), always HTTP 200.
//! Start rows in the middle of a page are refused. Codes of failures are unverified.

use hyper::{Method, StatusCode, http::request::Parts};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::parameters::{MAX_PAGE, bounded, date_range, token_matches};
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

const PATH: &str = "/json/sms/service/OpenApiReportService/getReportData";
const MAX_DAYS: i32 = 731;
const MAX_ROWS: u64 = 1_000;
/// Report types of search, then of feed.
const REPORTS: [(u64, Level); 8] = [
    (2_208_157, Level::Account),
    (2_290_316, Level::Campaign),
    (2_284_618, Level::Unit),
    (2_665_235, Level::Creative),
    (2_149_145, Level::Account),
    (2_276_038, Level::Campaign),
    (2_330_652, Level::Unit),
    (2_094_816, Level::Creative),
];

pub(crate) struct Baidu;

#[derive(Deserialize)]
struct Body {
    header: Header,
    body: Report,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    user_name: String,
    access_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    report_type: u64,
    time_unit: String,
    start_date: Option<Date>,
    end_date: Option<Date>,
    columns: Vec<String>,
    #[serde(default)]
    sorts: Vec<Sort>,
    #[serde(default)]
    start_row: u64,
    row_count: Option<i64>,
    #[serde(default)]
    need_sum: bool,
}

#[derive(Deserialize)]
struct Sort {
    column: String,
}

impl Dialect for Baidu {
    fn owns(&self, path: &str) -> bool {
        path == PATH
    }

    fn read(&self, parts: &Parts, body: &[u8], token: Option<&str>) -> Result<PageRequest, Refusal> {
        if parts.method != Method::POST {
            return Err(Refusal::Method);
        }
        let Body { header, body } = serde_json::from_slice(body).map_err(|_| Refusal::Parameter("body"))?;
        if !token_matches(token, Some(header.access_token.as_bytes())) {
            return Err(Refusal::Token);
        }
        let (_, level) = *REPORTS
            .iter()
            .find(|(report, _)| *report == body.report_type)
            .ok_or(Refusal::Parameter("reportType"))?;
        if body.time_unit != "DAY" {
            return Err(Refusal::Parameter("timeUnit"));
        }
        if body.columns.is_empty() || body.columns.iter().any(|name| !knows(level, name)) {
            return Err(Refusal::Parameter("columns"));
        }
        if body.sorts.len() > 2 || body.sorts.iter().any(|sort| !body.columns.contains(&sort.column)) {
            return Err(Refusal::Parameter("sorts"));
        }
        let days =
            date_range(body.start_date, body.end_date, MAX_DAYS).ok_or(Refusal::Parameter("endDate"))?;
        let size = bounded(body.row_count, 20, MAX_ROWS).ok_or(Refusal::Parameter("rowCount"))?;
        if !body.start_row.is_multiple_of(size) || body.start_row / size >= MAX_PAGE {
            return Err(Refusal::Parameter("startRow"));
        }
        Ok(PageRequest {
            level,
            page: body.start_row / size + 1,
            size,
            columns: body.columns,
            sums: body.need_sum,
            ..PageRequest::new(header.user_name, days)
        })
    }

    fn page(&self, request: &PageRequest, page: &Page, _request_id: &str) -> Response {
        let total = if page.flaw == Flaw::BadTotal { json!("-") } else { json!(page.total) };
        let rows: Vec<_> = page.rows.iter().map(|row| render(request, row, page.flaw)).collect();
        let mut data = json!({"rows": rows, "rowCount": rows.len(), "totalRowCount": total});
        if request.sums {
            let sum = |name: &String| Some((name.clone(), number(&page.sums, name)?.json_number()));
            data["summary"] = request.columns.iter().filter_map(sum).collect::<Map<_, _>>().into();
        }
        envelope(0, "success", json!([]), json!([data]))
    }

    fn refuse(&self, refusal: &Refusal, _request_id: &str) -> Response {
        let (status, code, message) = match refusal {
            Refusal::Method => (2, 8_001, "请求方法错误".to_owned()),
            Refusal::Token => (2, 8_101, "Invalid access token".to_owned()),
            Refusal::Parameter(name) => (2, 9_002, format!("参数错误: {name}")),
            Refusal::Throttled => (2, 8_501, "请求过于频繁".to_owned()),
            Refusal::System => (3, 8_500, "系统错误".to_owned()),
        };
        let failures = json!([{"code": code, "message": message, "position": ""}]);
        envelope(status, if status == 3 { "system error" } else { "failure" }, failures, json!([]))
    }
}

fn envelope(status: u8, description: &str, failures: Value, data: Value) -> Response {
    let header =
        json!({"status": status, "desc": description, "failures": failures, "oprs": 1, "rquota": 1000});
    Response::json(StatusCode::OK, json!({"header": header, "body": {"data": data}}).to_string())
}

/// True if a level's report has the column.
fn knows(level: Level, name: &str) -> bool {
    match name {
        "date" | "userName" | "userId" => true,
        "campaignId" | "campaignNameStatus" => level != Level::Account,
        "adGroupId" | "adGroupNameStatus" => matches!(level, Level::Unit | Level::Creative),
        "ideaInfo" => level == Level::Creative,
        name => number(&Metrics::default(), name).is_some(),
    }
}

fn render(request: &PageRequest, row: &Row, flaw: Flaw) -> Value {
    let keyed = flaw != Flaw::NoKey;
    let column = |name: &String| {
        let value = match name.as_str() {
            "date" => row.time.to_string().into(),
            "userName" => request.account.clone().into(),
            "campaignId" if keyed || request.level != Level::Campaign => row.campaign_id.into(),
            "campaignNameStatus" => format!("计划{}", row.campaign_id).into(),
            "adGroupId" if keyed || request.level != Level::Unit => row.unit_id.into(),
            "adGroupNameStatus" => format!("单元{}[已删除]", row.unit_id).into(),
            "ideaInfo" if keyed => {
                json!({"ideaId": row.creativity_id.to_string(), "ideaTitle": format!("创意{}", row.index)})
            }
            name => number(&row.metrics, name)?.json_number(),
        };
        Some((name.clone(), value))
    };
    request.columns.iter().filter_map(column).collect::<Map<_, _>>().into()
}

fn number(metrics: &Metrics, name: &str) -> Option<Number> {
    Some(match name {
        "cost" => Number::Hundredths(metrics.fee),
        "impression" => Number::Count(metrics.impression),
        "click" => Number::Count(metrics.click),
        "ctr" => Number::TenThousandths(metrics.ctr()),
        "cpc" => Number::per_click(metrics),
        "cpm" => Number::per_thousand(metrics),
        _ => return None,
    })
}
