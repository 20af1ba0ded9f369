//! The parts of a request: written once, with placeholders for what the job says.

mod placeholder;
mod values;

use pagemill_core::Failure;
use serde_json::Value as Json;
use toml::{Table, Value};

use self::placeholder::literal;
pub(crate) use self::{
    placeholder::{Placeholder, Scope, TemplateError, scalar_text},
    values::Values,
};

/// A value of a request, cut at its placeholders.
#[derive(Debug)]
pub(crate) enum Template {
    Literal(Json),
    Text(Vec<Piece>),
    /// Alone in its text, and a JSON number.
    Whole(Placeholder),
    Array(Vec<Template>),
    Table(Vec<(String, Template)>),
}

/// A part of a text.
#[derive(Debug)]
pub(crate) enum Piece {
    Literal(String),
    Placeholder(Placeholder),
}

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
                let number = scope.placeholder(name, None).and_then(Placeholder::into_number);
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
                    let placeholder = scope.placeholder(name, format);
                    let placeholder =
                        placeholder.ok_or_else(|| scope.no_placeholder(&format!("{{{inner}}}")))?;
                    pieces.push(Piece::Placeholder(placeholder));
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
            Self::Whole(placeholder) => values.number(placeholder)?.into(),
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

    /// The text for one request; what fills the placeholders goes through `escape`.
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
                    Piece::Placeholder(placeholder) => escape(&values.text(placeholder)),
                })
                .collect(),
            Self::Whole(placeholder) => values.number(placeholder)?.to_string(),
            Self::Literal(value) => scalar_text(value).unwrap_or_else(|| value.to_string()),
            Self::Array(_) | Self::Table(_) => self.render(values)?.to_string(),
        })
    }

    /// Whether one of these names fills one of its placeholders.
    pub(crate) fn names(&self, names: &[&str]) -> bool {
        let named = |placeholder: &Placeholder| matches!(placeholder, Placeholder::Named(name) if names.contains(name));
        match self {
            Self::Literal(_) => false,
            Self::Text(pieces) => {
                pieces.iter().any(|p| matches!(p, Piece::Placeholder(placeholder) if named(placeholder)))
            }
            Self::Whole(placeholder) => named(placeholder),
            Self::Array(items) => items.iter().any(|item| item.names(names)),
            Self::Table(entries) => entries.iter().any(|(_, value)| value.names(names)),
        }
    }

    /// `"{cursor}"` where there is none yet, `"{page_size}"` where there are no pages.
    fn is_left_out(&self, values: &Values<'_>) -> bool {
        let placeholder = match self {
            Self::Text(pieces) => match &pieces[..] {
                [Piece::Placeholder(placeholder)] => placeholder,
                _ => return false,
            },
            Self::Whole(placeholder) => placeholder,
            _ => return false,
        };
        matches!(placeholder, Placeholder::Named(name @ ("cursor" | "page" | "page_size" | "offset")) if values.get(name).is_none())
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Literal(last)) => last.push_str(text),
        Some(Piece::Placeholder(_)) | None => pieces.push(Piece::Literal(text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
