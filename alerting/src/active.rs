//! An alert while it lives: its identity, what it says, and its track through the state machine.

use std::collections::BTreeMap;

use proto::Labels;

use crate::fingerprint::Fingerprint;
use crate::level::{Level, SEVERITY_LABEL};
use crate::message::AlertNote;
use crate::state::{Phase, Track, Transition};

/// The label that holds an alert's name.
pub const ALERT_NAME: &str = "alertname";

/// A living alert.
#[derive(Clone, Debug)]
pub struct Active {
    /// Fingerprint and time of its beginning: one alert from pending to resolved.
    pub id: String,
    /// Of its identity: its labels, for rules with levels those without the level.
    pub fingerprint: Fingerprint,
    /// Its labels, the level's included.
    pub labels: Labels,
    /// Labels of the result behind it.
    pub result_labels: Labels,
    /// What it says.
    pub annotations: BTreeMap<String, String>,
    /// Where it stands.
    pub track: Track,
}

impl Active {
    /// The id of an alert that began then.
    pub fn make_id(fingerprint: Fingerprint, active_at_ms: i64) -> String {
        format!("{fingerprint}-{active_at_ms:x}")
    }

    /// What receivers are told of it.
    pub fn note(&self, external_labels: &Labels, external_url: &str, rule_group: &str) -> AlertNote {
        let mut labels = self.labels.to_builder();
        for (name, value) in external_labels {
            labels.set_default(name, value);
        }
        AlertNote {
            id: self.id.clone(),
            fingerprint: self.fingerprint.to_string(),
            level: self.track.level,
            labels: labels.build().iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            annotations: self.annotations.clone(),
            starts_at_ms: self.track.fired_at_ms.unwrap_or(self.track.active_at_ms),
            ends_at_ms: None,
            value: self.track.value.is_finite().then_some(self.track.value),
            end_reason: None,
            link: format!("{external_url}/alert/{}", self.id),
            rule_group: rule_group.into(),
        }
    }

    /// The same labels with this level in `severity`.
    pub fn with_level(labels: &Labels, level: Level) -> Labels {
        let mut builder = labels.to_builder();
        builder.set(SEVERITY_LABEL, level.name());
        builder.build()
    }

    /// Whether it fires.
    pub fn is_firing(&self) -> bool {
        self.track.phase == Phase::Firing
    }
}

/// A step of one alert, with the alert as it was after the step (before it, for its end).
#[derive(Clone, Debug)]
pub struct Happening {
    /// The alert.
    pub alert: Active,
    /// What happened and why.
    pub transition: Transition,
    /// When, milliseconds.
    pub ts_ms: i64,
}
