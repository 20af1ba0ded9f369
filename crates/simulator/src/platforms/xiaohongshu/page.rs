//! The responses of offline reports, and of realtime reports.

use bytes::Bytes;

use super::{
    digits::Thousands,
    row::{ROOM, push_dimensions, push_row, thousands},
    selection::Selection,
};
use crate::{
    level::Level,
    page::{Flaw, Page},
    page_request::PageRequest,
    row::Row,
};

/// An offline page, rendered. It takes some 20 µs for 100 rows, less than sending it, so no page is kept.
pub(super) fn render(request: &PageRequest, page: &Page, request_id: &str) -> Bytes {
    let selection = Selection::of(request, page, false);
    let mut out = begin(page, request_id);
    out.extend_from_slice(b"\",\"data\":{");
    if request.level == Level::SearchWord {
        push_page(&mut out, request, page);
    } else {
        out.extend_from_slice(b"\"total_count\":");
        push_total(&mut out, page);
    }
    out.extend_from_slice(b",\"aggregation_data\":{");
    selection.push(&mut out, &page.sums, Thousands::Plain);
    out.extend_from_slice(b"},\"data_list\":[");
    let (mut day, mut text) = (None, String::new());
    for row in &page.rows {
        if day != Some(row.time) {
            (day, text) = (Some(row.time), row.time.to_string());
        }
        push_row(&mut out, row, request.level, &text, &selection, page.flaw != Flaw::NoKey);
        out.push(b',');
    }
    if !page.rows.is_empty() {
        out.pop();
    }
    out.extend_from_slice(b"]}}");
    out.into()
}

/// A realtime page: rows beside the page's numbers, what a row is about apart from its metrics. The
/// account's is one object.
pub(super) fn render_realtime(request: &PageRequest, page: &Page, request_id: &str) -> Bytes {
    let selection = Selection::of(request, page, true);
    let mut out = begin(page, request_id);
    let Some(name) = realtime_name(request.level) else {
        out.extend_from_slice(b"\",\"data\":{");
        selection.push(&mut out, &page.sums, Thousands::Plain);
        out.extend_from_slice(b"},\"hourly_data\":[]}");
        return out.into();
    };
    out.extend_from_slice(b"\",");
    push_page(&mut out, request, page);
    out.extend_from_slice(b",\"total_data\":{");
    selection.push(&mut out, &page.sums, Thousands::Plain);
    out.extend_from_slice(format!("}},\"{name}_dtos\":[").as_bytes());
    for row in &page.rows {
        out.push(b'{');
        push_bases(&mut out, row, request.level, page.flaw != Flaw::NoKey);
        out.extend_from_slice(b"\"data\":{");
        selection.push(&mut out, &row.metrics, thousands(row));
        out.extend_from_slice(b"}},");
    }
    if !page.rows.is_empty() {
        out.pop();
    }
    out.extend_from_slice(b"]}");
    out.into()
}

/// `base_campaign_dto`, on deeper levels `base_unit_dto` and the level's own.
fn push_bases(out: &mut Vec<u8>, row: &Row, level: Level, keyed: bool) {
    let levels: &[Level] = match level {
        Level::Campaign => &[Level::Campaign],
        Level::Unit => &[Level::Campaign, Level::Unit],
        _ => &[Level::Campaign, Level::Unit, level],
    };
    for base in levels {
        let name = realtime_name(*base).unwrap_or_default();
        out.extend_from_slice(format!("\"base_{name}_dto\":{{").as_bytes());
        push_dimensions(out, row, *base, keyed || *base != level);
        out.pop();
        out.extend_from_slice(b"},");
    }
}

/// What a level is called in realtime reports; the account's has no rows.
fn realtime_name(level: Level) -> Option<&'static str> {
    match level {
        Level::Account => None,
        Level::Campaign => Some("campaign"),
        Level::Unit => Some("unit"),
        Level::Keyword => Some("keyword"),
        Level::Target => Some("target"),
        Level::Creative | Level::Note | Level::Spu | Level::SearchWord => Some("creativity"),
    }
}

fn begin(page: &Page, request_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROOM * (1 + page.rows.len()));
    out.extend_from_slice(r#"{"code":0,"success":true,"msg":"成功","request_id":""#.as_bytes());
    out.extend_from_slice(request_id.as_bytes());
    out
}

/// Where a report states its total in an object.
fn push_page(out: &mut Vec<u8>, request: &PageRequest, page: &Page) {
    out.extend_from_slice(format!("\"page\":{{\"page_index\":{},\"total_count\":", request.page).as_bytes());
    push_total(out, page);
    out.push(b'}');
}

fn push_total(out: &mut Vec<u8>, page: &Page) {
    match page.flaw {
        Flaw::BadTotal => out.extend_from_slice(b"\"-\""),
        Flaw::None | Flaw::NoKey => out.extend_from_slice(itoa::Buffer::new().format(page.total).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use jiff::civil::date;
    use serde_json::Value;

    use super::*;
    use crate::{
        config::SimulatorConfig, dataset::Dataset, day::Day, fault::FaultKind, metrics::Metrics,
        truth::truth_digest,
    };

    fn config(rows: u64) -> SimulatorConfig {
        SimulatorConfig { rows, ..Default::default() }
    }

    fn request(page: u64) -> PageRequest {
        let day = date(2026, 11, 23);
        PageRequest { page, size: 100, ..PageRequest::new("1001".into(), (day, day)) }
    }

    fn page(
        config: &SimulatorConfig,
        request: &PageRequest,
        sums: Metrics,
        fault: Option<FaultKind>,
    ) -> Bytes {
        let dataset = |date| Dataset::new(config, &request.account, request.level, date, &[]);
        let days: Vec<_> = request.days().map(dataset).collect();
        render(request, &Page::new(&days, request, sums, fault, 7), "id")
    }

    fn body(config: &SimulatorConfig, request: &PageRequest, fault: Option<FaultKind>) -> Value {
        serde_json::from_slice(&page(config, request, Metrics::default(), fault)).unwrap()
    }

    fn rows(body: &Value) -> Vec<Value> {
        body["data"]["data_list"].as_array().unwrap().clone()
    }

    /// As a client would read it: no comma, no sign.
    fn number(row: &Value, name: &str) -> String {
        let text = row[name].as_str().unwrap().replace(',', "");
        assert!(text.parse::<f64>().is_ok(), "{name}: {text}");
        text
    }

    fn trimmed(decimal: &str) -> String {
        if decimal.contains('.') {
            decimal.trim_end_matches('0').trim_end_matches('.').into()
        } else {
            decimal.into()
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let render = |seed, n| {
            let config = SimulatorConfig { seed, ..config(1_000) };
            page(&config, &request(n), Metrics::default(), None)
        };
        assert_eq!(render(1, 3), render(1, 3));
        assert_ne!(render(1, 3), render(2, 3));
        assert_ne!(render(1, 3), render(1, 4));
    }

    #[test]
    fn pages_partition_the_rows_of_all_days() {
        let mut request = PageRequest { end: date(2026, 11, 25), ..request(1) };
        let mut seen = HashMap::new();
        loop {
            let body = body(&config(250), &request, None);
            assert_eq!(body["data"]["total_count"], 750);
            let rows = rows(&body);
            assert_eq!(rows.len(), [100, 100, 100, 100, 100, 100, 100, 50, 0][request.page as usize - 1]);
            if rows.is_empty() {
                break;
            }
            for row in rows {
                *seen.entry((row["time"].to_string(), row["creativity_id"].to_string())).or_insert(0) += 1;
            }
            request.page += 1;
        }
        assert_eq!(seen.len(), 750);
        assert!(seen.values().all(|times| *times == 1));
    }

    #[test]
    fn the_truth_is_what_the_pages_say() {
        let config = config(1_234);
        let (mut count, mut sum, mut seen) = (0, 0, String::new());
        for n in 1..=13 {
            for row in rows(&body(&config, &request(n), None)) {
                let text = |name: &str| row[name].to_string().trim_matches('"').to_owned();
                // 3.59% is 359 ten-thousandths.
                let percent = row["ctr"].as_str().unwrap().strip_suffix('%').unwrap().replace(',', "");
                let parts = percent.replace('.', "").parse::<u64>().unwrap();
                let ctr = trimmed(&format!("{}.{:04}", parts / 10_000, parts % 10_000));
                let line = [
                    text("time"),
                    text("creativity_id"),
                    text("campaign_id"),
                    text("unit_id"),
                    text("note_id"),
                    trimmed(&number(&row, "fee")),
                    number(&row, "impression"),
                    number(&row, "click"),
                    ctr,
                    number(&row, "like"),
                    number(&row, "comment"),
                ]
                .join("|");
                count += 1;
                sum += crate::truth::weight(line.as_bytes());
                seen.push_str(&row.to_string());
            }
        }
        assert_eq!(format!("{count}:{sum}"), truth_digest(&config, "1001", date(2026, 11, 23)));
        for part in [r#""-""#, ",", "0.00%", "\"11529"] {
            assert!(seen.contains(part), "{part} occurs");
        }
    }

    #[test]
    fn aggregation_data_is_the_sum_of_the_rows() {
        let config = config(100);
        let sums = Day::new(&config, "1001", request(1).start).total();
        let body: Value = serde_json::from_slice(&page(&config, &request(1), sums, None)).unwrap();
        for name in ["impression", "click", "like", "comment", "collect", "share", "interaction"] {
            let sum: u64 = rows(&body).iter().map(|row| number(row, name).parse::<u64>().unwrap()).sum();
            assert_eq!(body["data"]["aggregation_data"][name], sum.to_string(), "{name}");
        }
        let cents = |text: String| text.replace('.', "").parse::<u64>().unwrap();
        let fee: u64 = rows(&body).iter().map(|row| cents(number(row, "fee"))).sum();
        assert_eq!(cents(number(&body["data"]["aggregation_data"], "fee")), fee);
    }

    #[test]
    fn flaws_show() {
        let config = config(3);
        let bad = body(&config, &request(1), Some(FaultKind::BadTotal));
        assert_eq!((&bad["data"]["total_count"], rows(&bad).len()), (&"-".into(), 3));
        assert!(
            rows(&body(&config, &request(1), Some(FaultKind::NoKey)))
                .iter()
                .all(|row| row["creativity_id"].is_null())
        );
        assert!(rows(&body(&config, &request(2), None)).is_empty());
    }
}
