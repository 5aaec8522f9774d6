//! Times at which a route says nothing, or alone says something: `time_intervals` as Alertmanager has them. And the stage.

use std::ops::RangeInclusive;
use std::sync::Arc;

use chrono::{DateTime, Datelike, Timelike, Utc};

use crate::dispatch::{Flush, View};

/// One interval: every part that is given must fit; in a part with several ranges one must.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interval {
    /// Minutes of the day, the end exclusive.
    pub times: Vec<(u32, u32)>,
    /// Sunday is 0.
    pub weekdays: Vec<RangeInclusive<u32>>,
    /// 1 to 31; -1 is the last of the month.
    pub days_of_month: Vec<RangeInclusive<i32>>,
    /// 1 to 12.
    pub months: Vec<RangeInclusive<u32>>,
    /// Years.
    pub years: Vec<RangeInclusive<i32>>,
    /// East of UTC, milliseconds.
    pub offset_ms: i64,
}

/// Intervals under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeInterval {
    /// Its name.
    pub name: String,
    /// Any of them.
    pub any_of: Vec<Interval>,
}

/// When a route is quiet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTimes {
    /// Quiet in these.
    pub mute: Vec<Arc<TimeInterval>>,
    /// Quiet outside these, if there are any.
    pub active: Vec<Arc<TimeInterval>>,
}

impl Interval {
    /// Whether the moment lies in it.
    pub fn covers(&self, now_ms: i64) -> bool {
        let Some(at) = DateTime::<Utc>::from_timestamp_millis(now_ms.saturating_add(self.offset_ms)) else {
            return false;
        };
        let minute = at.hour() * 60 + at.minute();
        let last = i32::from(at.num_days_in_month());
        let day = at.day() as i32;
        let positive = |d: i32| if d < 0 { last + 1 + d } else { d };
        let in_month =
            |r: &RangeInclusive<i32>| (positive(*r.start()).max(1)..=positive(*r.end()).min(last)).contains(&day);
        (self.times.is_empty() || self.times.iter().any(|(from, to)| (*from..*to).contains(&minute)))
            && (self.weekdays.is_empty()
                || self.weekdays.iter().any(|r| r.contains(&at.weekday().num_days_from_sunday())))
            && (self.days_of_month.is_empty() || self.days_of_month.iter().any(in_month))
            && (self.months.is_empty() || self.months.iter().any(|r| r.contains(&at.month())))
            && (self.years.is_empty() || self.years.iter().any(|r| r.contains(&at.year())))
    }
}

impl TimeInterval {
    fn covers(&self, now_ms: i64) -> bool {
        self.any_of.iter().any(|i| i.covers(now_ms))
    }
}

impl RouteTimes {
    /// Why the route is quiet now, if it is.
    pub fn muted_by(&self, now_ms: i64) -> Option<String> {
        if let Some(interval) = self.mute.iter().find(|i| i.covers(now_ms)) {
            return Some(format!("muted by {}", interval.name));
        }
        let names: Vec<&str> = self.active.iter().map(|i| i.name.as_str()).collect();
        let outside = !self.active.is_empty() && !self.active.iter().any(|i| i.covers(now_ms));
        outside.then(|| format!("outside {}", names.join(", ")))
    }
}

/// Takes out everything while the route is quiet.
pub fn stage(flush: &mut Flush, _view: &View<'_>) {
    if let Some(by) = flush.muted_by.clone() {
        flush.withheld.extend(flush.alerts.drain(..).map(|alert| (alert, "mute", by.clone())));
    }
}
