use pagemill_core::{DateScope, Kind, Restate};

use super::*;

const SMALL: &str = r#"name = "demo"
title = "Demo"
base_url = "https://api.example.com/v1"
time_zone = "Asia/Shanghai"
auth = { kind = "token", header = "Access-Token" }
rate = { per_second = 2.5 }

[response]
code = "code"
ok = 0
total = "data.total"
rows = "data.rows"

[[rules]]
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
    assert_eq!(definition.url().as_str(), "http://127.0.0.1:8765/");
    let merged = Rate { per_second: Some(2.5), per_minute: Some(9), ..Rate::default() };
    assert_eq!(definition.rate(), &merged);
    assert_eq!((stream.page_size(), stream.table_shape().name.as_str()), (50, "demo_daily"));
}

#[test]
fn a_wrong_override_is_named_as_the_configs() {
    for (overrides, said) in [
        ("rate = { per_secnd = 9 }", "config, key rate.per_secnd: unknown field `per_secnd`"),
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

const COLUMN: &str = r#"{ name = "day", type = "date", key = true }"#;

const WRONG: &[(&str, &str, &str)] = &[
    ("[response]", "[response", "demo.toml line 8: "),
    ("title =", "titel =", "demo.toml line 2, key titel: unknown field `titel`"),
    ("time_zone = \"Asia/Shanghai\"", "", "demo.toml line 1: missing field `time_zone`"),
    ("per_second = 2.5", "per_sec = 2", "demo.toml line 6, key rate.per_sec: unknown field `per_sec`"),
    ("per_second = 2.5", "per_second = 0", "demo.toml line 6, key rate.per_second: a rate is above 0"),
    (
        "per_second = 2.5",
        "account = { per_day = 0 }",
        "demo.toml line 6, key rate.account.per_day: a rate is above 0",
    ),
    (
        "per_second = 2.5",
        "reset_header = \"x-reset\"",
        "demo.toml line 6, key rate.reset_header: it says nothing without remaining_header",
    ),
    ("kind = \"token\"", "kind = \"oauth\"", "demo.toml line 5, key auth"),
    ("https://api", "ftp://api", "demo.toml line 3, key base_url: "),
    ("\"demo\"", "\"Demo\"", "demo.toml line 1, key name: \"Demo\" is no name"),
    ("\"throttled\"", "\"slow\"", "demo.toml line 15, key rules[0].class: unknown variant `slow`"),
    ("\"too many\"", "\"(\"", "demo.toml line 16, key rules[0].message: regex parse error"),
    ("\"data.total\"", "\"data.rows.n\"", "demo.toml line 11, key response.total: "),
    ("ok = 0", "", "demo.toml line 8, key response.ok: code and ok go together"),
    ("stream.daily", "stream.Daily", "demo.toml line 21, key stream.Daily: \"Daily\" is no name"),
    ("\"/daily\"", "\"daily\"", "demo.toml line 22, key stream.daily.path: a path starts with /"),
    ("size = 100", "size = 0", "demo.toml line 23, key stream.daily.pager.size: 0: "),
    (
        "within = \"day\"",
        "within = \"fee\"",
        "demo.toml line 24, key stream.daily.dates.within: fee is no column",
    ),
    ("within = \"day\"", "from = \"day\"", "demo.toml line 24, key stream.daily.dates: write { within"),
    ("\"@basic\"", "\"@more\"", "demo.toml line 27, key stream.daily.columns[1]: there is no group @more"),
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
        COLUMN,
        r#"{ name = "x\"y", type = "date", key = true }"#,
        "demo.toml line 26, key stream.daily.columns[0].name: ",
    ),
    (
        COLUMN,
        r#"{ name = "day", type = "dat", key = true }"#,
        "demo.toml line 26, key stream.daily.columns[0].type: unknown variant `dat`",
    ),
    (
        COLUMN,
        r#"{ name = "day", type = "date" }"#,
        "demo.toml line 25, key stream.daily.columns: no column has key",
    ),
    (
        COLUMN,
        r#"{ name = "day", type = "date", key = true, const = "soon" }"#,
        "demo.toml line 26, key stream.daily.columns[0].const: \"soon\" is no date",
    ),
    (
        COLUMN,
        r#"{ name = "day", type = "date", key = true, const = "2026-11-23", param = "from" }"#,
        "demo.toml line 26, key stream.daily.columns[0]: one of path",
    ),
    (
        COLUMN,
        r#"{ name = "day", type = "bigint", key = true, param = "from" }"#,
        "demo.toml line 26, key stream.daily.columns[0].type: a request's day",
    ),
    (
        "\"{page:int}\"",
        "\"{pag}\"",
        "demo.toml line 31, key stream.daily.body.page: \"{pag}\" is no placeholder",
    ),
    ("\"{page:int}\"", "1", "demo.toml line 30, key stream.daily.body: {page} is nowhere"),
];

#[test]
fn errors_name_file_line_and_key() {
    for (from, to, said) in WRONG.iter().copied() {
        assert!(SMALL.contains(from), "{from}");
        let error = parse(&SMALL.replace(from, to)).expect_err(to).to_string();
        assert!(error.starts_with(said), "{to}\n  said     {error}\n  expected {said}");
    }
}

/// A definition whose streams share most.
const SHARED: &str = r#"name = "demo"
title = "Demo"
base_url = "https://api.example.com/v1"
time_zone = "Asia/Shanghai"
params = { level = "AD" }

[response]
total = "total"
rows = "rows"
sums = "sums"

[columns]
metrics = [{ name = "fee", type = "numeric", path = "metrics.fee" }, { name = "clicks", type = "bigint" }]

[defaults]
method = "GET"
path = "/report"
pager = { kind = "page", size = 100, max_result_window = 1000 }
max_days = 30
restate = ["7d", "30d weekly"]
ready_at = "10:15"
dates = { within = "day" }
sums = ["@metrics"]
columns = [{ name = "day", type = "date", key = true }, "@metrics"]

[defaults.query]
page = "{page}"
level = "{params.level}"

[stream.daily]
response = { total = "page.total" }
days_per_partition = 7

[stream.whole]
pager = { kind = "single" }
dates = "none"
missing_rows = "keep"
outside = "drop"
restate = []
query = { level = "ALL" }
"#;

fn shared(overrides: &str) -> Result<Definition, DefinitionError> {
    Definition::parse("demo.toml", SHARED, overrides.parse().unwrap())
}

#[test]
fn streams_share_their_defaults() {
    let definition = shared("").unwrap();
    let (daily, whole) = (definition.stream("daily").unwrap(), definition.stream("whole").unwrap());
    assert_eq!((daily.paging(), whole.paging()), (Paging::Numbered, Paging::Single));
    assert_eq!(
        (daily.response.total.as_slice(), whole.response.total.as_slice()),
        (&["page.total".to_owned()][..], &["total".to_owned()][..])
    );
    assert_eq!(
        (daily.days_per_partition(), whole.days_per_partition(), daily.max_result_window()),
        (7, 1, Some(1000))
    );
    assert_eq!((daily.keeps_missing(), whole.keeps_missing()), (false, true));
    assert_eq!((daily.drops_outside(), whole.drops_outside()), (false, true));
    assert_eq!((daily.sums(), whole.table_shape().dates.clone()), (&[1, 2][..], DateScope::Whole));
    let window = |within_days, every_days| Restate { within_days, every_days };
    assert_eq!((daily.restate(), whole.restate()), (&[window(7, 1), window(30, 7)][..], &[][..]));
    let ready_at = daily.ready_at().unwrap();
    let zone = ready_at.zone_or(definition.zone());
    assert_eq!((ready_at.time().hour(), zone.iana_name()), (10, Some("Asia/Shanghai")));
    assert_eq!(definition.params()["level"].as_str(), Some("AD"));
}

#[test]
fn a_config_goes_over_all_streams() {
    let definition = shared(
        "restate = \"3d\"\nmissing_rows = \"delete\"\noutside = \"incomplete\"\nready_at = \"09:00 UTC\"\ndefaults.pager.size = 50\nstream.daily.path = \"/d\"",
    )
    .unwrap();
    for stream in definition.streams() {
        assert_eq!(stream.restate(), [Restate { within_days: 3, every_days: 1 }]);
        assert!(!stream.keeps_missing() && !stream.drops_outside());
        assert_eq!(stream.ready_at().unwrap().zone_or(definition.zone()).iana_name(), Some("UTC"));
    }
    assert_eq!(definition.stream("daily").unwrap().page_size(), 50);
    assert!(!definition.stream("daily").unwrap().is_monthly());
    let monthly = shared("stream.daily.partition_by = \"month\"").unwrap();
    assert!(monthly.stream("daily").unwrap().is_monthly());
    for (overrides, said) in [
        (
            "outside = \"keep\"",
            "config, key outside: unknown variant `keep`, expected `incomplete` or `drop`",
        ),
        ("restate = \"soon\"", "config, key restate: 'soon' is not a restatement window"),
        ("defaults.pager.size = 0", "config, key defaults.pager.size: 0: a page holds"),
        ("response.sums = \"a..b\"", "config, key response.sums: \"a..b\" is no path"),
        (
            "stream.daily.days_per_partition = 31",
            "config, key stream.daily.days_per_partition: a partition holds",
        ),
    ] {
        let error = shared(overrides).unwrap_err().to_string();
        assert!(error.starts_with(said), "{overrides}: {error}");
    }
}

const WRONG_SHARED: &[(&str, &str, &str)] = &[
    ("size = 100", "size = 0", "demo.toml line 18, key defaults.pager.size: 0: a page holds"),
    ("size = 100", "siz = 1", "demo.toml line 18, key defaults.pager.siz: unknown field `siz`"),
    ("size = 100", "size = \"x\"", "demo.toml line 18, key defaults.pager: invalid type"),
    ("\"page.total\"", "7", "demo.toml line 31, key stream.daily.response.total: invalid type: integer `7`"),
    ("sums = \"sums\"", "", "demo.toml line 23, key defaults.sums: where does a response state them?"),
    (
        "sums = [\"@metrics\"]",
        "sums = [\"day\"]",
        "demo.toml line 23, key defaults.sums[0]: day is no number",
    ),
    (
        "{params.level}",
        "{params.leve}",
        "demo.toml line 28, key defaults.query.level: there is no params leve",
    ),
    ("\"10:15\"", "\"noon\"", "demo.toml line 21, key defaults.ready_at: 'noon' is not a time of day"),
    ("\"none\"", "\"never\"", "demo.toml line 36, key stream.whole.dates: invalid value"),
    (
        "max_result_window = 1000",
        "max_result_window = 10",
        "demo.toml line 18, key defaults.pager.max_result_window: 10: not even one page",
    ),
    (
        "\"keep\"",
        "\"keep\"\npartition_by = \"month\"",
        "demo.toml line 38, key stream.whole.partition_by: the rows know no date",
    ),
    ("\"drop\"", "\"dorp\"", "demo.toml line 38, key stream.whole.outside: unknown variant `dorp`"),
    ("\"drop\"", "true", "demo.toml line 38, key stream.whole.outside: invalid type"),
    ("\"keep\"", "\"drop\"", "demo.toml line 37, key stream.whole.missing_rows: unknown variant `drop`"),
    ("page = \"{page}\"", "page = \"{token}\"", "demo.toml line 26, key defaults.query: {page} is nowhere"),
    (
        "page = \"{page}\"",
        "page = \"{page}\"\nt = \"{token}\"",
        "demo.toml line 31, key stream.daily: a {token} in a request",
    ),
    (
        "[columns]",
        "auth = { kind = \"token\" }\n[columns]",
        "demo.toml line 12, key response.auth: unknown field",
    ),
    (
        "params = {",
        "auth = { kind = \"token\" }\nparams = {",
        "demo.toml line 5, key auth: the token goes nowhere",
    ),
    (
        "days_per_partition = 7",
        "body = { a = 1 }",
        "demo.toml line 32, key stream.daily.body: a GET has no body",
    ),
];

#[test]
fn errors_lead_to_where_a_shared_key_is_written() {
    for (from, to, said) in WRONG_SHARED.iter().copied() {
        assert!(SHARED.contains(from), "{from}");
        let error = Definition::parse("demo.toml", &SHARED.replace(from, to), Table::new()).expect_err(to);
        assert!(error.to_string().starts_with(said), "{to}\n  said     {error}\n  expected {said}");
    }
}

#[test]
fn pagers_are_checked() {
    for (pager, said) in [
        (r#"{ kind = "cursor", size = 9, next = "n" }"#, "query: {cursor} is nowhere"),
        (r#"{ kind = "offset", size = 9 }"#, "query: {offset} is nowhere"),
        (r#"{ kind = "link", size = 9 }"#, "pager: write either next"),
        (r#"{ kind = "leaf" }"#, "pager.kind: unknown variant `leaf`"),
        (
            r#"{ kind = "task", task_id = "id", state = "s", done = "D", poll_every = "1s", poll = { path = "/t", method = "GET" } }"#,
            "pager.poll: {task} is nowhere",
        ),
        (
            r#"{ kind = "task", task_id = "id", state = "s", done = "D", poll_every = "1s", file_url = "u", poll = { path = "/t/{task}" } }"#,
            "pager.file: file_url and file go together",
        ),
        (
            r#"{ kind = "task", task_id = "id", state = "s", done = [], poll_every = "1s", poll = { path = "/t/{task}" } }"#,
            "pager.done: which states",
        ),
    ] {
        let text = SHARED.replace(r#"{ kind = "single" }"#, pager);
        let error = Definition::parse("demo.toml", &text, Table::new()).expect_err(pager).to_string();
        let said = format!("key stream.whole.{said}");
        assert!(
            error.contains(&said) || error.contains(&said.replace("stream.whole.query", "defaults.query")),
            "{pager}: {error}"
        );
    }
}

#[test]
fn the_schema_knows_every_key() {
    let schema = Definition::schema();
    let stream = &schema["$defs"]["StreamDoc"];
    assert!(stream.get("required").is_none(), "the defaults may have it");
    for key in [
        "path",
        "pager",
        "split_by",
        "missing_rows",
        "outside",
        "partition_by",
        "restate",
        "ready_at",
        "days_per_partition",
        "sums",
    ] {
        assert!(stream["properties"][key].is_object(), "{key}");
    }
    for key in ["name", "params", "defaults", "stream", "auth", "rate"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
    let said = schema["properties"]["time_zone"]["description"].as_str().unwrap();
    assert!(said.starts_with("IANA name"), "{said}");
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
    assert!(error.starts_with("xiaohongshoe: neither a shipped definition (xiaohongshu, "), "{error}");
}

#[test]
fn the_narrowest_window_sets_the_pace() {
    let rate = |text: &str| {
        let overrides: Table = text.parse().unwrap();
        Definition::load("xiaohongshu", overrides).unwrap().rate().sustained()
    };
    assert_eq!(rate("rate = { per_second = 50 }"), Some(50.0));
    assert_eq!(rate("rate = { per_second = 50, per_minute = 1200 }"), Some(20.0));
    assert_eq!(
        rate("rate = { per_second = 50, per_day = 43200 }"),
        Some(50.0),
        "a day is counted, not spaced"
    );
    let days: Table = "rate = { per_second = 50, per_day = 43200 }".parse().unwrap();
    let days = Definition::load("xiaohongshu", days).unwrap();
    assert_eq!([43_200, 43_201].map(|n| days.rate().average(n)), [Some(50.0), Some(0.5)]);
    assert_eq!(rate("rate = \"unlimited\""), None);
    let error = Definition::load("xiaohongshu", "rate = \"fast\"".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("unlimited"), "{error}");
}

#[test]
fn the_decode_hash_changes_with_what_responses_mean() {
    let decode_hash = |text: &str| parse(text).unwrap().stream("daily").unwrap().decode_hash();
    let changed = |from: &str, to: &str| decode_hash(&SMALL.replace(from, to)) != decode_hash(SMALL);
    assert!(changed("name = \"fee\"", "name = \"fee\", path = \"cost\""), "a group that it uses");
    assert!(changed("\"data.rows\"", "\"data.list\""));
    assert!(changed("Asia/Shanghai", "UTC"));
    assert!(!changed("api.example.com", "api.example.org"));
    assert!(!changed("path = \"/daily\"", "path = \"/v2/daily\""));
    assert!(!changed("path = \"/daily\"", "path = \"/daily\"\noutside = \"drop\""), "of the seal");
    assert!(!changed("[columns]", "# a comment\n[columns]\nother = [{ name = \"x\", type = \"text\" }]"));
    let given = overridden("numbers = { percent = \"ratio\" }").unwrap();
    assert_ne!(given.stream("daily").unwrap().decode_hash(), decode_hash(SMALL), "an override of the config");
}
