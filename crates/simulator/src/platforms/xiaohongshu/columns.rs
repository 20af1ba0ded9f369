//! The columns that can be requested by name, in the words of the request (camelCase) and of the rows
//! (snake_case); which endpoint knows which was measured by jundaychan/spotlight-mapi in 2026.

use super::metric::Metric;
use crate::level::Level;

/// A column of the rows. What it shows is one of the basic metrics: so it sums up as they do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) shows: Metric,
}

/// The groups of columns that an endpoint knows by name; none of those that don't take any.
pub(super) fn known(level: Level, realtime: bool) -> &'static [&'static [Column]] {
    match (level, realtime) {
        (Level::Account | Level::Campaign | Level::Unit | Level::Creative, false) => OFFLINE,
        (Level::Account | Level::Campaign | Level::Unit | Level::Creative, true) => REALTIME,
        (Level::Keyword, false) => KEYWORD,
        (Level::Keyword, true) => REALTIME_KEYWORD,
        (Level::Note | Level::Spu | Level::SearchWord | Level::Target, _) => &[],
    }
}

/// The column that goes by this name in requests.
pub(super) fn named(known: &'static [&'static [Column]], name: &str) -> Option<&'static Column> {
    known.iter().copied().flatten().find(|column| is_camel(column.name, name))
}

/// True if `camel` is the name in camelCase.
fn is_camel(name: &str, camel: &str) -> bool {
    if name == "reserve_pv" {
        return camel == "reservePV";
    }
    let (mut camel, mut upper) = (camel.bytes(), false);
    for byte in name.bytes() {
        if byte == b'_' {
            upper = true;
            continue;
        }
        let byte = if std::mem::take(&mut upper) { byte.to_ascii_uppercase() } else { byte };
        if camel.next() != Some(byte) {
            return false;
        }
    }
    camel.next().is_none()
}

pub(super) const OFFLINE: &[&[Column]] = &[
    BASIC,
    LIVE_ENTRY,
    LIVE,
    SEARCH,
    SHOP,
    SHOP_PRICE,
    LIVE_ORDERS,
    LIVE_SALES,
    LEADS,
    MESSAGES,
    EXTERNAL,
    APP,
];
const REALTIME: &[&[Column]] = &[
    BASIC,
    LIVE_ENTRY,
    LIVE,
    SEARCH,
    SHOP,
    SHOP_PRICE,
    LIVE_ORDERS,
    LIVE_SALES,
    LEADS,
    CALLS,
    MESSAGES,
    EXTERNAL,
    EXTERNAL_VISITS,
    APP,
];
const KEYWORD: &[&[Column]] =
    &[BASIC, LIVE_ENTRY, SHOP, SHOP_PRICE, LIVE_ORDERS, LEADS, MESSAGES, EXTERNAL, APP, WORD];
const REALTIME_KEYWORD: &[&[Column]] = &[BASIC, SHOP, LEADS, CALLS, MESSAGES, EXTERNAL, EXTERNAL_VISITS];

const fn column(name: &'static str, shows: Metric) -> Column {
    Column { name, shows }
}

const BASIC: &[Column] = &[
    column("fee", Metric::Fee),
    column("impression", Metric::Impression),
    column("click", Metric::Click),
    column("ctr", Metric::Ctr),
    column("acp", Metric::Acp),
    column("cpm", Metric::Cpm),
    column("like", Metric::Like),
    column("comment", Metric::Comment),
    column("collect", Metric::Collect),
    column("follow", Metric::Follow),
    column("share", Metric::Share),
    column("interaction", Metric::Interaction),
    column("cpi", Metric::Cpi),
    column("action_button_click", Metric::Click),
    column("action_button_ctr", Metric::Ctr),
    column("screenshot", Metric::Like),
    column("pic_save", Metric::Collect),
    column("reserve_pv", Metric::Comment),
];
const LIVE_ENTRY: &[Column] =
    &[column("clk_live_entry_pv", Metric::Click), column("clk_live_entry_pv_cost", Metric::Acp)];
const LIVE: &[Column] = &[
    column("clk_live_avg_view_time", Metric::Cpi),
    column("clk_live_all_follow", Metric::Follow),
    column("clk_live_5s_entry_pv", Metric::Click),
    column("clk_live_5s_entry_uv_cost", Metric::Acp),
    column("clk_live_comment", Metric::Comment),
];
const SEARCH: &[Column] = &[
    column("search_cmt_click", Metric::Collect),
    column("search_cmt_click_cvr", Metric::Ctr),
    column("search_cmt_after_read", Metric::Like),
    column("search_cmt_after_read_avg", Metric::Cpi),
];
const SHOP: &[Column] = &[
    column("goods_visit", Metric::Click),
    column("goods_visit_price", Metric::Acp),
    column("seller_visit", Metric::Like),
    column("seller_visit_price", Metric::Cpi),
    column("shopping_cart_add", Metric::Collect),
    column("add_cart_price", Metric::Cpi),
    column("presale_order_num_7d", Metric::Comment),
    column("presale_order_gmv_7d", Metric::Fee),
    column("goods_order", Metric::Share),
    column("goods_order_price", Metric::Cpi),
    column("rgmv", Metric::Fee),
    column("roi", Metric::Cpi),
    column("success_goods_order", Metric::Share),
    column("click_order_cvr", Metric::Ctr),
    column("purchase_order_gmv_7d", Metric::Fee),
    column("purchase_order_roi_7d", Metric::Cpi),
];
const SHOP_PRICE: &[Column] = &[column("purchase_order_price_7d", Metric::Cpi)];
const LIVE_ORDERS: &[Column] =
    &[column("clk_live_room_order_num", Metric::Share), column("live_average_order_cost", Metric::Cpi)];
const LIVE_SALES: &[Column] =
    &[column("clk_live_room_rgmv", Metric::Fee), column("clk_live_room_roi", Metric::Cpi)];
const LEADS: &[Column] = &[
    column("leads", Metric::Comment),
    column("leads_cpl", Metric::Cpi),
    column("landing_page_visit", Metric::Click),
    column("leads_button_impression", Metric::Impression),
    column("valid_leads", Metric::Share),
    column("valid_leads_cpl", Metric::Cpi),
    column("leads_cvr", Metric::Ctr),
];
const CALLS: &[Column] = &[
    column("phone_call_cnt", Metric::Comment),
    column("phone_call_succ_cnt", Metric::Share),
    column("wechat_copy_cnt", Metric::Comment),
    column("wechat_copy_succ_cnt", Metric::Share),
    column("commodity_buy_cnt", Metric::Follow),
];
const MESSAGES: &[Column] = &[
    column("message_user", Metric::Comment),
    column("message", Metric::Like),
    column("message_consult", Metric::Comment),
    column("initiative_message", Metric::Share),
    column("message_consult_cpl", Metric::Cpi),
    column("initiative_message_cpl", Metric::Cpi),
    column("msg_leads_num", Metric::Follow),
    column("msg_leads_cost", Metric::Cpi),
];
const EXTERNAL: &[Column] = &[
    column("external_goods_order_7", Metric::Share),
    column("external_rgmv_7", Metric::Fee),
    column("external_goods_order_price_7", Metric::Cpi),
    column("external_goods_order_rate_7", Metric::Ctr),
    column("external_roi_7", Metric::Cpi),
    column("external_goods_order_15", Metric::Share),
    column("external_rgmv_15", Metric::Fee),
    column("external_goods_order_price_15", Metric::Cpi),
    column("external_goods_order_rate_15", Metric::Ctr),
    column("external_roi_15", Metric::Cpi),
    column("external_goods_order_30", Metric::Share),
    column("external_rgmv_30", Metric::Fee),
    column("external_goods_order_price_30", Metric::Cpi),
    column("external_goods_order_rate_30", Metric::Ctr),
    column("external_roi_30", Metric::Cpi),
];
const EXTERNAL_VISITS: &[Column] = &[
    column("external_goods_visit_24h", Metric::Click),
    column("external_goods_visit_rate_24h", Metric::Ctr),
    column("external_leads", Metric::Comment),
    column("external_leads_cpl", Metric::Cpi),
];
const APP: &[Column] = &[
    column("invoke_app_open_cnt", Metric::Collect),
    column("invoke_app_open_cost", Metric::Cpi),
    column("invoke_app_enter_store_cnt", Metric::Collect),
    column("invoke_app_enter_store_cost", Metric::Cpi),
    column("invoke_app_engagement_cnt", Metric::Collect),
    column("invoke_app_engagement_cost", Metric::Cpi),
    column("invoke_app_payment_cnt", Metric::Collect),
    column("invoke_app_payment_cost", Metric::Cpi),
    column("search_invoke_button_click_cnt", Metric::Collect),
    column("search_invoke_button_click_cost", Metric::Cpi),
];
const WORD: &[Column] = &[column("word_avg_location", Metric::Share)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_requests_are_camel_case() {
        for (name, column) in [
            ("fee", "fee"),
            ("reservePV", "reserve_pv"),
            ("clkLive5sEntryPv", "clk_live_5s_entry_pv"),
            ("presaleOrderNum7d", "presale_order_num_7d"),
            ("externalGoodsOrderPrice30", "external_goods_order_price_30"),
        ] {
            assert_eq!(named(OFFLINE, name).map(|column| column.name), Some(column));
        }
        for name in ["reserve_pv", "reservePv", "fe", "fees", "", "phoneCallCnt"] {
            assert_eq!(named(OFFLINE, name), None, "{name}");
        }
        assert!(named(REALTIME, "phoneCallCnt").is_some());
        let counts = [OFFLINE, KEYWORD, REALTIME, REALTIME_KEYWORD]
            .map(|known| known.iter().copied().flatten().count());
        assert_eq!(counts, [90, 80, 99, 73]);
    }
}
