use std::ops::Range;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Digest of a response's body without the id of its request, which is another each time: a body of the same
/// digest need not be decoded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDigest {
    /// Over the bytes before the id and after it.
    pub hash: i64,
    /// Bytes before the id; all of them if there is no id.
    pub before: u32,
    /// Bytes after the id; 0 if there is no id.
    pub after: u32,
}

impl BodyDigest {
    /// Computes the digest of a body; `id` is the place of the request's id in it, if it has one. `None` beyond
    /// 4 GiB.
    pub fn new(body: &[u8], id: Option<Range<usize>>) -> Option<Self> {
        let id = id.unwrap_or(body.len()..body.len());
        Some(Self {
            hash: hash(&body[..id.start], &body[id.end..]),
            before: u32::try_from(id.start).ok()?,
            after: u32::try_from(body.len() - id.end).ok()?,
        })
    }

    /// The id of a body's request, if the body has this digest.
    pub fn request_id_if_same<'b>(&self, body: &'b [u8]) -> Option<&'b str> {
        let (before, after) = (self.before as usize, self.after as usize);
        let id = body.get(before..body.len().checked_sub(after)?)?;
        // What else it could hold might change what the rest means.
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:".contains(b);
        let known = if after == 0 { id.is_empty() } else { id.iter().all(plain) };
        let same = known && hash(&body[..before], &body[body.len() - after..]) == self.hash;
        if same { std::str::from_utf8(id).ok() } else { None }
    }
}

fn hash(before: &[u8], after: &[u8]) -> i64 {
    xxh3_64_with_seed(after, xxh3_64(before)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_same_digest_under_another_id() {
        let body = br#"{"code":0,"id":"a-1","rows":[1,2]}"#;
        let digest = BodyDigest::new(body, Some(16..19)).unwrap();
        assert_eq!(&body[16..19], b"a-1");
        assert_eq!(digest.request_id_if_same(body), Some("a-1"));
        assert_eq!(digest.request_id_if_same(br#"{"code":0,"id":"longer","rows":[1,2]}"#), Some("longer"));
        assert_eq!(digest.request_id_if_same(br#"{"code":0,"id":"","rows":[1,2]}"#), Some(""));
        for other in [
            r#"{"code":0,"id":"a-1","rows":[1,3]}"#,
            r#"{"code":1,"id":"a-1","rows":[1,2]}"#,
            r#"{"code":0,"id":"a-1","rows":[1,2],"id":"b","rows":[1,2]}"#,
            r#"{"code":0,"id":"x","rows":[9],"y":"","rows":[1,2]}"#,
            "[1,2]}",
            "",
        ] {
            assert_eq!(digest.request_id_if_same(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn without_an_id_every_byte_counts() {
        let digest = BodyDigest::new(b"[1,2]", None).unwrap();
        assert_eq!(digest.request_id_if_same(b"[1,2]"), Some(""));
        for other in [&b"[1,2]3"[..], b"[1,2", b"[1,3]", b""] {
            assert_eq!(digest.request_id_if_same(other), None);
        }
    }
}
