use super::digits::{Thousands, push_hundredths, push_whole};
use crate::metrics::{Metrics, ratio};

/// One of the basic metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    Fee,
    Impression,
    Click,
    Ctr,
    Acp,
    Cpm,
    Like,
    Comment,
    Collect,
    Follow,
    Share,
    Interaction,
    Cpi,
}

/// Writes one metric; `-` where there is none.
pub(super) fn push_metric(out: &mut Vec<u8>, metrics: &Metrics, metric: Metric, thousands: Thousands) {
    let quotient = |out: &mut Vec<u8>, dividend: u64, divisor: u64| match ratio(dividend, divisor) {
        Some(hundredths) => push_hundredths(out, hundredths, thousands),
        None => out.push(b'-'),
    };
    match metric {
        Metric::Fee => push_hundredths(out, metrics.fee, thousands),
        Metric::Impression => push_whole(out, metrics.impression, thousands),
        Metric::Click => push_whole(out, metrics.click, thousands),
        Metric::Ctr => {
            push_hundredths(out, metrics.ctr(), thousands);
            out.push(b'%');
        }
        Metric::Acp => quotient(out, metrics.fee, metrics.click),
        Metric::Cpm => quotient(out, metrics.fee * 1_000, metrics.impression),
        Metric::Like => push_whole(out, metrics.like, thousands),
        Metric::Comment => push_whole(out, metrics.comment, thousands),
        Metric::Collect => push_whole(out, metrics.collect, thousands),
        Metric::Follow if metrics.follow == 0 => out.push(b'-'),
        Metric::Follow => push_whole(out, metrics.follow, thousands),
        Metric::Share => push_whole(out, metrics.share, thousands),
        Metric::Interaction => push_whole(out, metrics.interaction(), thousands),
        Metric::Cpi => quotient(out, metrics.fee, metrics.interaction()),
    }
}

/// Writes the basic metrics as members of an object.
pub(super) fn push_metrics(out: &mut Vec<u8>, metrics: &Metrics, thousands: Thousands) {
    let interaction = metrics.interaction();
    let amount = |out: &mut Vec<u8>, hundredths: Option<u64>| match hundredths {
        Some(hundredths) => push_hundredths(out, hundredths, thousands),
        None => out.push(b'-'),
    };
    let count = |out: &mut Vec<u8>, number: u64| push_whole(out, number, thousands);

    out.extend_from_slice(b"\"fee\":\"");
    amount(out, Some(metrics.fee));
    out.extend_from_slice(b"\",\"impression\":\"");
    count(out, metrics.impression);
    out.extend_from_slice(b"\",\"click\":\"");
    count(out, metrics.click);
    out.extend_from_slice(b"\",\"ctr\":\"");
    amount(out, Some(metrics.ctr()));
    out.extend_from_slice(b"%\",\"acp\":\"");
    amount(out, ratio(metrics.fee, metrics.click));
    out.extend_from_slice(b"\",\"cpm\":\"");
    amount(out, ratio(metrics.fee * 1_000, metrics.impression));
    out.extend_from_slice(b"\",\"like\":\"");
    count(out, metrics.like);
    out.extend_from_slice(b"\",\"comment\":\"");
    count(out, metrics.comment);
    out.extend_from_slice(b"\",\"collect\":\"");
    count(out, metrics.collect);
    out.extend_from_slice(b"\",\"follow\":\"");
    match metrics.follow {
        0 => out.push(b'-'),
        follow => count(out, follow),
    }
    out.extend_from_slice(b"\",\"share\":\"");
    count(out, metrics.share);
    out.extend_from_slice(b"\",\"interaction\":\"");
    count(out, interaction);
    out.extend_from_slice(b"\",\"cpi\":\"");
    amount(out, ratio(metrics.fee, interaction));
    out.push(b'"');
}
