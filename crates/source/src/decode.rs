//! From an answer's body to typed columns, in one pass and without trees of values.

mod alike;
mod envelope;
mod keys;
mod plan;
mod rows;

pub(crate) use alike::place;
pub(crate) use envelope::{AnswerPlan, Envelope, Field};
pub(crate) use plan::{ColumnPlan, Origin, RowPlan, SumsPlan};
pub(crate) use rows::DecodedRows;

use std::marker::PhantomData;

use rust_decimal::Decimal;
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::value::Reader;

/// Reads an answer with its rows.
///
/// # Errors
/// What is wrong with the JSON.
pub(crate) fn answer<'de>(
    answer: &AnswerPlan,
    rows: &RowPlan,
    reader: &Reader,
    most_rows: usize,
    text: &'de str,
) -> Result<(Envelope<'de>, DecodedRows), serde_json::Error> {
    let mut decoder = rows::RowsDecoder::new(rows, reader, text, most_rows, answer.one);
    let envelope = envelope::read(answer, Some(&mut decoder), text)?;
    Ok((envelope, decoder.finish()))
}

/// Reads what an answer says about itself, and passes over its rows.
///
/// # Errors
/// What is wrong with the JSON.
pub(crate) fn envelope<'de>(answer: &AnswerPlan, text: &'de str) -> Result<Envelope<'de>, serde_json::Error> {
    envelope::read(answer, None, text)
}

/// Reads the API's own sums of additive columns from their object, in the plan's order; none if it
/// is no object.
pub(crate) fn sums(plan: &SumsPlan, reader: &Reader, raw: &str) -> Vec<Option<Decimal>> {
    rows::sums(plan, reader, raw)
}

/// A visitor that takes any JSON value and looks into one form of it. APIs send `null` or `[]`
/// where an object was due, and that is no reason to give up on the rest of the answer.
trait Lenient<'de>: Sized {
    /// What comes of a value.
    type Out;

    /// The value has another form.
    fn other(self, form: Form) -> Self::Out;

    /// The value is an object.
    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Out, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.other(Form::Other))
    }

    /// The value is an array.
    fn seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Out, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.other(Form::Other))
    }
}

/// The form of a value that is not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Null,
    Other,
}

/// Makes a [`Lenient`] usable with serde.
struct Leniently<'de, L>(L, PhantomData<&'de ()>);

impl<L> Leniently<'_, L> {
    fn new(lenient: L) -> Self {
        Self(lenient, PhantomData)
    }
}

impl<'de, L: Lenient<'de>> DeserializeSeed<'de> for Leniently<'de, L> {
    type Value = L::Out;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<L::Out, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, L: Lenient<'de>> Visitor<'de> for Leniently<'de, L> {
    type Value = L::Out;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_i64<E>(self, _: i64) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_u64<E>(self, _: u64) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_f64<E>(self, _: f64) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_str<E>(self, _: &str) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_unit<E>(self) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Null))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<L::Out, A::Error> {
        self.0.map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<L::Out, A::Error> {
        self.0.seq(seq)
    }
}

/// Reads a whole text leniently.
fn read_all<'de, L: Lenient<'de>>(text: &'de str, lenient: L) -> Result<L::Out, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let out = deserializer.deserialize_any(Leniently::new(lenient))?;
    deserializer.end()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use pagemill_core::Kind;
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::{grammar::chinese, trie::ROOT};

    /// `around`: whether a field holds the rows.
    fn plans(around: bool) -> (AnswerPlan, RowPlan, Reader) {
        let mut answer = AnswerPlan::new(Some("data.list"), false).unwrap();
        answer.add(Field::Code, "code").unwrap();
        answer.add(Field::RequestId, if around { "data" } else { "id" }).unwrap();
        answer.add(Field::Total, "data.total").unwrap();
        answer.add(Field::Sums, "sums").unwrap();
        let mut rows = RowPlan::default();
        for (name, kind) in [
            ("id", Kind::Bigint),
            ("name", Kind::Text),
            ("data.fee", Kind::Numeric),
            ("parts.1", Kind::Text),
            ("both", Kind::Text),
        ] {
            let leaf = rows.trie.insert(name).unwrap();
            rows.columns.push(ColumnPlan {
                name: name.to_owned(),
                kind,
                key: name == "id",
                paths: vec![name.to_owned()],
                origin: Origin::Row(vec![leaf]),
                empty: None,
            });
        }
        assert_eq!(rows.trie.step(ROOT, "other"), crate::trie::Step::Skip);
        (answer, rows, Reader { grammar: chinese(), zone: TimeZone::UTC })
    }

    /// What comes of an answer, and what the parser alone makes of it.
    fn both_ways(text: &str, around: bool) -> [Result<String, String>; 2] {
        let (plan, rows, reader) = plans(around);
        [false, true].map(|plainly| {
            let mut decoder = rows::RowsDecoder::new(&rows, &reader, text, 8, plan.one);
            if plainly {
                decoder.plainly();
            }
            match envelope::read(&plan, Some(&mut decoder), text) {
                Ok(envelope) => Ok(format!("{envelope:?} {:?}", decoder.finish())),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    #[test]
    fn an_ordinary_answer_is_read_by_its_pattern() {
        let (_, plan, reader) = plans(false);
        let rows = r#"{"id":1,"name":"a"}, {"id":-2,"name":null},{"id":3,"name":"\u521b"}"#;
        let text = format!("[{rows}]");
        let mut decoder = rows::RowsDecoder::new(&plan, &reader, &text, 8, false);
        assert!(read_all(&text, &mut decoder).is_err());
        assert_eq!(decoder.stopped(), Some(1..1 + rows.len()));
        assert_eq!(decoder.finish().len, 3);
    }

    fn value() -> impl Strategy<Value = &'static str> {
        select(vec![
            "1",
            "-7",
            "0",
            "-0",
            "01",
            "1.50",
            "1.",
            "1e3",
            "1E",
            "\"12\"",
            "\"1,234\"",
            "\"\"",
            "\"-\"",
            "null",
            "true",
            "false",
            "nul",
            "\"创意\"",
            "\"a\\\"b\"",
            "\"\\u521b\"",
            "\"\\x\"",
            "\"\t\"",
            "[]",
            "{}",
            "[1,\"x\",{}]",
            "{\"a\":[2]}",
            " 5",
            "6 ",
            "\"",
            "",
        ])
    }

    /// Rows that are mostly written alike.
    fn row() -> impl Strategy<Value = String> {
        let values = proptest::collection::vec(
            prop_oneof![40 => select(vec!["1", "\"text\"", "null"]), 1 => value()],
            6,
        );
        let form = prop_oneof![30 => Just(0), 1 => 1..7];
        (values, form).prop_map(|(v, form)| {
            let id = if v[0] == "null" || v[0].starts_with('"') { "3" } else { v[0] };
            let (name, fee, one, two, other) = (v[1], v[2], v[3], v[4], v[5]);
            match form {
                0 => format!("{{\"id\":{id},\"name\":{name},\"data\":{{\"fee\":{fee}}},\"parts\":[{one},{two}],\"other\":{other}}}"),
                1 => format!("{{ \"id\" : {id} , \"name\":{name}}}"),
                2 => format!("{{\"name\":{name},\"id\":{id},\"id\":{id}}}"),
                3 => format!("{{\"id\":{id},\"parts\":[{one}],\"data\":{fee}}}"),
                4 => format!("{{\"id\":{id},\"both\":{{\"inner\":{other}}}}}"),
                5 => fee.to_owned(),
                _ => format!("{{\"id\":{id},\"n\\u0061me\":{name}}}"),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Reading by patterns is only quicker: fields, rows, what is said of them and every error are the parser's.
        #[test]
        fn rows_alike_are_what_the_parser_makes_of_them(
            rows in proptest::collection::vec(row(), 0..9),
            separator in prop_oneof![8 => Just(","), 1 => select(vec![" , ", ",,", ""])],
            frame in 0..6,
            around: bool,
            cut in prop_oneof![6 => Just(None), 1 => (0..600_usize).prop_map(Some)],
        ) {
            let list = rows.join(separator);
            let mut text = match frame {
                0 => format!("{{\"code\":0,\"data\":{{\"total\":5,\"list\":[{list}]}},\"sums\":{{\"fee\":\"1\"}}}}"),
                1 => format!("{{\"data\":{{\"list\":[ {list} ],\"total\":\"7\"}},\"code\":\"0\"}}"),
                2 => format!("{{\"data\":{{\"list\":[{list}],\"list\":[],\"total\":1}}}}"),
                3 => format!("{{\"data\":{{\"list\":[],\"list\":[{list}],\"total\":1}}}}"),
                4 => format!("{{\"data\":{{\"list\":[{list}]}},\"code\":}}"),
                _ => format!("{{\"data\":{{\"list\":{{\"a\":[{list}]}}}}}}"),
            };
            if let Some(cut) = cut {
                text.truncate(text.floor_char_boundary(cut));
            }
            let [alike, plainly] = both_ways(&text, around);
            prop_assert_eq!(alike, plainly, "{}", text);
        }
    }
}
