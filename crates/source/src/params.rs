//! What a job says: the values that a request carries and that some columns repeat.

use jiff::civil::Date;
use pagemill_core::{Failure, PageJob};

/// The parameters of one request.
#[derive(Clone, Debug)]
pub(crate) struct Params<'j> {
    pub(crate) account: &'j str,
    pub(crate) from: Date,
    pub(crate) to: Date,
    /// From 1.
    pub(crate) page: u32,
    pub(crate) page_size: u32,
    pub(crate) cursor: Option<&'j str>,
}

impl<'j> Params<'j> {
    /// The parameters of the job's request.
    pub(crate) fn of(job: &'j PageJob) -> Self {
        let slice = &job.slice;
        Self {
            account: &slice.account,
            from: slice.from,
            to: slice.to,
            page: job.page,
            page_size: job.page_size,
            cursor: job.cursor.as_deref(),
        }
    }

    /// The account, where the API takes a whole number.
    pub(crate) fn account_number(&self) -> Result<i64, Failure> {
        let plain = self.account.bytes().all(|b| b.is_ascii_digit());
        self.account.parse().ok().filter(|_| plain).ok_or_else(|| {
            Failure::permanent(format!("account \"{}\" is no whole number", self.account.escape_debug()))
        })
    }

    /// The page's number as the API counts, where its first page has the number `first`.
    pub(crate) fn page_from(&self, first: u32) -> Result<u64, Failure> {
        let page = u64::from(self.page).checked_sub(1).map(|before| before + u64::from(first));
        page.ok_or_else(|| Failure::permanent(format!("no page has the number {}", self.page)))
    }

    /// The row that the page begins at, where the API's first row has the number `first`.
    pub(crate) fn offset_from(&self, first: u32) -> Result<u64, Failure> {
        Ok(self.page_from(0)? * u64::from(self.page_size) + u64::from(first))
    }
}
