use std::ops::AddAssign;

/// The additive metrics of a row, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Cost in hundredths.
    pub fee: u64,
    /// Times shown.
    pub impression: u64,
    /// Clicks.
    pub click: u64,
    /// Likes.
    pub like: u64,
    /// Comments.
    pub comment: u64,
    /// Collects.
    pub collect: u64,
    /// Follows.
    pub follow: u64,
    /// Shares.
    pub share: u64,
}

impl Metrics {
    pub(crate) fn plus(mut self, other: Self) -> Self {
        self += other;
        self
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            fee: self.fee - other.fee,
            impression: self.impression - other.impression,
            click: self.click - other.click,
            like: self.like - other.like,
            comment: self.comment - other.comment,
            collect: self.collect - other.collect,
            follow: self.follow - other.follow,
            share: self.share - other.share,
        }
    }

    /// All that people did with the note.
    #[inline]
    pub fn interaction(&self) -> u64 {
        self.like + self.comment + self.collect + self.follow + self.share
    }

    /// Clicks by impressions in hundredths of a percent, rounded.
    #[inline]
    pub fn ctr(&self) -> u64 {
        ratio(self.click * 10_000, self.impression).unwrap_or(0)
    }
}

impl AddAssign for Metrics {
    fn add_assign(&mut self, other: Self) {
        self.fee += other.fee;
        self.impression += other.impression;
        self.click += other.click;
        self.like += other.like;
        self.comment += other.comment;
        self.collect += other.collect;
        self.follow += other.follow;
        self.share += other.share;
    }
}

/// The rounded quotient, unless there is none.
#[inline]
pub(crate) fn ratio(dividend: u64, divisor: u64) -> Option<u64> {
    (dividend + divisor / 2).checked_div(divisor)
}
