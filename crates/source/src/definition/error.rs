//! What is wrong with a definition, and where: file, line and key, or the key of the config.

use std::ops::Range;

use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

/// A definition cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct DefinitionError {
    place: String,
    what: String,
}

/// A key, and what is wrong there.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) path: Vec<String>,
    pub(super) what: String,
}

/// What a definition was read from: finds the place of an error in it.
pub(super) struct Source<'a> {
    pub(super) origin: &'a str,
    pub(super) text: &'a str,
    pub(super) overrides: &'a Table,
}

impl DefinitionError {
    /// The file as a whole is wrong.
    pub(super) fn file(origin: &str, what: impl Into<String>) -> Self {
        Self { place: origin.to_owned(), what: what.into() }
    }
}

impl Wrong {
    pub(super) fn at<const N: usize>(path: [&str; N], what: impl Into<String>) -> Self {
        Self { path: path.map(str::to_owned).to_vec(), what: what.into() }
    }

    /// The same, seen from further out.
    pub(super) fn within(mut self, outer: &[&str]) -> Self {
        self.path.splice(0..0, outer.iter().map(|key| (*key).to_owned()));
        self
    }
}

impl Source<'_> {
    /// The file does not have the form of a definition.
    pub(super) fn toml_error(&self, error: &toml::de::Error) -> DefinitionError {
        let span = error.span().unwrap_or(0..0);
        // What the file lacks as a whole has an empty span, and no key.
        let table = DeTable::parse(self.text).ok().filter(|_| !span.is_empty());
        let key = table.and_then(|table| key_around(table.get_ref(), &span));
        let key = key.map_or_else(String::new, |key| format!(", key {}", dotted(&key)));
        let place = format!("{} line {}{key}", self.origin, self.line(span.start));
        DefinitionError { place, what: error.message().to_owned() }
    }

    /// The file with the config's keys over it does not.
    pub(super) fn merged_error(&self, error: &toml::de::Error) -> DefinitionError {
        // If the file alone has the same fault, its line is worth more.
        match toml::from_str::<super::document::Document>(self.text) {
            Err(own) if own.message() == error.message() => self.toml_error(&own),
            Ok(_) | Err(_) => {
                // The library tells the key only in its display, on the last line.
                let shown = error.to_string();
                let table = shown.lines().find_map(|l| l.strip_prefix("in `")?.strip_suffix('`'));
                let place = table.map_or_else(
                    || format!("config, key {}", dotted(&first_path(self.overrides))),
                    |table| format!("config, key {table}"),
                );
                DefinitionError { place, what: error.message().to_owned() }
            }
        }
    }

    /// It has the form, but does not make sense.
    pub(super) fn semantic_error(&self, wrong: Wrong) -> DefinitionError {
        let key = dotted(&wrong.path);
        if is_overridden(self.overrides, &wrong.path) {
            return DefinitionError { place: format!("config, key {key}"), what: wrong.what };
        }
        let offset = DeTable::parse(self.text).ok().and_then(|table| offset_of(table.get_ref(), &wrong.path));
        let line = offset.map_or_else(String::new, |offset| format!(" line {}", self.line(offset)));
        DefinitionError { place: format!("{}{line}, key {key}", self.origin), what: wrong.what }
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|b| *b == b'\n').count()
    }
}

/// `stream.creative.columns[3].type`
fn dotted(path: &[String]) -> String {
    let mut out = String::new();
    for key in path {
        if key.bytes().all(|b| b.is_ascii_digit()) {
            out.push_str(&format!("[{key}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(key);
        }
    }
    out
}

/// Whether the config gave the value at a path, or a part of it.
fn is_overridden(overrides: &Table, path: &[String]) -> bool {
    let mut table = overrides;
    for key in path {
        match table.get(key) {
            Some(Value::Table(inner)) => table = inner,
            Some(_) => return true,
            None => return false,
        }
    }
    true
}

fn first_path(overrides: &Table) -> Vec<String> {
    let Some((key, value)) = overrides.iter().next() else { return Vec::new() };
    let inner = value.as_table().map(first_path).unwrap_or_default();
    std::iter::once(key.clone()).chain(inner).collect()
}

/// Where the deepest part of a path that the file has is written.
fn offset_of(table: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first.as_str())?;
    Some(offset_in(value, rest).unwrap_or(key.span().start))
}

fn offset_in(value: &Spanned<DeValue<'_>>, path: &[String]) -> Option<usize> {
    match value.get_ref() {
        DeValue::Table(table) => offset_of(table, path),
        DeValue::Array(items) => {
            let (first, rest) = path.split_first()?;
            let item = items.get(first.parse::<usize>().ok()?)?;
            Some(offset_in(item, rest).unwrap_or(item.span().start))
        }
        _ => None,
    }
}

/// The innermost key whose name or value spans a place.
fn key_around(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    table.iter().find_map(|(key, value)| {
        let inner = key_in(value, span);
        let found = inner.is_some() || holds(key.span()) || holds(value.span());
        found.then(|| std::iter::once(key.get_ref().to_string()).chain(inner.unwrap_or_default()).collect())
    })
}

fn key_in(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<String>> {
    match value.get_ref() {
        DeValue::Table(table) => key_around(table, span),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(i, item)| {
            let inner = key_in(item, span);
            let outer = item.span();
            let found = inner.is_some() || (outer.start <= span.start && span.end <= outer.end);
            found.then(|| std::iter::once(i.to_string()).chain(inner.unwrap_or_default()).collect())
        }),
        _ => None,
    }
}
