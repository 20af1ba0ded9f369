//! Crates, modules and functions are laid out as ARCHITECTURE.md says.
//!
//! `cargo nextest run layout_holds --no-capture` prints the numbers. PAGEMILL_LAYOUT_ROOT names another checkout
//! to read.

mod circles;
mod measure;
mod tree;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use circles::{back_up, circles, describe, path, ties};
use measure::{Crate, numbers};
use tree::Tree;

/// For each crate, the crates of ours and the libraries that it may depend on.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("core", &[]),
    ("pool", &[]),
    ("source", &["core", "reqwest"]),
    ("queue", &["core", "lapin"]),
    ("store", &["core", "tokio-postgres", "deadpool-postgres"]),
    ("simulator", &[]),
    ("proxy", &[]),
    ("engine", &["core", "pool", "source", "queue", "store"]),
    ("cli", &["core", "source", "queue", "store", "simulator", "engine", "clap", "indicatif"]),
];
/// The libraries that have one place each.
const LIBRARIES: [&str; 6] = ["lapin", "reqwest", "tokio-postgres", "deadpool-postgres", "clap", "indicatif"];

/// The rooms of a crate (its top-level modules), from the bottom up: each uses only rooms before it.
const ROOMS: [(&str, &[&str]); 1] = [(
    "engine",
    &[
        "error",
        "stop",
        "crash",
        "identity",
        "config",
        "quota",
        "credentials",
        "sources",
        "app",
        "reconcile",
        "partition",
        "pipeline",
        "run",
        "operations",
    ],
)];

/// Lines of a function, from its signature to its last brace.
const FUNCTION: usize = 60;
/// Public async functions of one type.
const HANDLE: usize = 15;

/// What does not hold yet: rule, where, why. An exception that is no longer needed fails the test.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    let folders = folders(&root());
    assert_eq!(folders.len(), ALLOWED.len());
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        let may =
            allowed.get(&*name).unwrap_or_else(|| panic!("crates/{name} has no place in ARCHITECTURE.md"));
        for dependency in manifest["dependencies"].as_table().unwrap().keys() {
            let ours = dependency.strip_prefix("pagemill-");
            let checked = ours.or(LIBRARIES.contains(&&**dependency).then_some(dependency));
            if let Some(checked) = checked {
                assert!(may.contains(&checked), "crates/{name} must not depend on {dependency}");
            }
        }
    }
}

#[test]
fn the_layout_holds() {
    let crates: Vec<Crate> = folders(&root()).into_iter().map(Crate::read).collect();
    println!("{}", numbers(&crates, FUNCTION));
    let found: Vec<Finding> = crates.iter().flat_map(findings).collect();
    let excused = |f: &Finding| EXCEPTIONS.iter().any(|(rule, at, _)| *rule == f.rule && *at == f.at);
    let mut complaints: Vec<String> =
        found.iter().filter(|f| !excused(f)).map(|f| format!("{} {}\n{}", f.rule, f.at, f.detail)).collect();
    let needed = |rule: &str, at: &str| found.iter().any(|f| f.rule == rule && f.at == at);
    for (rule, at, _) in EXCEPTIONS.iter().filter(|(rule, at, _)| !needed(rule, at)) {
        complaints.push(format!("exception {rule} {at}\n    is no longer needed: delete it"));
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// A rule that is not kept, and where.
struct Finding {
    rule: &'static str,
    at: String,
    detail: String,
}

fn findings(this: &Crate) -> Vec<Finding> {
    let mut found = vec![];
    let mut add = |rule, at: String, detail| found.push(Finding { rule, at, detail });
    let (name, arrows) = (&this.name, this.tree.arrows());
    for circle in circles(&arrows) {
        // Named by its first file, so that an exception covers one circle.
        let first = path(circle.first().unwrap());
        add("circle", format!("{name}: {first}"), ties(&circle, &arrows));
    }
    let order = ROOMS.iter().find(|(of, _)| of == name).map(|(_, order)| *order);
    for (from, to) in order.map(|order| back_up(&arrows, order)).unwrap_or_default() {
        let pair = (from.clone(), to.clone());
        add("back up", format!("{name}: {} -> {}", path(from), path(to)), describe(&pair, &arrows[&pair]));
    }
    for function in this.functions.iter().filter(|f| f.lines > FUNCTION) {
        let detail = format!("    {} lines, {FUNCTION} at most", function.lines);
        add("function", format!("{}: {}", function.file, function.name), detail);
    }
    for (handle, functions) in this.handles.iter().filter(|(_, functions)| **functions > HANDLE) {
        add("handle", format!("{name}: {handle}"), format!("    {functions} functions, {HANDLE} at most"));
    }
    if this.positional_reads > 0 && name == "store" {
        let detail = format!("    {} reads by position: read columns by name", this.positional_reads);
        add("positional", name.clone(), detail);
    }
    for (file, what) in this.program_words.iter().filter(|_| name != "cli") {
        add("program", file.clone(), format!("    {what} belongs in crates/cli"));
    }
    found
}

fn root() -> PathBuf {
    std::env::var("PAGEMILL_LAYOUT_ROOT")
        .map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), PathBuf::from)
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> =
        fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// The arrows of a made-up crate of these files.
fn arrows_of(files: &[(&str, &str)]) -> tree::Arrows {
    let folder = tempfile::TempDir::new().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    Tree::read(&folder.path().join("lib.rs")).arrows()
}

fn drawn(arrows: &tree::Arrows) -> Vec<String> {
    arrows.iter().map(|(pair, names)| describe(pair, names).trim().to_owned()).collect()
}

#[test]
fn imports_are_read_as_the_compiler_reads_them() {
    let arrows = arrows_of(&[
        ("lib.rs", "mod a; mod b; mod c; mod d; pub use a::deep::Deep; use std::fs;"),
        ("a.rs", "pub mod deep; pub(crate) use deep::Deep as Renamed; pub use crate::d::*;"),
        ("a/deep.rs", "pub struct Deep; pub fn dig() {}"),
        // Nested groups, a re-export of the root, a renamed one, `self`, and a name by a glob.
        (
            "b.rs",
            "use crate::{Deep, a::{self, Renamed as Again, deep::{self as pit}}, c::{self}};\n\
                  fn f() { pit::dig(); c::see(); a::by_glob(); }",
        ),
        // An inline path, one within a macro, and a `use` within a function.
        (
            "c.rs",
            "pub fn see() { crate::d::by_glob(); println!(\"{}\", super::d::LENGTH); use super::b::f; }\n\
                  #[cfg(test)] mod tests { use crate::a::deep::Deep; }",
        ),
        ("d.rs", "pub fn by_glob() {} pub const LENGTH: usize = 1;"),
    ]);
    let expected = [
        "lib -> a/deep: Deep",
        "a -> a/deep: Deep",
        "b -> a/deep: Deep, dig",
        "b -> c: see",
        "b -> d: by_glob",
        "c -> b: f",
        "c -> d: LENGTH, by_glob",
    ];
    assert_eq!(drawn(&arrows), expected);
}

#[test]
fn a_circle_is_found_and_a_module_with_its_children_is_none() {
    let family = [
        ("lib.rs", "mod a; mod b; pub struct Root;"),
        ("a.rs", "mod one; mod two; pub fn f() { one::f() } pub struct A;"),
        ("a/one.rs", "use super::{A, two}; pub fn f() { two::f() }"),
        ("a/two.rs", "use super::A; use crate::Root; pub fn f() {}"),
        ("b.rs", "use crate::a::f;"),
    ];
    assert_eq!(circles(&arrows_of(&family)).len(), 0);

    // A child that takes from outside what needs its parent.
    let mut by_the_child = family;
    by_the_child[3].1 = "pub fn f() { crate::b::g() }";
    let arrows = arrows_of(&by_the_child);
    let found = circles(&arrows);
    assert_eq!(found.len(), 1);
    let tied = ties(&found[0], &arrows);
    assert!(tied.contains("a/two -> b: g") && tied.contains("b -> a: f"), "{tied}");

    // Two children of one parent.
    let mut siblings = family;
    siblings[3].1 = "pub fn f() { super::one::f() }";
    let found = circles(&arrows_of(&siblings));
    assert_eq!(
        found.iter().map(|c| c.iter().map(|f| path(f)).collect()).collect::<Vec<Vec<_>>>(),
        [["a/one", "a/two"]]
    );
}

#[test]
fn an_arrow_that_runs_back_up_is_found() {
    let arrows = arrows_of(&[
        ("lib.rs", "mod low; mod high;"),
        ("low.rs", "mod child;"),
        ("low/child.rs", "use crate::high::H;"),
        ("high.rs", "use crate::low; pub struct H;"),
    ]);
    let pair = (vec!["low".to_owned(), "child".to_owned()], vec!["high".to_owned()]);
    assert_eq!(back_up(&arrows, &["low", "high"]), [(&pair.0, &pair.1)]);
    assert_eq!(back_up(&arrows, &["high", "low"]), []);
}

#[test]
fn functions_handles_and_reads_are_counted() {
    let long = format!(
        "impl H {{ /// Doc.\n pub async fn long(&self) {{\n{}}} async fn own(&self) {{}} }}",
        "f();\n".repeat(60)
    );
    let text = format!(
        "pub struct H; {long}\nfn g(r: Row) {{ r.get(0); x(r.get::<_, Option<i64>>(12)); r.try_get(1)?; r.get(\"a\"); map.get(&0); }}"
    );
    let read = Crate::of_file("x.rs", &text);
    assert_eq!(read.functions.iter().map(|f| (&*f.name, f.lines)).max_by_key(|f| f.1), Some(("long", 62)));
    assert_eq!((read.handles["H"], read.positional_reads), (1, 3));
    assert_eq!(
        Crate::of_file("x.rs", "fn main() -> ExitCode { std::process::exit(1) }").program_words.len(),
        3
    );
}
