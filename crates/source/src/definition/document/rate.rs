//! A rate as it is written: windows, or that there are none.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};

use crate::definition::rate::Rate;

/// Windows, or `"unlimited"`: what a config writes over a definition's windows to be rid of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RateDoc(pub(crate) Rate);

impl<'de> Deserialize<'de> for RateDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
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

        deserializer.deserialize_any(Words)
    }
}

impl JsonSchema for RateDoc {
    fn schema_name() -> Cow<'static, str> {
        "RateOrUnlimited".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rate = generator.subschema_for::<Rate>();
        json_schema!({ "anyOf": [rate, { "const": "unlimited" }] })
    }
}
