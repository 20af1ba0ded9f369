use serde_json::Value;

use crate::metrics::{Metrics, ratio};

/// A number of a row, or of sums, before its platform writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Count(u64),
    /// An amount of money, or a rate in percent.
    Hundredths(u64),
    /// A rate where 1 is all.
    TenThousandths(u64),
    /// A quotient that there is none of.
    Missing,
}

impl Number {
    /// Cost of a click in hundredths.
    pub(crate) fn per_click(metrics: &Metrics) -> Self {
        ratio(metrics.fee, metrics.click).map_or(Self::Missing, Self::Hundredths)
    }

    /// Cost of a thousand impressions in hundredths.
    pub(crate) fn per_thousand(metrics: &Metrics) -> Self {
        ratio(metrics.fee * 1_000, metrics.impression).map_or(Self::Missing, Self::Hundredths)
    }

    /// As a JSON number, exact: the shortest decimal of the nearest double is the decimal itself.
    pub(crate) fn json_number(self) -> Value {
        let decimal = |number: u64, one: f64| serde_json::Number::from_f64(number as f64 / one).into();
        match self {
            Self::Count(count) => count.into(),
            Self::Hundredths(number) => decimal(number, 100.0),
            Self::TenThousandths(number) => decimal(number, 10_000.0),
            Self::Missing => 0.into(),
        }
    }

    /// As a text; what is missing is a dash.
    pub(crate) fn json_text(self) -> Value {
        match self {
            Self::Count(count) => count.to_string().into(),
            Self::Hundredths(number) => format!("{}.{:02}", number / 100, number % 100).into(),
            Self::TenThousandths(number) => format!("{}.{:04}", number / 10_000, number % 10_000).into(),
            Self::Missing => "-".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_in_both_manners() {
        for (value, number, text) in [
            (Number::Count(1 << 60), "1152921504606846976", "\"1152921504606846976\""),
            (Number::Hundredths(123_456_789_005), "1234567890.05", "\"1234567890.05\""),
            (Number::Hundredths(100), "1.0", "\"1.00\""),
            (Number::TenThousandths(359), "0.0359", "\"0.0359\""),
            (Number::Missing, "0", "\"-\""),
        ] {
            assert_eq!(
                (value.json_number().to_string().as_str(), value.json_text().to_string().as_str()),
                (number, text)
            );
        }
    }
}
