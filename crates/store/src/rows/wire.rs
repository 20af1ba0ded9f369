//! Values as PostgreSQL's binary protocol has them: a length, then the value. Elements of an array
//! and fields of a COPY row are written alike.

use bytes::{BufMut, BytesMut};
use jiff::{
    Timestamp,
    civil::{Date, date},
};
use pagemill_core::Column;
use rust_decimal::Decimal;

/// PostgreSQL counts days and microseconds from here.
const EPOCH: Date = date(2000, 1, 1);
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A numeric's digits, four decimal ones each.
const BASE: u128 = 10_000;
/// The most of them: a decimal's 29 digits, divided at the point.
const MOST_DIGITS: usize = 10;

/// What can be written by itself.
pub(crate) trait Element {
    /// Writes it with its length.
    fn write(&self, out: &mut BytesMut);
}

/// A column's value in a row.
pub(crate) fn value(column: &Column, row: usize, out: &mut BytesMut) {
    match column {
        Column::Bigint(v) => v[row].map(|n| n.write(out)),
        Column::Numeric(v) => v[row].map(|n| n.write(out)),
        Column::Text(v) => v.get(row).map(|text| {
            out.put_i32(text.len() as i32);
            out.put_slice(text.as_bytes());
        }),
        Column::Boolean(v) => v[row].map(|b| sized(out, [u8::from(b)])),
        Column::Date(v) => v[row].map(|day| day.write(out)),
        Column::Timestamptz(v) => v[row].map(|at| at.write(out)),
    }
    .unwrap_or_else(|| out.put_i32(-1));
}

impl Element for i32 {
    fn write(&self, out: &mut BytesMut) {
        sized(out, self.to_be_bytes());
    }
}

impl Element for i64 {
    fn write(&self, out: &mut BytesMut) {
        sized(out, self.to_be_bytes());
    }
}

impl Element for Timestamp {
    fn write(&self, out: &mut BytesMut) {
        (self.as_microsecond() - EPOCH_MICROS).write(out);
    }
}

impl Element for Date {
    fn write(&self, out: &mut BytesMut) {
        // The years that jiff knows are far fewer than an i32 of days.
        let days = self.duration_since(EPOCH).as_hours() / 24;
        (days as i32).write(out);
    }
}

impl Element for Decimal {
    /// Groups of four digits around the point, without zeros at either end, and the scale for display.
    fn write(&self, out: &mut BytesMut) {
        let (mantissa, scale) = (self.mantissa(), self.scale());
        let padding = (4 - scale % 4) % 4;
        let mut rest = mantissa.unsigned_abs() * 10_u128.pow(padding);
        let after_point = (scale + padding) / 4;
        let (mut digits, mut count, mut groups) = ([0_u16; MOST_DIGITS], 0, 0_u32);
        // From the last; what fits a machine word is divided as one.
        while rest > 0 {
            let digit = match u64::try_from(rest) {
                Ok(word) => {
                    rest = u128::from(word / BASE as u64);
                    (word % BASE as u64) as u16
                }
                Err(_) => {
                    let digit = (rest % BASE) as u16;
                    rest /= BASE;
                    digit
                }
            };
            groups += 1;
            if digit > 0 || count > 0 {
                digits[count] = digit;
                count += 1;
            }
        }
        let weight = if count == 0 { 0 } else { groups as i16 - after_point as i16 - 1 };
        let sign: u16 = if mantissa < 0 { 0x4000 } else { 0 };
        let size = 8 + 2 * count;
        let mut field = [0; 12 + 2 * MOST_DIGITS];
        field[..4].copy_from_slice(&(size as i32).to_be_bytes());
        let words = [count as u16, weight as u16, sign, scale as u16];
        let words = words.into_iter().chain(digits[..count].iter().rev().copied());
        field[4..]
            .chunks_exact_mut(2)
            .zip(words)
            .for_each(|(two, word)| two.copy_from_slice(&word.to_be_bytes()));
        out.put_slice(&field[..4 + size]);
    }
}

/// A value of a fixed width, of eight bytes at most.
fn sized<const N: usize>(out: &mut BytesMut, bytes: [u8; N]) {
    let mut field = [0; 12];
    field[..4].copy_from_slice(&(N as i32).to_be_bytes());
    field[4..4 + N].copy_from_slice(&bytes);
    out.put_slice(&field[..4 + N]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_postgres::types::{IsNull, ToSql, Type};

    use super::*;

    /// What the client library writes for the same value.
    fn library<T: ToSql>(value: T, sql_type: &Type) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        match value.to_sql(sql_type, &mut bytes).unwrap() {
            IsNull::Yes => (-1_i32).to_be_bytes().to_vec(),
            IsNull::No => [&(bytes.len() as i32).to_be_bytes()[..], &bytes].concat(),
        }
    }

    fn ours(column: Column) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        value(&column, 0, &mut bytes);
        bytes.to_vec()
    }

    #[test]
    fn nothing_is_minus_one() {
        assert_eq!(ours(Column::Numeric(vec![None])), [255; 4]);
        assert_eq!(ours(Column::Boolean(vec![Some(true)])), library(true, &Type::BOOL));
    }

    proptest! {
        #[test]
        fn numerics_mean_the_same(digits in -79_228_162_514_264_337_593_543_950_335_i128..=79_228_162_514_264_337_593_543_950_335, shift in 0_u32..29, scale in 0_u32..=28) {
            let number = Decimal::from_i128_with_scale(digits / 10_i128.pow(shift), scale);
            use tokio_postgres::types::FromSql;
            let bytes = ours(Column::Numeric(vec![Some(number)]));
            let read = Decimal::from_sql(&Type::NUMERIC, &bytes[4..]).unwrap();
            prop_assert_eq!((read, read.scale()), (number, number.scale()));
        }

        #[test]
        fn times_are_the_librarys(seconds in -60_000_000_000_i64..200_000_000_000) {
            let at = Timestamp::from_microsecond(seconds * 1_000_000 + 123_456).unwrap();
            let day = at.to_zoned(jiff::tz::TimeZone::UTC).date();
            prop_assert_eq!(ours(Column::Timestamptz(vec![Some(at)])), library(at, &Type::TIMESTAMPTZ));
            prop_assert_eq!(ours(Column::Date(vec![Some(day)])), library(day, &Type::DATE));
        }

        #[test]
        fn numbers_are_the_librarys(number: i64) {
            prop_assert_eq!(ours(Column::Bigint(vec![Some(number)])), library(number, &Type::INT8));
        }
    }
}
