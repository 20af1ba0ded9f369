use pagemill_core::{DateScope, Kind};

use super::*;

const SMALL: &str = r#"name = "demo"
title = "Demo"
base_url = "https://api.example.com/v1"
time_zone = "Asia/Shanghai"
auth = { kind = "token", header = "Access-Token" }
rate = { per_second = 2.5 }

[answer]
code = "code"
ok = 0
total = "data.total"
rows = "data.rows"

[[errors]]
class = "throttled"
message = "too many"

[columns]
basic = [{ name = "fee", type = "numeric" }]

[stream.daily]
path = "/daily"
pager = { kind = "page", size = 100, max_size = 200 }
dates = { within = "day" }
columns = [
  { name = "day", type = "date", key = true },
  "@basic",
]

[stream.daily.body]
page = "{page:int}"
"#;

fn parse(text: &str) -> Result<Definition, DefinitionError> {
    Definition::parse("demo.toml", text, Table::new())
}

fn overridden(overrides: &str) -> Result<Definition, DefinitionError> {
    Definition::parse("demo.toml", SMALL, overrides.parse().unwrap())
}

#[test]
fn shipped_definitions_are_good() {
    for name in Definition::shipped_names() {
        assert_eq!(Definition::shipped(name).unwrap().name(), name);
    }
}

#[test]
fn xiaohongshus_creatives() {
    let definition = Definition::shipped("xiaohongshu").unwrap();
    assert!(definition.needs_token());
    assert_eq!((definition.time_zone(), definition.rate().per_second), ("Asia/Shanghai", Some(3.0)));
    let stream = definition.stream("creative").unwrap();
    let table = stream.table_shape();
    assert_eq!((table.name.as_str(), stream.page_size()), ("xiaohongshu_creative", 100));
    let key: Vec<_> = table.key().into_iter().map(|k| table.columns[k].name.as_str()).collect();
    assert_eq!(key, ["advertiser_id", "data_caliber", "time", "creativity_id"]);
    assert_eq!(table.dates, DateScope::Within("time".into()));
    assert_eq!(table.account.as_deref(), Some("advertiser_id"));
    let kind = |name: &str| table.columns.iter().find(|c| c.name == name).unwrap().kind;
    assert_eq!((kind("note_id"), kind("fee"), kind("like")), (Kind::Text, Kind::Numeric, Kind::Bigint));
}

#[test]
fn an_unknown_stream_is_told_what_there_is() {
    let error = parse(SMALL).unwrap().stream("dayly").unwrap_err();
    assert_eq!(error.to_string(), "source demo has no stream dayly: it has daily");
}

#[test]
fn overrides_go_over_any_key() {
    let definition = overridden(
        "base_url = \"http://127.0.0.1:8765/\"\nrate = { per_minute = 9 }\nstream.daily.pager.size = 50",
    )
    .unwrap();
    let stream = definition.stream("daily").unwrap();
    assert_eq!(stream.url.as_str(), "http://127.0.0.1:8765/daily");
    assert_eq!(definition.rate(), Rate { per_second: Some(2.5), per_minute: Some(9), per_day: None });
    assert_eq!((stream.page_size(), stream.table_shape().name.as_str()), (50, "demo_daily"));
}

#[test]
fn a_wrong_override_is_named_as_the_configs() {
    for (overrides, said) in [
        ("rate = { per_secnd = 9 }", "config, key rate: unknown field `per_secnd`"),
        ("bas_url = \"x\"", "config, key bas_url: unknown field `bas_url`"),
        ("rate = { per_second = \"fast\" }", "config, key rate.per_second: invalid type: string \"fast\""),
        (
            "stream.daily.pager.size = 500",
            "config, key stream.daily.pager.size: 500: a page holds 1 to 200 rows",
        ),
        ("time_zone = \"Asia/Peking\"", "config, key time_zone: "),
        ("base_url = \"https://user:secret@host\"", "config, key base_url: a URL here holds no user"),
    ] {
        let error = overridden(overrides).unwrap_err().to_string();
        assert!(error.starts_with(said), "{overrides}: {error}");
    }
}

#[test]
fn errors_name_file_line_and_key() {
    let column = r#"{ name = "day", type = "date", key = true }"#;
    for (from, to, said) in [
        ("[answer]", "[answer", "demo.toml line 8: "),
        ("title =", "titel =", "demo.toml line 2, key titel: unknown field `titel`"),
        ("time_zone = \"Asia/Shanghai\"", "", "demo.toml line 1: missing field `time_zone`"),
        ("per_second = 2.5", "per_sec = 2", "demo.toml line 6, key rate.per_sec: unknown field `per_sec`"),
        ("per_second = 2.5", "per_second = 0", "demo.toml line 6, key rate.per_second: a rate is above 0"),
        ("kind = \"token\"", "kind = \"oauth\"", "demo.toml line 5, key auth"),
        ("https://api", "ftp://api", "demo.toml line 3, key base_url: "),
        ("\"demo\"", "\"Demo\"", "demo.toml line 1, key name: \"Demo\" is no name"),
        ("\"throttled\"", "\"slow\"", "demo.toml line 15, key errors[0].class: unknown variant `slow`"),
        ("\"too many\"", "\"(\"", "demo.toml line 16, key errors[0].message: regex parse error"),
        ("\"data.total\"", "\"data.rows.n\"", "demo.toml line 11, key answer.total: "),
        ("ok = 0", "", "demo.toml line 8, key answer.ok: code and ok go together"),
        ("stream.daily", "stream.Daily", "demo.toml line 21, key stream.Daily: \"Daily\" is no name"),
        ("\"/daily\"", "\"daily\"", "demo.toml line 22, key stream.daily.path: a path starts with /"),
        ("size = 100", "size = 0", "demo.toml line 23, key stream.daily.pager.size: 0: "),
        (
            "within = \"day\"",
            "within = \"fee\"",
            "demo.toml line 24, key stream.daily.dates.within: fee is no column",
        ),
        ("within = \"day\"", "from = \"day\"", "demo.toml line 24, key stream.daily.dates: write { within"),
        (
            "\"@basic\"",
            "\"@more\"",
            "demo.toml line 27, key stream.daily.columns[1]: there is no group @more",
        ),
        (
            "\"@basic\"",
            "\"@basic\", \"@basic\"",
            "demo.toml line 27, key stream.daily.columns[2]: a second column fee",
        ),
        (
            "\"fee\"",
            "\"_run\"",
            "demo.toml line 27, key stream.daily.columns[1]: column _run of @basic: \"_run\": names",
        ),
        (
            column,
            r#"{ name = "x\"y", type = "date", key = true }"#,
            "demo.toml line 26, key stream.daily.columns[0].name: ",
        ),
        (
            column,
            r#"{ name = "day", type = "dat", key = true }"#,
            "demo.toml line 26, key stream.daily.columns[0].type: unknown variant `dat`",
        ),
        (
            column,
            r#"{ name = "day", type = "date" }"#,
            "demo.toml line 25, key stream.daily.columns: no column has key",
        ),
        (
            column,
            r#"{ name = "day", type = "date", key = true, const = "soon" }"#,
            "demo.toml line 26, key stream.daily.columns[0].const: \"soon\" is no date",
        ),
        (
            column,
            r#"{ name = "day", type = "date", key = true, const = "2026-11-23", param = "from" }"#,
            "demo.toml line 26, key stream.daily.columns[0]: one of path",
        ),
        (
            column,
            r#"{ name = "day", type = "bigint", key = true, param = "from" }"#,
            "demo.toml line 26, key stream.daily.columns[0].type: a request's day",
        ),
        (
            "\"{page:int}\"",
            "\"{pag}\"",
            "demo.toml line 31, key stream.daily.body.page: \"{pag}\" is no placeholder",
        ),
        ("\"{page:int}\"", "1", "demo.toml line 30, key stream.daily.body: {page} is nowhere"),
    ] {
        assert!(SMALL.contains(from), "{from}");
        let error = parse(&SMALL.replace(from, to)).expect_err(to).to_string();
        assert!(error.starts_with(said), "{to}\n  said     {error}\n  expected {said}");
    }
}

#[test]
fn two_streams_never_fill_one_table() {
    let second = SMALL.split_once("[stream.daily]").unwrap().1.replace("stream.daily", "stream.weekly");
    let text = format!("{SMALL}\n[stream.weekly]\ntable = \"demo_daily\"{second}");
    let error = parse(&text).unwrap_err().to_string();
    assert!(error.ends_with("the table demo_daily is already filled by stream daily"), "{error}");
}

#[test]
fn what_is_neither_shipped_nor_a_file() {
    let error = Definition::load("xiaohongshoe", Table::new()).unwrap_err().to_string();
    assert!(
        error.starts_with("xiaohongshoe: neither a shipped definition (xiaohongshu) nor a file"),
        "{error}"
    );
}

#[test]
fn the_narrowest_window_sets_the_pace() {
    let rate = |text: &str| {
        let overrides: Table = text.parse().unwrap();
        Definition::load("xiaohongshu", overrides).unwrap().rate().sustained()
    };
    assert_eq!(rate("rate = { per_second = 50 }"), Some(50.0));
    assert_eq!(rate("rate = { per_second = 50, per_minute = 1200 }"), Some(20.0));
    assert_eq!(rate("rate = { per_second = 50, per_day = 43200 }"), Some(0.5));
    assert_eq!(rate("rate = \"unlimited\""), None);
    let error = Definition::load("xiaohongshu", "rate = \"fast\"".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("unlimited"), "{error}");
}

#[test]
fn the_meaning_changes_with_what_answers_mean() {
    let meaning = |text: &str| parse(text).unwrap().stream("daily").unwrap().meaning();
    let changed = |from: &str, to: &str| meaning(&SMALL.replace(from, to)) != meaning(SMALL);
    assert!(changed("name = \"fee\"", "name = \"fee\", path = \"cost\""), "a group that it uses");
    assert!(changed("\"data.rows\"", "\"data.list\""));
    assert!(changed("Asia/Shanghai", "UTC"));
    assert!(!changed("api.example.com", "api.example.org"));
    assert!(!changed("size = 100", "size = 50"));
    assert!(!changed("[columns]", "# a comment\n[columns]\nother = [{ name = \"x\", type = \"text\" }]"));
    let given = overridden("numbers = { percent = \"ratio\" }").unwrap();
    assert_ne!(given.stream("daily").unwrap().meaning(), meaning(SMALL), "an override of the config");
}
