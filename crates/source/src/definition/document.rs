//! A definition as it is written. `README.md` describes every field; what is said of them here goes
//! into the JSON Schema.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use pagemill_core::{ConfigDuration, FailureClass, Kind, QuotaScope, Restate, TimeOfDay};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};
use toml::Table;

use super::{
    auth::AuthDoc,
    rate::RateDoc,
    request::{ArraysDoc, EncodingDoc, MethodDoc, RequestDoc},
    words::{OneOrMany, Scalar},
};
use crate::rules::StatusPattern;

/// A source of Pagemill: where an API is, how it is asked, what its answers mean.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Pagemill source")]
pub(super) struct Document {
    /// Begins the names of tables and queues.
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,30}$"))]
    pub(super) name: String,
    /// For people.
    pub(super) title: String,
    /// https://host, perhaps with a path; no user, no query.
    pub(super) base_url: String,
    /// IANA name: the zone of the source's dates, and of times without an offset.
    pub(super) time_zone: String,
    /// How a request proves who sent it.
    pub(super) auth: Option<AuthDoc>,
    /// How much the API permits.
    #[serde(default)]
    pub(super) rate: RateDoc,
    /// What an answer may cost.
    #[serde(default)]
    pub(super) limits: LimitsDoc,
    /// Values that requests name as {params.NAME}.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(super) params: Table,
    /// How numbers are written.
    #[serde(default)]
    pub(super) numbers: NumbersDoc,
    /// Where an answer keeps what.
    #[serde(default)]
    pub(super) answer: AnswerDoc,
    /// What answers mean that are no page: the first rule that holds decides.
    #[serde(default)]
    pub(super) errors: Vec<RuleDoc>,
    /// Groups of columns that several streams share, used as "@group".
    #[serde(default)]
    pub(super) columns: BTreeMap<String, Vec<ColumnDoc>>,
    /// Keys of a stream that every stream has unless it says otherwise.
    #[serde(default, rename = "defaults")]
    #[schemars(with = "Option<StreamDoc>")]
    pub(super) _defaults: Table,
    /// The streams: each fills one table.
    pub(super) stream: BTreeMap<String, StreamDoc>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsDoc {
    /// Of a whole request: "60s".
    #[schemars(with = "Option<String>")]
    pub(super) timeout: Option<ConfigDuration>,
    /// Bytes, decompressed.
    pub(super) body: Option<usize>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NumbersDoc {
    /// "ratio": 3.59% is exactly 0.0359.
    pub(super) percent: Option<PercentDoc>,
    /// What separates thousands.
    pub(super) thousands: Option<String>,
    /// Signs that may stand before or behind a number.
    #[serde(default)]
    pub(super) currency: OneOrMany<String>,
    /// Texts that mean NULL, for every type but text.
    #[serde(default)]
    pub(super) null: OneOrMany<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum PercentDoc {
    Ratio,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerDoc {
    /// Path or paths of the code.
    #[serde(default)]
    pub(super) code: OneOrMany<String>,
    /// The codes that mean all is well.
    #[serde(default)]
    pub(super) ok: OneOrMany<Scalar>,
    /// Path of an object or text that only a failure has.
    #[serde(default)]
    pub(super) error: OneOrMany<String>,
    /// Path or paths of the message.
    #[serde(default)]
    pub(super) message: OneOrMany<String>,
    /// Path or paths of the API's id of the request.
    #[serde(default)]
    pub(super) request_id: OneOrMany<String>,
    /// Path of an array that names parts that failed.
    #[serde(default)]
    pub(super) failures: OneOrMany<String>,
    /// Path or paths of the partition's total.
    #[serde(default)]
    pub(super) total: OneOrMany<String>,
    /// The header that states the total.
    pub(super) total_header: Option<String>,
    /// Path of the array of rows; "$" if the answer is the array.
    pub(super) rows: Option<String>,
    /// The place of the rows holds one object, which is the only row.
    #[serde(default)]
    pub(super) one: bool,
    /// Path of the object that states the partition's own sums.
    #[serde(default)]
    pub(super) sums: OneOrMany<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDoc {
    pub(super) class: ClassDoc,
    /// 429, "5xx", or an array of them.
    #[serde(default)]
    pub(super) status: OneOrMany<StatusPattern>,
    /// A code or several.
    #[serde(default)]
    pub(super) code: OneOrMany<Scalar>,
    /// A regular expression.
    pub(super) message: Option<String>,
    /// Whose quota a throttled answer speaks of: the app's unless it says so.
    #[serde(default)]
    pub(super) quota: QuotaDoc,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum QuotaDoc {
    #[default]
    App,
    Stream,
    Account,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClassDoc {
    Throttled,
    Token,
    Transient,
    Permanent,
}

/// A stream: one endpoint, which fills one table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamDoc {
    /// For people; its name if left out.
    pub(super) title: Option<String>,
    /// Behind base_url; placeholders within it are allowed.
    pub(super) path: String,
    #[serde(default)]
    pub(super) method: MethodDoc,
    #[serde(default)]
    pub(super) encoding: EncodingDoc,
    /// With placeholders.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(super) query: Table,
    /// With placeholders.
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub(super) body: Option<Table>,
    /// With placeholders.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) arrays: ArraysDoc,
    /// Goes over the source's answer, key by key.
    #[serde(default)]
    pub(super) answer: AnswerDoc,
    /// How pages follow one another.
    pub(super) pager: PagerDoc,
    /// How much the API permits of this stream, beside what it permits of the source.
    #[serde(default)]
    pub(super) rate: RateDoc,
    /// Days of a partition.
    pub(super) grid: Option<u32>,
    /// The most days that one request may span.
    pub(super) max_days: Option<u32>,
    /// When a day's report is final, on the day after: "10:15", or "10:15 Asia/Shanghai".
    #[schemars(with = "Option<String>")]
    pub(super) ready_at: Option<TimeOfDay>,
    /// How long the API still changes a day: "7d", or ["7d", "30d weekly"].
    #[serde(default, deserialize_with = "Restate::windows")]
    #[schemars(with = "OneOrMany<String>")]
    pub(super) restate: Vec<Restate>,
    /// <source>_<stream> if left out.
    pub(super) table: Option<String>,
    /// The column that holds the account, part of the key.
    pub(super) account_column: Option<String>,
    /// How the partition's dates show in the rows.
    pub(super) dates: DatesDoc,
    /// Columns and "@group"s, in the table's order.
    pub(super) columns: Vec<ColumnItem>,
    /// Additive columns whose stored sums must equal the API's own: names and "@group"s.
    #[serde(default)]
    pub(super) sums: OneOrMany<String>,
    /// What becomes of rows that a later, sealed pull no longer contains.
    #[serde(default)]
    pub(super) missing_rows: MissingDoc,
    /// "month": the table is partitioned by the months of its date.
    pub(super) partition_by: Option<PartitionByDoc>,
    /// Dimensions by which a day is split that is too deep for the pager's window.
    #[serde(default)]
    pub(super) split_by: Vec<SplitDoc>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum MissingDoc {
    #[default]
    Keep,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum PartitionByDoc {
    Month,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitDoc {
    pub(super) name: String,
    /// All values of the dimension.
    pub(super) values: Vec<Scalar>,
    /// Goes over the request's body, or over its query if it has no body: {value} is a value.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(super) set: Table,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum PagerDoc {
    /// By page number.
    Page {
        /// The number of the API's first page.
        #[serde(default = "one")]
        first: u32,
        /// Rows a page.
        size: u32,
        /// The most rows a page that the API takes.
        max_size: Option<u32>,
        /// The deepest row that the API shows.
        window: Option<u32>,
    },
    /// By the row it begins at.
    Offset {
        /// The number of the API's first row.
        #[serde(default)]
        first: u32,
        /// Rows a page.
        size: u32,
        /// The most rows a page that the API takes.
        max_size: Option<u32>,
        /// The deepest row that the API shows.
        window: Option<u32>,
    },
    /// Each page names the cursor of the next.
    Cursor {
        /// Rows a page.
        size: u32,
        /// The most rows a page that the API takes.
        max_size: Option<u32>,
        /// Path of the next page's cursor.
        next: OneOrMany<String>,
        /// Path of what is missing, null or false on the last page.
        #[serde(default)]
        more: OneOrMany<String>,
    },
    /// Each page names the URL of the next.
    Link {
        /// Rows a page.
        size: u32,
        /// The most rows a page that the API takes.
        max_size: Option<u32>,
        /// Path of the next page's URL.
        #[serde(default)]
        next: OneOrMany<String>,
        /// It is in the header Link instead.
        #[serde(default)]
        header: bool,
    },
    /// One answer holds all.
    Single {},
    /// The report is prepared first.
    Task(Box<TaskDoc>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskDoc {
    /// Path of the task's id in the answer that created it.
    pub(super) id: OneOrMany<String>,
    /// The request that asks how it is: {task} is its id.
    pub(super) poll: RequestDoc,
    /// Path of its state.
    pub(super) state: OneOrMany<String>,
    /// States that mean that it is done.
    pub(super) done: OneOrMany<Scalar>,
    /// States that mean that it failed; any other is waited for.
    #[serde(default)]
    pub(super) failed: OneOrMany<Scalar>,
    /// Path of the file's URL; left out where the answer that says done holds the rows.
    #[serde(default)]
    pub(super) url: OneOrMany<String>,
    /// How long between two looks.
    #[schemars(with = "String")]
    pub(super) every: ConfigDuration,
    /// Where the file keeps what.
    pub(super) file: Option<FileDoc>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileDoc {
    /// "json" if left out; "csv": with a header line.
    #[serde(default)]
    pub(super) format: FormatDoc,
    /// Path of the array of rows; "$" if left out.
    pub(super) rows: Option<String>,
    /// Path or paths of the total.
    #[serde(default)]
    pub(super) total: OneOrMany<String>,
    /// Path of the object that states the sums.
    #[serde(default)]
    pub(super) sums: OneOrMany<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FormatDoc {
    #[default]
    Json,
    Csv,
}

/// How the partition's dates show in the rows: a table, or `"none"`.
#[derive(Debug)]
pub(super) enum DatesDoc {
    None,
    Columns(DateColumnsDoc),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DateColumnsDoc {
    /// Rows whose date lies in the partition.
    pub(super) within: Option<String>,
    /// Rows that carry its first day here,
    pub(super) from: Option<String>,
    /// and its last day here.
    pub(super) to: Option<String>,
}

/// A column, or `"@group"`.
#[derive(Debug)]
pub(super) enum ColumnItem {
    Group(String),
    Column(Box<ColumnDoc>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnDoc {
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,62}$"))]
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: KindDoc,
    /// Path or paths within the row; the name if left out.
    pub(super) path: Option<OneOrMany<String>>,
    /// Instead of path: of the request.
    pub(super) param: Option<ParamDoc>,
    /// Instead of path: the same value on every row.
    #[serde(rename = "const")]
    pub(super) constant: Option<Scalar>,
    /// Part of the primary key, never NULL.
    #[serde(default)]
    pub(super) key: bool,
    /// Stands in the key for a dimension that is missing, null or an empty text.
    pub(super) empty: Option<Scalar>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum KindDoc {
    Bigint,
    Numeric,
    Text,
    Boolean,
    Date,
    Timestamptz,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
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

impl From<QuotaDoc> for QuotaScope {
    fn from(quota: QuotaDoc) -> Self {
        match quota {
            QuotaDoc::App => Self::App,
            QuotaDoc::Stream => Self::Stream,
            QuotaDoc::Account => Self::Account,
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

impl JsonSchema for ColumnItem {
    fn schema_name() -> Cow<'static, str> {
        "ColumnItem".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let column = generator.subschema_for::<ColumnDoc>();
        json_schema!({ "anyOf": [column, { "type": "string", "pattern": "^@" }] })
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
