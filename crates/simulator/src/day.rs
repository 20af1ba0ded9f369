use jiff::civil::Date;

use crate::{
    config::SimulatorConfig,
    level::{CAMPAIGN_CREATIVES, Level, UNIT_CREATIVES},
    metrics::Metrics,
    random::{Random, hash, mix},
    row::Row,
};

/// Ids above this mark cannot pass through a double: every [`LARGE_EVERY`]th row has one.
const LARGE: u64 = 1 << 60;
const LARGE_EVERY: u64 = 64;

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

    /// The same rows with other numbers, as a report on another day may have them.
    pub(crate) fn with_other_metrics(self) -> Self {
        Self { metrics: mix(self.metrics), ..self }
    }

    pub(crate) fn row(&self, index: u64) -> Row {
        let mut random = Random::at(self.seed, index);
        let traits = random.next();
        let id = self.account << 32 | index << 4 | traits & 15;
        Row {
            index,
            time: self.date,
            creativity_id: if is_large(index) { LARGE + id } else { id },
            campaign_id: 100_000_000 + self.account * 1_000_000 + index / CAMPAIGN_CREATIVES,
            unit_id: 1_000_000_000 + self.account * 10_000_000 + index / UNIT_CREATIVES,
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

/// True if the creative's id is beyond 2^53.
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
    use jiff::civil::date;

    use super::*;

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
