//! How a source writes numbers, and how they are read: exactly, or not at all.

use crate::number::{Number, SAFE_DIGITS};

/// A source's way of writing numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct NumberFormat {
    /// Whether `3.59%` is read, as the ratio 0.0359.
    pub(crate) percent: bool,
    /// What stands between groups of three digits.
    pub(crate) thousands: Option<u8>,
    /// What may stand before or behind an amount.
    pub(crate) currency: Vec<String>,
    /// Texts that mean NULL.
    pub(crate) null: Vec<String>,
    /// Length of the longest of them.
    pub(crate) longest_null: usize,
    /// Whether one of them begins with a digit.
    pub(crate) null_digits: bool,
}

/// No number has more digits: Decimal holds 28, and what it can't hold becomes NULL.
const MOST_DIGITS: usize = 48;

impl NumberFormat {
    /// Whether a text (trimmed) means NULL.
    pub(crate) fn is_null(&self, text: &str) -> bool {
        // No number of the usual kind is worth the comparisons.
        let digit = text.as_bytes().first().is_some_and(u8::is_ascii_digit) && !self.null_digits;
        !digit && text.len() <= self.longest_null && self.null.iter().any(|null| null == text)
    }

    /// Reads a number, if the text follows the format.
    pub(crate) fn number(&self, text: &str) -> Option<Number> {
        let bytes = text.as_bytes();
        self.usual(bytes).or_else(|| Number::parse(bytes)).or_else(|| self.dressed(text))
    }

    /// `-1234`, `1,234.50`, `3.59%`, of few digits: nearly all numbers, in one pass. `None` means
    /// that it takes a closer look.
    fn usual(&self, text: &[u8]) -> Option<Number> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (percent, text) = match text {
            [rest @ .., b'%'] if self.percent => (2, rest),
            rest => (0, rest),
        };
        if text.len() > SAFE_DIGITS {
            return None;
        }
        // Since the last separator or the point.
        let (mut digits, mut since, mut groups, mut point) = (0_i64, 0, 0, false);
        for &byte in text {
            match byte {
                b'0'..=b'9' => {
                    digits = digits * 10 + i64::from(byte - b'0');
                    since += 1;
                }
                b'.' if !point && since > 0 && (groups == 0 || since == 3) => (point, since) = (true, 0),
                _ if Some(byte) == self.thousands && !point => {
                    if since == 0 || since > 3 || (groups > 0 && since != 3) {
                        return None;
                    }
                    (groups, since) = (groups + 1, 0);
                }
                _ => return None,
            }
        }
        if since == 0 || (groups > 0 && !point && since != 3) {
            return None;
        }
        let digits = i128::from(if negative { -digits } else { digits });
        Some(Number { digits, scale: percent + if point { since } else { 0 } })
    }

    /// A number with sign, currency, percent or thousands.
    fn dressed(&self, text: &str) -> Option<Number> {
        let (rest, percent) = match text.strip_suffix(['%', '％']) {
            Some(rest) if self.percent => (rest, 2),
            Some(_) => return None,
            None => (text, 0),
        };
        let (outer, rest) = sign(rest);
        let rest = self.without_currency(rest);
        let (inner, rest) = sign(rest);
        if rest.starts_with(['-', '+']) || (outer.is_some() && inner.is_some()) {
            return None;
        }
        let mut buffer = [0; MOST_DIGITS];
        let number = match self.thousands {
            Some(separator) if rest.as_bytes().contains(&separator) => {
                Number::parse(ungrouped(rest.as_bytes(), separator, &mut buffer)?)?
            }
            Some(_) | None => Number::parse(rest.as_bytes())?,
        };
        let negative = outer.or(inner).unwrap_or(false);
        let digits = if negative { -number.digits } else { number.digits };
        Some(Number { digits, scale: number.scale.checked_add(percent)? })
    }

    fn without_currency<'t>(&self, text: &'t str) -> &'t str {
        self.currency
            .iter()
            .find_map(|sign| text.strip_prefix(&**sign).or_else(|| text.strip_suffix(&**sign)))
            .map_or(text, str::trim)
    }
}

/// A leading sign (`true` is minus), and the rest.
fn sign(text: &str) -> (Option<bool>, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (Some(true), text[1..].trim_start()),
        Some(b'+') => (Some(false), text[1..].trim_start()),
        Some(_) | None => (None, text),
    }
}

/// `1,234.50` without its separators, if they stand where thousands end.
fn ungrouped<'b>(text: &[u8], separator: u8, buffer: &'b mut [u8; MOST_DIGITS]) -> Option<&'b [u8]> {
    let whole = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let (mut used, mut group, mut groups) = (0, 0, 0);
    for (at, &byte) in text.iter().enumerate() {
        if byte == separator {
            if at > whole || group == 0 || group > 3 || (groups > 0 && group != 3) {
                return None;
            }
            (group, groups) = (0, groups + 1);
            continue;
        }
        group += usize::from(at < whole);
        *buffer.get_mut(used)? = byte;
        used += 1;
    }
    (group == 3).then_some(&buffer[..used])
}

#[cfg(test)]
pub(crate) fn chinese() -> NumberFormat {
    NumberFormat {
        percent: true,
        thousands: Some(b','),
        currency: vec!["¥".into(), "￥".into(), "$".into()],
        null: vec![String::new(), "-".into(), "--".into()],
        longest_null: 2,
        null_digits: false,
    }
}

#[cfg(test)]
mod tests;
