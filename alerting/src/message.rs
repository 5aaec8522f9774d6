//! What is said to a receiver: one group of alerts at one moment. Stored in the outbox as JSON, so every field is plain.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

use crate::level::Level;

/// Languages messages are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// English.
    English,
    /// Chinese.
    Chinese,
}

impl Language {
    /// `en` or `zh`.
    pub fn from_name(name: &str) -> Option<Language> {
        match name {
            "en" => Some(Language::English),
            "zh" => Some(Language::Chinese),
            _ => None,
        }
    }

    /// Suffix of annotations in this language; an annotation without suffix is English.
    pub fn annotation_suffix(self) -> &'static str {
        match self {
            Language::English => "",
            Language::Chinese => "_zh",
        }
    }
}

/// Why a message was sent, in Alertmanager's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The group was not told before.
    First,
    /// Alerts joined it, or got worse.
    NewAlerts,
    /// Some ended.
    SomeResolved,
    /// All ended.
    AllResolved,
    /// Nothing changed for the repeat interval.
    Repeat,
}

impl Why {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Why::First => "first notification",
            Why::NewAlerts => "new alerts added",
            Why::SomeResolved => "some alerts resolved",
            Why::AllResolved => "all alerts resolved",
            Why::Repeat => "repeat interval elapsed",
        }
    }
}

/// One alert in a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertNote {
    /// The alert's id in the ledger.
    pub id: String,
    /// 16 hex digits.
    pub fingerprint: String,
    /// How bad.
    pub level: Level,
    /// Labels, external labels included.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire, milliseconds.
    pub starts_at_ms: i64,
    /// When it ended, milliseconds.
    pub ends_at_ms: Option<i64>,
    /// The last value, or the value at recovery.
    pub value: Option<f64>,
    /// Why it ended.
    pub end_reason: Option<String>,
    /// Link to the alert's page or expression.
    pub link: String,
    /// Group and file of its rule, as the ledger has it.
    pub rule_group: String,
}

impl AlertNote {
    /// Whether it still fires.
    pub fn is_firing(&self) -> bool {
        self.ends_at_ms.is_none()
    }

    /// firing or resolved.
    pub fn status(&self) -> &'static str {
        if self.is_firing() { "firing" } else { "resolved" }
    }

    /// An annotation in a language, in English if it has no other.
    pub fn annotation(&self, name: &str, language: Language) -> &str {
        let translated = self.annotations.get(&format!("{name}{}", language.annotation_suffix()));
        translated.or_else(|| self.annotations.get(name)).map_or("", |a| a.as_str())
    }
}

/// A message about a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The receiver's name.
    pub receiver: String,
    /// Route and labels of the group, as text.
    pub group_key: String,
    /// Labels that make the group.
    pub group_labels: BTreeMap<String, String>,
    /// Why it is sent.
    pub why: Why,
    /// Firing first, worst first.
    pub alerts: Vec<AlertNote>,
    /// Where people reach this server.
    pub external_url: String,
    /// When it was made, milliseconds.
    pub made_at_ms: i64,
    /// Of a message that tells many groups at once: what is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What a message about many groups holds. `alerts` has the worst of them only; the numbers are of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// storm or rate_limit.
    pub cause: String,
    /// How many groups.
    pub groups: usize,
    /// How many alerts fire.
    pub firing: usize,
    /// How many ended.
    pub resolved: usize,
    /// By rule and level, worst and most first; bounded.
    pub lines: Vec<DigestLine>,
}

/// How many alerts of one rule and level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DigestLine {
    /// The rule's name.
    pub rule: String,
    /// The level.
    pub level: Level,
    /// How many fire.
    pub firing: usize,
    /// How many ended.
    pub resolved: usize,
}

impl Message {
    /// How many fire.
    pub fn firing(&self) -> usize {
        if let Some(digest) = &self.digest {
            return digest.firing;
        }
        self.alerts.iter().filter(|a| a.is_firing()).count()
    }

    /// firing while any alert fires.
    pub fn status(&self) -> &'static str {
        if self.firing() > 0 { "firing" } else { "resolved" }
    }

    /// The worst level among alerts that fire; of all, if none does.
    pub fn level(&self) -> Level {
        let all = || self.alerts.iter().map(|a| a.level).max();
        self.alerts.iter().filter(|a| a.is_firing()).map(|a| a.level).max().or_else(all).unwrap_or(Level::Notice)
    }

    /// How many alerts the message is about beyond those in it.
    pub fn left_out(&self) -> usize {
        self.digest.as_ref().map_or(0, |d| (d.firing + d.resolved).saturating_sub(self.alerts.len()))
    }

    /// Pairs that every alert shares.
    pub fn common(&self, of: impl Fn(&AlertNote) -> &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut alerts = self.alerts.iter();
        let mut common = alerts.next().map(|a| of(a).clone()).unwrap_or_default();
        for alert in alerts {
            common.retain(|name, value| of(alert).get(name) == Some(value));
        }
        common
    }

    /// Without alerts that ended.
    pub fn without_resolved(mut self) -> Message {
        self.alerts.retain(AlertNote::is_firing);
        self
    }
}

/// RFC 3339 in UTC with as many digits of a second as needed; the year 1 for times out of range, as Go prints no time.
pub fn rfc3339(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(time) if ms % 1000 == 0 => time.to_rfc3339_opts(SecondsFormat::Secs, true),
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => NO_TIME.into(),
    }
}

/// How Go prints the time of something that has not happened.
pub const NO_TIME: &str = "0001-01-01T00:00:00Z";
