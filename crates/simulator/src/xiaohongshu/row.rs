use super::{
    columns::{self, Column},
    number::{Thousands, push_five, push_hundredths, push_whole},
};
use crate::{
    dialect::{Asked, Page},
    row::{Level, Metrics, Row, ratio},
};

/// The most bytes of one row, generously.
pub(super) const ROOM: usize = 1_024;

const CREATIVES: [&str; 8] =
    ["秋日穿搭", "早八通勤", "敏感肌护", "油皮底妆", "周末露营", "减脂早餐", "租房改造", "新手养猫"];
const CAMPAIGNS: [&str; 4] = ["双11种草", "新品首发", "日常收割", "品牌心智"];
const UNITS: [&str; 4] = ["信息流", "搜索位", "视频流", "全站智投"];

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

/// Which metrics a row has.
pub(super) enum Wanted {
    /// Those that come unasked for.
    Basic,
    /// Those, and all others as 0.
    Silent,
    Named(Vec<&'static Column>),
}

impl Wanted {
    pub(super) fn of(asked: &Asked, page: &Page, realtime: bool) -> Self {
        let known = columns::known(asked.level, realtime);
        match known {
            [] => Self::Named(columns::OFFLINE.iter().copied().flatten().collect()),
            _ if !asked.columns.is_empty() => {
                Self::Named(asked.columns.iter().filter_map(|name| columns::named(known, name)).collect())
            }
            _ if page.silent => Self::Silent,
            _ => Self::Basic,
        }
    }

    /// Writes the metrics as members of an object.
    pub(super) fn push(&self, out: &mut Vec<u8>, metrics: &Metrics, thousands: Thousands) {
        match self {
            Self::Basic => push_metrics(out, metrics, thousands),
            Self::Silent => {
                push_metrics(out, metrics, thousands);
                for column in columns::OFFLINE.iter().copied().flatten().skip(BASICS) {
                    out.extend_from_slice(b",\"");
                    out.extend_from_slice(column.name.as_bytes());
                    out.extend_from_slice(b"\":\"0\"");
                }
            }
            Self::Named(columns) => {
                for column in columns {
                    out.push(b'"');
                    out.extend_from_slice(column.name.as_bytes());
                    out.extend_from_slice(b"\":\"");
                    push_metric(out, metrics, column.shows, thousands);
                    out.extend_from_slice(b"\",");
                }
                out.pop();
            }
        }
    }
}

/// How many of the columns come without being asked for.
const BASICS: usize = 13;

/// Writes one row of an offline report as JSON; `keyed` unless its key is to be missing.
pub(super) fn push_row(out: &mut Vec<u8>, row: &Row, level: Level, day: &str, wanted: &Wanted, keyed: bool) {
    if level == Level::Creative {
        push_creative(out, row, day, keyed);
    } else {
        out.push(b'{');
        if keyed || level != Level::Account {
            push_text(out, "time", day);
        }
        push_dimensions(out, row, level, keyed);
    }
    wanted.push(out, &row.metrics, thousands(row));
    out.push(b'}');
}

/// Some rows write thousands with commas.
pub(super) fn thousands(row: &Row) -> Thousands {
    if row.traits >> 23 & 1 == 0 { Thousands::Plain } else { Thousands::Commas }
}

/// Writes what a row of the level says of itself, each with a comma behind it.
pub(super) fn push_dimensions(out: &mut Vec<u8>, row: &Row, level: Level, keyed: bool) {
    let (campaign, unit) = (row.campaign_id.to_string(), row.unit_id.to_string());
    let key = |out: &mut Vec<u8>, name: &str| {
        if keyed {
            push_text(out, name, &row.id(level));
        }
    };
    match level {
        Level::Account => {}
        Level::Campaign => key(out, "campaign_id"),
        Level::Unit => key(out, "unit_id"),
        Level::Creative => key(out, "creativity_id"),
        Level::Keyword => key(out, "keyword_id"),
        Level::Note => key(out, "note_id"),
        Level::Spu => key(out, "spu_id"),
        Level::SearchWord => key(out, "search_word"),
        Level::Target => key(out, "target_id"),
    }
    match level {
        Level::Account => {}
        Level::Note => push_text(out, "note_title", CREATIVES[row.traits as usize & 7]),
        Level::Spu => push_text(out, "spu_name", CREATIVES[row.traits as usize & 7]),
        Level::Campaign
        | Level::Unit
        | Level::Creative
        | Level::Keyword
        | Level::SearchWord
        | Level::Target => {
            if level == Level::Creative {
                push_text(out, "creativity_name", CREATIVES[row.traits as usize & 7]);
            }
            if level == Level::Keyword {
                push_text(out, "keyword", CREATIVES[row.traits as usize & 7]);
            }
            if level == Level::Target {
                push_text(out, "target_name", "智能定向");
            }
            if matches!(level, Level::Creative | Level::SearchWord) {
                push_text(out, "note_id", &String::from_utf8_lossy(&row.note_id));
            }
            if level != Level::Campaign {
                if level != Level::Unit {
                    push_text(out, "unit_id", &unit);
                }
                push_text(out, "unit_name", UNITS[row.unit_id as usize % UNITS.len()]);
                push_text(out, "campaign_id", &campaign);
            }
            push_text(out, "campaign_name", CAMPAIGNS[row.campaign_id as usize % CAMPAIGNS.len()]);
            push_text(out, "placement", ["1", "2", "4", "7"][row.part() as usize]);
        }
    }
}

fn push_text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\",");
}

/// Writes what a creative's row says of the creative; `keyed` unless its key is to be missing.
fn push_creative(out: &mut Vec<u8>, row: &Row, day: &str, keyed: bool) {
    let mut digits = itoa::Buffer::new();
    let traits = row.traits >> 8;
    let pick = |names: &[&'static str], shift: u32| names[(traits >> shift) as usize & (names.len() - 1)];

    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(day.as_bytes());
    if keyed {
        // What a double cannot hold is sent as text, the rest as a number: clients meet both.
        let large = row.creativity_id > 1 << 53;
        out.extend_from_slice(if large { b"\",\"creativity_id\":\"" } else { b"\",\"creativity_id\":" });
        out.extend_from_slice(digits.format(row.creativity_id).as_bytes());
        out.extend_from_slice(if large { b"\",\"creativity_name\":\"" } else { b",\"creativity_name\":\"" });
    } else {
        out.extend_from_slice(b"\",\"creativity_name\":\"");
    }
    out.extend_from_slice(pick(&CREATIVES, 0).as_bytes());
    push_five(out, row.index);
    out.extend_from_slice(b"\",\"campaign_id\":");
    out.extend_from_slice(digits.format(row.campaign_id).as_bytes());
    out.extend_from_slice(b",\"campaign_name\":\"");
    out.extend_from_slice(CAMPAIGNS[row.campaign_id as usize % CAMPAIGNS.len()].as_bytes());
    push_five(out, row.campaign_id);
    out.extend_from_slice(b"\",\"unit_id\":\"");
    out.extend_from_slice(digits.format(row.unit_id).as_bytes());
    out.extend_from_slice(b"\",\"unit_name\":\"");
    out.extend_from_slice(UNITS[row.unit_id as usize % UNITS.len()].as_bytes());
    push_five(out, row.unit_id);
    out.extend_from_slice(b"\",\"note_id\":\"");
    out.extend_from_slice(&row.note_id);
    out.extend_from_slice(b"\",\"placement\":");
    out.push(b"1247"[(traits >> 3) as usize & 3]);
    out.extend_from_slice(b",\"optimize_target\":");
    out.push(b"0135"[(traits >> 5) as usize & 3]);
    out.extend_from_slice(b",\"promotion_target\":");
    out.push(b"1299"[(traits >> 7) as usize & 3]);
    out.extend_from_slice(b",\"bidding_strategy\":");
    out.push(b"2345"[(traits >> 9) as usize & 3]);
    out.extend_from_slice(b",\"build_type\":");
    out.push(b"0012"[(traits >> 11) as usize & 3]);
    out.extend_from_slice(b",\"marketing_target\":");
    out.push(b"3489"[(traits >> 13) as usize & 3]);
    out.push(b',');
}

/// Writes one metric; `-` where there is none.
fn push_metric(out: &mut Vec<u8>, metrics: &Metrics, metric: Metric, thousands: Thousands) {
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
fn push_metrics(out: &mut Vec<u8>, metrics: &Metrics, thousands: Thousands) {
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
