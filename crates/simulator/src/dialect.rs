//! What the dialects of all platforms have in common. A dialect reads a request into [`Asked`], and
//! writes a [`Page`] or a [`Refusal`] as its platform does; which rows a page holds is decided here, so
//! that all platforms have the same rows and what goes wrong with rows can go wrong with any of them.

use hyper::{StatusCode, http::request::Parts};
use jiff::civil::Date;

use crate::{
    FaultKind,
    answer::Answer,
    baidu::Baidu,
    example::Example,
    holding::Holding,
    kuaishou::Kuaishou,
    meta::Meta,
    oceanengine::OceanEngine,
    random::{Random, hash, mix},
    row::{Level, Metrics, Row},
    tencent::Tencent,
    tiktok::TikTok,
    xiaohongshu::{Offline, Realtime},
};

/// One platform's way of asking and answering.
pub(crate) trait Dialect: Sync {
    /// Whether the path is one of its reports.
    fn owns(&self, path: &str) -> bool;
    /// What the request asks for, if it may.
    fn read(&self, parts: &Parts, body: &[u8], token: Option<&str>) -> Result<Asked, Refusal>;
    /// The good answer.
    fn page(&self, asked: &Asked, page: &Page, request_id: &str) -> Answer;
    /// The answer to a request that gets no page.
    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Answer;
}

const DIALECTS: [&dyn Dialect; 9] =
    [&Offline, &Realtime, &OceanEngine, &Tencent, &Kuaishou, &Baidu, &Meta, &TikTok, &Example];

/// The dialect whose path it is, and its place among all.
pub(crate) fn dialect(path: &str) -> Option<(usize, &'static dyn Dialect)> {
    DIALECTS.into_iter().enumerate().find(|(_, dialect)| dialect.owns(path))
}

/// Which page of which rows is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub(crate) account: String,
    pub(crate) level: Level,
    pub(crate) start: Date,
    pub(crate) end: Date,
    /// From 1.
    pub(crate) page: u64,
    pub(crate) size: u64,
    /// The columns asked for by name; empty if none were named.
    pub(crate) columns: Vec<String>,
    /// Only rows whose [`Row::part`] is among these; `None` is all.
    pub(crate) parts: Option<Vec<u64>>,
    /// Whether the sums over all pages are asked for.
    pub(crate) sums: bool,
    /// Where the next page is asked for, but for what names it; empty in dialects without links.
    pub(crate) address: String,
}

impl Asked {
    /// The first page of a report on creatives, without further wishes.
    pub(crate) fn new(account: String, (start, end): (Date, Date)) -> Self {
        Self {
            account,
            level: Level::Creative,
            start,
            end,
            page: 1,
            size: 20,
            columns: Vec::new(),
            parts: None,
            sums: false,
            address: String::new(),
        }
    }

    pub(crate) fn days(&self) -> impl Iterator<Item = Date> {
        self.start.series(jiff::Span::new().days(1)).take_while(|day| *day <= self.end)
    }

    /// Equal for equal requests.
    pub(crate) fn hash(&self) -> u64 {
        let day = |day: Date| (day.year() as u64) << 16 | (day.month() as u64) << 8 | day.day() as u64;
        let parts = [day(self.start), day(self.end), self.page, self.size, self.level as u64];
        let parts = parts.into_iter().chain(self.parts.iter().flatten().copied());
        parts.fold(hash(&self.account), |hash, part| mix(hash ^ part))
    }
}

/// Why a request is not answered with a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Method,
    Token,
    /// The parameter that is missing or bad.
    Parameter(&'static str),
    Throttled,
    System,
}

/// What is wrong with a page that is otherwise well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    BadTotal,
    NoKey,
}

/// The rows of a page, and what is said of all pages.
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// Rows of all pages.
    pub(crate) total: u64,
    /// Sums over the rows of all pages.
    pub(crate) sums: Metrics,
    /// The page that follows, as cursors and links say it.
    pub(crate) next: Option<u64>,
    /// Metrics that nobody asked for by name are 0.
    pub(crate) silent: bool,
    pub(crate) flaw: Flaw,
}

impl Page {
    /// The rows asked for: day by day as they are held, and what is wrong with them. `draw` is the
    /// request's own random number.
    pub(crate) fn new(
        days: &[Holding],
        asked: &Asked,
        sums: Metrics,
        fault: Option<FaultKind>,
        draw: u64,
    ) -> Self {
        let number = if fault == Some(FaultKind::RepeatedPage) { asked.page.max(2) - 1 } else { asked.page };
        let first = (number - 1) * asked.size;
        let order = Order { draw: (fault == Some(FaultKind::Ties)).then_some(draw) };
        let (mut rows, mut total) = (Vec::new(), 0);
        for day in days {
            let (from, to) = (first.max(total) - total, (first + asked.size).max(total) - total);
            total += match &asked.parts {
                None => {
                    let count = day.count();
                    rows.extend((from..to.min(count)).map(|place| day.row(order.place(place, count))));
                    count
                }
                Some(parts) => {
                    let count = day.rows().filter(|row| parts.contains(&row.part())).count() as u64;
                    let of_part = day.rows().filter(|row| parts.contains(&row.part()));
                    rows.extend(of_part.skip(from as usize).take((to - from) as usize));
                    count
                }
            };
        }
        let mut next = (asked.page * asked.size < total).then_some(asked.page + 1);
        match fault {
            Some(FaultKind::ShortPage) => rows.truncate(Random::new(draw).below(rows.len() as u64) as usize),
            Some(FaultKind::MovingTotal) => total += 1 + Random::new(draw).below(150),
            Some(FaultKind::LoopCursor) => next = Some(asked.page.max(2) - 1),
            _ => {}
        }
        let flaw = match fault {
            Some(FaultKind::BadTotal) => Flaw::BadTotal,
            Some(FaultKind::NoKey) => Flaw::NoKey,
            _ => Flaw::None,
        };
        Self { rows, total, sums, next, silent: fault == Some(FaultKind::SilentZeros), flaw }
    }

    /// How many pages there are.
    pub(crate) fn pages(&self, asked: &Asked) -> u64 {
        self.total.div_ceil(asked.size)
    }
}

/// The order of rows whose sort has ties: blocks of equals, each turned by the request's own number.
struct Order {
    draw: Option<u64>,
}

impl Order {
    const EQUALS: u64 = 150;

    fn place(&self, place: u64, count: u64) -> u64 {
        let Some(draw) = self.draw else { return place };
        let start = place / Self::EQUALS * Self::EQUALS;
        let equals = Self::EQUALS.min(count - start);
        start + (place - start + Random::at(draw, start).below(equals)) % equals
    }
}

/// The days asked for, at most so many.
pub(crate) fn span(start: Option<Date>, end: Option<Date>, most: i32) -> Option<(Date, Date)> {
    let (start, end) = (start?, end?);
    let days = start.until(end).ok()?.get_days() + 1;
    (1..=most).contains(&days).then_some((start, end))
}

/// A page number or size: what it is when it is not given, and the most it may be.
pub(crate) fn within(value: Option<i64>, default: u64, most: u64) -> Option<u64> {
    let value = value.map_or(Some(default), |value| u64::try_from(value).ok());
    value.filter(|value| (1..=most).contains(value))
}

/// Far beyond any last page, and far from overflow.
pub(crate) const LAST_PAGE: u64 = u32::MAX as u64;

/// Whether the token given is one that may ask; without an expected one any will do that isn't empty.
pub(crate) fn admits(expected: Option<&str>, given: Option<&[u8]>) -> bool {
    given.is_some_and(|given| !given.is_empty() && expected.is_none_or(|token| token.as_bytes() == given))
}

/// The token in the header, without what stands before it.
pub(crate) fn header<'a>(parts: &'a Parts, name: &str, prefix: &str) -> Option<&'a [u8]> {
    parts.headers.get(name)?.as_bytes().strip_prefix(prefix.as_bytes())
}

/// What a gateway in front of the API answers when it is ill, with a status as if all were well.
pub(crate) fn garbage() -> Answer {
    let body = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n";
    Answer::new(StatusCode::OK, "text/html", body.into())
}
