//! Rows of another day or account than their slice's.

use std::ops::RangeInclusive;

use jiff::civil::Date;

use crate::{
    column::Column,
    job::Slice,
    rows::Rows,
    table::{DateScope, TableShape},
};

/// A longer value is cut to this many bytes in an example.
const LONGEST_EXAMPLE: usize = 64;

/// Rows that a page brought although they belong to another day or account than its slice's.
#[derive(Debug)]
pub struct OutsideRows {
    /// The rows, in their order.
    pub rows: Rows,
    /// The first row's column that is another than the slice's, and its value: `time 2026-11-19`.
    pub example: String,
}

/// A column that tells which slice a row belongs to.
struct SliceColumn<'a> {
    name: &'a str,
    column: &'a Column,
    expected: Expected<'a>,
}

/// The values that a slice's rows have.
enum Expected<'a> {
    Days(RangeInclusive<Date>),
    /// The account as a whole number; none if it is no such text.
    Number(Option<i64>),
    Text(&'a str),
}

impl Rows {
    /// Takes out the rows that belong to another day or account than the slice's, as the table's shape says;
    /// `None` if there are none. A NULL is no other day or account.
    ///
    /// # Panics
    /// If rows are there, and not of that shape.
    pub fn take_outside(&mut self, shape: &TableShape, slice: &Slice) -> Option<OutsideRows> {
        if self.is_empty() {
            return None;
        }
        let columns = slice_columns(self, shape, slice);
        let other = |row: usize| columns.iter().find(|column| !column.holds(row));
        let (first, column) = (0..self.len()).find_map(|row| Some((row, other(row)?)))?;
        let example = format!("{} {}", column.name, shown(column.column, first));
        let (outside, inside): (Vec<usize>, Vec<usize>) =
            (0..self.len()).partition(|row| other(*row).is_some());
        let rows = self.select(&outside);
        *self = self.select(&inside);
        Some(OutsideRows { rows, example })
    }
}

fn slice_columns<'a>(rows: &'a Rows, shape: &'a TableShape, slice: &'a Slice) -> Vec<SliceColumn<'a>> {
    let named = |name: &'a str, expected: fn(&'a Column, &'a Slice) -> Expected<'a>| {
        let position = shape.columns.iter().position(|column| column.name == name)?;
        let column = &rows.columns()[position];
        Some(SliceColumn { name, column, expected: expected(column, slice) })
    };
    let account = shape.account.as_deref().and_then(|name| named(name, account_of));
    let (first, second) = match &shape.dates {
        DateScope::Within(column) => (named(column, |_, slice| Expected::Days(slice.from..=slice.to)), None),
        DateScope::Exact { from, to } => (
            named(from, |_, slice| Expected::Days(slice.from..=slice.from)),
            named(to, |_, slice| Expected::Days(slice.to..=slice.to)),
        ),
        DateScope::Whole => (None, None),
    };
    [account, first, second].into_iter().flatten().collect()
}

/// Accounts are compared as texts, as the store's conditions do. A whole number has one text.
fn account_of<'a>(column: &Column, slice: &'a Slice) -> Expected<'a> {
    let account = slice.account.as_str();
    match column {
        Column::Bigint(_) => {
            Expected::Number(account.parse().ok().filter(|n: &i64| n.to_string() == account))
        }
        _ => Expected::Text(account),
    }
}

impl SliceColumn<'_> {
    fn holds(&self, row: usize) -> bool {
        match (&self.expected, self.column) {
            (Expected::Days(days), Column::Date(values)) => values[row].is_none_or(|day| days.contains(&day)),
            (Expected::Number(number), Column::Bigint(values)) => {
                values[row].is_none() || values[row] == *number
            }
            (Expected::Text(text), Column::Text(values)) => {
                values.get(row).is_none_or(|value| value == *text)
            }
            (Expected::Text(text), column) => column.text(row).is_none_or(|value| value == *text),
            // A date column holds dates, and a number is expected of whole numbers only.
            (Expected::Days(_) | Expected::Number(_), _) => true,
        }
    }
}

fn shown(column: &Column, row: usize) -> String {
    let mut text = column.text(row).unwrap_or_default().into_owned();
    text.truncate(text.floor_char_boundary(LONGEST_EXAMPLE));
    text
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::{
        column::TextColumn,
        table::{ColumnShape, Kind},
    };

    fn shape(dates: DateScope, account: Kind) -> TableShape {
        let column = |name: &str, kind| ColumnShape { name: name.into(), kind, key: true };
        let columns = vec![
            column("account", account),
            column("first", Kind::Date),
            column("last", Kind::Date),
            column("id", Kind::Bigint),
        ];
        TableShape { name: "t".into(), columns, account: Some("account".into()), dates }
    }

    fn slice(account: &str, from: i8, to: i8) -> Slice {
        Slice {
            source: "s".into(),
            stream: "t".into(),
            account: account.into(),
            from: date(2026, 11, from),
            to: date(2026, 11, to),
            part: Default::default(),
        }
    }

    /// Rows of these accounts and days; their ids are their places.
    fn rows(account: Column, days: &[(i8, i8)]) -> Rows {
        let day = |day: i8| Some(date(2026, 11, day));
        let columns = vec![
            account,
            Column::Date(days.iter().map(|(first, _)| day(*first)).collect()),
            Column::Date(days.iter().map(|(_, last)| day(*last)).collect()),
            Column::Bigint((0..).map(Some).take(days.len()).collect()),
        ];
        Rows::new(days.len(), columns)
    }

    fn texts(values: &[&str]) -> Column {
        let mut column = TextColumn::default();
        values.iter().for_each(|value| column.push(Some(value)));
        Column::Text(column)
    }

    fn ids(rows: &Rows) -> Vec<i64> {
        let Column::Bigint(ids) = &rows.columns()[3] else { panic!("no ids") };
        ids.iter().flatten().copied().collect()
    }

    fn within() -> DateScope {
        DateScope::Within("first".into())
    }

    #[test]
    fn rows_of_other_days_are_taken_out() {
        let exact = || DateScope::Exact { from: "first".into(), to: "last".into() };
        let days = [(19, 19), (20, 21), (20, 20), (21, 21), (22, 22)];
        for (dates, inside, example) in [
            (within(), vec![1, 2, 3], Some("first 2026-11-19")),
            (exact(), vec![1], Some("first 2026-11-19")),
            (DateScope::Whole, vec![0, 1, 2, 3, 4], None),
        ] {
            let shape = shape(dates, Kind::Text);
            let mut rows = rows(texts(&["a"; 5]), &days);
            let outside = rows.take_outside(&shape, &slice("a", 20, 21));
            assert_eq!(outside.as_ref().map(|outside| outside.example.as_str()), example);
            let mut all = [ids(&rows), outside.map_or(Vec::new(), |outside| ids(&outside.rows))].concat();
            assert_eq!(ids(&rows), inside);
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4]);
        }
        let mut last = rows(texts(&["a"]), &[(20, 20)]);
        let outside = last.take_outside(&shape(exact(), Kind::Text), &slice("a", 20, 21)).unwrap();
        assert_eq!((outside.example.as_str(), last.is_empty()), ("last 2026-11-20", true));
    }

    #[test]
    fn accounts_are_compared_as_texts() {
        let days = [(20, 20); 3];
        let numbers = || Column::Bigint(vec![Some(7), None, Some(8)]);
        for (account, column, kind, inside) in [
            ("a", texts(&["a", "A", "a "]), Kind::Text, vec![0]),
            ("7", numbers(), Kind::Bigint, vec![0, 1]),
            ("07", numbers(), Kind::Bigint, vec![1]),
            ("other", numbers(), Kind::Bigint, vec![1]),
        ] {
            let mut rows = rows(column, &days);
            rows.take_outside(&shape(DateScope::Whole, kind), &slice(account, 20, 20)).unwrap();
            assert_eq!(ids(&rows), inside, "{account}");
        }
    }

    #[test]
    fn an_ordinary_page_is_left_as_it_is() {
        let shape = shape(within(), Kind::Text);
        let mut rows = rows(texts(&["a", "a"]), &[(20, 20); 2]);
        assert!(rows.take_outside(&shape, &slice("a", 20, 20)).is_none());
        assert_eq!(ids(&rows), [0, 1]);
        assert!(Rows::default().take_outside(&shape, &slice("a", 20, 20)).is_none(), "no rows, no columns");
    }

    #[test]
    fn a_long_value_is_cut_in_the_example() {
        let long = "\u{5c0f}".repeat(50);
        let mut rows = rows(texts(&[&long]), &[(20, 20)]);
        let outside = rows.take_outside(&shape(within(), Kind::Text), &slice("a", 20, 20)).unwrap();
        assert_eq!(outside.example.len(), "account ".len() + 63);
    }
}
