use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use crate::{page_request::PageRequest, response::Response};

/// Responses as they were first rendered, by path and request. Once they fill their share of memory, no more
/// are kept, and the others are rendered each time.
pub(crate) struct ResponseCache {
    most: u64,
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    responses: HashMap<String, HashMap<PageRequest, Response>>,
    bytes: u64,
}

impl ResponseCache {
    /// At most so many bytes of bodies.
    pub(crate) fn new(most: u64) -> Self {
        Self { most, kept: RwLock::default() }
    }

    pub(crate) fn get(&self, path: &str, request: &PageRequest) -> Option<Response> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.responses.get(path)?.get(request).cloned()
    }

    pub(crate) fn keep(&self, path: &str, request: &PageRequest, response: &Response) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + response.len() > self.most {
            return;
        }
        let of_path = kept.responses.entry(path.to_owned()).or_default();
        if of_path.insert(request.clone(), response.clone()).is_none() {
            kept.bytes += response.len();
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
        let cache = ResponseCache::new(10);
        let day = date(2026, 11, 23);
        let request = |page| PageRequest { page, ..PageRequest::new("1001".to_owned(), (day, day)) };
        let response = |body: &'static str| Response::json(StatusCode::OK, body);
        cache.keep("/a", &request(1), &response("12345"));
        // The same once more takes no more room.
        cache.keep("/a", &request(1), &response("12345"));
        cache.keep("/b", &request(1), &response("123456"));
        cache.keep("/a", &request(2), &response("54321"));
        let length = |path, page| cache.get(path, &request(page)).map(|response| response.len());
        assert_eq!([length("/a", 1), length("/a", 2), length("/a", 3)], [Some(5), Some(5), None]);
        assert_eq!(length("/b", 1), None);
    }
}
