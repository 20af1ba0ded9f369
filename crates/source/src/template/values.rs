//! What fills the placeholders of a template.

use std::borrow::Cow;

use jiff::{ToSpan, civil::Date, fmt::strtime};
use pagemill_core::Failure;

use super::placeholder::Placeholder;

/// What fills a request's placeholders. Some of it is secret, so it has no `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Values<'a> {
    days: Option<(Date, Date)>,
    named: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> Values<'a> {
    /// Values that know the first and last day.
    pub(crate) fn of_days(from: Date, to: Date) -> Self {
        Self { days: Some((from, to)), named: Vec::new() }
    }

    /// Adds a value.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Cow<'a, str>>) -> Self {
        self.named.push((name, value.into()));
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.named.iter().rev().find(|(n, _)| *n == name).map(|(_, value)| &**value)
    }

    pub(super) fn text(&self, placeholder: &Placeholder) -> Cow<'_, str> {
        match placeholder {
            Placeholder::Named(name) => self.get(name).unwrap_or_default().into(),
            Placeholder::Day { last, plus, format } => {
                let (from, to) = self.days.unwrap_or_default();
                let day = (if *last { to } else { from }).saturating_add(plus.days());
                strtime::format(format, day).unwrap_or_default().into()
            }
        }
    }

    pub(super) fn number(&self, placeholder: &Placeholder) -> Result<i64, Failure> {
        let text = self.text(placeholder);
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| plain).ok_or_else(|| {
            let name = match placeholder {
                Placeholder::Named(name) => name,
                Placeholder::Day { .. } => "the day",
            };
            Failure::permanent(format!("{name} \"{}\" is no whole number", text.escape_debug()))
        })
    }
}
