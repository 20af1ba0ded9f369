//! A position in a JSON text: reads what is simple by itself, and leaves any other value to the parser.

use serde_json::{Deserializer, value::RawValue};

/// A position in a JSON text. Methods answer `None` or `false` where the text is not as expected; then the
/// parser reads it all, and says what is wrong.
pub(super) struct Cursor<'de> {
    /// What comes next.
    pub(super) rest: &'de str,
}

impl<'de> Cursor<'de> {
    pub(super) fn new(text: &'de str) -> Self {
        Self { rest: text }
    }

    /// The next byte that is not blank.
    pub(super) fn peek(&mut self) -> Option<u8> {
        // Most texts have no blanks.
        if let Some(b' ' | b'\t' | b'\n' | b'\r') = self.rest.as_bytes().first() {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        }
        self.rest.as_bytes().first().copied()
    }

    /// Passes over a byte, if it comes next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        if eaten {
            self.rest = &self.rest[1..];
        }
        eaten
    }

    /// Passes over a key and its colon: the key, if it is written without escapes.
    pub(super) fn key(&mut self) -> Option<&'de str> {
        let len = match self.peek()? {
            b'"' => simple_value(self.rest.as_bytes()),
            _ => 0,
        };
        let key = self.rest.get(1..len.checked_sub(1)?)?;
        self.rest = &self.rest[len..];
        self.eat(b':').then_some(key)
    }

    /// Passes over a value: its raw text. What follows is to be looked at: it must not belong to the value.
    pub(super) fn value(&mut self) -> Option<&'de str> {
        self.peek()?;
        let value = value(self.rest)?;
        self.rest = &self.rest[value.len()..];
        Some(value)
    }

    /// Whether nothing comes next.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }
}

/// Where a part is in its text.
pub(crate) fn place(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

/// The JSON value that a text begins with. It is inlined where rows are read by their shape: decoding is 7 % slower
/// without that.
#[inline(always)]
pub(super) fn value(text: &str) -> Option<&str> {
    match simple_value(text.as_bytes()) {
        0 => parsed_value(text),
        len => Some(&text[..len]),
    }
}

/// The JSON value that a text begins with, whatever it is.
fn parsed_value(text: &str) -> Option<&str> {
    let value: &RawValue = Deserializer::from_str(text).into_iter().next()?.ok()?;
    (place(text, value.get()) == 0).then_some(value.get())
}

/// The length of the JSON value that a text begins with, if it is of a simple form: a text without
/// escapes, a number without an exponent, a word. Otherwise 0. What follows must not belong to it.
#[inline(always)]
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
#[inline(always)]
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
