//! CSV with a header line, as JSON.

/// The records as an array of objects of texts, which is decoded like any other response.
pub(super) fn as_json(text: &str) -> Result<String, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let quoted = |text: &str| serde_json::to_string(text).expect("text is always JSON");
    let keys: Vec<_> =
        reader.headers().map_err(|e| e.to_string())?.iter().map(|k| quoted(k.trim())).collect();
    let mut json = String::with_capacity(2 * text.len());
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| e.to_string())? {
        json.push_str(if json.is_empty() { "[{" } else { ",{" });
        for (i, (key, value)) in keys.iter().zip(&record).enumerate() {
            json.push_str(if i == 0 { "" } else { "," });
            json.push_str(key);
            json.push(':');
            json.push_str(&quoted(value));
        }
        json.push('}');
    }
    json.push_str(if json.is_empty() { "[]" } else { "]" });
    Ok(json)
}
