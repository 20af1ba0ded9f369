//! Rows that are written alike. What stands between the values of one row, keys and all, is expected of the
//! next, so that most of an answer is compared and not parsed. Whatever is not as expected is the parser's.

use serde_json::{Deserializer, value::RawValue};

/// How a row is written.
pub(super) struct Pattern<'de> {
    /// What stands before each value, and the value's leaf, if anybody wants it.
    values: Vec<(&'de str, Option<usize>)>,
    /// What stands after the last.
    end: &'de str,
}

impl<'de> Pattern<'de> {
    /// Of a row, by its values in their order and their leaves.
    pub(super) fn new(row: &'de str, values: &[(&'de str, Option<usize>)]) -> Self {
        let mut end = 0;
        let values = values
            .iter()
            .map(|&(value, leaf)| {
                let start = place(row, value);
                let before = &row[end..start];
                end = start + value.len();
                (before, leaf)
            })
            .collect();
        Self { values, end: &row[end..] }
    }

    /// Reads a row that a text begins with, value by value into its leaf; what comes after it. `None` if it is
    /// written otherwise.
    pub(super) fn read(&self, text: &'de str, leaves: &mut [Option<&'de str>]) -> Option<&'de str> {
        let mut rest = text;
        for &(before, leaf) in &self.values {
            rest = rest.strip_prefix(before)?;
            let value = match simple_value(rest.as_bytes()) {
                0 => next_value(rest)?,
                len => &rest[..len],
            };
            if let Some(leaf) = leaf {
                leaves[leaf] = Some(value);
            }
            rest = &rest[value.len()..];
        }
        rest.strip_prefix(self.end)
    }
}

/// Where a part is in its text.
pub(crate) fn place(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

/// The JSON value that a text begins with, whatever it is.
pub(super) fn next_value(text: &str) -> Option<&str> {
    let value: &RawValue = Deserializer::from_str(text).into_iter().next()?.ok()?;
    (place(text, value.get()) == 0).then_some(value.get())
}

/// The length of the JSON value that a text begins with, if it is of a simple form: a text without
/// escapes, a number without an exponent, a word. Otherwise 0. What follows must not belong to it.
fn simple_value(text: &[u8]) -> usize {
    match text {
        [b'"', rest @ ..] => {
            let end = rest.iter().position(|b| matches!(b, b'"' | b'\\' | ..0x20));
            end.filter(|&end| rest[end] == b'"').map_or(0, |end| end + 2)
        }
        [b'-' | b'0'..=b'9', ..] => number(text).unwrap_or(0),
        _ => [&b"null"[..], b"true", b"false"]
            .iter()
            .find(|word| text.starts_with(word))
            .map_or(0, |w| w.len()),
    }
}

/// RFC 8259, section 6, without exponents.
fn number(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let sign = usize::from(text[0] == b'-');
    let whole = digits(sign);
    let leading_zero = whole > 1 && text[sign] == b'0';
    let mut end = sign + whole;
    if text.get(end) == Some(&b'.') {
        let decimals = digits(end + 1);
        end = (decimals > 0).then_some(end + 1 + decimals)?;
    }
    let exponent = matches!(text.get(end), Some(b'e' | b'E'));
    (whole > 0 && !leading_zero && !exponent).then_some(end)
}
