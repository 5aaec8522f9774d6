//! `time_intervals` of the config, in Alertmanager's form.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::Deserialize;

use super::{ConfigError, wrong};
use crate::mute::{Interval, TimeInterval};

/// Intervals under a name, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTimeInterval {
    /// Unique.
    pub name: String,
    /// Any of them.
    pub time_intervals: Vec<RawInterval>,
}

/// An interval as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawInterval {
    /// `{start_time: "09:00", end_time: "17:00"}`.
    pub times: Vec<RawTimeRange>,
    /// `monday`, `monday:friday`.
    pub weekdays: Vec<String>,
    /// `1`, `1:5`, `-3:-1`.
    pub days_of_month: Vec<String>,
    /// `1:3`, `may:august`.
    pub months: Vec<String>,
    /// `2026`, `2026:2027`.
    pub years: Vec<String>,
    /// UTC, or an offset such as `+08:00`.
    pub location: Option<String>,
}

/// Times of a day as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTimeRange {
    /// `HH:MM`.
    pub start_time: String,
    /// `HH:MM`, exclusive; 24:00 is allowed.
    pub end_time: String,
}

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Checks all of them.
pub(super) fn check(raw: Vec<RawTimeInterval>) -> Result<BTreeMap<String, Arc<TimeInterval>>, ConfigError> {
    let mut checked = BTreeMap::new();
    for (i, raw) in raw.into_iter().enumerate() {
        let at = format!("time_intervals[{i}]");
        let any_of = raw.time_intervals.iter().enumerate();
        let any_of =
            any_of.map(|(j, one)| interval(one, &format!("{at}.time_intervals[{j}]"))).collect::<Result<_, _>>()?;
        let one = Arc::new(TimeInterval { name: raw.name.clone(), any_of });
        if raw.name.is_empty() || checked.insert(raw.name.clone(), one).is_some() {
            return wrong(format!("{at}.name"), format!("{:?} must be set and unique", raw.name));
        }
    }
    Ok(checked)
}

/// Those of the names a route lists.
pub(super) fn named(
    names: &[String],
    all: &BTreeMap<String, Arc<TimeInterval>>,
    field: &str,
) -> Result<Vec<Arc<TimeInterval>>, ConfigError> {
    let known = || all.keys().cloned().collect::<Vec<_>>().join(", ");
    let find = |name: &String| match all.get(name) {
        Some(one) => Ok(one.clone()),
        None => wrong(field, format!("{name:?} is not in time_intervals; there are: {}", known())),
    };
    names.iter().map(find).collect()
}

fn interval(raw: &RawInterval, at: &str) -> Result<Interval, ConfigError> {
    let minute = |text: &str, field: &str| {
        let parts = text.split_once(':').and_then(|(h, m)| Some((h.parse::<u32>().ok()?, m.parse::<u32>().ok()?)));
        match parts {
            Some((h, m)) if m < 60 && h * 60 + m <= 1440 && text.len() == 5 => Ok(h * 60 + m),
            _ => wrong(format!("{at}.times.{field}"), format!("{text:?} must look like 09:30")),
        }
    };
    let mut times = Vec::new();
    for range in &raw.times {
        let (from, to) = (minute(&range.start_time, "start_time")?, minute(&range.end_time, "end_time")?);
        if from >= to {
            return wrong(format!("{at}.times"), "start_time must be before end_time");
        }
        times.push((from, to));
    }
    let named = |names: &'static [&'static str], first: i32| {
        move |text: &str| names.iter().position(|n| *n == text).map(|i| i as i32 + first)
    };
    let weekdays = ranges(&raw.weekdays, named(&WEEKDAYS, 0), (0, 6), &format!("{at}.weekdays"))?;
    let month = named(&MONTHS, 1);
    let months = ranges(&raw.months, |t| t.parse().ok().or_else(|| month(t)), (1, 12), &format!("{at}.months"))?;
    let days_of_month =
        ranges(&raw.days_of_month, |t| t.parse().ok().filter(|d| *d != 0), (-31, 31), &format!("{at}.days_of_month"))?;
    let years = ranges(&raw.years, |t| t.parse().ok(), (0, 9999), &format!("{at}.years"))?;
    let unsigned = |r: RangeInclusive<i32>| *r.start() as u32..=*r.end() as u32;
    Ok(Interval {
        times,
        weekdays: weekdays.into_iter().map(unsigned).collect(),
        days_of_month,
        months: months.into_iter().map(unsigned).collect(),
        years,
        offset_ms: offset_ms(raw.location.as_deref().unwrap_or("UTC"), at)?,
    })
}

fn ranges(
    texts: &[String],
    parse: impl Fn(&str) -> Option<i32>,
    (least, most): (i32, i32),
    at: &str,
) -> Result<Vec<RangeInclusive<i32>>, ConfigError> {
    let one = |text: &String| {
        let lower = text.trim().to_ascii_lowercase();
        let (from, to) = lower.split_once(':').unwrap_or((&lower, &lower));
        let within = |n: &i32| (least..=most).contains(n);
        match (parse(from).filter(within), parse(to).filter(within)) {
            (Some(from), Some(to)) if from <= to || from > 0 && to < 0 => Ok(from..=to),
            _ => wrong(at, format!("{text:?} is not allowed; allowed are one or from:to, between {least} and {most}")),
        }
    };
    texts.iter().map(one).collect()
}

fn offset_ms(location: &str, at: &str) -> Result<i64, ConfigError> {
    if location.eq_ignore_ascii_case("utc") {
        return Ok(0);
    }
    let parsed = location.parse::<chrono::FixedOffset>();
    match parsed {
        Ok(offset) => Ok(i64::from(offset.local_minus_utc()) * 1000),
        Err(_) => wrong(format!("{at}.location"), format!("{location:?}; allowed are UTC and offsets such as +08:00")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<BTreeMap<String, Arc<TimeInterval>>, ConfigError> {
        check(serde_saphyr::from_str(&format!("[{{name: n, time_intervals: [{text}]}}]")).expect("yaml"))
    }

    /// 2026-11-23 is a Monday.
    #[test]
    fn moments_by_table() {
        for (text, moment, inside) in [
            ("{times: [{start_time: '09:00', end_time: '17:00'}]}", "2026-11-23T09:00:00Z", true),
            ("{times: [{start_time: '09:00', end_time: '17:00'}]}", "2026-11-23T17:00:00Z", false),
            ("{times: [{start_time: '23:00', end_time: '24:00'}]}", "2026-11-23T23:59:59Z", true),
            ("{weekdays: ['monday:friday']}", "2026-11-27T12:00:00Z", true),
            ("{weekdays: ['monday:friday']}", "2026-11-28T12:00:00Z", false),
            ("{weekdays: ['Saturday', sunday]}", "2026-11-29T12:00:00Z", true),
            ("{days_of_month: ['1:5', '-3:-1']}", "2026-11-28T00:00:00Z", true),
            ("{days_of_month: ['1:5', '-3:-1']}", "2026-11-27T00:00:00Z", false),
            ("{days_of_month: ['20:-1']}", "2026-02-28T00:00:00Z", true),
            ("{days_of_month: ['31']}", "2026-11-30T00:00:00Z", false),
            ("{months: ['may:august', '11']}", "2026-11-23T00:00:00Z", true),
            ("{months: ['1:3']}", "2026-11-23T00:00:00Z", false),
            ("{years: ['2020:2026']}", "2026-11-23T00:00:00Z", true),
            ("{years: ['2027']}", "2026-11-23T00:00:00Z", false),
            ("{weekdays: [tuesday], location: '+08:00'}", "2026-11-23T16:00:00Z", true),
            ("{weekdays: [tuesday], location: UTC}", "2026-11-23T16:00:00Z", false),
            ("{weekdays: [monday], months: [december]}", "2026-11-23T00:00:00Z", false),
            ("{weekdays: [tuesday]}, {months: [november]}", "2026-11-23T00:00:00Z", true),
        ] {
            let all = checked(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let at = chrono::DateTime::parse_from_rfc3339(moment).expect("a time").timestamp_millis();
            assert_eq!(all["n"].any_of.iter().any(|i| i.covers(at)), inside, "{text} at {moment}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, field) in [
            (
                "{times: [{start_time: '9:00', end_time: '17:00'}]}",
                "time_intervals[0].time_intervals[0].times.start_time",
            ),
            ("{times: [{start_time: '17:00', end_time: '09:00'}]}", "time_intervals[0].time_intervals[0].times"),
            ("{weekdays: ['friday:monday']}", "time_intervals[0].time_intervals[0].weekdays"),
            ("{weekdays: [someday]}", "time_intervals[0].time_intervals[0].weekdays"),
            ("{days_of_month: ['0']}", "time_intervals[0].time_intervals[0].days_of_month"),
            ("{days_of_month: ['-1:-3']}", "time_intervals[0].time_intervals[0].days_of_month"),
            ("{months: ['13']}", "time_intervals[0].time_intervals[0].months"),
            ("{location: 'Nowhere'}", "time_intervals[0].time_intervals[0].location"),
        ] {
            let error = checked(text).map(|_| ()).expect_err(text).to_string();
            assert!(error.contains(field), "{text}: {error}");
        }
        assert!(named(&["m".into()], &checked("{}").expect("one"), "route").is_err());
    }
}
