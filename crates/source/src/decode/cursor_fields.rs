//! The raw fields of a response, read with a cursor that goes through its rows on the way.

use super::{
    cursor::Cursor,
    envelope_plan::{EnvelopePlan, RowsPlace},
    fields::Object,
    lenient::read_all,
    rows::RowsDecoder,
};
use crate::json_paths::{ROOT, Step};

/// Reads the raw fields by their leaves; the rows go to the decoder. `None` if the parser is to read all of it.
pub(super) fn read<'de>(
    plan: &EnvelopePlan,
    rows: &mut RowsDecoder<'_, 'de>,
    text: &'de str,
) -> Option<Vec<Option<&'de str>>> {
    let mut found = vec![None; plan.json_paths.leaves()];
    let mut walk = Walk { plan, cursor: Cursor::new(text), found: &mut found, rows };
    if plan.rows == RowsPlace::Whole {
        walk.rows.read(&mut walk.cursor)?;
    } else {
        walk.value(ROOT, Step::Inner(ROOT))?;
    }
    if !walk.cursor.is_at_end() {
        return None;
    }
    if plan.rows == RowsPlace::Whole && !found.is_empty() {
        read_all(text, Object { plan, node: ROOT, found: &mut found, rows: None }).ok()?;
    }
    Some(found)
}

/// The way through a response.
struct Walk<'a, 'p, 'de> {
    plan: &'a EnvelopePlan,
    cursor: Cursor<'de>,
    found: &'a mut Vec<Option<&'de str>>,
    rows: &'a mut RowsDecoder<'p, 'de>,
}

impl Walk<'_, '_, '_> {
    /// Reads the value that a step of a node leads to.
    fn value(&mut self, node: usize, step: Step) -> Option<()> {
        match (step, self.cursor.peek()?) {
            (Step::Inner(inner), b'{') => self.object(inner),
            (Step::Inner(inner), b'[') => self.array(inner),
            (Step::Leaf(leaf), _) if self.plan.rows == RowsPlace::Leaf(leaf) => {
                self.rows.read(&mut self.cursor)
            }
            (step, _) => {
                let raw = self.cursor.value()?;
                let rows = Some(&mut *self.rows);
                let mut object = Object { plan: self.plan, node, found: &mut *self.found, rows };
                object.take::<serde_json::Error>(step, raw).ok()
            }
        }
    }

    fn object(&mut self, node: usize) -> Option<()> {
        self.cursor.eat(b'{');
        if self.cursor.eat(b'}') {
            return Some(());
        }
        loop {
            let key = self.cursor.key()?;
            self.value(node, self.plan.json_paths.step(node, key))?;
            if self.cursor.eat(b'}') {
                return Some(());
            }
            if !self.cursor.eat(b',') {
                return None;
            }
        }
    }

    fn array(&mut self, node: usize) -> Option<()> {
        self.cursor.eat(b'[');
        if self.cursor.eat(b']') {
            return Some(());
        }
        for place in 0.. {
            self.value(node, self.plan.json_paths.place(node, place).unwrap_or(Step::Skip))?;
            if self.cursor.eat(b']') {
                return Some(());
            }
            if !self.cursor.eat(b',') {
                return None;
            }
        }
        None
    }
}
