//! A silence: what operators asked not to hear of for a while, once or again and again. And the stage that obeys it.

use chrono::{DateTime, Datelike, Timelike};
use proto::Labels;
use serde::{Deserialize, Serialize};

use crate::dispatch::{Flush, View};
use crate::matcher::Matchers;

/// A condition in the form of Alertmanager's API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The label.
    pub name: String,
    /// Its value, or a regular expression.
    pub value: String,
    /// Whether `value` is a regular expression.
    #[serde(rename = "isRegex", default)]
    pub is_regex: bool,
    /// Whether it must match; else it must not.
    #[serde(rename = "isEqual", default = "yes")]
    pub is_equal: bool,
}

fn yes() -> bool {
    true
}

/// When a recurring silence is in force: on these days, between these times. A window that ends before it begins goes past
/// midnight and belongs to the day it begins on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recurrence {
    /// mon, tue, wed, thu, fri, sat, sun; none: every day.
    #[serde(default)]
    pub weekdays: Vec<String>,
    /// `HH:MM`.
    pub from: String,
    /// `HH:MM`, exclusive; 24:00 is allowed.
    pub to: String,
    /// Minutes east of UTC.
    #[serde(default)]
    pub time_zone_offset_minutes: i64,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: i64 = 1_440;
/// Furthest time zone, minutes.
const OFFSET_MINUTES_MAX: i64 = 14 * 60;

/// A checked recurrence.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    days: [bool; 7],
    from_minute: i64,
    to_minute: i64,
    offset_ms: i64,
}

impl Recurrence {
    /// Checks it; the error names the field and what is allowed.
    pub fn check(&self) -> Result<Window, String> {
        let mut days = [self.weekdays.is_empty(); 7];
        for day in &self.weekdays {
            let short: String = day.to_ascii_lowercase().chars().take(3).collect();
            let Some(at) = DAYS.iter().position(|d| *d == short) else {
                return Err(format!("recurrence.weekdays: {day:?}; allowed are {}", DAYS.join(", ")));
            };
            days[at] = true;
        }
        let minute = |field: &str, text: &str| {
            let parsed = text.split_once(':').and_then(|(h, m)| Some((h.parse::<i64>().ok()?, m.parse::<i64>().ok()?)));
            let parsed =
                parsed.filter(|(h, m)| (0..60).contains(m) && (0..=24).contains(h) && h * 60 + m <= DAY_MINUTES);
            parsed.map(|(h, m)| h * 60 + m).ok_or_else(|| format!("recurrence.{field}: {text:?} must look like 22:00"))
        };
        let (from_minute, to_minute) = (minute("from", &self.from)?, minute("to", &self.to)?);
        if from_minute == to_minute || from_minute == DAY_MINUTES {
            return Err("recurrence.from and recurrence.to must differ".into());
        }
        if self.time_zone_offset_minutes.abs() > OFFSET_MINUTES_MAX {
            return Err(format!("recurrence.time_zone_offset_minutes: at most {OFFSET_MINUTES_MAX} either way"));
        }
        Ok(Window { days, from_minute, to_minute, offset_ms: self.time_zone_offset_minutes * 60_000 })
    }
}

impl Window {
    /// Whether the moment lies in it.
    pub fn covers(&self, now_ms: i64) -> bool {
        let Some(local) = DateTime::from_timestamp_millis(now_ms.saturating_add(self.offset_ms)) else { return false };
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let day = local.weekday().num_days_from_monday() as usize;
        if self.from_minute < self.to_minute {
            return self.days[day] && (self.from_minute..self.to_minute).contains(&minute);
        }
        self.days[day] && minute >= self.from_minute || self.days[(day + 6) % 7] && minute < self.to_minute
    }
}

/// Where a silence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    /// In force now.
    Active,
    /// Will be.
    Pending,
    /// Over.
    Expired,
}

impl SilenceState {
    /// As Alertmanager names it.
    pub fn name(self) -> &'static str {
        match self {
            SilenceState::Active => "active",
            SilenceState::Pending => "pending",
            SilenceState::Expired => "expired",
        }
    }
}

/// A silence, from `starts_at_ms` (inclusive) to `ends_at_ms` (exclusive); a recurring one only in its windows between.
#[derive(Clone, Debug)]
pub struct Silence {
    /// Unique.
    pub id: String,
    /// Whose alerts.
    pub matchers: Matchers,
    /// The same as it was posted.
    pub conditions: Vec<Condition>,
    /// From when, milliseconds.
    pub starts_at_ms: i64,
    /// Until when, milliseconds.
    pub ends_at_ms: i64,
    /// When it was last changed, milliseconds.
    pub updated_at_ms: i64,
    /// Who asked.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// The windows of a recurring one.
    pub recurrence: Option<(Recurrence, Window)>,
}

impl Silence {
    /// Where it stands.
    pub fn state(&self, now_ms: i64) -> SilenceState {
        if now_ms >= self.ends_at_ms {
            return SilenceState::Expired;
        }
        match now_ms >= self.starts_at_ms && self.recurrence.as_ref().is_none_or(|(_, w)| w.covers(now_ms)) {
            true => SilenceState::Active,
            false => SilenceState::Pending,
        }
    }

    /// Whether it mutes these labels now.
    pub fn mutes(&self, labels: &Labels, now_ms: i64) -> bool {
        self.state(now_ms) == SilenceState::Active && self.matchers.matches(labels)
    }
}

/// Takes out every alert a silence in force matches.
pub fn stage(flush: &mut Flush, view: &View<'_>) {
    let in_force = |s: &&Silence| s.state(view.now_ms) == SilenceState::Active;
    let silences: Vec<&Silence> = view.silences.iter().filter(in_force).collect();
    if silences.is_empty() {
        return;
    }
    let mut withheld = Vec::new();
    flush.alerts.retain(|alert| {
        let labels = Labels::from_pairs(&alert.labels);
        let by = silences.iter().find(|s| s.matchers.matches(&labels));
        if let Some(by) = by {
            withheld.push((alert.clone(), "silence", format!("silenced by {}", by.id)));
        }
        by.is_none()
    });
    flush.withheld.extend(withheld);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-08-24, a Monday, 00:00 UTC.
    const MONDAY_MS: i64 = 1_787_529_600_000;
    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn windows_by_table() {
        let window = |days: &[&str], from: &str, to: &str, offset| {
            let weekdays = days.iter().map(|d| d.to_string()).collect();
            Recurrence { weekdays, from: from.into(), to: to.into(), time_zone_offset_minutes: offset }.check()
        };
        for (days, from, to, offset, hour, expected) in [
            (&["mon"][..], "09:00", "17:00", 0, 9, true),
            (&["mon"], "09:00", "17:00", 0, 17, false),
            (&["tue"], "09:00", "17:00", 0, 10, false),
            (&[], "09:00", "17:00", 0, 34, true),
            (&["Monday"], "22:00", "06:00", 0, 23, true),
            (&["mon"], "22:00", "06:00", 0, 29, true),
            (&["mon"], "22:00", "06:00", 0, 5, false),
            (&["mon"], "22:00", "06:00", 480, 15, true),
            (&["mon"], "22:00", "06:00", 480, 13, false),
            (&["mon"], "00:00", "24:00", 0, 23, true),
        ] {
            let covers = window(days, from, to, offset).map(|w| w.covers(MONDAY_MS + hour * HOUR_MS));
            assert_eq!(covers, Ok(expected), "{days:?} {from}-{to} {offset} at {hour}");
        }
        for (days, from, to) in
            [(&["day"][..], "1:00", "2:00"), (&[], "25:00", "2:00"), (&[], "2:00", "2:00"), (&[], "x", "2:00")]
        {
            assert!(window(days, from, to, 0).is_err(), "{days:?} {from}-{to}");
        }
    }
}
