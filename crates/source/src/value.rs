//! From the raw text of a JSON value to a typed one, at the end of its column.

use std::borrow::Cow;

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use pagemill_core::{Column, Kind};
use rust_decimal::Decimal;

use crate::{number::Number, number_format::NumberFormat};

/// One value, for columns that the request or the definition fills.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Bigint(i64),
    Numeric(Decimal),
    Text(String),
    Boolean(bool),
    Date(Date),
    Timestamptz(Timestamp),
}

/// How reading a value went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It is in the column.
    Value,
    /// It is in the column, but not as it came: a text held what PostgreSQL can't.
    Mended,
    /// It means NULL; nothing was appended.
    Null,
    /// It does not follow the format; nothing was appended.
    Unreadable,
}

/// What texts mean in a source.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) numbers: NumberFormat,
    pub(crate) zone: TimeZone,
}

impl Reader {
    /// Appends the value of a raw JSON text, as a column's type reads it.
    pub(crate) fn push(&self, raw: &str, column: &mut Column) -> Read {
        if let Column::Text(column) = column {
            return match text_of(raw) {
                None => Read::Unreadable,
                // JSON has U+0000 only as an escape.
                Some(Cow::Owned(text)) if text.contains('\0') => {
                    column.push(Some(&text.replace('\0', "\u{fffd}")));
                    Read::Mended
                }
                Some(text) => {
                    column.push(Some(&text));
                    Read::Value
                }
            };
        }
        let Some(text) = text_of(raw) else { return Read::Unreadable };
        let text = trimmed(&text);
        if self.numbers.is_null(text) {
            return Read::Null;
        }
        let read = match column {
            Column::Bigint(values) => self.bigint(text).map(|v| values.push(Some(v))),
            Column::Numeric(values) => self.numeric(text).map(|v| values.push(Some(v))),
            Column::Boolean(values) => boolean(text).map(|v| values.push(Some(v))),
            Column::Date(values) => self.date(text).map(|v| values.push(Some(v))),
            Column::Timestamptz(values) => self.timestamp(text).map(|v| values.push(Some(v))),
            Column::Text(_) => unreachable!("text was handled above"),
        };
        if read.is_some() { Read::Value } else { Read::Unreadable }
    }

    /// Reads a text as a type, if it follows the format.
    pub(crate) fn cell(&self, kind: Kind, text: &str) -> Option<Cell> {
        match kind {
            Kind::Bigint => self.bigint(text).map(Cell::Bigint),
            Kind::Numeric => self.numeric(text).map(Cell::Numeric),
            Kind::Text => Some(Cell::Text(text.to_owned())),
            Kind::Boolean => boolean(text).map(Cell::Boolean),
            Kind::Date => self.date(text).map(Cell::Date),
            Kind::Timestamptz => self.timestamp(text).map(Cell::Timestamptz),
        }
    }

    /// Whether a raw JSON text is an empty or NULL text: what a sentinel stands for.
    pub(crate) fn is_empty(&self, raw: &str) -> bool {
        text_of(raw).is_some_and(|text| text.trim().is_empty() || self.numbers.is_null(text.trim()))
    }

    #[inline]
    fn bigint(&self, text: &str) -> Option<i64> {
        self.numbers.number(text).and_then(Number::to_i64)
    }

    /// An exact number.
    pub(crate) fn numeric(&self, text: &str) -> Option<Decimal> {
        self.numbers.number(text).and_then(Number::to_decimal)
    }

    /// A day; of an instant with an offset, its day in the source's zone.
    fn date(&self, text: &str) -> Option<Date> {
        match text.len() {
            10 => day(text.as_bytes()),
            8 => text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?,
            11.. => match text.parse::<Timestamp>() {
                Ok(instant) => Some(self.zone.to_datetime(instant).date()),
                Err(_) => civil(text).map(DateTime::date),
            },
            _ => None,
        }
    }

    /// An instant; without an offset, meant in the source's zone.
    fn timestamp(&self, text: &str) -> Option<Timestamp> {
        text.parse().ok().or_else(|| self.zone.to_timestamp(civil(text)?).ok())
    }
}

impl Cell {
    /// Appends it to a column of its type.
    pub(crate) fn push(&self, column: &mut Column) {
        match (self, column) {
            (Self::Bigint(v), Column::Bigint(values)) => values.push(Some(*v)),
            (Self::Numeric(v), Column::Numeric(values)) => values.push(Some(*v)),
            (Self::Text(v), Column::Text(values)) => values.push(Some(v)),
            (Self::Boolean(v), Column::Boolean(values)) => values.push(Some(*v)),
            (Self::Date(v), Column::Date(values)) => values.push(Some(*v)),
            (Self::Timestamptz(v), Column::Timestamptz(values)) => values.push(Some(*v)),
            (cell, column) => unreachable!("{cell:?} for a column of another type: {column:?}"),
        }
    }
}

/// The content of a JSON string, or the JSON of anything else. `None` for a string whose escapes
/// are no text (half a surrogate pair).
pub(crate) fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => Some(Cow::Borrowed(raw)),
        Some(inner) if !inner.as_bytes().contains(&b'\\') => Some(Cow::Borrowed(inner)),
        Some(_) => serde_json::from_str(raw).ok().map(Cow::Owned),
    }
}

/// Without blanks around it; nearly no value has any.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" => Some(true),
        "0" => Some(false),
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// `2026-11-23`.
fn day(text: &[u8]) -> Option<Date> {
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else { return None };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i16, |n, b| b.is_ascii_digit().then(|| n * 10 + i16::from(b - b'0')))
    };
    let (month, day) = (number(&[m0, m1])?, number(&[d0, d1])?);
    Date::new(number(&[y0, y1, y2, y3])?, month as i8, day as i8).ok()
}

/// A date and time without a zone. jiff would also take one with an offset, and drop it.
fn civil(text: &str) -> Option<DateTime> {
    let time = text.get(10..).unwrap_or_default();
    if time.contains(['+', '-', '[', 'Z', 'z']) { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::number_format::chinese;

    fn reader() -> Reader {
        Reader { numbers: chinese(), zone: TimeZone::get("Asia/Shanghai").unwrap() }
    }

    #[test]
    fn days() {
        let day = Some(Cell::Date(date(2026, 11, 23)));
        for text in [
            "2026-11-23",
            "20261123",
            "2026-11-23 00:00:00",
            "2026-11-23T23:59:59",
            "2026-11-22T16:00:00Z",
            "2026-11-23T23:00:00+08:00",
        ] {
            assert_eq!(reader().cell(Kind::Date, text), day, "{text}");
        }
        for bad in
            ["2026-02-30", "2026-1-23", "26-11-23", "2026112x", "+2026112", "2026-11-23 noon", "2026/11/23"]
        {
            assert_eq!(reader().cell(Kind::Date, bad), None, "{bad}");
        }
    }

    #[test]
    fn instants_are_meant_in_the_sources_zone() {
        let noon: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
        for text in
            ["2026-11-23 12:00:00", "2026-11-23T12:00", "2026-11-23T04:00:00Z", "2026-11-23 13:00:00+09:00"]
        {
            assert_eq!(reader().cell(Kind::Timestamptz, text), Some(Cell::Timestamptz(noon)), "{text}");
        }
        assert_eq!(reader().cell(Kind::Timestamptz, "12:00"), None);
    }

    /// None of these is a double: a float on the way would change the last digits.
    #[test]
    fn decimals_are_exact() {
        for text in [
            "9007199254740993",
            "9007199254740993.01",
            "12345678901234567.89",
            "0.1000000000000000055",
            "-79228162514264337.593543950335",
            "1234567890.1234567890123456",
        ] {
            let Some(Cell::Numeric(number)) = reader().cell(Kind::Numeric, text) else { panic!("{text}") };
            assert_eq!(number.to_string(), text);
        }
        assert_eq!(
            reader().cell(Kind::Bigint, "9007199254740993"),
            Some(Cell::Bigint(9_007_199_254_740_993))
        );
    }

    #[test]
    fn truth() {
        for (text, truth) in [
            ("1", Some(true)),
            ("0", Some(false)),
            ("true", Some(true)),
            ("FALSE", Some(false)),
            ("yes", None),
        ] {
            assert_eq!(reader().cell(Kind::Boolean, text), truth.map(Cell::Boolean), "{text}");
        }
    }

    #[test]
    fn texts_keep_what_they_say() {
        for (raw, text) in [
            (r#""创意""#, Some("创意")),
            (r#""a\"b\\\u521b\n""#, Some("a\"b\\创\n")),
            (r#""\ud83d\ude00""#, Some("😀")),
            ("12345678901234567890", Some("12345678901234567890")),
            ("1.50", Some("1.50")),
            ("[1,2]", Some("[1,2]")),
            ("\"-\"", Some("-")),
            (r#""\ud83d""#, None),
        ] {
            assert_eq!(text_of(raw).as_deref(), text, "{raw}");
        }
        let mut column = Column::with_capacity(Kind::Text, 1);
        assert_eq!(reader().push(r#""a\u0000b""#, &mut column), Read::Mended);
        let Column::Text(column) = column else { unreachable!() };
        assert_eq!(column.get(0), Some("a\u{fffd}b"));
    }
}
