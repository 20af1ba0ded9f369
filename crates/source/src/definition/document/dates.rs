//! How a partition's dates show in the rows, as it is written.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};

/// How the partition's dates show in the rows: a table, or `"none"`.
#[derive(Debug)]
pub(crate) enum DatesDoc {
    None,
    Columns(DateColumnsDoc),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DateColumnsDoc {
    /// Rows whose date lies in the partition.
    pub(crate) within: Option<String>,
    /// Rows that carry its first day here,
    pub(crate) from: Option<String>,
    /// and its last day here.
    pub(crate) to: Option<String>,
}

impl<'de> Deserialize<'de> for DatesDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dates;

        impl<'de> Visitor<'de> for Dates {
            type Value = DatesDoc;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ within = … }, { from = …, to = … } or \"none\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<DatesDoc, E> {
                match text {
                    "none" => Ok(DatesDoc::None),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DatesDoc, A::Error> {
                DateColumnsDoc::deserialize(MapAccessDeserializer::new(map)).map(DatesDoc::Columns)
            }
        }

        deserializer.deserialize_any(Dates)
    }
}

impl JsonSchema for DatesDoc {
    fn schema_name() -> Cow<'static, str> {
        "Dates".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let columns = generator.subschema_for::<DateColumnsDoc>();
        json_schema!({ "anyOf": [columns, { "const": "none" }] })
    }
}
