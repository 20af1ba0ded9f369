//! Where in a definition something is wrong: file, line and key, or the key of the config.

use std::ops::Range;

use serde_path_to_error::Segment;
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    error::{DefinitionError, Wrong},
    merge::OVER_ALL,
};

/// What a definition was read from: finds the place of an error in it.
pub(super) struct Source<'a> {
    pub(super) origin: &'a str,
    pub(super) text: &'a str,
    pub(super) overrides: &'a Table,
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

    /// The file, with the config's keys over it, does not have the form of a definition.
    pub(super) fn form_error(&self, error: &serde_path_to_error::Error<toml::de::Error>) -> DefinitionError {
        let key = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        let mut path: Vec<_> = error.path().iter().map_while(key).collect();
        let what = error.inner().message().to_owned();
        // Within a table that has a kind, only the message tells the key.
        let unknown = what.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        if let Some(unknown) = unknown.filter(|key| path.last().is_none_or(|last| last != key)) {
            path.push(unknown.to_owned());
        }
        self.semantic_error(Wrong { path, what })
    }

    /// It has the form, but does not make sense.
    pub(super) fn semantic_error(&self, wrong: Wrong) -> DefinitionError {
        let Wrong { path, what } = wrong;
        let table = DeTable::parse(self.text).ok();
        let table = table.as_ref().map(Spanned::get_ref);
        let mut best: Option<(usize, Vec<String>, Option<usize>)> = None;
        // The most special place comes first; the one that is there to the end is the one.
        for path in places(&path) {
            if !path.is_empty() && is_overridden(self.overrides, &path) {
                return DefinitionError { place: format!("config, key {}", dotted(&path)), what };
            }
            let (found, offset) = table.map_or((0, None), |table| depth_of(table, &path));
            let missing = path.len() - found;
            if best.as_ref().is_none_or(|(least, ..)| missing < *least) {
                best = Some((missing, path, offset));
            }
        }
        let (_, path, offset) = best.unwrap_or_default();
        let key = if path.is_empty() { String::new() } else { format!(", key {}", dotted(&path)) };
        let line = match offset {
            None if !path.is_empty() => String::new(),
            offset => format!(" line {}", self.line(offset.unwrap_or(0))),
        };
        DefinitionError { place: format!("{}{line}{key}", self.origin), what }
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

/// Where the value at a path may be written: what a stream has, the defaults may have given, and
/// `response` and the config's keys for all streams.
fn places(path: &[String]) -> Vec<Vec<String>> {
    let mut places = vec![path.to_vec()];
    if let [stream, _, rest @ ..] = path
        && let [first, ..] = rest
        && stream == "stream"
    {
        places.push(std::iter::once("defaults".to_owned()).chain(rest.iter().cloned()).collect());
        if first == "response" || OVER_ALL.contains(&first.as_str()) {
            places.push(rest.to_vec());
        }
    }
    places
}

/// How much of a path there is, and where its deepest part is written.
fn depth_of(table: &DeTable<'_>, path: &[String]) -> (usize, Option<usize>) {
    let Some((first, rest)) = path.split_first() else { return (0, None) };
    match table.iter().find(|(key, _)| key.get_ref() == first.as_str()) {
        None => (0, None),
        Some((key, value)) => {
            let (depth, offset) = depth_in(value, rest);
            (depth + 1, offset.or(Some(key.span().start)))
        }
    }
}

fn depth_in(value: &Spanned<DeValue<'_>>, path: &[String]) -> (usize, Option<usize>) {
    match (value.get_ref(), path) {
        (DeValue::Table(table), path) => depth_of(table, path),
        (DeValue::Array(items), [first, rest @ ..]) => {
            match first.parse::<usize>().ok().and_then(|i| items.get(i)) {
                None => (0, None),
                Some(item) => {
                    let (depth, offset) = depth_in(item, rest);
                    (depth + 1, offset.or(Some(item.span().start)))
                }
            }
        }
        _ => (0, None),
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
