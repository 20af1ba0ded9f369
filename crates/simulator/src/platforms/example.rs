//! No platform's dialect but that of many small services, json-server's among them: the response is the
//! array of rows, the total is in `X-Total-Count`, other pages are in `Link`, failures are statuses.

use hyper::{Method, StatusCode, http::request::Parts};
use serde_json::{Value, json};

use super::parameters::{MAX_PAGE, bounded, date_range, header, token_matches};
use super::query::Query;
use crate::{
    dialect::Dialect,
    number::Number,
    page::{Flaw, Page},
    page_request::PageRequest,
    refusal::Refusal,
    response::Response,
    row::Row,
};

const PATH: &str = "/reports";
const MAX_DAYS: i32 = 366;

pub(crate) struct Example;

impl Dialect for Example {
    fn owns(&self, path: &str) -> bool {
        path == PATH
    }

    fn read(&self, parts: &Parts, _body: &[u8], token: Option<&str>) -> Result<PageRequest, Refusal> {
        if parts.method != Method::GET {
            return Err(Refusal::Method);
        }
        if !token_matches(token, header(parts, "authorization", "Bearer ")) {
            return Err(Refusal::Token);
        }
        let query = Query::of(parts);
        let days = date_range(query.parsed("day_gte")?, query.parsed("day_lte")?, MAX_DAYS)
            .ok_or(Refusal::Parameter("day_lte"))?;
        let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let rest =
            parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("_page="));
        Ok(PageRequest {
            page: bounded(query.parsed("_page")?, 1, MAX_PAGE).ok_or(Refusal::Parameter("_page"))?,
            size: bounded(query.parsed("_limit")?, 10, 1_000).ok_or(Refusal::Parameter("_limit"))?,
            address: format!("http://{host}{PATH}?{}", rest.collect::<Vec<_>>().join("&")),
            ..PageRequest::new(query.required("account")?.to_owned(), days)
        })
    }

    fn page(&self, request: &PageRequest, page: &Page, _request_id: &str) -> Response {
        let rows: Vec<_> = page.rows.iter().map(|row| render(row, page.flaw)).collect();
        let total = if page.flaw == Flaw::BadTotal { "-".to_owned() } else { page.total.to_string() };
        let last = page.pages(request).max(1);
        let mut links = vec![(1, "first"), (last, "last")];
        if request.page > 1 {
            links.push((request.page - 1, "prev"));
        }
        links.extend(page.next.map(|next| (next, "next")));
        let link = |(page, name): (u64, &str)| format!("<{}&_page={page}>; rel=\"{name}\"", request.address);
        Response::json(StatusCode::OK, Value::from(rows).to_string())
            .with("x-total-count", &total)
            .with("link", &links.into_iter().map(link).collect::<Vec<_>>().join(", "))
    }

    fn refuse(&self, refusal: &Refusal, _request_id: &str) -> Response {
        let (status, message) = match refusal {
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "use GET".to_owned()),
            Refusal::Token => (StatusCode::UNAUTHORIZED, "no such token".to_owned()),
            Refusal::Parameter(name) => (StatusCode::BAD_REQUEST, format!("{name} is missing or bad")),
            Refusal::Throttled => (StatusCode::TOO_MANY_REQUESTS, "slow down".to_owned()),
            Refusal::System => (StatusCode::INTERNAL_SERVER_ERROR, "something broke".to_owned()),
        };
        Response::json(status, json!({ "error": message }).to_string())
    }
}

fn render(row: &Row, flaw: Flaw) -> Value {
    let mut value = json!({
        "day": row.time.to_string(),
        "title": format!("Item {}", row.index),
        "spend": Number::Hundredths(row.metrics.fee).json_number(),
        "metrics": {"views": row.metrics.impression, "clicks": row.metrics.click},
    });
    if flaw != Flaw::NoKey {
        value["id"] = row.creativity_id.into();
    }
    value
}
