//! A definition as it is written. `README.md` describes every field.

use std::{collections::BTreeMap, fmt};

use pagemill_core::{FailureClass, Kind, Span};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};
use toml::Table;

use super::{
    Rate,
    words::{OneOrMany, Scalar},
};
use crate::rules::StatusPattern;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) base_url: String,
    pub(super) time_zone: String,
    pub(super) auth: Option<AuthDoc>,
    #[serde(default)]
    pub(super) rate: RateDoc,
    #[serde(default)]
    pub(super) limits: LimitsDoc,
    #[serde(default)]
    pub(super) numbers: NumbersDoc,
    pub(super) answer: AnswerDoc,
    #[serde(default)]
    pub(super) errors: Vec<RuleDoc>,
    #[serde(default)]
    pub(super) columns: BTreeMap<String, Vec<ColumnDoc>>,
    pub(super) stream: BTreeMap<String, StreamDoc>,
}

/// Windows, or `"unlimited"`: what a config writes over a definition's windows to be rid of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateDoc(pub(super) Rate);

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum AuthDoc {
    Token {
        header: String,
        #[serde(default)]
        prefix: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsDoc {
    pub(super) timeout: Option<Span>,
    pub(super) body: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NumbersDoc {
    pub(super) percent: Option<PercentDoc>,
    pub(super) thousands: Option<String>,
    #[serde(default)]
    pub(super) currency: OneOrMany<String>,
    #[serde(default)]
    pub(super) null: OneOrMany<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PercentDoc {
    Ratio,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerDoc {
    #[serde(default)]
    pub(super) code: OneOrMany<String>,
    #[serde(default)]
    pub(super) ok: OneOrMany<Scalar>,
    #[serde(default)]
    pub(super) message: OneOrMany<String>,
    #[serde(default)]
    pub(super) request_id: OneOrMany<String>,
    pub(super) total: OneOrMany<String>,
    pub(super) rows: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDoc {
    pub(super) class: ClassDoc,
    #[serde(default)]
    pub(super) status: OneOrMany<StatusPattern>,
    #[serde(default)]
    pub(super) code: OneOrMany<Scalar>,
    pub(super) message: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClassDoc {
    Throttled,
    Token,
    Transient,
    Permanent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamDoc {
    pub(super) title: Option<String>,
    pub(super) path: String,
    #[serde(default)]
    pub(super) method: MethodDoc,
    #[serde(default)]
    pub(super) encoding: EncodingDoc,
    pub(super) body: Table,
    pub(super) pager: PagerDoc,
    pub(super) max_days: Option<u32>,
    pub(super) table: Option<String>,
    pub(super) account_column: Option<String>,
    pub(super) dates: DatesDoc,
    pub(super) columns: Vec<ColumnItem>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) enum MethodDoc {
    #[default]
    #[serde(rename = "POST")]
    Post,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EncodingDoc {
    #[default]
    Json,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum PagerDoc {
    Page {
        #[serde(default = "one")]
        first: u32,
        size: u32,
        max_size: Option<u32>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DatesDoc {
    pub(super) within: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

/// A column, or `"@group"`.
#[derive(Debug)]
pub(super) enum ColumnItem {
    Group(String),
    Column(Box<ColumnDoc>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnDoc {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: KindDoc,
    pub(super) path: Option<OneOrMany<String>>,
    pub(super) param: Option<ParamDoc>,
    #[serde(rename = "const")]
    pub(super) constant: Option<Scalar>,
    #[serde(default)]
    pub(super) key: bool,
    pub(super) empty: Option<Scalar>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KindDoc {
    Bigint,
    Numeric,
    Text,
    Boolean,
    Date,
    Timestamptz,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ParamDoc {
    Account,
    From,
    To,
}

fn one() -> u32 {
    1
}

impl From<KindDoc> for Kind {
    fn from(kind: KindDoc) -> Self {
        match kind {
            KindDoc::Bigint => Self::Bigint,
            KindDoc::Numeric => Self::Numeric,
            KindDoc::Text => Self::Text,
            KindDoc::Boolean => Self::Boolean,
            KindDoc::Date => Self::Date,
            KindDoc::Timestamptz => Self::Timestamptz,
        }
    }
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

impl<'de> Deserialize<'de> for RateDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Windows;

        impl<'de> Visitor<'de> for Windows {
            type Value = RateDoc;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ per_second = … } or \"unlimited\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RateDoc, E> {
                match text {
                    "unlimited" => Ok(RateDoc::default()),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RateDoc, A::Error> {
                Rate::deserialize(MapAccessDeserializer::new(map)).map(RateDoc)
            }
        }

        deserializer.deserialize_any(Windows)
    }
}

impl<'de> Deserialize<'de> for ColumnItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Item;

        impl<'de> Visitor<'de> for Item {
            type Value = ColumnItem;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column, or \"@group\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ColumnItem, E> {
                let group = text.strip_prefix('@').ok_or_else(|| {
                    E::custom(format!(
                        "\"{text}\" is no column: write {{ name = …, type = … }} or \"@group\""
                    ))
                })?;
                Ok(ColumnItem::Group(group.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ColumnItem, A::Error> {
                ColumnDoc::deserialize(MapAccessDeserializer::new(map))
                    .map(|column| ColumnItem::Column(Box::new(column)))
            }
        }

        deserializer.deserialize_any(Item)
    }
}
