//! Dependencies point one way, as ARCHITECTURE.md says.

use std::{collections::BTreeMap, fs, path::Path};

/// For each crate, the crates of ours and the clients that it may depend on.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("core", &[]),
    ("pool", &[]),
    ("source", &["core", "reqwest"]),
    ("queue", &["core", "lapin"]),
    ("store", &["core", "tokio-postgres", "deadpool-postgres"]),
    ("simulator", &[]),
    ("engine", &["core", "pool", "source", "queue", "store"]),
    ("cli", &["core", "source", "queue", "store", "simulator", "engine"]),
];
const CLIENTS: [&str; 4] = ["lapin", "reqwest", "tokio-postgres", "deadpool-postgres"];

#[test]
fn dependencies_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    let mut found = 0;
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest: toml::Table = fs::read_to_string(path.join("Cargo.toml")).unwrap().parse().unwrap();
        let may =
            allowed.get(&*name).unwrap_or_else(|| panic!("crates/{name} has no place in ARCHITECTURE.md"));
        for dependency in manifest["dependencies"].as_table().unwrap().keys() {
            let ours = dependency.strip_prefix("pagemill-");
            let checked = ours.or(CLIENTS.contains(&&**dependency).then_some(dependency));
            if let Some(checked) = checked {
                assert!(may.contains(&checked), "crates/{name} must not depend on {dependency}");
            }
        }
        found += 1;
    }
    assert_eq!(found, ALLOWED.len());
}
