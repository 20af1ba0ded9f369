//! How a source writes numbers, and how they are read: exactly, or not at all.

use rust_decimal::Decimal;

/// A source's way of writing numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grammar {
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

/// A number as written: `digits × 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    digits: i128,
    scale: i32,
}

/// No number has more digits: Decimal holds 28, and what it can't hold becomes NULL.
const MOST_DIGITS: usize = 48;

/// Digits that fit a u64 without a check.
const SAFE_DIGITS: usize = 18;

impl Grammar {
    /// Whether a text (trimmed) means NULL.
    pub(crate) fn is_null(&self, text: &str) -> bool {
        // No number of the usual kind is worth the comparisons.
        let digit = text.as_bytes().first().is_some_and(u8::is_ascii_digit) && !self.null_digits;
        !digit && text.len() <= self.longest_null && self.null.iter().any(|null| null == text)
    }

    /// Reads a number, if the text follows the grammar.
    pub(crate) fn number(&self, text: &str) -> Option<Number> {
        let bytes = text.as_bytes();
        self.usual(bytes).or_else(|| plain(bytes)).or_else(|| self.dressed(text))
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
                plain(ungrouped(rest.as_bytes(), separator, &mut buffer)?)?
            }
            Some(_) | None => plain(rest.as_bytes())?,
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

impl Number {
    /// As a whole number, if it is one and fits.
    pub(crate) fn to_i64(self) -> Option<i64> {
        if self.scale == 0 {
            return i64::try_from(self.digits).ok();
        }
        let whole = self.reduced(0)?;
        i64::try_from(whole.digits).ok()
    }

    /// As a decimal, if it fits exactly.
    pub(crate) fn to_decimal(self) -> Option<Decimal> {
        let most = Decimal::MAX_SCALE as i32;
        if let (Ok(digits), 0..) = (i64::try_from(self.digits), self.scale)
            && self.scale <= most
        {
            return Some(Decimal::new(digits, self.scale as u32));
        }
        let fitted = self.reduced(most)?;
        Decimal::try_from_i128_with_scale(fitted.digits, fitted.scale as u32).ok()
    }

    /// The same number with a scale from 0 to `most`.
    fn reduced(mut self, most: i32) -> Option<Self> {
        if self.digits == 0 {
            return Some(Self { digits: 0, scale: self.scale.clamp(0, most) });
        }
        while self.scale > most && self.digits % 10 == 0 {
            self = Self { digits: self.digits / 10, scale: self.scale - 1 };
        }
        while self.scale < 0 {
            self = Self { digits: self.digits.checked_mul(10)?, scale: self.scale + 1 };
        }
        (self.scale <= most).then_some(self)
    }
}

/// `-12.50`, `1e3`: what JSON calls a number, and a little more (`.5`, `007`).
fn plain(text: &[u8]) -> Option<Number> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (mut digits, mut wide, mut count, mut point, mut end) = (0_u64, None::<u128>, 0, None, text.len());
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                let digit = byte - b'0';
                count += 1;
                if count <= SAFE_DIGITS {
                    digits = digits * 10 + u64::from(digit);
                } else {
                    let more = wide.unwrap_or(u128::from(digits)).checked_mul(10)?;
                    wide = Some(more.checked_add(u128::from(digit))?);
                }
            }
            b'.' if point.is_none() => point = Some(at),
            b'e' | b'E' => {
                end = at;
                break;
            }
            _ => return None,
        }
    }
    if count == 0 {
        return None;
    }
    let exponent = match text.get(end + 1..) {
        Some(exponent) => std::str::from_utf8(exponent).ok()?.parse::<i32>().ok()?,
        None => 0,
    };
    let decimals = point.map_or(0, |point| end - point - 1);
    let magnitude = i128::try_from(wide.unwrap_or(u128::from(digits))).ok()?;
    let scale = i32::try_from(decimals).ok()?.checked_sub(exponent)?;
    Some(Number { digits: if negative { -magnitude } else { magnitude }, scale })
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
pub(crate) fn chinese() -> Grammar {
    Grammar {
        percent: true,
        thousands: Some(b','),
        currency: vec!["¥".into(), "￥".into(), "$".into()],
        null: vec![String::new(), "-".into(), "--".into()],
        longest_null: 2,
        null_digits: false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Option<String> {
        chinese().number(text).and_then(Number::to_decimal).map(|d| d.to_string())
    }

    #[test]
    fn percent_is_a_ratio_exactly() {
        // A client in the wild stripped two characters and made 3.59% a 0.035.
        for (text, ratio) in [
            ("3.59%", "0.0359"),
            ("100%", "1.00"),
            ("0%", "0.00"),
            ("-1.5%", "-0.015"),
            ("1,234.5%", "12.345"),
            ("3.59％", "0.0359"),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(ratio), "{text}");
        }
        let none = Grammar { percent: false, ..chinese() };
        assert_eq!(none.number("3.59%"), None);
    }

    #[test]
    fn what_is_no_number_is_not_zero() {
        // Another made everything that it could not read a 0.
        for text in [
            "n/a",
            "暂无",
            "1,23",
            "12,34.5",
            ",123",
            "1,,234",
            "1,234,",
            "1.2.3",
            "1.234,567",
            "%",
            "¥",
            "--5",
            "-¥-5",
            "+-5",
            "1e",
            "1e99999999999",
            "5 5",
            "0x10",
            "NaN",
            "inf",
            ".",
            "¥%",
        ] {
            assert_eq!(chinese().number(text), None, "{text}");
        }
        for too_large in ["1e40", "99999999999999999999999999999999", "0.00000000000000000000000000001"] {
            assert_eq!(decimal(too_large), None, "{too_large}");
        }
    }

    #[test]
    fn numbers_as_apis_write_them() {
        for (text, number) in [
            ("53.26", "53.26"),
            ("1,234.50", "1234.50"),
            ("1,234,567", "1234567"),
            ("¥1,234.50", "1234.50"),
            ("-¥5", "-5"),
            ("¥-5", "-5"),
            ("￥ 5", "5"),
            ("5$", "5"),
            ("+7", "7"),
            ("1e3", "1000"),
            ("1.5E+2", "150"),
            ("25e-1", "2.5"),
            (".5", "0.5"),
            ("0e-999999999", "0.0000000000000000000000000000"),
            ("79228162514264337593543950335", "79228162514264337593543950335"),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(number), "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_whole() {
        let whole = |text| chinese().number(text).and_then(Number::to_i64);
        assert_eq!(whole("9223372036854775807"), Some(i64::MAX));
        assert_eq!(whole("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(whole("9007199254740993"), Some(9_007_199_254_740_993), "beyond a double");
        assert_eq!(whole("5,655.00"), Some(5_655));
        for no in ["9223372036854775808", "5.5", "3.59%", "1e19"] {
            assert_eq!(whole(no), None, "{no}");
        }
    }

    #[test]
    fn null_texts() {
        assert!(chinese().is_null("") && chinese().is_null("-") && chinese().is_null("--"));
        assert!(!chinese().is_null("0") && !chinese().is_null("---"));
    }

    proptest! {
        #[test]
        fn the_usual_way_is_the_long_way(text in "-?[0-9,.]{0,12}[%0-9]?") {
            let grammar = chinese();
            if let Some(number) = grammar.usual(text.as_bytes()) {
                prop_assert_eq!(plain(text.as_bytes()).or_else(|| grammar.dressed(&text)), Some(number), "{}", text);
            }
        }

        #[test]
        fn decimals_round_trip(digits in -79_228_162_514_264_337_593_543_950_335_i128..=79_228_162_514_264_337_593_543_950_335, scale in 0_u32..=28) {
            let number = Decimal::from_i128_with_scale(digits, scale);
            prop_assert_eq!(decimal(&number.to_string()), Some(number.to_string()));
        }

        #[test]
        fn grouping_changes_nothing(number: i64) {
            let plain = number.unsigned_abs().to_string();
            let mut grouped = String::new();
            for (i, digit) in plain.chars().enumerate() {
                if i > 0 && (plain.len() - i).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            let text = if number < 0 { format!("-{grouped}") } else { grouped };
            prop_assert_eq!(chinese().number(&text).and_then(Number::to_i64), Some(number));
        }

        #[test]
        fn any_text_is_read_or_not(text in ".{0,60}") {
            let _ = chinese().number(&text).map(|n| (n.to_i64(), n.to_decimal()));
        }
    }
}
