//! The parts of a request: written once, with holes for what the job says.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::{ToSpan, civil::Date, fmt::strtime};
use pagemill_core::Failure;
use serde_json::Value as Json;
use toml::{Table, Value};

/// A value of a request, cut at its placeholders.
#[derive(Debug)]
pub(crate) enum Template {
    Literal(Json),
    Text(Vec<Piece>),
    /// Alone in its text, and a JSON number.
    Whole(Hole),
    Array(Vec<Template>),
    Table(Vec<(String, Template)>),
}

/// A part of a text.
#[derive(Debug)]
pub(crate) enum Piece {
    Literal(String),
    Hole(Hole),
}

/// What a request fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hole {
    Named(&'static str),
    /// The first or last day, so many days on, in this format.
    Day {
        last: bool,
        plus: i64,
        format: String,
    },
}

/// What placeholders there are where a template stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// Names that requests fill in.
    pub(crate) names: &'a [&'static str],
    /// Whether `{from}` and `{to}` are among them.
    pub(crate) days: bool,
    /// `{params.NAME}`
    pub(crate) params: &'a Table,
    /// `{columns.GROUP}`: the names that the API knows.
    pub(crate) columns: &'a BTreeMap<String, Vec<String>>,
}

/// What fills a request's holes. Some of it is secret, so it has no `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Values<'a> {
    days: Option<(Date, Date)>,
    named: Vec<(&'static str, Cow<'a, str>)>,
}

/// Where in the template something is wrong, and what.
#[derive(Debug)]
pub(crate) struct TemplateError {
    pub(crate) path: Vec<String>,
    pub(crate) what: String,
}

/// Names whose values stay out of messages.
const NEVER_NUMBERS: [&str; 7] =
    ["token", "nonce", "secret", "code", "refresh_token", "redirect_uri", "state"];

impl Template {
    /// Compiles a value.
    pub(crate) fn new(value: &Value, scope: Scope<'_>) -> Result<Self, TemplateError> {
        match value {
            Value::String(text) => Self::of_text(text, scope),
            Value::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    let item = Self::new(item, scope).map_err(|e| e.within(&i.to_string()))?;
                    match item {
                        // A group's names, within an array, are items of it.
                        Self::Literal(Json::Array(names)) if value[i].is_str() => {
                            out.extend(names.into_iter().map(Self::Literal));
                        }
                        item => out.push(item),
                    }
                }
                Ok(Self::Array(out))
            }
            Value::Table(table) => Self::of_table(table, scope),
            _ => literal(value).map(Self::Literal),
        }
    }

    /// Compiles a table.
    pub(crate) fn of_table(table: &Table, scope: Scope<'_>) -> Result<Self, TemplateError> {
        let entry = |(key, value): (&String, &Value)| {
            Ok((key.clone(), Self::new(value, scope).map_err(|e| e.within(key))?))
        };
        table.iter().map(entry).collect::<Result<_, _>>().map(Self::Table)
    }

    /// Compiles a text.
    pub(crate) fn of_text(text: &str, scope: Scope<'_>) -> Result<Self, TemplateError> {
        if let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'))
            && !inner.contains(['{', '}'])
        {
            if let Some(name) = inner.strip_suffix(":int") {
                let number = scope.hole(name, None).and_then(Hole::into_number);
                return number.map(Self::Whole).ok_or_else(|| scope.no_placeholder(text));
            }
            if let Some(value) = scope.constant(inner) {
                return value.map(Self::Literal);
            }
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inner, after) = after.split_once('}').ok_or_else(|| scope.no_placeholder(text))?;
            push_text(&mut pieces, before);
            match scope.constant(inner).transpose()? {
                Some(value) => push_text(
                    &mut pieces,
                    &scalar_text(&value).ok_or_else(|| {
                        TemplateError::new(format!(
                            "{{{inner}}} holds several values: it stands alone in its text"
                        ))
                    })?,
                ),
                None => {
                    let (name, format) = inner.split_once(':').map_or((inner, None), |(n, f)| (n, Some(f)));
                    let hole = scope.hole(name, format);
                    let hole = hole.ok_or_else(|| scope.no_placeholder(&format!("{{{inner}}}")))?;
                    pieces.push(Piece::Hole(hole));
                }
            }
            rest = after;
        }
        push_text(&mut pieces, rest);
        Ok(match &pieces[..] {
            [] => Self::Literal(String::new().into()),
            [Piece::Literal(text)] => Self::Literal(text.as_str().into()),
            _ => Self::Text(pieces),
        })
    }

    /// The value for one request.
    pub(crate) fn render(&self, values: &Values<'_>) -> Result<Json, Failure> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Text(_) => self.text(values, |text| text.into())?.into(),
            Self::Whole(hole) => values.number(hole)?.into(),
            Self::Array(items) => {
                items.iter().map(|i| i.render(values)).collect::<Result<Vec<_>, _>>()?.into()
            }
            Self::Table(entries) => {
                let there = entries.iter().filter(|(_, value)| !value.is_left_out(values));
                let entry = |(key, value): &(String, Self)| Ok((key.clone(), value.render(values)?));
                Json::Object(there.map(entry).collect::<Result<_, Failure>>()?)
            }
        })
    }

    /// The text for one request; what fills the holes goes through `escape`.
    pub(crate) fn text(
        &self,
        values: &Values<'_>,
        escape: impl Fn(&str) -> String,
    ) -> Result<String, Failure> {
        Ok(match self {
            Self::Text(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Literal(text) => text.clone(),
                    Piece::Hole(hole) => escape(&values.text(hole)),
                })
                .collect(),
            Self::Whole(hole) => values.number(hole)?.to_string(),
            Self::Literal(value) => scalar_text(value).unwrap_or_else(|| value.to_string()),
            Self::Array(_) | Self::Table(_) => self.render(values)?.to_string(),
        })
    }

    /// Whether one of these names fills a hole of it.
    pub(crate) fn names(&self, names: &[&str]) -> bool {
        let named = |hole: &Hole| matches!(hole, Hole::Named(name) if names.contains(name));
        match self {
            Self::Literal(_) => false,
            Self::Text(pieces) => pieces.iter().any(|p| matches!(p, Piece::Hole(hole) if named(hole))),
            Self::Whole(hole) => named(hole),
            Self::Array(items) => items.iter().any(|item| item.names(names)),
            Self::Table(entries) => entries.iter().any(|(_, value)| value.names(names)),
        }
    }

    /// `"{cursor}"` where there is none yet, `"{page_size}"` where there are no pages.
    fn is_left_out(&self, values: &Values<'_>) -> bool {
        let hole = match self {
            Self::Text(pieces) => match &pieces[..] {
                [Piece::Hole(hole)] => hole,
                _ => return false,
            },
            Self::Whole(hole) => hole,
            _ => return false,
        };
        matches!(hole, Hole::Named(name @ ("cursor" | "page" | "page_size" | "offset")) if values.get(name).is_none())
    }
}

impl Hole {
    /// The same as a number, if it can be one: a day is `20261123`.
    fn into_number(self) -> Option<Self> {
        match self {
            Self::Named(name) => (!NEVER_NUMBERS.contains(&name)).then_some(self),
            Self::Day { last, plus, .. } => Some(Self::Day { last, plus, format: "%Y%m%d".into() }),
        }
    }
}

impl Scope<'_> {
    /// What a request fills in; only days have formats.
    fn hole(self, name: &str, format: Option<&str>) -> Option<Hole> {
        if let Some(name) = self.names.iter().find(|n| **n == name) {
            return format.is_none().then_some(Hole::Named(name));
        }
        let (last, plus) = match (name.strip_prefix("from"), name.strip_prefix("to")) {
            (Some(plus), _) => (false, plus),
            (None, Some(plus)) => (true, plus),
            (None, None) => return None,
        };
        let plus = match plus {
            "" => 0,
            plus if plus.starts_with(['+', '-']) => plus.parse().ok().filter(|n| (-366..=366).contains(n))?,
            _ => return None,
        };
        let format = format.unwrap_or("%Y-%m-%d");
        strtime::format(format, Date::constant(2026, 11, 23)).ok().filter(|day| !day.is_empty())?;
        self.days.then(|| Hole::Day { last, plus, format: format.to_owned() })
    }

    /// `params.NAME` or `columns.GROUP`; `None` if it is neither.
    fn constant(self, inner: &str) -> Option<Result<Json, TemplateError>> {
        let none = |what: &str, name: &str, mut there: Vec<&str>| {
            there.sort_unstable();
            TemplateError::new(format!("there is no {what} {name} (but: {})", there.join(", ")))
        };
        if let Some(name) = inner.strip_prefix("params.") {
            let there = || self.params.keys().map(String::as_str).collect();
            return Some(
                self.params.get(name).ok_or_else(|| none("params", name, there())).and_then(literal),
            );
        }
        let name = inner.strip_prefix("columns.")?;
        let there = || self.columns.keys().map(String::as_str).collect();
        Some(
            self.columns.get(name).map(|c| Json::from(c.clone())).ok_or_else(|| none("group", name, there())),
        )
    }

    fn no_placeholder(self, text: &str) -> TemplateError {
        let days = if self.days { ["from", "to", "to+1", "from:%Y%m%d"].as_slice() } else { &[] };
        let there: Vec<_> = self.names.iter().chain(days).map(|name| format!("{{{name}}}")).collect();
        TemplateError::new(format!(
            "\"{text}\" is no placeholder: write {}, {{params.NAME}} or, alone in its text, {{columns.GROUP}} or one with :int",
            there.join(", ")
        ))
    }
}

impl<'a> Values<'a> {
    /// Values that know the first and last day.
    pub(crate) fn of_days(from: Date, to: Date) -> Self {
        Self { days: Some((from, to)), named: Vec::new() }
    }

    /// The same with one more.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Cow<'a, str>>) -> Self {
        self.named.push((name, value.into()));
        self
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.named.iter().rev().find(|(n, _)| *n == name).map(|(_, value)| &**value)
    }

    fn text(&self, hole: &Hole) -> Cow<'_, str> {
        match hole {
            Hole::Named(name) => self.get(name).unwrap_or_default().into(),
            Hole::Day { last, plus, format } => {
                let (from, to) = self.days.unwrap_or_default();
                let day = (if *last { to } else { from }).saturating_add(plus.days());
                strtime::format(format, day).unwrap_or_default().into()
            }
        }
    }

    fn number(&self, hole: &Hole) -> Result<i64, Failure> {
        let text = self.text(hole);
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| plain).ok_or_else(|| {
            let name = match hole {
                Hole::Named(name) => name,
                Hole::Day { .. } => "the day",
            };
            Failure::permanent(format!("{name} \"{}\" is no whole number", text.escape_debug()))
        })
    }
}

impl TemplateError {
    fn new(what: impl Into<String>) -> Self {
        Self { path: Vec::new(), what: what.into() }
    }

    fn within(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Literal(last)) => last.push_str(text),
        Some(Piece::Hole(_)) | None => pieces.push(Piece::Literal(text.to_owned())),
    }
}

/// A TOML value as JSON, with nothing filled in.
fn literal(value: &Value) -> Result<Json, TemplateError> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::Float(_) => return Err(TemplateError::new("JSON has no such number")),
        Value::Boolean(truth) => (*truth).into(),
        Value::Datetime(_) => return Err(TemplateError::new("JSON has no dates: write it as text")),
        Value::Array(items) => items.iter().map(literal).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Table(table) => {
            let entry = |(key, value): (&String, &Value)| Ok((key.clone(), literal(value)?));
            Json::Object(table.iter().map(entry).collect::<Result<_, TemplateError>>()?)
        }
    })
}

/// A value that is one, as text.
pub(crate) fn scalar_text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Array(_) | Json::Object(_) => None,
        Json::Null | Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
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
        for bad in
            ["{", "{page:int", "x{page:int}", "{token:int}", "{to+x}", "{today}", "{page:%Y}", "{from:%Q}"]
        {
            assert!(template(&format!("a = \"{bad}\"")).is_err(), "{bad}");
        }
    }
}
