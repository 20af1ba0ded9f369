use std::ops::AddAssign;

use jiff::civil::Date;

use crate::{
    SimulatorConfig,
    random::{Random, hash, mix},
};

/// Ids above this mark cannot pass through a double: every [`LARGE_EVERY`]th row has one.
const LARGE: u64 = 1 << 60;
const LARGE_EVERY: u64 = 64;
const UNITS: u64 = 20;
const CAMPAIGNS: u64 = 500;

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

/// What a row stands for: a creative, or several of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// All creatives together.
    Account,
    /// [`Row::campaign_id`].
    Campaign,
    /// [`Row::unit_id`].
    Unit,
    /// [`Row::creativity_id`].
    Creative,
    /// A word that is bid for: five creatives of a unit.
    Keyword,
    /// [`Row::note_id`]: one creative's.
    Note,
    /// A product: fifty creatives.
    Spu,
    /// A word that was searched for: two creatives of a unit.
    SearchWord,
    /// Whom a unit is shown to: ten creatives.
    Target,
}

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

impl Level {
    /// How many creatives a row of the level stands for; an account's one row stands for all.
    fn creatives(self) -> u64 {
        match self {
            Self::Account => u64::MAX,
            Self::Campaign => CAMPAIGNS,
            Self::Unit => UNITS,
            Self::Creative | Self::Note => 1,
            Self::Keyword => 5,
            Self::Spu => 50,
            Self::SearchWord => 2,
            Self::Target => 10,
        }
    }
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
    pub fn interaction(&self) -> u64 {
        self.like + self.comment + self.collect + self.follow + self.share
    }

    /// Clicks by impressions in hundredths of a percent, rounded.
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
pub(crate) fn ratio(dividend: u64, divisor: u64) -> Option<u64> {
    (dividend + divisor / 2).checked_div(divisor)
}

/// All rows of one account on one day: each a pure function of seed, account, day and index. Ids,
/// names and notes are the creative's, so they are the same on every day; metrics are the day's.
pub(crate) struct Day {
    date: Date,
    rows: u64,
    account: u64,
    seed: u64,
    metrics: u64,
}

impl Day {
    pub(crate) fn new(config: &SimulatorConfig, account: &str, date: Date) -> Self {
        let creatives = mix(config.seed ^ hash(account));
        let day = (date.year() as u64) << 16 | (date.month() as u64) << 8 | date.day() as u64;
        // Neighbouring account numbers never share an id.
        let account = account.parse().unwrap_or_else(|_| hash(account)) % (1 << 20);
        Self { date, rows: config.rows, account, seed: creatives, metrics: mix(creatives ^ mix(day)) }
    }

    pub(crate) fn row(&self, index: u64) -> Row {
        let mut random = Random::at(self.seed, index);
        let traits = random.next();
        let id = self.account << 32 | index << 4 | traits & 15;
        Row {
            index,
            time: self.date,
            creativity_id: if is_large(index) { LARGE + id } else { id },
            campaign_id: 100_000_000 + self.account * 1_000_000 + index / CAMPAIGNS,
            unit_id: 1_000_000_000 + self.account * 10_000_000 + index / UNITS,
            note_id: note_id(random.next(), random.next()),
            metrics: self.metrics(index),
            traits,
        }
    }

    pub(crate) fn metrics(&self, index: u64) -> Metrics {
        let mut random = Random::at(self.metrics, index);
        let (shown, acts) = (random.next(), random.next());
        // One row in 32 was never shown; one in 16 went round the world.
        let impression = match shown & 31 {
            0 => 0,
            1 | 2 => (shown >> 8) & 0x7_ffff,
            _ => 1 + ((shown >> 8) & 0x1fff),
        };
        // Up to 8 % click; a click costs from 0.20 to 2.75; up to a quarter of them do more.
        let click = (impression * ((shown >> 32) & 0x7ff)) / 25_600;
        let some = |shift: u32, of: u64| (click * ((acts >> shift) & 0xff)) / of;
        Metrics {
            fee: click * (20 + (shown >> 56)) + ((acts >> 56) & 0x3f) * click.min(1),
            impression,
            click,
            like: some(0, 1_024),
            comment: some(8, 8_192),
            collect: some(16, 2_048),
            follow: some(24, 16_384),
            share: some(32, 16_384),
        }
    }

    /// How many rows there are of the level.
    pub(crate) fn count(&self, level: Level) -> u64 {
        self.rows.div_ceil(level.creatives())
    }

    /// A row of the level: its first creative, with the metrics of all of them. Beyond the day's count
    /// there are rows that may come later.
    pub(crate) fn entity(&self, level: Level, index: u64) -> Row {
        let first = index.saturating_mul(level.creatives());
        let end = first.saturating_add(level.creatives());
        let end = if first < self.rows { end.min(self.rows) } else { end };
        let row = self.row(first);
        let rest = (first + 1..end).map(|index| self.metrics(index));
        Row { metrics: rest.fold(row.metrics, Metrics::plus), ..row }
    }

    /// The sums over the whole day.
    pub(crate) fn total(&self) -> Metrics {
        (0..self.rows).map(|index| self.metrics(index)).fold(Metrics::default(), Metrics::plus)
    }
}

/// Whether the creative's id is beyond 2^53.
pub(crate) fn is_large(index: u64) -> bool {
    index % LARGE_EVERY == LARGE_EVERY - 1
}

fn note_id(high: u64, low: u64) -> [u8; 24] {
    let mut id = [0; 24];
    for (digits, bits) in id.chunks_exact_mut(8).zip([high, high >> 32, low]) {
        digits.copy_from_slice(&hexadecimal(bits as u32));
    }
    // Ids of notes begin with their time.
    id[0] = b'6';
    id
}

/// Eight digits at once: each nibble to its own byte, then to its digit.
fn hexadecimal(bits: u32) -> [u8; 8] {
    let mut spread = u64::from(bits);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jiff::civil::date;

    use super::*;
    use crate::holding::Holding;

    #[test]
    fn ids_are_unique_over_accounts_and_can_be_walked_in_order() {
        let config = SimulatorConfig { rows: 5_000, ..Default::default() };
        let mut seen = HashSet::new();
        for account in ["1001", "1002", "a name"] {
            let held = Holding::new(&config, account, Level::Creative, date(2026, 11, 23), &[]);
            assert!(held.rows().all(|row| seen.insert(row.creativity_id)));
            let mut sorted: Vec<_> = held.rows().map(|row| row.creativity_id).collect();
            sorted.sort_unstable();
            assert_eq!(sorted, held.by_id().map(|row| row.creativity_id).collect::<Vec<_>>());
            assert!(sorted.last() > Some(&(1 << 53)) && sorted[0] < 1 << 53);
        }
    }

    #[test]
    fn digits_are_hexadecimal() {
        for bits in [0, 0x0123_4567, 0x89ab_cdef, u32::MAX] {
            assert_eq!(hexadecimal(bits), format!("{bits:08x}").as_bytes());
        }
    }

    #[test]
    fn a_creative_is_the_same_every_day_but_its_metrics_are_not() {
        let config = SimulatorConfig::default();
        let row = |day| Day::new(&config, "1001", date(2026, 11, day)).row(5);
        assert_eq!(row(23), row(23));
        assert_eq!((row(23).creativity_id, row(23).note_id), (row(24).creativity_id, row(24).note_id));
        assert_ne!(row(23).metrics, row(24).metrics);
    }
}
