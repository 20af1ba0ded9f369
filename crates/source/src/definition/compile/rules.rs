//! Checks `[[rules]]`.

use regex::Regex;

use crate::{
    definition::{
        document::{
            rules::{ClassDoc, QuotaDoc, RuleDoc},
            serde_helpers::{OneOrMany, Scalar},
        },
        error::Wrong,
    },
    rules::Rule,
};

pub(super) fn compile(documents: Vec<RuleDoc>) -> Result<Vec<Rule>, Wrong> {
    let rule = |(i, document): (usize, RuleDoc)| {
        let RuleDoc { class, status: OneOrMany(status), code: OneOrMany(code), message, quota } = document;
        let number = i.to_string();
        if quota != QuotaDoc::App && !matches!(class, ClassDoc::Throttled) {
            return Err(Wrong::at(
                ["rules", &number, "quota"],
                "only a throttled response speaks of a quota",
            ));
        }
        if status.is_empty() && code.is_empty() && message.is_none() {
            return Err(Wrong::at(["rules", &number], "a rule names a status, a code or a message"));
        }
        let message = message.as_deref().map(Regex::new).transpose();
        Ok(Rule {
            class: class.into(),
            quota: quota.into(),
            status,
            code: code.into_iter().map(|Scalar(code)| code).collect(),
            message: message
                .map_err(|e| Wrong::at(["rules", &number, "message"], one_line(&e.to_string())))?,
        })
    };
    documents.into_iter().enumerate().map(rule).collect()
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
