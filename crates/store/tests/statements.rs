//! Every SQL statement in the crate's source is prepared on a migrated database, and no row is read by
//! position. A statement is a string literal that begins with an SQL verb, or with a constant in braces.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use regex::{Captures, Regex};

use crate::common::World;

/// What statements get at run time. All else in braces is a constant of the crate.
const SAMPLES: [(&str, &[&str]); 7] = [
    ("runs", &["id = $1", "true order by id desc limit $1"]),
    ("which", &["{IN_TABLE}", "{WHOLE}"]),
    ("columns", &["{NEWEST_COLUMNS}"]),
    ("marked", &["pruned_at", "responses_pruned_at"]),
    ("month", &["pages_default"]),
    ("table", &["pages", "responses"]),
    ("rows", &["{RUNS}", "{LETTERS}", "{CONSUMERS}"]),
];

/// How many statements of a file are made from the columns of a data table: other tests run these.
const OF_DATA_TABLES: [(&str, usize); 5] = [
    ("partitions/missing.rs", 2),
    ("partitions/recount.rs", 1),
    ("partitions/standing.rs", 1),
    ("responses.rs", 1),
    ("table/load.rs", 1),
];

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let files = sources();
    let constants = constants(&files);
    let world = World::new().await;
    let client = world.connect().await;
    let data_table = Regex::new(r"[^']\{\}|\{name\}").unwrap();
    let mut of_data_tables = BTreeMap::new();
    let (mut prepared, mut wrong) = (0, Vec::new());
    for (file, text) in &files {
        for statement in statements(text, &constants) {
            if data_table.is_match(&statement) {
                *of_data_tables.entry(file.as_str()).or_insert(0) += 1;
                continue;
            }
            for sql in filled(&statement, &constants) {
                match client.prepare(&sql).await {
                    Ok(_) => prepared += 1,
                    Err(error) => wrong.push(format!("{file}: {error:?}\n  {sql}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(prepared > 90, "only {prepared} statements were found");
    assert_eq!(of_data_tables, BTreeMap::from(OF_DATA_TABLES));
}

#[test]
fn no_row_is_read_by_position() {
    let position =
        Regex::new(r"\b(row|r|letter|page|dead|first|newer|looked)\.get(::<[^;]*?>)?\(\d+\)").unwrap();
    for (file, text) in sources() {
        if let Some(found) = position.find(&text) {
            panic!("{file} reads a row by position: {}", found.as_str());
        }
    }
}

/// Source files by their path, without their unit tests.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, files) } else { files.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        (name, text.split("#[cfg(test)]").next().unwrap_or_default().to_owned())
    };
    files.iter().map(read).collect()
}

/// Text constants by name.
fn constants(files: &[(String, String)]) -> BTreeMap<String, String> {
    let constant = Regex::new(r#"(?s)const (\w+): &str =\s*"((?:[^"\\]|\\.)*)";"#).unwrap();
    let found = files.iter().flat_map(|(_, text)| constant.captures_iter(text));
    found.map(|c| (c[1].to_owned(), unescaped(&c[2]))).collect()
}

/// Statements of a file. A constant that is part of others is none by itself.
fn statements(text: &str, constants: &BTreeMap<String, String>) -> Vec<String> {
    let literal = r#"(?s)"((?:(?:select|insert|update|delete|with) |\{[A-Z_]+\}\{)(?:[^"\\]|\\.)*)""#;
    let fragments: BTreeSet<&String> = ["INTO_PAGES", "DECODED", "UNCHANGED", "COUNTERS"]
        .iter()
        .filter_map(|name| constants.get(*name))
        .collect();
    let found =
        Regex::new(literal).unwrap().captures_iter(text).map(|c| unescaped(&c[1])).collect::<Vec<_>>();
    found.into_iter().filter(|statement| !fragments.contains(statement)).collect()
}

/// A statement with constants and samples in place of their names, once for each sample.
fn filled(statement: &str, constants: &BTreeMap<String, String>) -> Vec<String> {
    let name = Regex::new(r"\{(\w+)\}").unwrap();
    let constant = |text: &str| {
        let value = |c: &Captures<'_>| constants.get(&c[1]).cloned().unwrap_or_else(|| c[0].to_owned());
        name.replace_all(&name.replace_all(text, value), value).into_owned()
    };
    let mut all = vec![constant(statement)];
    for (sample, values) in SAMPLES {
        let marker = format!("{{{sample}}}");
        if all[0].contains(&marker) {
            all = values
                .iter()
                .flat_map(|v| all.iter().map(|sql| constant(&sql.replace(&marker, v))))
                .collect();
        }
    }
    all
}

fn unescaped(literal: &str) -> String {
    let joined = Regex::new(r"\\\n\s*").unwrap().replace_all(literal, "").into_owned();
    joined.replace("\\\"", "\"").replace("\\\\", "\\")
}
