//! What a response that is no page means: the definition's rules, then the usual reading of HTTP.

use pagemill_core::{FailureClass, QuotaScope};
use regex::Regex;

/// A conjunction of what it names; the first rule that matches decides.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) class: FailureClass,
    pub(crate) quota: QuotaScope,
    pub(crate) status: Vec<StatusPattern>,
    pub(crate) code: Vec<String>,
    pub(crate) message: Option<Regex>,
}

/// `429`, or `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusPattern {
    Exactly(u16),
    Hundred(u16),
}

/// What a response says about itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signs<'a> {
    pub(crate) status: u16,
    pub(crate) code: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
}

impl Rule {
    fn matches(&self, signs: Signs<'_>) -> bool {
        let status = self.status.is_empty() || self.status.iter().any(|s| s.matches(signs.status));
        let code = self.code.is_empty() || signs.code.is_some_and(|code| self.code.iter().any(|c| c == code));
        let message =
            self.message.as_ref().is_none_or(|m| signs.message.is_some_and(|text| m.is_match(text)));
        status && code && message
    }
}

impl StatusPattern {
    fn matches(self, status: u16) -> bool {
        match self {
            Self::Exactly(exactly) => status == exactly,
            Self::Hundred(hundred) => status / 100 == hundred,
        }
    }
}

/// The class that the definition's own rules give a response.
pub(crate) fn class_by_rules(rules: &[Rule], signs: Signs<'_>) -> Option<FailureClass> {
    rules.iter().find(|rule| rule.matches(signs)).map(|rule| rule.class)
}

/// Whose quota a throttled response speaks of.
pub(crate) fn quota_by_rules(rules: &[Rule], signs: Signs<'_>) -> QuotaScope {
    rules.iter().find(|rule| rule.matches(signs)).map(|rule| rule.quota).unwrap_or_default()
}

/// The class of a response that is no page.
pub(crate) fn classify(rules: &[Rule], signs: Signs<'_>) -> FailureClass {
    class_by_rules(rules, signs).unwrap_or(match signs.status {
        429 => FailureClass::Throttled,
        401 => FailureClass::Token,
        408 | 425 | 500..=599 => FailureClass::Transient,
        _ => FailureClass::Permanent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_holds_decides() {
        let rule = |class, status: &[StatusPattern], code: &[&str], message: Option<&str>| Rule {
            class,
            quota: QuotaScope::App,
            status: status.to_vec(),
            code: code.iter().map(ToString::to_string).collect(),
            message: message.map(|m| Regex::new(m).unwrap()),
        };
        let rules = [
            rule(FailureClass::Permanent, &[StatusPattern::Exactly(503)], &["9"], None),
            rule(FailureClass::Throttled, &[StatusPattern::Hundred(5)], &[], Some("busy")),
            rule(FailureClass::Token, &[], &["7", "8"], None),
        ];
        let all = Signs { status: 200, code: None, message: None };
        for (signs, class) in [
            (Signs { status: 503, code: Some("9"), message: Some("busy") }, FailureClass::Permanent),
            (Signs { status: 503, code: Some("7"), message: Some("very busy") }, FailureClass::Throttled),
            (Signs { status: 503, code: Some("7"), ..all }, FailureClass::Token),
            (Signs { status: 503, ..all }, FailureClass::Transient),
            (Signs { code: Some("8"), ..all }, FailureClass::Token),
            (Signs { code: Some("80"), message: Some("busy"), ..all }, FailureClass::Permanent),
            (Signs { status: 429, ..all }, FailureClass::Throttled),
            (Signs { status: 401, ..all }, FailureClass::Token),
            (Signs { status: 404, ..all }, FailureClass::Permanent),
        ] {
            assert_eq!(classify(&rules, signs), class, "{signs:?}");
        }
    }
}
