//! Names in SQL.

/// A name as an SQL identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Plain identifiers only, short enough that PostgreSQL does not cut them (names cut to 63 bytes
/// collide without a word) and that `_sealed` can be added.
pub(crate) fn check_identifier(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    let rest = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if first && rest && name.len() <= 56 {
        Ok(())
    } else {
        Err(format!("'{name}' cannot name a table, column or schema: use a-z, 0-9 and _, at most 56 of them"))
    }
}
