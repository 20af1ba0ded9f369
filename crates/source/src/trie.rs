//! Dotted paths into JSON, as a tree of object keys.

use std::collections::HashMap;

/// Paths by their keys: one step a key, no path text compared while decoding.
#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Vec<HashMap<Box<str>, Step>>,
    leaves: usize,
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
}

/// Of two paths one leads through the other, or a path has an empty part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clash;

/// The object that decoding starts in.
pub(crate) const ROOT: usize = 0;

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![HashMap::new()], leaves: 0 }
    }
}

impl Trie {
    /// Adds a path; the same path has the same leaf.
    pub(crate) fn insert(&mut self, path: &str) -> Result<usize, Clash> {
        let mut node = ROOT;
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            let step = if key.is_empty() { return Err(Clash) } else { self.step(node, key) };
            match (step, keys.peek().is_some()) {
                (Step::Inner(next), true) => node = next,
                (Step::Leaf(leaf), false) => return Ok(leaf),
                (Step::Skip, true) => {
                    let next = self.nodes.len();
                    self.nodes.push(HashMap::new());
                    self.nodes[node].insert(key.into(), Step::Inner(next));
                    node = next;
                }
                (Step::Skip, false) => {
                    let leaf = self.leaves;
                    self.leaves += 1;
                    self.nodes[node].insert(key.into(), Step::Leaf(leaf));
                    return Ok(leaf);
                }
                (Step::Inner(_), false) | (Step::Leaf(_), true) => return Err(Clash),
            }
        }
        Err(Clash)
    }

    /// Where a key of a node leads.
    pub(crate) fn step(&self, node: usize, key: &str) -> Step {
        self.nodes[node].get(key).copied().unwrap_or(Step::Skip)
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
    fn paths_share_their_beginnings_and_never_cross() {
        let mut trie = Trie::default();
        assert_eq!(trie.insert("data.fee"), Ok(0));
        assert_eq!(trie.insert("data.click"), Ok(1));
        assert_eq!(trie.insert("time"), Ok(2));
        assert_eq!(trie.insert("data.fee"), Ok(0));
        assert_eq!((trie.nodes(), trie.leaves()), (2, 3));
        for clash in ["data", "time.of", "", "data.", ".fee"] {
            assert_eq!(trie.insert(clash), Err(Clash), "{clash}");
        }
        assert_eq!(trie.step(ROOT, "other"), Step::Skip);
    }
}
