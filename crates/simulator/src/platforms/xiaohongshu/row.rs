//! The row of a report as JSON: what is named, then the metrics.

use super::{
    digits::{Thousands, push_five},
    selection::Selection,
};
use crate::{level::Level, row::Row};

/// The most bytes of one row, generously.
pub(super) const ROOM: usize = 1_024;

const CREATIVES: [&str; 8] =
    ["秋日穿搭", "早八通勤", "敏感肌护", "油皮底妆", "周末露营", "减脂早餐", "租房改造", "新手养猫"];
const CAMPAIGNS: [&str; 4] = ["双11种草", "新品首发", "日常收割", "品牌心智"];
const UNITS: [&str; 4] = ["信息流", "搜索位", "视频流", "全站智投"];

/// Writes one row of an offline report as JSON; `keyed` unless its key is to be missing.
pub(super) fn push_row(
    out: &mut Vec<u8>,
    row: &Row,
    level: Level,
    day: &str,
    selection: &Selection,
    keyed: bool,
) {
    if level == Level::Creative {
        push_creative(out, row, day, keyed);
    } else {
        out.push(b'{');
        if keyed || level != Level::Account {
            push_text(out, "time", day);
        }
        push_dimensions(out, row, level, keyed);
    }
    selection.push(out, &row.metrics, thousands(row));
    out.push(b'}');
}

/// Some rows write thousands with commas.
pub(super) fn thousands(row: &Row) -> Thousands {
    if row.traits >> 23 & 1 == 0 { Thousands::Plain } else { Thousands::Commas }
}

/// Writes the attributes of a row of the level, each with a comma behind it.
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

/// Writes the attributes of a creative's row; `keyed` unless its key is to be missing.
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
