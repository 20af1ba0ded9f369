//! Hash of all that a definition says about decoding a stream's responses: when it changes, stored responses are
//! to be decoded again.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml::{Table, Value};
use xxhash_rust::xxh3::xxh3_64;

/// Keys about requests, or for people. All others count, a pager too (a task's
/// says how its file is read): reading once too often does no harm.
const OF_SOURCE: [&str; 9] =
    ["title", "base_url", "auth", "rate", "limits", "params", "rules", "columns", "stream"];
const OF_STREAM: [&str; 17] = [
    "title",
    "rate",
    "path",
    "method",
    "encoding",
    "query",
    "body",
    "headers",
    "arrays",
    "days_per_partition",
    "max_days",
    "ready_at",
    "restate",
    "missing_rows",
    "outside",
    "partition_by",
    "split_by",
];

/// The hash for a stream: comments, order and requests don't matter.
pub(super) fn of(document: &Table, stream: &str) -> i64 {
    let named = document.get("stream").and_then(|streams| streams.get(stream));
    let stream = without(named, &OF_STREAM);
    let defaults = without(document.get("defaults"), &OF_STREAM);
    // Groups of columns that other streams use are theirs.
    let text = format!("{stream}{defaults}");
    let groups = document.get("columns").and_then(Value::as_table);
    let used = groups.into_iter().flatten().filter(|(name, _)| text.contains(&format!("\"@{name}\"")));
    let used: Table = used.map(|(name, group)| (name.clone(), group.clone())).collect();
    let source: Table = document
        .iter()
        .filter(|(key, _)| *key != "defaults" && !OF_SOURCE.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    xxh3_64(format!("{text}{}{}", json(&used), json(&source)).as_bytes()) as i64
}

/// A table as JSON, without these keys.
fn without(table: Option<&Value>, keys: &[&str]) -> String {
    let kept = table.and_then(Value::as_table).into_iter().flatten();
    json(
        &kept.filter(|(key, _)| !keys.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect(),
    )
}

/// Keys sorted: whether tables keep their order is a matter of how this program was built.
fn json(table: &Table) -> String {
    fn sorted(value: &Value) -> Json {
        match value {
            Value::Table(table) => {
                let entries: BTreeMap<_, _> = table.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
                Json::Object(entries.into_iter().collect())
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            Value::String(text) => text.as_str().into(),
            other => other.to_string().into(),
        }
    }
    sorted(&Value::Table(table.clone())).to_string()
}
