//! Every SQL statement in the crate's source is prepared on a migrated database. No row is read by position, and
//! every column that a function reads by name is one that its statements, or those of its callers, return.
//! A statement is a string literal that begins with an SQL verb, or with a constant in braces.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use regex::{Captures, Regex};

use crate::common::World;

/// What statements get at run time. All else in braces is a constant of the crate.
const SAMPLES: [(&str, &[&str]); 6] = [
    ("runs", &["id = $1", "true order by id desc limit $1"]),
    ("which", &["{IN_TABLE}", "{WHOLE}"]),
    ("marked", &["pruned_at", "responses_pruned_at"]),
    ("month", &["pages_default"]),
    ("table", &["pages", "responses"]),
    ("rows", &["{RUNS}", "{LETTERS}", "{CONSUMERS}"]),
];

/// How many statements of a file are made from the columns of a data table: other tests run these.
const OF_DATA_TABLES: [(&str, usize); 8] = [
    ("seals/apply.rs", 1),
    ("seals/baseline.rs", 1),
    ("seals/difference.rs", 5),
    ("seals/gone.rs", 1),
    ("seals/recount.rs", 1),
    ("seals/staged.rs", 2),
    ("table/load.rs", 3),
    ("table/replace.rs", 8),
];

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let files = sources();
    let constants = constants(&files);
    let world = World::new().await;
    let client = world.connect().await;
    let data_table = data_table();
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

/// Functions of these files read the rows of statements that are prepared in the last of them.
const WRITE: [&str; 3] = ["pages/write.rs", "pages/write/params.rs", "pages/write/statements.rs"];

#[tokio::test]
async fn every_column_read_by_name_is_returned() {
    let files = sources();
    let world = World::new().await;
    let client = world.connect().await;
    let all_constants = constants(&files);
    let mut functions = Vec::new();
    for (file, text) in &files {
        let mut constants = all_constants.clone();
        constants.extend(self::constants(&[(file.clone(), text.clone())]));
        for mut function in functions_of(file, text) {
            for statement in function.statements(&constants) {
                function.columns.extend(columns(&client, &statement, &constants).await);
            }
            functions.push(function);
        }
    }
    let written: Vec<_> =
        functions.iter().filter(|f| f.file == WRITE[2]).flat_map(|f| f.columns.clone()).collect();
    for function in functions.iter_mut().filter(|f| WRITE.contains(&f.file.as_str())) {
        function.columns.extend(written.iter().cloned());
    }
    let (mut count, mut wrong) = (0, Vec::new());
    for function in &functions {
        let reads = function.reads();
        count += reads.len();
        wrong.extend(
            reads
                .iter()
                .filter(|read| !function.returns(read, &functions, 4))
                .map(|(name, kind)| format!("{}: {} reads {name} {kind:?}", function.file, function.name)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 200, "only {count} reads were found");
}

/// The columns that a statement returns, with the names of their types.
async fn columns(
    client: &tokio_postgres::Client,
    statement: &str,
    constants: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    if data_table().is_match(statement) {
        // Made from a data table's columns, which are read by position; those of fixed names have any type.
        let list = statement.split(" from ").next().unwrap_or_default();
        let word = Regex::new(r"\w+").unwrap();
        return word.find_iter(list).map(|w| (w.as_str().to_owned(), String::new())).collect();
    }
    let mut all = Vec::new();
    for sql in filled(statement, constants) {
        // Parts of statements, which are no statements by themselves, return nothing.
        let Ok(prepared) = client.prepare(&sql).await else { continue };
        all.extend(prepared.columns().iter().map(|c| (c.name().to_owned(), c.type_().name().to_owned())));
    }
    all
}

/// A function of the source, and the columns that its statements return.
struct Function {
    file: String,
    /// The type whose method it is.
    of: Option<String>,
    name: String,
    text: String,
    columns: Vec<(String, String)>,
}

/// The functions of a file, as rustfmt lays them out.
fn functions_of(file: &str, text: &str) -> Vec<Function> {
    let begin = Regex::new(r"(?m)^( *)(?:pub(?:\([^)]*\))? )?(?:async )?fn (\w+)").unwrap();
    let implementation = Regex::new(r"(?m)^impl(?:<[^>]*>)? (?:\w+ for )?(\w+)").unwrap();
    let function = |c: Captures<'_>| {
        let (at, indent) = (c.get(0).unwrap().start(), &c[1]);
        let end = text[at..].find(&format!("\n{indent}}}\n")).map_or(text.len(), |end| at + end);
        let of = implementation.captures_iter(&text[..at]).last().filter(|_| !indent.is_empty());
        Function {
            file: file.to_owned(),
            of: of.map(|c| c[1].to_owned()),
            name: c[2].to_owned(),
            text: text[at..end].to_owned(),
            columns: Vec::new(),
        }
    };
    begin.captures_iter(text).map(function).collect()
}

impl Function {
    /// Literals in its text, and constants that it names.
    fn statements(&self, constants: &BTreeMap<String, String>) -> Vec<String> {
        let constant = Regex::new(r"\b[A-Z][A-Z_]+\b").unwrap();
        let named = constant.find_iter(&self.text).filter_map(|name| constants.get(name.as_str()).cloned());
        statements(&self.text, constants).into_iter().chain(named).collect()
    }

    /// Columns that it reads by name, and the types that it spells out.
    fn reads(&self) -> Vec<(String, Option<String>)> {
        let read = Regex::new(r#"\.get(?:::<_, (?:Option<)?([^;(]+?)>?>)?\("(\w+)"\)"#).unwrap();
        let mut reads: Vec<_> = read
            .captures_iter(&self.text)
            .map(|c| (c[2].to_owned(), c.get(1).map(|kind| kind.as_str().trim_end_matches('>').to_owned())))
            .collect();
        // By a closure: `let count = |name| row.get::<_, i64>(name) as u64`.
        let closure = Regex::new(r"let (\w+) = \|[^|]*\bname\| \w+\.get::<_, (\w+)>\(name\)").unwrap();
        for c in closure.captures_iter(&self.text) {
            let call = Regex::new(&format!(r#"\b{}\((?:\w+, )?"(\w+)"\)"#, &c[1])).unwrap();
            reads.extend(call.captures_iter(&self.text).map(|r| (r[1].to_owned(), Some(c[2].to_owned()))));
        }
        reads
    }

    /// Whether its statements return a column, or those of all its callers.
    fn returns(&self, read: &(String, Option<String>), functions: &[Self], depth: u32) -> bool {
        let (name, kind) = read;
        let fits = |(column, sql): &(String, String)| {
            column == name && (sql.is_empty() || kind.as_ref().is_none_or(|kind| is_read_as(sql, kind)))
        };
        if self.columns.iter().any(fits) {
            return true;
        }
        let callers: Vec<&Self> = functions.iter().filter(|f| f.calls(self)).collect();
        depth > 0 && !callers.is_empty() && callers.iter().all(|f| f.returns(read, functions, depth - 1))
    }

    fn calls(&self, other: &Self) -> bool {
        let name = &other.name;
        if !self.text.contains(name.as_str()) {
            return false;
        }
        let here = self.file == other.file;
        let call = match &other.of {
            Some(of) if self.of == other.of && here => format!(r"\b(?:{of}::|Self::|self\.){name}\b"),
            Some(of) => format!(r"\b{of}::{name}\b"),
            None if here => format!(r"(?:^|[^.:\w]){name}(?:\(|\))"),
            None => return false,
        };
        let itself = self.name == *name && self.of == other.of && here;
        !itself && Regex::new(&call).unwrap().is_match(&self.text)
    }
}

/// Whether a column of this SQL type can be read as this Rust type.
fn is_read_as(sql: &str, kind: &str) -> bool {
    match kind {
        "i32" => sql == "int4",
        "i64" => sql == "int8",
        "f64" => sql == "float8",
        "bool" => sql == "bool",
        "&str" | "String" => ["text", "name", "varchar"].contains(&sql),
        "Timestamp" => sql == "timestamptz",
        "Value" => sql == "jsonb",
        "Vec<i32" => sql == "_int4",
        "Vec<i64" => sql == "_int8",
        "Vec<f64" => sql == "_float8",
        "_" => true,
        other => panic!("say how {other} is read"),
    }
}

fn data_table() -> Regex {
    Regex::new(r"[^']\{\}|\{(?:name|staged|difference|change|0)\}").unwrap()
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
