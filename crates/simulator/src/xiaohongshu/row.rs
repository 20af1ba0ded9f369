use super::number::{Thousands, push_five, push_hundredths, push_whole};
use crate::row::{Metrics, Row, ratio};

/// The most bytes of one row, generously.
pub(super) const ROOM: usize = 1_024;

const CREATIVES: [&str; 8] =
    ["秋日穿搭", "早八通勤", "敏感肌护", "油皮底妆", "周末露营", "减脂早餐", "租房改造", "新手养猫"];
const CAMPAIGNS: [&str; 4] = ["双11种草", "新品首发", "日常收割", "品牌心智"];
const UNITS: [&str; 4] = ["信息流", "搜索位", "视频流", "全站智投"];

/// Writes one row as JSON; `keyed` unless its key is to be missing.
pub(super) fn push_row(out: &mut Vec<u8>, row: &Row, day: &str, keyed: bool) {
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
    push_metrics(out, &row.metrics, if traits >> 15 & 1 == 0 { Thousands::Plain } else { Thousands::Commas });
    out.push(b'}');
}

/// Writes the metrics, additive and derived, as members of an object.
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
