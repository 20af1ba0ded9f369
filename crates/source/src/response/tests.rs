use jiff::civil::date;
use pagemill_core::{FailureClass, PageJob, Slice, WriteMode};
use toml::Table;

use super::*;

const DEFINITION: &str = r#"name = "demo"
title = "Demo"
base_url = "https://api.example.com"
time_zone = "Asia/Shanghai"

[numbers]
percent = "ratio"
thousands = ","
currency = "¥"
null = ["", "-"]

[response]
code = ["code", "errorCode"]
ok = 0
message = ["msg", "message"]
request_id = "request_id"
total = "data.total_count"
rows = "data.data_list"

[[rules]]
class = "throttled"
code = 10005

[[rules]]
class = "transient"
status = 400
message = "系统错误"

[[rules]]
class = "token"
message = "(?i)token|过期"

[stream.daily]
path = "/daily"
pager = { kind = "page", size = 3 }
max_days = 2
account_column = "account"
dates = { within = "time" }
columns = [
  { name = "account", type = "bigint", param = "account", key = true },
  { name = "caliber", type = "bigint", const = 0, key = true },
  { name = "time", type = "date", key = true },
  { name = "id", type = "bigint", key = true },
  { name = "keyword", type = "text", key = true, if_missing = "" },
  { name = "name", type = "text", path = ["name", "title"] },
  { name = "fee", type = "numeric", path = ["fee", "data.fee"] },
  { name = "clicks", type = "bigint", path = "data.clicks" },
  { name = "ctr", type = "numeric" },
  { name = "live", type = "boolean" },
]
body = { page = "{page:int}" }
"#;

fn job() -> PageJob {
    PageJob {
        v: PageJob::VERSION,
        partition: 1,
        run: 1,
        slice: Slice {
            source: "demo".into(),
            stream: "daily".into(),
            account: "1001".into(),
            from: date(2026, 11, 23),
            to: date(2026, 11, 23),
            part: Default::default(),
        },
        page: 1,
        page_size: 3,
        generation: 0,
        attempt: 0,
        lane: pagemill_core::Lane::High,
        cursor: None,
        write_mode: WriteMode::Direct,
        baseline: None,
    }
}

fn definition() -> Definition {
    Definition::parse("demo.toml", DEFINITION, Table::new()).unwrap()
}

fn decode(body: &str) -> Result<FetchedPage, Failure> {
    definition().decode(&job(), Bytes::copy_from_slice(body.as_bytes()))
}

fn good(rows: &str) -> FetchedPage {
    decode(&format!(r#"{{"code":0,"data":{{"total_count":9,"data_list":[{rows}]}}}}"#)).unwrap()
}

fn bad(rows: &str) -> String {
    let body = format!(r#"{{"code":0,"data":{{"total_count":9,"data_list":{rows}}}}}"#);
    let failure = decode(&body).expect_err(rows);
    assert_eq!(failure.class, FailureClass::Permanent, "{failure}");
    failure.message
}

/// A value as text, for comparing.
fn shown(page: &FetchedPage, name: &str, row: usize) -> String {
    let definition = definition();
    let columns = &definition.stream("daily").unwrap().table_shape().columns;
    let at = columns.iter().position(|c| c.name == name).unwrap();
    let null = || "NULL".to_owned();
    match &page.rows.columns()[at] {
        Column::Bigint(v) => v[row].map_or_else(null, |v| v.to_string()),
        Column::Numeric(v) => v[row].map_or_else(null, |v| v.to_string()),
        Column::Text(v) => v.get(row).map_or_else(null, |v| format!("'{v}'")),
        Column::Boolean(v) => v[row].map_or_else(null, |v| v.to_string()),
        Column::Date(v) => v[row].map_or_else(null, |v| v.to_string()),
        Column::Timestamptz(v) => v[row].map_or_else(null, |v| v.to_string()),
    }
}

#[test]
fn a_page_as_it_comes() {
    let page = decode(
        r#"{"request_id":"r-1","data":{"data_list":[
            {"time":"2026-11-23","id":9007199254740993,"keyword":"羽绒服","name":"a\"b\u521b","fee":"¥1,234.50",
             "ctr":"3.59%","unknown":{"deep":[1,{"fee":"7"}]},"data":{"clicks":"5,655"},"live":1}
          ],"aggregation_data":{"fee":"9"},"total_count":"1,137"},"msg":"成功","code":0}"#,
    )
    .unwrap();
    assert_eq!((page.rows.len(), page.total, page.request_id.as_deref()), (1, Some(1_137), Some("r-1")));
    assert!(page.cast_failures.is_empty(), "{:?}", page.cast_failures);
    for (name, value) in [
        ("account", "1001"),
        ("caliber", "0"),
        ("time", "2026-11-23"),
        ("id", "9007199254740993"),
        ("keyword", "'羽绒服'"),
        ("name", "'a\"b创'"),
        ("fee", "1234.50"),
        ("clicks", "5655"),
        ("ctr", "0.0359"),
        ("live", "true"),
    ] {
        assert_eq!(shown(&page, name, 0), value, "{name}");
    }
}

#[test]
fn rows_need_not_be_alike() {
    let page = good(
        r#"{"time":"2026-11-23","id":"1","keyword":"k","name":"n","fee":"1","data":{"clicks":1}},
           {"data":{"clicks":2,"fee":2.50},"fee":null,"title":"t","\u0069d":2,"time":"20261123"},
           {"id":3,"time":"2026-11-23 00:00:00","fee":"1","fee":"3e2","keyword":"-","data":null,"live":"FALSE","name":""}"#,
    );
    assert!(page.cast_failures.is_empty(), "{:?}", page.cast_failures);
    let column = |name| (0..3).map(|row| shown(&page, name, row)).collect::<Vec<_>>();
    assert_eq!(column("id"), ["1", "2", "3"]);
    assert_eq!(column("time"), ["2026-11-23"; 3]);
    assert_eq!(column("keyword"), ["'k'", "''", "''"], "a missing dimension is the sentinel");
    assert_eq!(column("name"), ["'n'", "'t'", "''"], "the second path; an empty text is no NULL");
    assert_eq!(column("fee"), ["1", "2.50", "300"], "a key that comes twice: the last counts");
    assert_eq!(column("clicks"), ["1", "2", "NULL"]);
    assert_eq!(column("live"), ["NULL", "NULL", "false"]);
}

#[test]
fn what_cannot_be_read_is_null_and_counted() {
    let page = good(
        r#"{"time":"2026-11-23","id":1,"fee":"n/a","data":{"clicks":"5.5"},"ctr":"-","live":2,"name":"a\u0000b"},
           {"time":"2026-11-23","id":2,"fee":[1],"data":{"clicks":99999999999999999999},"ctr":{},"live":true,"name":"\ud83d"},
           {"time":"2026-11-23","id":3,"fee":true,"data":[],"ctr":"","live":null,"name":[1]}"#,
    );
    let count = |column: &str, count, sample: &str| CastFailure {
        column: column.into(),
        count,
        sample: sample.into(),
    };
    assert_eq!(
        page.cast_failures,
        [
            count("name", 2, "a\0b"),
            count("fee", 3, "n/a"),
            count("clicks", 2, "5.5"),
            count("ctr", 1, "{}"),
            count("live", 1, "2"),
        ]
    );
    assert_eq!((shown(&page, "fee", 0), shown(&page, "clicks", 1)), ("NULL".into(), "NULL".into()));
    assert_eq!((shown(&page, "name", 0), shown(&page, "name", 1)), ("'a\u{fffd}b'".into(), "NULL".into()));
    assert_eq!(shown(&page, "name", 2), "'[1]'");
}

#[test]
fn a_row_without_its_key_fails_the_page() {
    let first = r#"{"time":"2026-11-23","id":1}"#;
    for (row, said) in [
        (r#"{"time":"2026-11-23"}"#, "row 2 has no id, a column of the key"),
        (r#"{"time":"2026-11-23","id":null}"#, "row 2 has no id, a column of the key"),
        (r#"{"time":"-","id":1}"#, "row 2 has no time, a column of the key"),
        (r#"{"time":"2026-11-23","id":"x"}"#, "row 2: id, a column of the key, is no bigint"),
        (
            r#"{"time":"2026-11-23","id":1,"keyword":"\ud83d"}"#,
            "row 2: keyword, a column of the key, is no text",
        ),
        ("7", "row 2 is no object"),
        ("null", "row 2 is no object"),
    ] {
        assert_eq!(bad(&format!("[{first},{row}]")), said);
    }
}

#[test]
fn bounds_on_what_a_response_holds() {
    let row = r#"{"time":"2026-11-23","id":1}"#;
    assert_eq!(bad(&format!("[{}]", [row; 7].join(","))), "more than 6 rows on one page");
    let long = format!(r#"[{{"time":"2026-11-23","id":1,"name":"{}"}}]"#, "x".repeat(1 << 20));
    assert_eq!(bad(&long), "name of row 1 is longer than 1 MiB");
    let deep =
        format!(r#"[{{"time":"2026-11-23","id":1,"other":{}{}}}]"#, "[".repeat(9_999), "]".repeat(9_999));
    assert_eq!(good(deep.trim_matches(['[', ']'])).rows.len(), 1, "what nobody wants is not looked into");
}

const NO_PAGES: &[(&str, FailureClass, &str)] = &[
    (r#"{"code":10005,"msg":"x"}"#, FailureClass::Throttled, "HTTP 200, code 10005: x"),
    (
        r#"{"errorCode":"77","message":"Token 过期","request_id":7}"#,
        FailureClass::Token,
        "HTTP 200, code 77: Token 过期 (request 7)",
    ),
    (
        r#"{"code":10002,"msg":"bad column","data":{"data_list":[7]}}"#,
        FailureClass::Permanent,
        "HTTP 200, code 10002: bad column",
    ),
    (
        r#"{"data":{"total_count":0,"data_list":[]}}"#,
        FailureClass::Transient,
        "HTTP 200, response without code (code or errorCode)",
    ),
    (
        r#"{"code":0,"data":{"data_list":[]}}"#,
        FailureClass::Permanent,
        "response without total (data.total_count)",
    ),
    (
        r#"{"code":0,"data":{"total_count":"-","data_list":[]}}"#,
        FailureClass::Permanent,
        "the total (data.total_count) is no number: \"-\"",
    ),
    (
        r#"{"code":0,"data":{"total_count":-1,"data_list":[]}}"#,
        FailureClass::Permanent,
        "the total (data.total_count) is no number: \"-1\"",
    ),
    (
        r#"{"code":0,"request_id":"r","data":{"total_count":1}}"#,
        FailureClass::Permanent,
        "response without rows: data.data_list is missing or no array (request r)",
    ),
    (
        r#"{"code":0,"data":{"total_count":1,"data_list":"x"}}"#,
        FailureClass::Permanent,
        "response without rows: data.data_list is missing or no array",
    ),
    (
        "<html>\n<title>502</title>",
        FailureClass::Transient,
        "HTTP 200, but no JSON (no content type): <html> <title>502</title>",
    ),
    ("", FailureClass::Transient, "HTTP 200, but no JSON (no content type): empty"),
    ("\u{feff}{}", FailureClass::Transient, "HTTP 200, but no JSON (no content type): \u{feff}{}"),
    (
        r#"{"code":0,"data":{"fee":"secret"#,
        FailureClass::Transient,
        "HTTP 200, but no JSON (no content type): EOF while parsing a string at line 1 column 31",
    ),
    (
        r#"{"code":0} {}"#,
        FailureClass::Transient,
        "HTTP 200, but no JSON (no content type): trailing characters at line 1 column 12",
    ),
    ("[]", FailureClass::Transient, "HTTP 200, response without code (code or errorCode)"),
];

#[test]
fn responses_that_are_no_page() {
    let none = r#"{"code":0,"data":{"total_count":0,"data_list":null}}"#;
    assert_eq!(decode(none).unwrap().rows.len(), 0, "some send null for none");
    for (body, class, said) in NO_PAGES.iter().copied() {
        let failure = decode(body).expect_err(body);
        assert_eq!((failure.class, failure.message.as_str()), (class, said), "{body}");
    }
    let failure =
        definition().decode(&job(), Bytes::from_static(b"{\"code\":0,\"x\":\"\xff\"}")).unwrap_err();
    assert_eq!(failure.message, "HTTP 200, but no JSON (no content type): no UTF-8 text");
}

#[test]
fn statuses_and_rules() {
    let definition = definition();
    let stream = definition.stream("daily").unwrap();
    let job = job();
    let params = stream.params(&job).unwrap();
    for (status, body, class, said) in [
        (429, "", FailureClass::Throttled, "HTTP 429"),
        (401, "", FailureClass::Token, "HTTP 401"),
        (408, "", FailureClass::Transient, "HTTP 408"),
        (503, "<h1>busy</h1>", FailureClass::Transient, "HTTP 503: <h1>busy</h1>"),
        (404, "", FailureClass::Permanent, "HTTP 404"),
        (400, r#"{"msg":"系统错误"}"#, FailureClass::Transient, "HTTP 400: 系统错误"),
        (403, r#"{"msg":"系统错误"}"#, FailureClass::Permanent, "HTTP 403: 系统错误"),
        (400, r#"{"code":1,"msg":"TOKEN"}"#, FailureClass::Token, "HTTP 400, code 1: TOKEN"),
        (500, r#"{"code":10005}"#, FailureClass::Throttled, "HTTP 500, code 10005"),
        (
            500,
            r#"{"code":0,"data":{"total_count":0,"data_list":[]}}"#,
            FailureClass::Transient,
            "HTTP 500, code 0",
        ),
    ] {
        let head = ResponseHead { status, ..ResponseHead::default() };
        let body = Bytes::copy_from_slice(body.as_bytes());
        let failure = page(&definition, stream, &params, &head, body).unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (class, said));
    }
    let head =
        ResponseHead { status: 302, location: Some("evil.example:443".into()), ..ResponseHead::default() };
    let failure = page(&definition, stream, &params, &head, Bytes::new()).unwrap_err();
    assert_eq!(failure.message, "HTTP 302: a redirect to evil.example:443, not followed");
    assert_eq!(failure.class, FailureClass::Permanent);
}

#[test]
fn messages_are_cut_to_one_line() {
    let body = format!(r#"{{"code":1,"msg":"{}\nx"}}"#, "很".repeat(300));
    let failure = decode(&body).unwrap_err();
    assert_eq!(failure.message, format!("HTTP 200, code 1: {}", "很".repeat(200)));
}

#[test]
fn jobs_that_cannot_be_asked_for() {
    let mut long = job();
    long.slice.to = date(2026, 11, 25);
    let mut backwards = job();
    backwards.slice.to = date(2026, 11, 22);
    let mut elsewhere = job();
    elsewhere.slice.stream = "weekly".into();
    let mut foreign = job();
    foreign.slice.source = "other".into();
    let mut named = job();
    named.slice.account = "shop".into();
    for (job, said) in [
        (long, "2026-11-23 to 2026-11-25 is 3 days, and 2 is the most"),
        (backwards, "2026-11-23 to 2026-11-22 is 0 days, and 2 is the most"),
        (elsewhere, "source demo has no stream weekly: it has daily"),
        (foreign, "a job of source other came to source demo"),
        (named, "account \"shop\" is no whole number"),
    ] {
        let body = r#"{"code":0,"data":{"total_count":0,"data_list":[]}}"#;
        let failure = definition().decode(&job, Bytes::from_static(body.as_bytes())).unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (FailureClass::Permanent, said));
    }
}

/// The first page of a stream with this response and these columns.
fn page_of(response: &str, stream: &str, body: &str) -> Result<FetchedPage, Failure> {
    let text = format!(
        r#"name = "demo"
title = "Demo"
base_url = "https://api.example.com"
time_zone = "UTC"
response = {response}
rules = [{{ class = "throttled", message = "quota" }}]
[stream.daily]
path = "/daily"
method = "GET"
dates = {{ within = "day" }}
{stream}"#
    );
    let definition = Definition::parse("demo.toml", &text, Table::new()).unwrap();
    definition.decode(&job(), Bytes::copy_from_slice(body.as_bytes()))
}

const SINGLE: &str = r#"pager = { kind = "single" }
columns = [{ name = "day", type = "date", key = true }, { name = "fee", type = "numeric" }, { name = "clicks", type = "bigint", path = ["metrics.clicks", "click"] }]
"#;

#[test]
fn fields_without_a_column_and_columns_without_a_field() {
    let page = page_of(
        r#"{ rows = "$" }"#,
        SINGLE,
        r#"[{"day":"2026-11-23","metrics":{"clicks":1,"new":2},"x":1},{"y":{"deep":1},"day":"2026-11-24","metrics":null,"\u007a":0}]"#,
    )
    .unwrap();
    assert_eq!(page.unmapped, ["metrics.new", "x", "y", "z"]);
    assert_eq!(page.absent, ["fee"]);
    let none = page_of(r#"{ rows = "$" }"#, SINGLE, "[]").unwrap();
    assert_eq!((none.unmapped.len(), none.absent.len()), (0, 0), "without rows there is nothing to say");
}

#[test]
fn the_sums_that_the_api_states() {
    let stream = format!("{SINGLE}sums = [\"clicks\", \"fee\"]");
    let sums = |body: &str| {
        let response = r#"{ rows = "data.list", sums = "data.sums" }"#;
        let page = page_of(response, &stream, &format!(r#"{{"data":{{"list":[]{body}}}}}"#)).unwrap();
        page.sums.into_iter().map(|sum| sum.map(|sum| sum.to_string())).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(sums(r#","sums":{"fee":"1234.50","metrics":{"clicks":7}}"#), [some("7"), some("1234.50")]);
    assert_eq!(sums(r#","sums":{"fee":"n/a","clicks":7}"#), [some("7"), None], "flat, though rows nest it");
    assert_eq!(sums(r#","sums":null"#), []);
    assert_eq!(sums(r#","sums":[1]"#), []);
    assert_eq!(sums(""), []);
}

#[test]
fn one_object_is_the_only_row() {
    let response = r#"{ rows = "$", single_row = true, code = "code", ok = 0, total = "fee" }"#;
    let page = page_of(response, SINGLE, r#"{"code":0,"day":"2026-11-23","fee":3}"#).unwrap();
    assert_eq!((page.rows.len(), page.total), (1, Some(3)), "the response is the row, and more");
    let failure = page_of(response, SINGLE, r#"{"code":7,"day":"x"}"#).unwrap_err();
    assert_eq!(failure.message, "HTTP 200, code 7");
    let inner = r#"{ rows = "data", single_row = true }"#;
    assert_eq!(page_of(inner, SINGLE, r#"{"data":null}"#).unwrap().total, Some(0));
    let failure = page_of(inner, SINGLE, r#"{"data":[]}"#).unwrap_err();
    assert_eq!(failure.message, "response without rows: data is missing or no object");
}

#[test]
fn parts_that_failed() {
    let response = r#"{ rows = "rows", code = "status", ok = [0, 1], partial_failures = "failures", message = "failures.0.message" }"#;
    let failed = |failures: &str| {
        page_of(response, SINGLE, &format!(r#"{{"status":1,"failures":{failures},"rows":[]}}"#)).map(|_| ())
    };
    assert_eq!(failed("[]"), Ok(()));
    assert_eq!(failed("null"), Ok(()));
    let failure = failed(r#"[{"message":"over quota"},{}]"#).unwrap_err();
    assert_eq!(failure.class, FailureClass::Throttled);
    assert_eq!(failure.message, r#"parts failed (2): {"message":"over quota"}"#);
    assert_eq!(failed(r#"["other"]"#), Err(Failure::transient("parts failed (1): other")));
}

#[test]
fn paths_through_arrays() {
    let response = r#"{ rows = "body.data.0.rows", total = "body.data.0.total" }"#;
    let columns = r#"pager = { kind = "single" }
columns = [{ name = "day", type = "date", path = "d.0", key = true }, { name = "first", type = "text", path = "list.1.id" }, { name = "list", type = "text" }]"#;
    let page = page_of(
        response,
        columns,
        r#"{"body":{"data":[{"total":5,"rows":[{"d":["2026-11-23",1],"list":[{"id":1},{"id":"b"},3]},{"d":["2026-11-24"],"list":[]}]},{"total":9}]}}"#,
    )
    .unwrap();
    assert_eq!((page.rows.len(), page.total), (2, Some(5)));
    let Column::Text(first) = &page.rows.columns()[1] else { unreachable!() };
    let Column::Text(list) = &page.rows.columns()[2] else { unreachable!() };
    assert_eq!((first.get(0), first.get(1)), (Some("b"), None));
    assert_eq!((list.get(0), list.get(1)), (Some(r#"[{"id":1},{"id":"b"},3]"#), Some("[]")));
}

#[test]
fn rows_that_are_arrays() {
    let columns = r#"pager = { kind = "single" }
columns = [{ name = "day", type = "date", path = "0", key = true }, { name = "fee", type = "numeric", path = "2" }]"#;
    let page =
        page_of(r#"{ rows = "rows" }"#, columns, r#"{"rows":[["2026-11-23","x","1.5"],["2026-11-24"]]}"#)
            .unwrap();
    let Column::Numeric(fee) = &page.rows.columns()[1] else { unreachable!() };
    assert_eq!(
        fee.iter().map(|fee| fee.map(|fee| fee.to_string())).collect::<Vec<_>>(),
        [Some("1.5".into()), None]
    );
}

#[test]
fn a_csv_table_is_read_like_any_other() {
    assert_eq!(
        csv::as_json("a, b\n1,\"x \"\"y\"\"\"\n,\n").unwrap(),
        r#"[{"a":"1","b":"x \"y\""},{"a":"","b":""}]"#
    );
    assert_eq!(csv::as_json("a,b\n").unwrap(), "[]");
    assert!(csv::as_json("a,b\n1\n").unwrap_err().contains("found record with 1 fields"));
}
