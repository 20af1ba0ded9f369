//! The rows of a page. They are chosen here, for every dialect, so that all platforms have the same rows and
//! the same faults.

use crate::{
    dataset::Dataset, fault::FaultKind, metrics::Metrics, page_request::PageRequest, random::Random, row::Row,
};

/// A defect of a page that is otherwise correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    BadTotal,
    NoKey,
}

/// The rows of a page, and what is stated about all pages.
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// Rows of all pages.
    pub(crate) total: u64,
    /// Sums over the rows of all pages.
    pub(crate) sums: Metrics,
    /// The page that follows, as cursors and links name it.
    pub(crate) next: Option<u64>,
    /// Metrics that were not requested by name are 0.
    pub(crate) silent: bool,
    pub(crate) flaw: Flaw,
}

impl Page {
    /// The requested rows, day by day, and what is wrong with them. `draw` is the request's own random
    /// number.
    pub(crate) fn new(
        days: &[Dataset],
        request: &PageRequest,
        sums: Metrics,
        fault: Option<FaultKind>,
        draw: u64,
    ) -> Self {
        let number =
            if fault == Some(FaultKind::RepeatedPage) { request.page.max(2) - 1 } else { request.page };
        let first = (number - 1) * request.size;
        let order = Order { draw: (fault == Some(FaultKind::Ties)).then_some(draw) };
        let (mut rows, mut total) = (Vec::new(), 0);
        for day in days {
            let (from, to) = (first.max(total) - total, (first + request.size).max(total) - total);
            total += match &request.parts {
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
        let mut next = (request.page * request.size < total).then_some(request.page + 1);
        match fault {
            Some(FaultKind::ShortPage) => rows.truncate(Random::new(draw).below(rows.len() as u64) as usize),
            Some(FaultKind::MovingTotal) => total += 1 + Random::new(draw).below(150),
            Some(FaultKind::LoopCursor) => next = Some(request.page.max(2) - 1),
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
    pub(crate) fn pages(&self, request: &PageRequest) -> u64 {
        self.total.div_ceil(request.size)
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
