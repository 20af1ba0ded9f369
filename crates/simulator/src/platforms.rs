//! The platforms, and the path by which each is known.

mod baidu;
mod example;
mod kuaishou;
mod meta;
mod oceanengine;
mod parameters;
mod query;
mod tencent;
mod tiktok;
mod xiaohongshu;

use crate::dialect::Dialect;
use baidu::Baidu;
use example::Example;
use kuaishou::Kuaishou;
use meta::Meta;
use oceanengine::OceanEngine;
use tencent::Tencent;
use tiktok::TikTok;
use xiaohongshu::{Offline, Realtime};

const DIALECTS: [&dyn Dialect; 9] =
    [&Offline, &Realtime, &OceanEngine, &Tencent, &Kuaishou, &Baidu, &Meta, &TikTok, &Example];

/// The dialect that owns the path, and its place among all.
pub(crate) fn dialect(path: &str) -> Option<(usize, &'static dyn Dialect)> {
    DIALECTS.into_iter().enumerate().find(|(_, dialect)| dialect.owns(path))
}
