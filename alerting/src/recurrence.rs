//! Hours of chosen days at which a silence comes back: a maintenance window every week.

use serde::{Deserialize, Serialize};

const DAY_MINUTES: i64 = 24 * 60;
const MINUTE_MS: i64 = 60_000;
/// Farthest time zones there are, minutes (UTC−12 to UTC+14).
const OFFSET_MINUTES: std::ops::RangeInclusive<i64> = -12 * 60..=14 * 60;
/// Names of days, from Monday.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// As written: `{"weekdays":["mon"],"from":"22:00","to":"06:00","time_zone_offset_minutes":480}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRecurrence {
    /// Days on which a window begins; empty: every day.
    #[serde(default)]
    pub weekdays: Vec<String>,
    /// When it begins, `HH:MM`.
    pub from: String,
    /// When it ends, `HH:MM`; not after `from`: on the next day.
    pub to: String,
    /// Minutes that local time is ahead of UTC.
    #[serde(default)]
    pub time_zone_offset_minutes: i64,
}

/// Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurrence {
    raw: RawRecurrence,
    /// Monday first.
    days: [bool; 7],
    from_minute: i64,
    length_minutes: i64,
}

impl Recurrence {
    /// Checks what is written; the error names the field and what is allowed.
    pub fn new(raw: RawRecurrence) -> Result<Recurrence, String> {
        let mut days = [raw.weekdays.is_empty(); 7];
        for name in &raw.weekdays {
            match DAYS.iter().position(|d| d == name) {
                Some(day) => days[day] = true,
                None => return Err(format!("recurrence.weekdays: {name:?}; allowed are {}", DAYS.join(", "))),
            }
        }
        let (from_minute, to_minute) = (minute(&raw.from, "from")?, minute(&raw.to, "to")?);
        if !OFFSET_MINUTES.contains(&raw.time_zone_offset_minutes) {
            return Err(format!(
                "recurrence.time_zone_offset_minutes: {}; allowed are {} to {}",
                raw.time_zone_offset_minutes,
                OFFSET_MINUTES.start(),
                OFFSET_MINUTES.end()
            ));
        }
        let length_minutes = match (to_minute - from_minute).rem_euclid(DAY_MINUTES) {
            0 => DAY_MINUTES,
            length => length,
        };
        Ok(Recurrence { raw, days, from_minute, length_minutes })
    }

    /// As written.
    pub fn raw(&self) -> &RawRecurrence {
        &self.raw
    }

    /// Whether a moment, in milliseconds since 1970-01-01 UTC, lies in a window.
    pub fn holds(&self, now_ms: i64) -> bool {
        let minute = now_ms.div_euclid(MINUTE_MS) + self.raw.time_zone_offset_minutes;
        // 1970-01-01 was a Thursday
        let begins = |day: i64| self.days[(day + 3).rem_euclid(7) as usize];
        let today = minute.div_euclid(DAY_MINUTES);
        [today - 1, today].into_iter().filter(|day| begins(*day)).any(|day| {
            let since = minute - (day * DAY_MINUTES + self.from_minute);
            (0..self.length_minutes).contains(&since)
        })
    }
}

fn minute(text: &str, field: &str) -> Result<i64, String> {
    let wrong = || format!("recurrence.{field}: {text:?} must look like 22:00");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    match (hours.parse::<u8>(), minutes.parse::<u8>()) {
        (Ok(h), Ok(m)) if h < 24 && m < 60 && minutes.len() == 2 => Ok(i64::from(h) * 60 + i64::from(m)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn recurrence(weekdays: &[&str], from: &str, to: &str, offset: i64) -> Result<Recurrence, String> {
        Recurrence::new(RawRecurrence {
            weekdays: weekdays.iter().map(|d| (*d).into()).collect(),
            from: from.into(),
            to: to.into(),
            time_zone_offset_minutes: offset,
        })
    }

    fn at(text: &str) -> i64 {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    #[test]
    fn windows_hold_over_midnight_and_in_their_time_zone() {
        // 2026-11-23 is a Monday.
        for (weekdays, from, to, offset, time, expected) in [
            (&["mon"][..], "22:00", "06:00", 0, "2026-11-23T21:59:59Z", false),
            (&["mon"], "22:00", "06:00", 0, "2026-11-23T22:00:00Z", true),
            (&["mon"], "22:00", "06:00", 0, "2026-11-24T05:59:59Z", true),
            (&["mon"], "22:00", "06:00", 0, "2026-11-24T06:00:00Z", false),
            (&["mon"], "22:00", "06:00", 0, "2026-11-23T03:00:00Z", false),
            (&["mon"], "22:00", "06:00", 480, "2026-11-23T14:00:00Z", true),
            (&["mon"], "22:00", "06:00", 480, "2026-11-23T13:59:00Z", false),
            (&["sun"], "00:00", "00:00", 0, "2026-11-29T12:00:00Z", true),
            (&["sun"], "00:00", "00:00", 0, "2026-11-30T00:00:00Z", false),
            (&[], "09:00", "10:00", -60, "2026-11-25T10:30:00Z", true),
            (&["thu"], "00:00", "01:00", 0, "1970-01-01T00:30:00Z", true),
        ] {
            let found = recurrence(weekdays, from, to, offset).unwrap().holds(at(time));
            assert_eq!(found, expected, "{weekdays:?} {from}-{to} {offset:+} at {time}");
        }
    }

    #[test]
    fn wrong_fields_are_named() {
        for (wrong, field) in [
            (recurrence(&["monday"], "01:00", "02:00", 0), "recurrence.weekdays"),
            (recurrence(&[], "24:00", "02:00", 0), "recurrence.from"),
            (recurrence(&[], "01:00", "2:0", 0), "recurrence.to"),
            (recurrence(&[], "01:00", "02:00", 900), "recurrence.time_zone_offset_minutes"),
        ] {
            assert!(wrong.unwrap_err().starts_with(field), "{field}");
        }
    }
}
