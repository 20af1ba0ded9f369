//! Rows read by the shape of the row before.

use super::{cursor::Cursor, lenient::read_all, parsed_rows::Row, row_shape::RowShape, rows::RowsDecoder};

impl<'de> RowsDecoder<'_, 'de> {
    /// Reads the rows at a cursor. `None` if the parser is to read all of it, since something is wrong, or rows are
    /// too different.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'de>) -> Option<()> {
        if self.single_row || cursor.peek() != Some(b'[') {
            return read_all(cursor.value()?, self).ok();
        }
        self.begin();
        cursor.eat(b'[');
        if cursor.eat(b']') {
            return Some(());
        }
        let (mut shape, mut parsed) = (None::<RowShape<'de>>, 0);
        loop {
            cursor.peek();
            if !shape.as_ref().is_some_and(|shape| shape.read(cursor, &mut self.raw)) {
                shape = Some(self.parse(cursor.value()?)?);
                parsed += 1;
            }
            self.end_row();
            // Each such row is read twice: where most are, the parser alone is quicker.
            if self.problem.is_some() || parsed > 10 + self.len / 2 {
                return None;
            }
            if cursor.eat(b']') {
                return Some(());
            }
            if !cursor.eat(b',') || self.len == self.most {
                return None;
            }
        }
    }

    /// Parses a row, and learns its shape.
    fn parse(&mut self, row: &'de str) -> Option<RowShape<'de>> {
        self.raw.fill(None);
        self.values = Some(Vec::new());
        let is_row = read_all(row, Row(self)).ok()?;
        let values = self.values.take()?;
        is_row.then(|| RowShape::new(row, &values))
    }
}
