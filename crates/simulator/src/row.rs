use jiff::civil::Date;

use crate::{level::Level, metrics::Metrics};

/// One creative on one day, as values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it stands among its account's rows of the day, from 0.
    pub index: u64,
    /// The day.
    pub time: Date,
    /// Unique over all accounts; every 64th is beyond 2^53.
    pub creativity_id: u64,
    /// 500 creatives share one.
    pub campaign_id: u64,
    /// 20 creatives share one.
    pub unit_id: u64,
    /// 24 hexadecimal digits.
    pub note_id: [u8; 24],
    /// What it showed that day.
    pub metrics: Metrics,
    /// What the names and attributes are drawn from.
    pub(crate) traits: u64,
}

impl Row {
    /// What the row is called on the level; an account's rows have none but 0.
    pub fn id(&self, level: Level) -> String {
        let group = || self.index / level.creatives();
        match level {
            Level::Account => "0".to_owned(),
            Level::Campaign => self.campaign_id.to_string(),
            Level::Unit => self.unit_id.to_string(),
            Level::Creative => self.creativity_id.to_string(),
            Level::Keyword => format!("{}", self.unit_id * 100 + group()),
            Level::Note => String::from_utf8_lossy(&self.note_id).into_owned(),
            Level::Spu => format!("spu{:05}", group()),
            Level::SearchWord => format!("搜索词{:05}", group()),
            Level::Target => format!("{}", self.unit_id * 1_000 + group()),
        }
    }

    /// One of four parts that a day can be split into, from 0.
    pub(crate) fn part(&self) -> u64 {
        self.traits >> 11 & 3
    }
}
