//! What responses mean that are no page, as it is written.

use pagemill_core::{FailureClass, QuotaScope};
use schemars::JsonSchema;
use serde::Deserialize;

use super::serde_helpers::{OneOrMany, Scalar};
use crate::rules::StatusPattern;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleDoc {
    pub(crate) class: ClassDoc,
    /// 429, "5xx", or an array of them.
    #[serde(default)]
    pub(crate) status: OneOrMany<StatusPattern>,
    /// A code or several.
    #[serde(default)]
    pub(crate) code: OneOrMany<Scalar>,
    /// A regular expression.
    pub(crate) message: Option<String>,
    /// Whose quota a throttled response speaks of: the app's unless it says so.
    #[serde(default)]
    pub(crate) quota: QuotaDoc,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum QuotaDoc {
    #[default]
    App,
    Stream,
    Account,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClassDoc {
    Throttled,
    Token,
    Transient,
    Permanent,
}

impl From<ClassDoc> for FailureClass {
    fn from(class: ClassDoc) -> Self {
        match class {
            ClassDoc::Throttled => Self::Throttled,
            ClassDoc::Token => Self::Token,
            ClassDoc::Transient => Self::Transient,
            ClassDoc::Permanent => Self::Permanent,
        }
    }
}

impl From<QuotaDoc> for QuotaScope {
    fn from(quota: QuotaDoc) -> Self {
        match quota {
            QuotaDoc::App => Self::App,
            QuotaDoc::Stream => Self::Stream,
            QuotaDoc::Account => Self::Account,
        }
    }
}
