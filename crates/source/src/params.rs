//! What a job says: the values that a request carries and that some columns repeat.

use jiff::civil::Date;
use pagemill_core::{Failure, PageJob};

/// The parameters of one request.
#[derive(Clone, Debug)]
pub(crate) struct Params<'j> {
    pub(crate) account: &'j str,
    pub(crate) from: Date,
    pub(crate) to: Date,
    /// As the API counts pages.
    pub(crate) page: u32,
    pub(crate) page_size: u32,
}

impl<'j> Params<'j> {
    /// What the job asks for, where the API's first page has the number `first`.
    pub(crate) fn of(job: &'j PageJob, first: u32) -> Result<Self, Failure> {
        let page = job.page.checked_sub(1).and_then(|page| page.checked_add(first));
        let page = page.ok_or_else(|| Failure::permanent(format!("no page has the number {}", job.page)))?;
        let slice = &job.slice;
        Ok(Self { account: &slice.account, from: slice.from, to: slice.to, page, page_size: job.page_size })
    }

    /// The account, where the API takes a whole number.
    pub(crate) fn account_number(&self) -> Result<i64, Failure> {
        let plain = self.account.bytes().all(|b| b.is_ascii_digit());
        self.account.parse().ok().filter(|_| plain).ok_or_else(|| {
            Failure::permanent(format!("account \"{}\" is no whole number", self.account.escape_debug()))
        })
    }
}
