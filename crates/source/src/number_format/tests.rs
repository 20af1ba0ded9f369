use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;

fn decimal(text: &str) -> Option<String> {
    chinese().number(text).and_then(Number::to_decimal).map(|d| d.to_string())
}

#[test]
fn percent_is_a_ratio_exactly() {
    // A client in the wild stripped two characters and made 3.59% a 0.035.
    for (text, ratio) in [
        ("3.59%", "0.0359"),
        ("100%", "1.00"),
        ("0%", "0.00"),
        ("-1.5%", "-0.015"),
        ("1,234.5%", "12.345"),
        ("3.59％", "0.0359"),
    ] {
        assert_eq!(decimal(text).as_deref(), Some(ratio), "{text}");
    }
    let none = NumberFormat { percent: false, ..chinese() };
    assert_eq!(none.number("3.59%"), None);
}

#[test]
fn what_is_no_number_is_not_zero() {
    // Another made everything that it could not read a 0.
    for text in [
        "n/a",
        "暂无",
        "1,23",
        "12,34.5",
        ",123",
        "1,,234",
        "1,234,",
        "1.2.3",
        "1.234,567",
        "%",
        "¥",
        "--5",
        "-¥-5",
        "+-5",
        "1e",
        "1e99999999999",
        "5 5",
        "0x10",
        "NaN",
        "inf",
        ".",
        "¥%",
    ] {
        assert_eq!(chinese().number(text), None, "{text}");
    }
    for too_large in ["1e40", "99999999999999999999999999999999", "0.00000000000000000000000000001"] {
        assert_eq!(decimal(too_large), None, "{too_large}");
    }
}

#[test]
fn numbers_as_apis_write_them() {
    for (text, number) in [
        ("53.26", "53.26"),
        ("1,234.50", "1234.50"),
        ("1,234,567", "1234567"),
        ("¥1,234.50", "1234.50"),
        ("-¥5", "-5"),
        ("¥-5", "-5"),
        ("￥ 5", "5"),
        ("5$", "5"),
        ("+7", "7"),
        ("1e3", "1000"),
        ("1.5E+2", "150"),
        ("25e-1", "2.5"),
        (".5", "0.5"),
        ("0e-999999999", "0.0000000000000000000000000000"),
        ("79228162514264337593543950335", "79228162514264337593543950335"),
    ] {
        assert_eq!(decimal(text).as_deref(), Some(number), "{text}");
    }
}

#[test]
fn whole_numbers_are_whole() {
    let whole = |text| chinese().number(text).and_then(Number::to_i64);
    assert_eq!(whole("9223372036854775807"), Some(i64::MAX));
    assert_eq!(whole("-9223372036854775808"), Some(i64::MIN));
    assert_eq!(whole("9007199254740993"), Some(9_007_199_254_740_993), "beyond a double");
    assert_eq!(whole("5,655.00"), Some(5_655));
    for no in ["9223372036854775808", "5.5", "3.59%", "1e19"] {
        assert_eq!(whole(no), None, "{no}");
    }
}

#[test]
fn null_texts() {
    assert!(chinese().is_null("") && chinese().is_null("-") && chinese().is_null("--"));
    assert!(!chinese().is_null("0") && !chinese().is_null("---"));
}

proptest! {
    #[test]
    fn the_usual_way_is_the_long_way(text in "-?[0-9,.]{0,12}[%0-9]?") {
        let format = chinese();
        if let Some(number) = format.usual(text.as_bytes()) {
            prop_assert_eq!(Number::parse(text.as_bytes()).or_else(|| format.dressed(&text)), Some(number), "{}", text);
        }
    }

    #[test]
    fn decimals_round_trip(
        digits in prop_oneof![
            -79_228_162_514_264_337_593_543_950_335_i128..=79_228_162_514_264_337_593_543_950_335,
            any::<i64>().prop_map(i128::from),
            -999_999_999_i128..=999_999_999,
        ],
        scale in 0_u32..=28,
    ) {
        let number = Decimal::from_i128_with_scale(digits, scale);
        prop_assert_eq!(decimal(&number.to_string()), Some(number.to_string()));
    }

    #[test]
    fn grouping_changes_nothing(number: i64) {
        let plain = number.unsigned_abs().to_string();
        let mut grouped = String::new();
        for (i, digit) in plain.chars().enumerate() {
            if i > 0 && (plain.len() - i).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        let text = if number < 0 { format!("-{grouped}") } else { grouped };
        prop_assert_eq!(chinese().number(&text).and_then(Number::to_i64), Some(number));
    }

    #[test]
    fn any_text_is_read_or_not(text in ".{0,60}") {
        let _ = chinese().number(&text).map(|n| (n.to_i64(), n.to_decimal()));
    }
}
