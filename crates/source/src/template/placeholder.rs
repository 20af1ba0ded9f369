//! The placeholders of a template: which there are where it stands, and what each means.

use std::collections::BTreeMap;

use jiff::{civil::Date, fmt::strtime};
use serde_json::Value as Json;
use toml::{Table, Value};

/// A value that a request fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placeholder {
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

/// Where in the template something is wrong, and what.
#[derive(Debug)]
pub(crate) struct TemplateError {
    pub(crate) path: Vec<String>,
    pub(crate) what: String,
}

/// Names whose values stay out of messages.
const NEVER_NUMBERS: [&str; 7] =
    ["token", "nonce", "secret", "code", "refresh_token", "redirect_uri", "state"];

impl Placeholder {
    /// The placeholder as a number, if it can be one: a day is `20261123`.
    pub(super) fn into_number(self) -> Option<Self> {
        match self {
            Self::Named(name) => (!NEVER_NUMBERS.contains(&name)).then_some(self),
            Self::Day { last, plus, .. } => Some(Self::Day { last, plus, format: "%Y%m%d".into() }),
        }
    }
}

impl Scope<'_> {
    /// What a request fills in; only days have formats.
    pub(super) fn placeholder(self, name: &str, format: Option<&str>) -> Option<Placeholder> {
        if let Some(name) = self.names.iter().find(|n| **n == name) {
            return format.is_none().then_some(Placeholder::Named(name));
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
        self.days.then(|| Placeholder::Day { last, plus, format: format.to_owned() })
    }

    /// `params.NAME` or `columns.GROUP`; `None` if it is neither.
    pub(super) fn constant(self, inner: &str) -> Option<Result<Json, TemplateError>> {
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

    pub(super) fn no_placeholder(self, text: &str) -> TemplateError {
        let days = if self.days { ["from", "to", "to+1", "from:%Y%m%d"].as_slice() } else { &[] };
        let there: Vec<_> = self.names.iter().chain(days).map(|name| format!("{{{name}}}")).collect();
        TemplateError::new(format!(
            "\"{text}\" is no placeholder: write {}, {{params.NAME}} or, alone in its text, {{columns.GROUP}} or one with :int",
            there.join(", ")
        ))
    }
}

impl TemplateError {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { path: Vec::new(), what: what.into() }
    }

    pub(super) fn within(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }
}

/// A TOML value as JSON, with nothing filled in.
pub(super) fn literal(value: &Value) -> Result<Json, TemplateError> {
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
