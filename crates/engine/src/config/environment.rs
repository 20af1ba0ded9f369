//! Environment variables that go over the file, as `PAGEMILL_<SECTION>_<KEY>`.

use toml::{Table, Value};

use super::consumer;

/// Keys that the environment may set.
const KEYS: [(&str, &[&str]); 3] =
    [("postgres", &["url", "schema"]), ("amqp", &["url"]), ("consumer", consumer::KEYS)];

/// Puts the variables that are set into the tables of their sections. Returns their names.
pub(super) fn overlay(table: &mut Table, environment: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut set = Vec::new();
    for (section, keys) in KEYS {
        for key in keys {
            let name = format!("PAGEMILL_{}_{}", section.to_uppercase(), key.to_uppercase());
            let Some(text) = environment(&name) else { continue };
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(entry) = entry {
                entry.insert((*key).to_owned(), value(key, &text));
            }
            set.push(name);
        }
    }
    set
}

/// The text as the TOML that a file would have.
fn value(key: &str, text: &str) -> Value {
    if key == "retry" {
        return Value::Array(text.split(',').map(|delay| Value::String(delay.trim().to_owned())).collect());
    }
    let number = text.parse().map(Value::Integer).ok();
    let boolean = || text.parse().map(Value::Boolean).ok();
    number.or_else(boolean).unwrap_or_else(|| Value::String(text.to_owned()))
}
