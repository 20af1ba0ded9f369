use std::{borrow::Cow, cmp::Ordering};

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;

use crate::table::Kind;

/// One column's values.
#[derive(Debug)]
pub enum Column {
    /// Whole numbers.
    Bigint(Vec<Option<i64>>),
    /// Exact decimals.
    Numeric(Vec<Option<Decimal>>),
    /// Text.
    Text(TextColumn),
    /// Truth values.
    Boolean(Vec<Option<bool>>),
    /// Days.
    Date(Vec<Option<Date>>),
    /// Instants.
    Timestamptz(Vec<Option<Timestamp>>),
}

/// Text values end to end in one buffer: no allocation a value.
#[derive(Debug, Default)]
pub struct TextColumn {
    text: String,
    /// End of each value in `text`, or `None` for NULL (the next value starts where the last ended).
    ends: Vec<(u32, bool)>,
}

impl Column {
    /// An empty column with room for `rows` values.
    pub fn with_capacity(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Bigint => Self::Bigint(Vec::with_capacity(rows)),
            Kind::Numeric => Self::Numeric(Vec::with_capacity(rows)),
            Kind::Text => Self::Text(TextColumn::with_capacity(rows)),
            Kind::Boolean => Self::Boolean(Vec::with_capacity(rows)),
            Kind::Date => Self::Date(Vec::with_capacity(rows)),
            Kind::Timestamptz => Self::Timestamptz(Vec::with_capacity(rows)),
        }
    }

    /// Number of values, NULLs included.
    pub fn len(&self) -> usize {
        match self {
            Self::Bigint(v) => v.len(),
            Self::Numeric(v) => v.len(),
            Self::Text(v) => v.ends.len(),
            Self::Boolean(v) => v.len(),
            Self::Date(v) => v.len(),
            Self::Timestamptz(v) => v.len(),
        }
    }

    /// True if the column has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends NULL.
    pub fn push_null(&mut self) {
        match self {
            Self::Bigint(v) => v.push(None),
            Self::Numeric(v) => v.push(None),
            Self::Text(v) => v.push(None),
            Self::Boolean(v) => v.push(None),
            Self::Date(v) => v.push(None),
            Self::Timestamptz(v) => v.push(None),
        }
    }

    /// True if a row's value is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bigint(v) => v[row].is_none(),
            Self::Numeric(v) => v[row].is_none(),
            Self::Text(v) => v.get(row).is_none(),
            Self::Boolean(v) => v[row].is_none(),
            Self::Date(v) => v[row].is_none(),
            Self::Timestamptz(v) => v[row].is_none(),
        }
    }

    /// A row's value as text; `None` for NULL.
    pub(crate) fn text(&self, row: usize) -> Option<Cow<'_, str>> {
        match self {
            Self::Bigint(v) => v[row].map(|n| n.to_string().into()),
            Self::Numeric(v) => v[row].map(|d| d.to_string().into()),
            Self::Text(v) => v.get(row).map(Cow::Borrowed),
            Self::Boolean(v) => v[row].map(|b| b.to_string().into()),
            Self::Date(v) => v[row].map(|d| d.to_string().into()),
            Self::Timestamptz(v) => v[row].map(|t| t.to_string().into()),
        }
    }

    /// A copy of the values of these rows, in this order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        fn values<T: Copy>(values: &[Option<T>], rows: &[usize]) -> Vec<Option<T>> {
            rows.iter().map(|&row| values[row]).collect()
        }
        match self {
            Self::Bigint(v) => Self::Bigint(values(v, rows)),
            Self::Numeric(v) => Self::Numeric(values(v, rows)),
            Self::Text(v) => {
                let mut column = TextColumn::with_capacity(rows.len());
                rows.iter().for_each(|&row| column.push(v.get(row)));
                Self::Text(column)
            }
            Self::Boolean(v) => Self::Boolean(values(v, rows)),
            Self::Date(v) => Self::Date(values(v, rows)),
            Self::Timestamptz(v) => Self::Timestamptz(values(v, rows)),
        }
    }

    pub(crate) fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        match (self, other) {
            (Self::Bigint(a), Self::Bigint(b)) => a[row].cmp(&b[other_row]),
            (Self::Numeric(a), Self::Numeric(b)) => a[row].cmp(&b[other_row]),
            (Self::Text(a), Self::Text(b)) => a.get(row).cmp(&b.get(other_row)),
            (Self::Boolean(a), Self::Boolean(b)) => a[row].cmp(&b[other_row]),
            (Self::Date(a), Self::Date(b)) => a[row].cmp(&b[other_row]),
            (Self::Timestamptz(a), Self::Timestamptz(b)) => a[row].cmp(&b[other_row]),
            (a, b) => unreachable!("rows of one table compared: {a:?} with {b:?}"),
        }
    }

    /// True if every value is NULL or zero.
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Bigint(v) => v.iter().flatten().all(|n| *n == 0),
            Self::Numeric(v) => v.iter().flatten().all(Decimal::is_zero),
            Self::Text(v) => v.ends.iter().all(|(_, present)| !present),
            Self::Boolean(v) => v.iter().all(Option::is_none),
            Self::Date(v) => v.iter().all(Option::is_none),
            Self::Timestamptz(v) => v.iter().all(Option::is_none),
        }
    }

    /// Writes a value in a form that no other value shares: a tag, then a fixed width or a length.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Bigint(v) => v[row].map(|n| put(out, 1, n.to_le_bytes())),
            Self::Numeric(v) => v[row].map(|d| {
                let (mantissa, scale) = reduced(d);
                put(out, 2, mantissa.to_le_bytes());
                out.push(scale);
            }),
            Self::Text(v) => v.get(row).map(|text| {
                put(out, 3, (text.len() as u64).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }),
            Self::Boolean(v) => v[row].map(|b| put(out, 4, [u8::from(b)])),
            Self::Date(v) => v[row].map(|d| {
                let [y0, y1] = d.year().to_le_bytes();
                put(out, 5, [y0, y1, d.month() as u8, d.day() as u8]);
            }),
            Self::Timestamptz(v) => v[row].map(|t| put(out, 6, t.as_microsecond().to_le_bytes())),
        }
        .unwrap_or_else(|| out.push(0));
    }
}

impl TextColumn {
    /// An empty column with room for `rows` values.
    pub fn with_capacity(rows: usize) -> Self {
        Self { text: String::with_capacity(rows * 12), ends: Vec::with_capacity(rows) }
    }

    /// Appends a value, or NULL.
    pub fn push(&mut self, value: Option<&str>) {
        self.text.push_str(value.unwrap_or_default());
        let end = u32::try_from(self.text.len()).expect("a page's body is bounded far below 4 GiB");
        self.ends.push((end, value.is_some()));
    }

    /// A row's value.
    pub fn get(&self, row: usize) -> Option<&str> {
        let (end, present) = self.ends[row];
        let start = if row == 0 { 0 } else { self.ends[row - 1].0 };
        present.then(|| &self.text[start as usize..end as usize])
    }
}

/// A tag and at most sixteen bytes.
fn put<const N: usize>(out: &mut Vec<u8>, tag: u8, value: [u8; N]) {
    let mut field = [tag; 17];
    field[1..=N].copy_from_slice(&value);
    out.extend_from_slice(&field[..=N]);
}

/// Mantissa and scale without zeros at the end, as [`Decimal::normalize`] makes them.
fn reduced(number: Decimal) -> (i128, u8) {
    let scale = number.scale() as u8;
    // What fits a machine word, as nearly all do, is divided as one.
    let Ok(mut mantissa) = i64::try_from(number.mantissa()) else {
        let number = number.normalize();
        return (number.mantissa(), number.scale() as u8);
    };
    if mantissa == 0 {
        return (0, 0);
    }
    let mut scale = scale;
    while scale > 0 && mantissa % 10 == 0 {
        (mantissa, scale) = (mantissa / 10, scale - 1);
    }
    (mantissa.into(), scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(values: &[Option<&str>]) -> Column {
        let mut column = TextColumn::default();
        values.iter().for_each(|v| column.push(*v));
        Column::Text(column)
    }

    #[test]
    fn text_keeps_empty_and_null_apart() {
        let Column::Text(column) = text(&[Some("a"), None, Some(""), Some("bc")]) else { unreachable!() };
        let values: Vec<_> = (0..4).map(|i| column.get(i)).collect();
        assert_eq!(values, [Some("a"), None, Some(""), Some("bc")]);
    }

    #[test]
    fn reduced_is_normalized() {
        for text in [
            "0",
            "0.00",
            "-0.0",
            "1.50",
            "-1.50",
            "100",
            "100.00",
            "0.0359",
            "79228162514264337593543950.000",
            "9223372036854775808.0",
        ] {
            let number: Decimal = text.parse().unwrap();
            let normal = number.normalize();
            assert_eq!(reduced(number), (normal.mantissa(), normal.scale() as u8), "{text}");
        }
    }
}
