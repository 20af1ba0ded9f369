use jiff::tz::TimeZone;
use pagemill_core::{Column, Kind};
use proptest::{prelude::*, sample::select};
use rust_decimal::Decimal;

use super::*;
use crate::{json_paths::ROOT, number_format::chinese};

/// `around`: whether a field holds the rows.
fn plans(around: bool) -> (EnvelopePlan, RowPlan, Reader) {
    let mut response = EnvelopePlan::new(Some("data.list"), false).unwrap();
    response.add(Field::Code, "code").unwrap();
    response.add(Field::RequestId, if around { "data" } else { "id" }).unwrap();
    response.add(Field::Total, "data.total").unwrap();
    response.add(Field::Sums, "sums").unwrap();
    let mut rows = RowPlan::default();
    for (name, kind) in [
        ("id", Kind::Bigint),
        ("name", Kind::Text),
        ("data.fee", Kind::Numeric),
        ("parts.1", Kind::Text),
        ("both", Kind::Text),
    ] {
        let leaf = rows.json_paths.insert(name).unwrap();
        rows.columns.push(ColumnPlan {
            name: name.to_owned(),
            kind,
            key: name == "id",
            paths: vec![name.to_owned()],
            origin: Origin::Row(vec![leaf]),
            if_missing: None,
        });
    }
    assert_eq!(rows.json_paths.step(ROOT, "other"), crate::json_paths::Step::Skip);
    (response, rows, Reader { numbers: chinese(), zone: TimeZone::UTC })
}

/// What comes of a response, and what comes of it without the fast path.
fn both_ways(text: &str, around: bool) -> [Result<String, String>; 2] {
    let (plan, rows, reader) = plans(around);
    [envelope::with_rows, envelope::with_rows_parsed].map(|read| {
        let mut decoder = RowsDecoder::new(&rows, &reader, 8, plan.single_row);
        match read(&plan, &mut decoder, text) {
            Ok(envelope) => Ok(format!("{envelope:?} {:?}", decoder.finish())),
            Err(error) => Err(error.to_string()),
        }
    })
}

#[test]
fn an_ordinary_response_is_read_by_its_shape() {
    let (plan, rows, reader) = plans(false);
    let list = r#"{"id":1,"name":"a"}, {"id":-2,"name":null},{"id":3,"name":"\u521b"}"#;
    for text in [
        format!(r#"{{"code":0,"data":{{"total":5,"list":[{list}]}},"sums":{{"fee":"1"}}}}"#),
        format!(r#" {{ "data" : {{ "list" : [ {list} ] , "other" : [1] }} , "x" : {{}} }} "#),
    ] {
        let mut decoder = RowsDecoder::new(&rows, &reader, 8, false);
        assert!(cursor_fields::read(&plan, &mut decoder, &text).is_some(), "{text}");
        assert_eq!(decoder.finish().len, 3);
    }
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

/// Rows that mostly have one shape.
fn row() -> impl Strategy<Value = String> {
    let values =
        proptest::collection::vec(prop_oneof![40 => select(vec!["1", "\"text\"", "null"]), 1 => value()], 6);
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

/// Decimals of few digits, as nearly all are, and of all that an i64 or a decimal holds.
fn decimal() -> impl Strategy<Value = Decimal> {
    const MOST: i128 = 79_228_162_514_264_337_593_543_950_335;
    let digits = prop_oneof![
        3 => -999_999_i128..=999_999,
        3 => any::<i64>().prop_map(i128::from),
        1 => -MOST..=MOST,
    ];
    (digits, 0_u32..=28).prop_map(|(digits, scale)| Decimal::from_i128_with_scale(digits, scale))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The fast path is only quicker: fields, rows, what is said of them and every error are the parser's.
    #[test]
    fn rows_of_one_shape_are_what_the_parser_makes_of_them(
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
        let [shaped, parsed] = both_ways(&text, around);
        prop_assert_eq!(shaped, parsed, "{}", text);
    }

    /// Decimals are exact on the ordinary path: as numbers and as texts, also where no double holds them.
    #[test]
    fn decimals_are_exact_in_rows(
        decimals in proptest::collection::vec((decimal(), any::<bool>()), 1..8),
    ) {
        let row = |(i, (number, as_text)): (usize, &(Decimal, bool))| match as_text {
            true => format!("{{\"id\":{i},\"data\":{{\"fee\":\"{number}\"}}}}"),
            false => format!("{{\"id\":{i},\"data\":{{\"fee\":{number}}}}}"),
        };
        let list = decimals.iter().enumerate().map(row).collect::<Vec<_>>().join(",");
        let text = format!("{{\"data\":{{\"list\":[{list}]}}}}");
        let (plan, rows, reader) = plans(false);
        let mut decoder = RowsDecoder::new(&rows, &reader, 8, false);
        prop_assert!(cursor_fields::read(&plan, &mut decoder, &text).is_some(), "{}", text);
        let decoded = decoder.finish();
        prop_assert!(decoded.casts.is_empty(), "{:?}", decoded.casts);
        let Column::Numeric(fees) = &decoded.columns[2] else { unreachable!() };
        let shown = |number: &Decimal| number.to_string();
        let fees: Vec<_> = fees.iter().map(|fee| fee.as_ref().map(shown)).collect();
        let drawn: Vec<_> = decimals.iter().map(|(number, _)| Some(shown(number))).collect();
        prop_assert_eq!(fees, drawn);
    }
}
