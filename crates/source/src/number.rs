//! A number as an API writes it, kept exactly.

use rust_decimal::Decimal;

/// A number as written: `digits × 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) digits: i128,
    pub(crate) scale: i32,
}

/// Digits that fit a u64 without a check.
pub(crate) const SAFE_DIGITS: usize = 18;

impl Number {
    /// As a whole number, if it is one and fits.
    #[inline(always)]
    pub(crate) fn to_i64(self) -> Option<i64> {
        if self.scale == 0 {
            return i64::try_from(self.digits).ok();
        }
        let whole = self.reduced(0)?;
        i64::try_from(whole.digits).ok()
    }

    /// As a decimal, if it fits exactly.
    #[inline(always)]
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

    /// Reads `-12.50`, `1e3`: what JSON calls a number, and a little more (`.5`, `007`).
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (mut digits, mut wide, mut count, mut point, mut end) =
            (0_u64, None::<u128>, 0, None, text.len());
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
        Some(Self { digits: if negative { -magnitude } else { magnitude }, scale })
    }
}
