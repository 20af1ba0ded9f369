use std::collections::BTreeMap;

use jiff::civil::date;
use serde_json::json;

use super::*;

fn template(text: &str) -> Result<Template, TemplateError> {
    let params: Table = "day = 7\nzone = \"cn\"\nlist = [1, 2]".parse().unwrap();
    let columns = BTreeMap::from([("basic".to_owned(), vec!["fee".to_owned(), "click".to_owned()])]);
    let names = &["account", "page", "cursor", "token"];
    let scope = Scope { names, days: true, params: &params, columns: &columns };
    Template::of_table(&text.parse().unwrap(), scope)
}

fn values(account: &str) -> Values<'_> {
    Values::of_days(date(2026, 11, 23), date(2026, 11, 30)).with("account", account).with("page", "7")
}

fn rendered(text: &str) -> Json {
    template(text).unwrap().render(&values("1001")).unwrap()
}

#[test]
fn placeholders_are_filled_as_text_or_number() {
    let text = "a = \"{account:int}\"\nb = \"{account}\"\nc = [\"{from}/{to}\", 1, true]\nd = { p = \"{page:int}\" }\ne = \"q\\\"\"";
    let template = template(text).unwrap();
    assert!(template.names(&["page"]) && !template.names(&["token", "cursor"]));
    assert_eq!(
        template.render(&values("1001")).unwrap(),
        json!({ "a": 1001, "b": "1001", "c": ["2026-11-23/2026-11-30", 1, true], "d": { "p": 7 }, "e": "q\"" })
    );
    let failure = template.render(&values("10\"01")).unwrap_err();
    assert_eq!(failure.message, r#"account "10\"01" is no whole number"#);
}

#[test]
fn days_in_every_form() {
    assert_eq!(
        rendered(
            "a = \"{from:%Y%m%d}\"\nb = \"{to+1}\"\nc = \"{from:int}\"\nd = \"{to+1:int}\"\ne = \"{from-1:%d.%m.}!\""
        ),
        json!({ "a": "20261123", "b": "2026-12-01", "c": 20261123, "d": 20261201, "e": "22.11.!" })
    );
}

#[test]
fn params_and_columns_keep_their_types() {
    assert_eq!(
        rendered(
            "a = \"{params.day}\"\nb = \"d{params.day}\"\nc = \"{params.list}\"\nd = \"{columns.basic}\"\ne = [\"id\", \"{columns.basic}\"]"
        ),
        json!({ "a": 7, "b": "d7", "c": [1, 2], "d": ["fee", "click"], "e": ["id", "fee", "click"] })
    );
    for (bad, said) in [
        ("{params.days}", "there is no params days (but: day, list, zone)"),
        ("x{params.list}", "{params.list} holds several values"),
        ("{columns.more}", "there is no group more (but: basic)"),
    ] {
        let error = template(&format!("a = \"{bad}\"")).unwrap_err();
        assert!(error.what.starts_with(said), "{}", error.what);
    }
}

#[test]
fn the_first_request_has_no_cursor() {
    let text = "a = \"{cursor}\"\nb = \"x{cursor}\"\nc = { d = \"{cursor:int}\" }";
    assert_eq!(rendered(text), json!({ "b": "x", "c": {} }));
    let with = template(text).unwrap().render(&values("1").with("cursor", "9")).unwrap();
    assert_eq!(with, json!({ "a": "9", "b": "x9", "c": { "d": 9 } }));
}

#[test]
fn an_account_cannot_break_out_of_its_string() {
    let body = template("a = \"{account}\"").unwrap().render(&values("1\",\"admin\":\"1")).unwrap();
    assert_eq!(body.to_string(), r#"{"a":"1\",\"admin\":\"1"}"#);
}

#[test]
fn a_wrong_placeholder_names_its_place() {
    let error = template("a = { b = [\"{acount}\"] }").unwrap_err();
    assert_eq!(error.path, ["a", "b", "0"]);
    assert!(error.what.starts_with("\"{acount}\" is no placeholder"), "{}", error.what);
    for bad in ["{", "{page:int", "x{page:int}", "{token:int}", "{to+x}", "{today}", "{page:%Y}", "{from:%Q}"]
    {
        assert!(template(&format!("a = \"{bad}\"")).is_err(), "{bad}");
    }
}
