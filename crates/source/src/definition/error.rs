//! What is wrong with a definition.

/// A definition cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct DefinitionError {
    pub(super) place: String,
    pub(super) what: String,
}

/// A key, and what is wrong there.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) path: Vec<String>,
    pub(super) what: String,
}

impl DefinitionError {
    /// The file as a whole is wrong.
    pub(super) fn file(origin: &str, what: impl Into<String>) -> Self {
        Self { place: origin.to_owned(), what: what.into() }
    }
}

impl Wrong {
    pub(super) fn at<const N: usize>(path: [&str; N], what: impl Into<String>) -> Self {
        Self { path: path.map(str::to_owned).to_vec(), what: what.into() }
    }

    /// The same, seen from further out.
    pub(super) fn within(mut self, outer: &[&str]) -> Self {
        self.path.splice(0..0, outer.iter().map(|key| (*key).to_owned()));
        self
    }
}
