use std::cmp::Ordering;

use rust_decimal::Decimal;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::Column;

/// A page's rows, column by column.
#[derive(Debug, Default)]
pub struct Rows {
    len: usize,
    columns: Vec<Column>,
}

impl Rows {
    /// Takes columns of equal length.
    ///
    /// # Panics
    /// If their lengths differ: the decoder is at fault.
    pub fn new(len: usize, columns: Vec<Column>) -> Self {
        assert!(columns.iter().all(|c| c.len() == len), "columns of unequal length");
        Self { len, columns }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The columns, in the table's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A copy of these rows, in this order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        Self { len: rows.len(), columns: self.columns.iter().map(|column| column.select(rows)).collect() }
    }

    /// Orders two rows, of this page and another, by the key columns. Writers that sort by it lock
    /// rows in one order, so they never deadlock.
    pub fn compare_keys(&self, row: usize, other: &Self, other_row: usize, key: &[usize]) -> Ordering {
        key.iter()
            .map(|&k| self.columns[k].compare(row, &other.columns[k], other_row))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// A 64-bit hash of each row's key: what the seal counts. Stable across versions, platforms and
    /// pages; the ledger keeps it.
    pub fn key_hashes(&self, key: &[usize]) -> Vec<i64> {
        let columns: Vec<&Column> = key.iter().map(|&k| &self.columns[k]).collect();
        self.hashes(&columns).collect()
    }

    /// A 64-bit hash of each row over all its values. The ledger keeps it: a row of the same hash did not change.
    /// The content hash of a set of rows is the sum of their hashes, equal for the same rows in any order and on any
    /// division into pages.
    pub fn row_hashes(&self) -> Vec<i64> {
        let columns: Vec<&Column> = self.columns.iter().collect();
        self.hashes(&columns).collect()
    }

    fn hashes<'a>(&'a self, columns: &'a [&'a Column]) -> impl Iterator<Item = i64> + 'a {
        let mut bytes = Vec::with_capacity(16 * columns.len());
        (0..self.len).map(move |row| {
            bytes.clear();
            columns.iter().for_each(|column| column.write(row, &mut bytes));
            xxh3_64(&bytes) as i64
        })
    }

    /// The sum of a numeric or whole-number column, exactly; `None` if it has no number, or more
    /// digits than a decimal holds.
    pub fn sum(&self, column: usize) -> Option<Decimal> {
        match &self.columns[column] {
            Column::Bigint(values) => {
                Some(Decimal::from(values.iter().flatten().map(|n| i128::from(*n)).sum::<i128>()))
            }
            Column::Numeric(values) => sum(values),
            Column::Text(_) | Column::Boolean(_) | Column::Date(_) | Column::Timestamptz(_) => None,
        }
    }
}

/// At the largest scale that occurs.
fn sum(values: &[Option<Decimal>]) -> Option<Decimal> {
    let values = || values.iter().flatten();
    let scale = values().map(Decimal::scale).max().unwrap_or(0);
    let sum = values().try_fold(0_i128, |sum, n| {
        let mantissa = match scale - n.scale() {
            0 => n.mantissa(),
            less => n.mantissa().checked_mul(10_i128.pow(less))?,
        };
        sum.checked_add(mantissa)
    })?;
    Decimal::try_from_i128_with_scale(sum, scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::TextColumn;

    fn text(values: &[Option<&str>]) -> Column {
        let mut column = TextColumn::default();
        values.iter().for_each(|v| column.push(*v));
        Column::Text(column)
    }

    #[test]
    fn key_hashes_tell_keys_apart() {
        let rows = Rows::new(
            4,
            vec![
                text(&[Some("ab"), Some("a"), Some(""), None]),
                text(&[Some("c"), Some("bc"), Some("abc"), Some("abc")]),
            ],
        );
        let mut hashes = rows.key_hashes(&[0, 1]);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 4);
    }

    #[test]
    fn key_hashes_are_a_format() {
        // These values stand in ledgers: a change of them is a migration.
        let rows = Rows::new(
            1,
            vec![
                Column::Bigint(vec![Some(1001)]),
                Column::Date(vec![Some(jiff::civil::date(2026, 11, 23))]),
                text(&[Some("创意")]),
                Column::Numeric(vec![Some("1.50".parse().unwrap())]),
            ],
        );
        let same = Rows::new(1, vec![Column::Numeric(vec![Some("1.5".parse().unwrap())])]);
        assert_eq!(rows.key_hashes(&[3]), same.key_hashes(&[0]), "1.50 is 1.5");
        assert_eq!(rows.key_hashes(&[0, 1, 2, 3]), [KNOWN]);
    }

    #[test]
    fn sums_are_exact_or_not_there() {
        let sum = |texts: &[&str]| {
            let values = texts.iter().map(|text| Some(text.parse().unwrap())).chain([None]).collect();
            let sum = Rows::new(texts.len() + 1, vec![Column::Numeric(values)]).sum(0);
            sum.map(|sum| sum.to_string())
        };
        assert_eq!(sum(&["1.5", "0.25", "-3"]).as_deref(), Some("-1.25"));
        assert_eq!(sum(&[]).as_deref(), Some("0"));
        let most = "79228162514264337593543950335";
        assert_eq!(sum(&[most, "-1", "1"]).as_deref(), Some(most));
        assert_eq!(sum(&[most, "1"]), None);
        assert_eq!(sum(&[most, "0.1"]), None);
    }

    const KNOWN: i64 = -7_501_976_624_181_215_754;
}
