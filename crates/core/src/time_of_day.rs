use std::{fmt, str::FromStr};

use jiff::{
    Timestamp, Zoned,
    civil::{Date, Time},
    tz::TimeZone,
};
use serde::{Deserialize, Deserializer};

/// A time of day, perhaps with its zone: `10:15`, `10:15 Asia/Shanghai`. When a day's report is
/// final (`ready_at`), and when it is needed (`deadline`).
#[derive(Clone, Debug, PartialEq)]
pub struct TimeOfDay {
    time: Time,
    zone: Option<TimeZone>,
}

/// What was written is no time of day.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not a time of day: {what}write \"10:15\" or \"10:15 Asia/Shanghai\"")]
pub struct TimeOfDayError {
    text: String,
    what: String,
}

impl TimeOfDay {
    /// The time itself.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The zone that was written, or else `zone`.
    pub fn zone_or<'a>(&'a self, zone: &'a TimeZone) -> &'a TimeZone {
        self.zone.as_ref().unwrap_or(zone)
    }

    /// This time on a day, in its zone or else in `zone`. `None` at the end of all time.
    pub fn on(&self, day: Date, zone: &TimeZone) -> Option<Timestamp> {
        let zoned = day.to_datetime(self.time).to_zoned(self.zone_or(zone).clone());
        zoned.ok().map(|zoned| zoned.timestamp())
    }

    /// This time the next time that it comes, `moment` itself included.
    pub fn next(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = Zoned::new(moment, self.zone_or(zone).clone()).date();
        self.on(today, zone).filter(|at| *at >= moment).or_else(|| self.on(today.tomorrow().ok()?, zone))
    }
}

impl FromStr for TimeOfDay {
    type Err = TimeOfDayError;

    fn from_str(text: &str) -> Result<Self, TimeOfDayError> {
        let error = |what: &str| TimeOfDayError { text: text.to_owned(), what: what.to_owned() };
        let (time, place) = text.split_once(' ').unwrap_or((text, ""));
        let (hour, minute) = time.split_once(':').ok_or_else(|| error(""))?;
        let number = |digits: &str| {
            let sound = matches!(digits.len(), 1 | 2) && digits.bytes().all(|b| b.is_ascii_digit());
            sound.then(|| digits.parse::<i8>().ok()).flatten().ok_or_else(|| error(""))
        };
        let time = Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| error(""))?;
        let zone = match place.trim() {
            "" => None,
            name => Some(TimeZone::get(name).map_err(|_| error(&format!("there is no time zone {name}; ")))?),
        };
        Ok(Self { time, zone })
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time.strftime("%H:%M"))?;
        self.zone.as_ref().and_then(TimeZone::iana_name).map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn times_read_as_written() {
        for text in ["10:15", "09:00 Asia/Shanghai", "00:00", "23:59 Europe/Berlin"] {
            assert_eq!(text.parse::<TimeOfDay>().unwrap().to_string(), text);
        }
        for (bad, words) in [
            ("", "10:15"),
            ("10", "10:15"),
            ("24:00", "10:15"),
            ("10:60", "10:15"),
            ("+9:00", "10:15"),
            ("10:15:30", "10:15"),
            ("10:15 Mars/Olympus", "no time zone Mars/Olympus"),
        ] {
            let error = bad.parse::<TimeOfDay>().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn its_own_zone_goes_before_the_sources() {
        let shanghai = TimeZone::get("Asia/Shanghai").unwrap();
        let day = date(2026, 3, 1);
        let on = |text: &str| text.parse::<TimeOfDay>().unwrap().on(day, &shanghai).unwrap().to_string();
        assert_eq!(on("10:15"), "2026-03-01T02:15:00Z");
        assert_eq!(on("10:15 UTC"), "2026-03-01T10:15:00Z");
    }

    #[test]
    fn the_next_time_is_today_or_tomorrow() {
        let nine: TimeOfDay = "09:00 Asia/Shanghai".parse().unwrap();
        let next = |moment: &str| nine.next(moment.parse().unwrap(), &TimeZone::UTC).unwrap().to_string();
        assert_eq!(next("2026-03-01T00:59:59Z"), "2026-03-01T01:00:00Z");
        assert_eq!(next("2026-03-01T01:00:00Z"), "2026-03-01T01:00:00Z");
        assert_eq!(next("2026-03-01T01:00:01Z"), "2026-03-02T01:00:00Z");
    }
}
