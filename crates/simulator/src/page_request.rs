use jiff::civil::Date;

use crate::{
    level::Level,
    random::{hash, mix},
};

/// Which page of which rows is requested.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PageRequest {
    pub(crate) account: String,
    pub(crate) level: Level,
    pub(crate) start: Date,
    pub(crate) end: Date,
    /// From 1.
    pub(crate) page: u64,
    pub(crate) size: u64,
    /// The columns requested by name; empty if none were named.
    pub(crate) columns: Vec<String>,
    /// Only rows whose [`crate::Row::part`] is among these; `None` is all.
    pub(crate) parts: Option<Vec<u64>>,
    /// True if the sums over all pages are requested.
    pub(crate) sums: bool,
    /// The address of the next page, without what names the page; empty in dialects without links.
    pub(crate) address: String,
}

impl PageRequest {
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
