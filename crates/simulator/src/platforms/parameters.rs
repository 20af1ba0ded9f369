//! Parameters that the dialects check alike.

use hyper::http::request::Parts;
use jiff::civil::Date;

/// The requested days, at most so many.
pub(crate) fn date_range(start: Option<Date>, end: Option<Date>, most: i32) -> Option<(Date, Date)> {
    let (start, end) = (start?, end?);
    let days = start.until(end).ok()?.get_days() + 1;
    (1..=most).contains(&days).then_some((start, end))
}

/// A page number or size within its bounds, or the default if there is none.
pub(crate) fn bounded(value: Option<i64>, default: u64, most: u64) -> Option<u64> {
    let value = value.map_or(Some(default), |value| u64::try_from(value).ok());
    value.filter(|value| (1..=most).contains(value))
}

/// Far beyond any last page, and far from overflow.
pub(crate) const MAX_PAGE: u64 = u32::MAX as u64;

/// True if the given token is the expected one. Without an expected one any token will do that isn't empty.
pub(crate) fn token_matches(expected: Option<&str>, given: Option<&[u8]>) -> bool {
    given.is_some_and(|given| !given.is_empty() && expected.is_none_or(|token| token.as_bytes() == given))
}

/// The token in the header, without what stands before it.
pub(crate) fn header<'a>(parts: &'a Parts, name: &str, prefix: &str) -> Option<&'a [u8]> {
    parts.headers.get(name)?.as_bytes().strip_prefix(prefix.as_bytes())
}
