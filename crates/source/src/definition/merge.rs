//! How the parts of a definition go over one another, before any of it is understood.

use toml::{Table, Value};

/// Keys of a stream that a config may also set for the source as a whole.
pub(super) const OVER_ALL: [&str; 4] = ["missing_rows", "outside", "ready_at", "restate"];

/// Puts the config's keys over a definition, and what streams share under each of them.
pub(super) fn merged(mut definition: Table, overrides: &Table) -> Table {
    let mut overrides = overrides.clone();
    let over_all = OVER_ALL.map(|key| (key, overrides.remove(key)));
    merge(&mut definition, &overrides);
    let table = |key: &str| definition.get(key).and_then(Value::as_table).cloned().unwrap_or_default();
    let (defaults, response) = (table("defaults"), table("response"));
    for stream in
        definition.get_mut("stream").and_then(Value::as_table_mut).into_iter().flat_map(Table::iter_mut)
    {
        let (_, Value::Table(stream)) = stream else { continue };
        let mut whole = Table::from_iter([("response".to_owned(), Value::Table(response.clone()))]);
        merge(&mut whole, &defaults);
        merge(&mut whole, stream);
        for (key, value) in &over_all {
            if let Some(value) = value {
                whole.insert((*key).to_owned(), value.clone());
            }
        }
        *stream = whole;
    }
    definition
}

/// Puts one table over another: tables are merged, anything else is replaced, and so is a table of
/// another `kind`, and `dates`.
fn merge(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(under)), Value::Table(over)) if key != "dates" && same_kind(under, over) => {
                merge(under, over);
            }
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

fn same_kind(under: &Table, over: &Table) -> bool {
    match (under.get("kind"), over.get("kind")) {
        (Some(Value::String(under)), Some(Value::String(over))) => under == over,
        _ => true,
    }
}
