//! Dotted paths into JSON, as a tree of object keys.

use std::collections::HashMap;

/// Paths by their keys: one step a key, no path text compared while decoding.
#[derive(Debug)]
pub(crate) struct JsonPaths {
    nodes: Vec<Node>,
    leaves: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// The way here: `data.`
    path: String,
    steps: HashMap<Box<str>, Step>,
    /// The last place that is wanted, where the value is an array.
    last_place: Option<usize>,
}

/// What an object's key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing that anybody wants.
    Skip,
    /// An object with something wanted inside.
    Inner(usize),
    /// A wanted value.
    Leaf(usize),
    /// A wanted value with something wanted inside: leaf and node.
    Both(u32, u32),
}

/// A path has an empty part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clash;

/// The object that decoding starts in.
pub(crate) const ROOT: usize = 0;

impl Default for JsonPaths {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], leaves: 0 }
    }
}

impl JsonPaths {
    /// Adds a path; the same path has the same leaf.
    pub(crate) fn insert(&mut self, path: &str) -> Result<usize, Clash> {
        if path.split('.').any(str::is_empty) {
            return Err(Clash);
        }
        let mut node = ROOT;
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            if let Ok(place) = key.parse() {
                self.nodes[node].last_place = self.nodes[node].last_place.max(Some(place));
            }
            let step = self.step(node, key);
            if keys.peek().is_none() {
                let (leaf, step) = match step {
                    Step::Leaf(leaf) => return Ok(leaf),
                    Step::Both(leaf, _) => return Ok(leaf as usize),
                    Step::Skip => (self.leaves, Step::Leaf(self.leaves)),
                    Step::Inner(inner) => (self.leaves, Step::Both(self.leaves as u32, inner as u32)),
                };
                self.leaves += 1;
                self.nodes[node].steps.insert(key.into(), step);
                return Ok(leaf);
            }
            let new = self.nodes.len();
            let (next, step) = match step {
                Step::Inner(next) => (next, step),
                Step::Both(_, next) => (next as usize, step),
                Step::Skip => (new, Step::Inner(new)),
                Step::Leaf(leaf) => (new, Step::Both(leaf as u32, new as u32)),
            };
            if next == new {
                let path = format!("{}{key}.", self.nodes[node].path);
                self.nodes.push(Node { path, ..Node::default() });
                self.nodes[node].steps.insert(key.into(), step);
            }
            node = next;
        }
        Err(Clash)
    }

    /// Where a key of a node leads.
    pub(crate) fn step(&self, node: usize, key: &str) -> Step {
        self.nodes[node].steps.get(key).copied().unwrap_or(Step::Skip)
    }

    /// Where a place of a node's array leads; `None` where no later one leads anywhere.
    pub(crate) fn place(&self, node: usize, place: usize) -> Option<Step> {
        (Some(place) <= self.nodes[node].last_place).then(|| self.step(node, &place.to_string()))
    }

    /// The whole path of a node's key.
    pub(crate) fn path(&self, node: usize, key: &str) -> String {
        format!("{}{key}", self.nodes[node].path)
    }

    /// Number of nodes.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Number of leaves.
    pub(crate) fn leaves(&self) -> usize {
        self.leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_share_their_beginnings() {
        let mut json_paths = JsonPaths::default();
        assert_eq!(json_paths.insert("data.fee"), Ok(0));
        assert_eq!(json_paths.insert("data.click"), Ok(1));
        assert_eq!(json_paths.insert("time"), Ok(2));
        assert_eq!(json_paths.insert("data.fee"), Ok(0));
        assert_eq!((json_paths.nodes(), json_paths.leaves()), (2, 3));
        for clash in ["", "data.", ".fee", "a..b"] {
            assert_eq!(json_paths.insert(clash), Err(Clash), "{clash}");
        }
        assert_eq!((json_paths.nodes(), json_paths.leaves()), (2, 3));
        assert_eq!(json_paths.step(ROOT, "other"), Step::Skip);
        assert_eq!(json_paths.path(1, "fee"), "data.fee");
    }

    #[test]
    fn one_path_may_lead_through_anothers_value() {
        let mut json_paths = JsonPaths::default();
        assert_eq!((json_paths.insert("error"), json_paths.insert("error.code")), (Ok(0), Ok(1)));
        assert_eq!((json_paths.insert("data.id"), json_paths.insert("data")), (Ok(2), Ok(3)));
        assert_eq!((json_paths.insert("error"), json_paths.insert("data.id")), (Ok(0), Ok(2)));
        assert_eq!(
            (json_paths.step(ROOT, "error"), json_paths.step(ROOT, "data")),
            (Step::Both(0, 1), Step::Both(3, 2))
        );
    }

    #[test]
    fn places_in_arrays() {
        let mut json_paths = JsonPaths::default();
        assert_eq!(json_paths.insert("list.1.id"), Ok(0));
        assert_eq!(
            (json_paths.place(1, 0), json_paths.place(1, 1), json_paths.place(1, 2)),
            (Some(Step::Skip), Some(Step::Inner(2)), None)
        );
        assert_eq!(json_paths.place(ROOT, 0), None);
    }
}
