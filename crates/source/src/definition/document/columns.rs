//! A column as it is written, or the name of a group of columns.

use std::{borrow::Cow, fmt};

use pagemill_core::Kind;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::serde_helpers::{OneOrMany, Scalar};

/// A column, or `"@group"`.
#[derive(Debug)]
pub(crate) enum ColumnItem {
    Group(String),
    Column(Box<ColumnDoc>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnDoc {
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,62}$"))]
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: KindDoc,
    /// Path or paths within the row; the name if left out.
    pub(crate) path: Option<OneOrMany<String>>,
    /// Instead of path: of the request.
    pub(crate) param: Option<ParamDoc>,
    /// Instead of path: the same value on every row.
    #[serde(rename = "const")]
    pub(crate) constant: Option<Scalar>,
    /// Part of the primary key, never NULL.
    #[serde(default)]
    pub(crate) key: bool,
    /// Stands in the key for a dimension that is missing, null or an empty text.
    pub(crate) if_missing: Option<Scalar>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KindDoc {
    Bigint,
    Numeric,
    Text,
    Boolean,
    Date,
    Timestamptz,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ParamDoc {
    Account,
    From,
    To,
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

impl JsonSchema for ColumnItem {
    fn schema_name() -> Cow<'static, str> {
        "ColumnItem".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let column = generator.subschema_for::<ColumnDoc>();
        json_schema!({ "anyOf": [column, { "type": "string", "pattern": "^@" }] })
    }
}
