use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use crate::{answer::Answer, dialect::Asked};

/// Answers as they were first rendered, by path and by what was asked for. Once they fill their share of
/// memory no more are kept; what isn't kept is rendered anew.
pub(crate) struct Rendered {
    most: u64,
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<String, HashMap<Asked, Answer>>,
    bytes: u64,
}

impl Rendered {
    /// At most so many bytes of bodies.
    pub(crate) fn new(most: u64) -> Self {
        Self { most, kept: RwLock::default() }
    }

    pub(crate) fn get(&self, path: &str, asked: &Asked) -> Option<Answer> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.answers.get(path)?.get(asked).cloned()
    }

    pub(crate) fn keep(&self, path: &str, asked: &Asked, answer: &Answer) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + answer.len() > self.most {
            return;
        }
        let of_path = kept.answers.entry(path.to_owned()).or_default();
        if of_path.insert(asked.clone(), answer.clone()).is_none() {
            kept.bytes += answer.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use jiff::civil::date;

    use super::*;

    #[test]
    fn what_was_kept_comes_back_until_memory_is_full() {
        let rendered = Rendered::new(10);
        let day = date(2026, 11, 23);
        let asked = |page| Asked { page, ..Asked::new("1001".to_owned(), (day, day)) };
        let answer = |body: &'static str| Answer::json(StatusCode::OK, body);
        rendered.keep("/a", &asked(1), &answer("12345"));
        // The same once more takes no more room.
        rendered.keep("/a", &asked(1), &answer("12345"));
        rendered.keep("/b", &asked(1), &answer("123456"));
        rendered.keep("/a", &asked(2), &answer("54321"));
        let length = |path, page| rendered.get(path, &asked(page)).map(|answer| answer.len());
        assert_eq!([length("/a", 1), length("/a", 2), length("/a", 3)], [Some(5), Some(5), None]);
        assert_eq!(length("/b", 1), None);
    }
}
