//! How much is fed and asked: so many hosts over so long a time, with steps and windows that fit.

use crate::{
    fleet::{Rhythm, SERIES_PER_HOST},
    questions::Windows,
    server::Settings,
};

/// One day, milliseconds.
const DAY_MS: i64 = 86_400_000;
/// A day counts as over so long after its end with our store, milliseconds; a little more.
const OVER_MS: i64 = 2 * 3_600_000 + 300_000;

/// How long a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// One hour, scraped every 15 s.
    Hour,
    /// Six hours, scraped every minute.
    Hours,
    /// Seven days, scraped every half hour (lookback 40 minutes).
    Week,
}

/// What is fed and how it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Series in all.
    pub series: usize,
    /// How long.
    pub length: Length,
}

impl Size {
    /// As tables name it.
    pub fn name(&self) -> String {
        let length = match self.length {
            Length::Hour => "1 h",
            Length::Hours => "6 h",
            Length::Week => "7 d",
        };
        format!("{} × {length}", thousands(self.series))
    }

    /// Hosts.
    pub fn hosts(&self) -> usize {
        self.series / SERIES_PER_HOST
    }

    /// Samples in all.
    pub fn samples(&self) -> u64 {
        (self.hosts() * SERIES_PER_HOST * self.scrapes()) as u64
    }

    fn scrapes(&self) -> usize {
        match self.length {
            Length::Hour => 240,
            Length::Hours => 360,
            Length::Week => 336,
        }
    }

    /// Time between two scrapes, and between two points of a graph, milliseconds.
    pub fn step_ms(&self) -> i64 {
        match self.length {
            Length::Hour => 15_000,
            Length::Hours => 60_000,
            Length::Week => 1_800_000,
        }
    }

    /// When scrapes are: they end with the last day that is over at `now_ms`, so that every store may settle it.
    pub fn rhythm(&self, now_ms: i64) -> Rhythm {
        let end_ms = (now_ms - OVER_MS).div_euclid(DAY_MS) * DAY_MS;
        let (step_ms, scrapes) = (self.step_ms(), self.scrapes());
        Rhythm { start_ms: end_ms - step_ms * scrapes as i64, step_ms, scrapes }
    }

    /// Windows of questions.
    pub fn windows(&self) -> Windows {
        match self.length {
            Length::Hour => Windows { short: "5m", long: "15m", step: "1m" },
            Length::Hours => Windows { short: "10m", long: "1h", step: "2m" },
            Length::Week => Windows { short: "2h", long: "1d", step: "30m" },
        }
    }

    /// How servers are started for it.
    pub fn settings(&self) -> Settings {
        let lookback_ms = if self.length == Length::Week { 2_400_000 } else { 300_000 };
        Settings { lookback_ms, ..Settings::default() }
    }
}

/// `20 000`, `1 M`.
pub fn thousands(n: usize) -> String {
    match n {
        n if n >= 1_000_000 && n.is_multiple_of(1_000_000) => format!("{} M", n / 1_000_000),
        n if n >= 1_000 && n.is_multiple_of(1_000) => format!("{} k", n / 1_000),
        n => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_is_over() {
        let now_ms = 1_800_000_000_000; // 2027-01-15 08:00 UTC
        for length in [Length::Hour, Length::Hours, Length::Week] {
            let size = Size { series: 1000, length };
            let rhythm = size.rhythm(now_ms);
            assert_eq!(rhythm.end_ms(), 1_799_971_200_000);
            assert_eq!(size.samples(), 10 * 100 * rhythm.scrapes as u64);
        }
        assert_eq!(Size { series: 100_000, length: Length::Week }.name(), "100 k × 7 d");
    }
}
