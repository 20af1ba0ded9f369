//! Names that a definition may give.

/// Whether a text can name a column or a table: `^[a-z_][a-z0-9_]{0,62}$`, and `_` at the front is
/// Pagemill's own.
pub(crate) fn check_identifier(text: &str) -> Result<(), String> {
    if text.starts_with('_') {
        return Err(format!("\"{text}\": names that start with _ are Pagemill's own"));
    }
    check_name(text, 63)
}

/// Whether a text can name a source or a stream: `^[a-z][a-z0-9_]{0,30}$`.
pub(crate) fn check_short_name(text: &str) -> Result<(), String> {
    check_name(text, 31)
}

fn check_name(text: &str, most: usize) -> Result<(), String> {
    let ok = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && text.len() <= most;
    if ok {
        return Ok(());
    }
    Err(format!(
        "\"{text}\" is no name: a letter, then letters, digits and _, all lower case, {most} at most"
    ))
}
