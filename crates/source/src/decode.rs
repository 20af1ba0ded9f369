//! From a response's body to typed columns, in one pass and without trees of values.

mod cursor;
mod cursor_fields;
mod envelope;
mod envelope_plan;
mod fields;
mod keys;
mod lenient;
mod parsed_rows;
mod row_plan;
mod row_shape;
mod rows;
mod shaped_rows;

use self::rows::RowsDecoder;
pub(crate) use self::{
    cursor::place,
    envelope::Envelope,
    envelope_plan::{EnvelopePlan, Field},
    parsed_rows::sums,
    row_plan::{ColumnPlan, Origin, RowPlan, SumsPlan},
    rows::DecodedRows,
};
use crate::value::Reader;

/// No response has more rows.
pub(crate) const MOST_ROWS: u32 = 100_000;

/// Decodes a response with its rows.
///
/// # Errors
/// What is wrong with the JSON.
pub(crate) fn page<'de>(
    plan: &EnvelopePlan,
    rows: &RowPlan,
    reader: &Reader,
    most_rows: usize,
    text: &'de str,
) -> Result<(Envelope<'de>, DecodedRows), serde_json::Error> {
    let mut decoder = RowsDecoder::new(rows, reader, most_rows, plan.single_row);
    let envelope = envelope::with_rows(plan, &mut decoder, text)?;
    Ok((envelope, decoder.finish()))
}

/// Decodes what a response says about itself, and passes over its rows.
///
/// # Errors
/// What is wrong with the JSON.
pub(crate) fn envelope<'de>(plan: &EnvelopePlan, text: &'de str) -> Result<Envelope<'de>, serde_json::Error> {
    envelope::without_rows(plan, text)
}

#[cfg(test)]
mod tests;
