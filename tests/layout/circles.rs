//! Circles of files, and arrows that run back up.

use std::collections::BTreeSet;

use super::tree::{Arrows, Route};

/// Groups of files that need each other in a circle. A circle on which a module and only its descendants lie is
/// no finding.
pub(super) fn circles(arrows: &Arrows) -> Vec<BTreeSet<Route>> {
    let files: BTreeSet<&Route> = arrows.keys().flat_map(|(from, to)| [from, to]).collect();
    let modules: BTreeSet<&[String]> =
        files.iter().flat_map(|file| (0..=file.len()).map(|depth| &file[..depth])).collect();
    let mut found: Vec<BTreeSet<Route>> = vec![];
    for module in modules {
        // Whoever is on a circle with a module's own file passes through that module.
        let below: BTreeSet<&Route> =
            files.iter().copied().filter(|f| f.starts_with(module) && f.len() > module.len()).collect();
        for circle in components(&below, arrows) {
            let children: BTreeSet<_> = circle.iter().map(|file| &file[module.len()]).collect();
            if children.len() > 1 && !found.iter().any(|known| circle.is_subset(known)) {
                found.push(circle);
            }
        }
    }
    found
}

/// Strongly connected components: each file with all that it reaches and that reach it.
fn components(files: &BTreeSet<&Route>, arrows: &Arrows) -> Vec<BTreeSet<Route>> {
    let reached = |start: &Route| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(file) = next.pop() {
            for (_, to) in arrows.keys().filter(|(from, to)| from == file && files.contains(to)) {
                if seen.insert(to) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let mut components: Vec<BTreeSet<Route>> = vec![];
    for file in files {
        if components.iter().any(|known| known.contains(*file)) {
            continue;
        }
        let circle = reached(file).into_iter().filter(|to| reached(to).contains(file));
        components.push(circle.cloned().collect());
    }
    components
}

/// Arrows from a room (a top-level module, with all below it) to one that stands later in the order.
pub(super) fn back_up<'a>(arrows: &'a Arrows, order: &[&str]) -> Vec<(&'a Route, &'a Route)> {
    let floor = |file: &Route| {
        let room = file.first()?;
        Some(order.iter().position(|r| r == room).unwrap_or_else(|| panic!("room {room} has no place")))
    };
    let pairs = arrows.keys().filter(|(from, to)| match (floor(from), floor(to)) {
        (Some(from), Some(to)) => to > from,
        _ => false,
    });
    pairs.map(|(from, to)| (from, to)).collect()
}

/// The arrows within a circle, and the names that tie it.
pub(super) fn ties(circle: &BTreeSet<Route>, arrows: &Arrows) -> String {
    let within = arrows.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to));
    within.map(|(pair, names)| describe(pair, names)).collect::<Vec<_>>().join("\n")
}

pub(super) fn describe((from, to): &(Route, Route), names: &BTreeSet<String>) -> String {
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    format!("    {} -> {}: {}", path(from), path(to), names.join(", "))
}

pub(super) fn path(file: &[String]) -> String {
    if file.is_empty() { "lib".to_owned() } else { file.join("/") }
}
