//! The `alerting:` section of the server's config: raw as written, then checked into what the rest of the room uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::Labels;
use query::promql::number::parse_duration_ms;
use serde::Deserialize;

use crate::matcher::Matchers;
use crate::mute::{RouteTimes, TimeInterval};

mod receivers;
mod robots;
mod sms;
mod times;

pub use receivers::{Channel, RawMail, RawReceiver, RawWebhook, Receiver};
pub use robots::RawRobot;
pub use sms::{RawAliyun, RawProvider, RawSms, RawTencent, RawTwilio, RawVariable};
pub use times::{RawInterval, RawTimeInterval, RawTimeRange};

/// Evaluation interval of groups that name none.
const EVALUATION_INTERVAL: &str = "15s";
/// A group's first message leaves at once.
const GROUP_WAIT: &str = "0s";
/// Distance of further messages about changes in one group.
const GROUP_INTERVAL: &str = "1m";
/// After how long an unchanged group is told again.
const REPEAT_INTERVAL: &str = "4h";
/// After how long an alert from outside without an end is over.
const RESOLVE_TIMEOUT: &str = "5m";
/// Most receivers and most routes.
const ENTRIES_MAX: usize = 1000;
/// Deepest nesting of routes.
const ROUTE_DEPTH_MAX: usize = 16;

/// The section as written. `Default` is what `tidewatch up` runs with: built-in rules, no receivers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Rule files; `*` and `?` may stand in file names; relative to the config file.
    pub rules: Vec<String>,
    /// Whether the built-in rule pack is evaluated.
    pub builtin_rules: bool,
    /// Files of verdict trees beside the built-in ones; `*` and `?` as above.
    pub diagnosis: Vec<String>,
    /// Interval of rule groups that name none.
    pub evaluation_interval: String,
    /// Labels added to every alert that leaves.
    pub external_labels: BTreeMap<String, String>,
    /// Where people reach this server; links in messages begin with it.
    pub external_url: String,
    /// Who can be told.
    pub receivers: Vec<RawReceiver>,
    /// Who is told what.
    pub route: Option<RawRoute>,
    /// Which alerts make others needless.
    pub inhibit_rules: Vec<RawInhibitRule>,
    /// Times that routes name, in Alertmanager's form.
    pub time_intervals: Vec<RawTimeInterval>,
    /// Whether grouping and telling are exactly as in Alertmanager: no storms, no rate limit, changes at a group's next tick.
    pub as_alertmanager: bool,
    /// After how long an alert posted without an end is over, unless it is posted again.
    pub resolve_timeout: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            rules: Vec::new(),
            builtin_rules: true,
            diagnosis: Vec::new(),
            evaluation_interval: EVALUATION_INTERVAL.into(),
            external_labels: BTreeMap::new(),
            external_url: String::new(),
            receivers: Vec::new(),
            route: None,
            inhibit_rules: Vec::new(),
            time_intervals: Vec::new(),
            as_alertmanager: false,
            resolve_timeout: RESOLVE_TIMEOUT.into(),
        }
    }
}

/// A route as written; what it leaves out it inherits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRoute {
    /// Who is told.
    pub receiver: Option<String>,
    /// Labels that make a group; `...`: every label.
    pub group_by: Option<Vec<String>>,
    /// How long a new group waits for company.
    pub group_wait: Option<String>,
    /// Distance of messages about changes in a group.
    pub group_interval: Option<String>,
    /// After how long an unchanged group is told again.
    pub repeat_interval: Option<String>,
    /// Conditions on labels.
    pub matchers: Vec<String>,
    /// Names of times at which nothing is said.
    pub mute_time_intervals: Vec<String>,
    /// Names of times outside which nothing is said.
    pub active_time_intervals: Vec<String>,
    /// Whether routes after this one are tried too.
    pub r#continue: bool,
    /// Tried in order.
    pub routes: Vec<RawRoute>,
}

/// An inhibition rule as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawInhibitRule {
    /// Alerts that inhibit.
    pub source_matchers: Vec<String>,
    /// Alerts that are inhibited.
    pub target_matchers: Vec<String>,
    /// Labels in which both must agree.
    #[serde(default)]
    pub equal: Vec<String>,
}

/// A config that can't be used: which field, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ConfigError {
    /// Path of the field below `alerting`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

fn wrong<T>(field: impl Into<String>, message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError { field: field.into(), message: message.into() })
}

/// A checked config.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Patterns of rule files.
    pub rules: Vec<String>,
    /// Patterns of files with verdict trees.
    pub diagnosis: Vec<String>,
    /// What patterns are relative to.
    pub base: PathBuf,
    /// Whether the built-in rules are evaluated.
    pub builtin_rules: bool,
    /// Interval of groups that name none, milliseconds.
    pub evaluation_interval_ms: i64,
    /// Added to every alert that leaves.
    pub external_labels: Labels,
    /// Without a slash at its end.
    pub external_url: String,
    /// By name.
    pub receivers: BTreeMap<String, Receiver>,
    /// The root route, which takes everything; `None`: nobody is told.
    pub route: Option<Route>,
    /// Inhibition.
    pub inhibit_rules: Vec<InhibitRule>,
    /// Whether grouping and telling are exactly as in Alertmanager.
    pub as_alertmanager: bool,
    /// Milliseconds.
    pub resolve_timeout_ms: i64,
}

/// A checked route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Who is told.
    pub receiver: String,
    /// Labels that make a group; `None`: every label.
    pub group_by: Option<BTreeSet<String>>,
    /// Milliseconds.
    pub group_wait_ms: i64,
    /// Milliseconds.
    pub group_interval_ms: i64,
    /// Milliseconds.
    pub repeat_interval_ms: i64,
    /// Conditions.
    pub matchers: Matchers,
    /// Whether routes after this one are tried too.
    pub go_on: bool,
    /// When nothing is said.
    pub times: RouteTimes,
    /// Tried in order.
    pub routes: Vec<Route>,
    /// Path of matchers from the root: the beginning of group keys.
    pub key: String,
}

/// A checked inhibition rule.
#[derive(Clone, Debug)]
pub struct InhibitRule {
    /// Alerts that inhibit.
    pub source: Matchers,
    /// Alerts that are inhibited.
    pub target: Matchers,
    /// Labels in which both must agree.
    pub equal: Vec<String>,
}

impl Config {
    /// Checks everything but the rule files; `base` is what relative paths start from. Reads secrets from their files.
    pub fn check(self, base: &Path) -> Result<Settings, ConfigError> {
        let evaluation_interval_ms = positive(&self.evaluation_interval, "evaluation_interval")?;
        let external_url = self.external_url.trim_end_matches('/').to_string();
        if !external_url.is_empty() && !is_http(&external_url) {
            return wrong("external_url", format!("{external_url:?} must begin with http:// or https://"));
        }
        if self.receivers.len() > ENTRIES_MAX {
            return wrong("receivers", format!("at most {ENTRIES_MAX} are allowed"));
        }
        let mut receivers = BTreeMap::new();
        for (i, raw) in self.receivers.into_iter().enumerate() {
            let name = raw.name.clone();
            let receiver = receivers::check(raw, base, &format!("receivers[{i}]"))?;
            if name.is_empty() || receivers.insert(name.clone(), receiver).is_some() {
                return wrong(format!("receivers[{i}].name"), format!("{name:?} must be set and unique"));
            }
        }
        let intervals = times::check(self.time_intervals)?;
        let known = Known { receivers: &receivers, intervals: &intervals };
        let route = match self.route {
            Some(raw) => Some(route(raw, None, &known, "route", 0)?),
            None if receivers.len() == 1 => {
                let receiver = receivers.keys().next().cloned();
                Some(route(RawRoute { receiver, ..RawRoute::default() }, None, &known, "route", 0)?)
            }
            None if receivers.is_empty() => None,
            None => return wrong("route", "must be set where there are several receivers"),
        };
        let mut inhibit_rules = if self.builtin_rules { crate::builtin::inhibit_rules() } else { Vec::new() };
        for (i, raw) in self.inhibit_rules.into_iter().enumerate() {
            let parse = |texts: &[String], field: &str| {
                Matchers::parse(texts).or_else(|e| wrong(format!("inhibit_rules[{i}].{field}"), e))
            };
            inhibit_rules.push(InhibitRule {
                source: parse(&raw.source_matchers, "source_matchers")?,
                target: parse(&raw.target_matchers, "target_matchers")?,
                equal: raw.equal,
            });
        }
        Ok(Settings {
            rules: self.rules,
            diagnosis: self.diagnosis,
            base: base.into(),
            builtin_rules: self.builtin_rules,
            evaluation_interval_ms,
            external_labels: Labels::from_pairs(self.external_labels),
            external_url,
            receivers,
            route,
            inhibit_rules,
            as_alertmanager: self.as_alertmanager,
            resolve_timeout_ms: positive(&self.resolve_timeout, "resolve_timeout")?,
        })
    }
}

fn is_http(url: &str) -> bool {
    url.parse::<reqwest::Url>().is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
}

fn duration(text: &str, field: &str) -> Result<i64, ConfigError> {
    parse_duration_ms(text).or_else(|e| wrong(field, format!("{e}; allowed are texts like 30s, 5m, 1h30m")))
}

fn positive(text: &str, field: &str) -> Result<i64, ConfigError> {
    match duration(text, field)? {
        0 => wrong(field, "must be longer than 0"),
        ms => Ok(ms),
    }
}

/// What routes may name.
struct Known<'a> {
    receivers: &'a BTreeMap<String, Receiver>,
    intervals: &'a BTreeMap<String, Arc<TimeInterval>>,
}

fn route(
    raw: RawRoute,
    parent: Option<&Route>,
    known: &Known<'_>,
    at: &str,
    depth: usize,
) -> Result<Route, ConfigError> {
    if depth > ROUTE_DEPTH_MAX || raw.routes.len() > ENTRIES_MAX {
        return wrong(at, format!("at most {ROUTE_DEPTH_MAX} levels of at most {ENTRIES_MAX} routes are allowed"));
    }
    let Some(receiver) = raw.receiver.or_else(|| parent.map(|p| p.receiver.clone())) else {
        return wrong(format!("{at}.receiver"), "must be set at the root");
    };
    if !known.receivers.contains_key(&receiver) {
        let known = known.receivers.keys().cloned().collect::<Vec<_>>().join(", ");
        return wrong(format!("{at}.receiver"), format!("{receiver:?} is not a receiver; there are: {known}"));
    }
    let matchers = Matchers::parse(&raw.matchers).or_else(|e| wrong(format!("{at}.matchers"), e))?;
    if parent.is_none() && !matchers.is_empty() {
        return wrong(format!("{at}.matchers"), "the root takes every alert");
    }
    let group_by = match raw.group_by {
        Some(labels) if labels.iter().any(|l| l == "...") => None,
        Some(labels) => Some(labels.into_iter().collect()),
        None => parent.map_or(Some(BTreeSet::new()), |p| p.group_by.clone()),
    };
    let time = |text: Option<String>, inherited: Option<i64>, default: &str, field: &str| match (text, inherited) {
        (Some(text), _) => duration(&text, &format!("{at}.{field}")),
        (None, Some(ms)) => Ok(ms),
        (None, None) => duration(default, field),
    };
    let key = parent.map_or_else(|| matchers.to_string(), |p| format!("{}/{matchers}", p.key));
    let mut this = Route {
        receiver,
        group_by,
        group_wait_ms: time(raw.group_wait, parent.map(|p| p.group_wait_ms), GROUP_WAIT, "group_wait")?,
        group_interval_ms: time(
            raw.group_interval,
            parent.map(|p| p.group_interval_ms),
            GROUP_INTERVAL,
            "group_interval",
        )?,
        repeat_interval_ms: time(
            raw.repeat_interval,
            parent.map(|p| p.repeat_interval_ms),
            REPEAT_INTERVAL,
            "repeat_interval",
        )?,
        matchers,
        times: RouteTimes {
            mute: times::named(&raw.mute_time_intervals, known.intervals, &format!("{at}.mute_time_intervals"))?,
            active: times::named(&raw.active_time_intervals, known.intervals, &format!("{at}.active_time_intervals"))?,
        },
        go_on: raw.r#continue,
        routes: Vec::new(),
        key,
    };
    if this.repeat_interval_ms == 0 || this.group_interval_ms == 0 {
        return wrong(at, "group_interval and repeat_interval must be longer than 0");
    }
    for (i, child) in raw.routes.into_iter().enumerate() {
        let child = route(child, Some(&this), known, &format!("{at}.routes[{i}]"), depth + 1)?;
        this.routes.push(child);
    }
    Ok(this)
}

#[cfg(test)]
mod tests;
