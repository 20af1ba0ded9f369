//! Checks `[numbers]`.

use crate::{
    definition::{
        document::{NumbersDoc, PercentDoc, serde_helpers::OneOrMany},
        error::Wrong,
    },
    number_format::NumberFormat,
};

pub(super) fn compile(document: NumbersDoc) -> Result<NumberFormat, Wrong> {
    let NumbersDoc { percent, thousands, currency: OneOrMany(currency), null: OneOrMany(null) } = document;
    let thousands = match thousands.as_deref().map(str::as_bytes) {
        None => None,
        Some([separator @ (b',' | b' ' | b'_' | b'\'')]) => Some(*separator),
        Some(_) => return Err(Wrong::at(["numbers", "thousands"], "one of \",\", \" \", \"_\" and \"'\"")),
    };
    if currency.iter().any(|sign| sign.is_empty() || sign.contains(|c: char| c.is_ascii_digit() || c == '-'))
    {
        return Err(Wrong::at(
            ["numbers", "currency"],
            "a currency sign is not empty, no digit and no minus",
        ));
    }
    Ok(NumberFormat {
        percent: match percent {
            Some(PercentDoc::Ratio) => true,
            None => false,
        },
        thousands,
        currency,
        longest_null: null.iter().map(String::len).max().unwrap_or(0),
        null_digits: null.iter().any(|text| text.starts_with(|c: char| c.is_ascii_digit())),
        null,
    })
}
