//! What operators do: silences and acknowledgements, each on disk before it is answered and in the ledger after.

use std::collections::BTreeMap;

use proto::Labels;
use serde_json::{Value, json};

use super::Alerting;
use crate::active::Active;
use crate::config::Settings;
use crate::dispatch::matching;
use crate::inhibit::inhibitor;
use crate::ledger::{Entry, Page, rule_group, subject};
use crate::operators::{Acknowledgement, OperatorError};
use crate::silence::{self, Condition, Silence, TEXT_BYTES_MAX, Wish};

/// An alert that fires, as receivers would be told of it, and what keeps it from them.
#[derive(Clone, Debug)]
pub struct Firing {
    /// The alert.
    pub alert: Active,
    /// Name of its rule group.
    pub group: String,
    /// Its labels with the external ones.
    pub labels: Labels,
    /// Who is told of it.
    pub receivers: Vec<String>,
    /// Silences in force that match it.
    pub silenced_by: Vec<String>,
    /// Fingerprint of the alert that makes it needless.
    pub inhibited_by: Vec<String>,
}

impl Alerting {
    /// Every silence that is remembered.
    pub fn silences(&self) -> Vec<Silence> {
        self.0.operators.lock().silences().cloned().collect()
    }

    /// One silence.
    pub fn silence(&self, id: &str) -> Option<Silence> {
        self.0.operators.lock().silence(id).cloned()
    }

    /// Sets a silence; `fresh_id` is taken unless the one of `id` can be changed in place. Gives its id.
    pub fn set_silence(&self, id: Option<&str>, wish: Wish, fresh_id: String) -> Result<String, OperatorError> {
        let now_ms = (self.0.clock)();
        self.0.operators.lock().set_silence(id, wish, fresh_id, now_ms)
    }

    /// Ends a silence now; what still fires is told at its group's next turn.
    pub fn expire_silence(&self, id: &str) -> Result<(), OperatorError> {
        self.0.operators.lock().expire_silence(id, (self.0.clock)())?;
        self.0.due.notify_one();
        Ok(())
    }

    /// The alerts, pending or firing, that a silence with these conditions would be about.
    pub async fn preview_silence(&self, conditions: &[Condition]) -> Result<Vec<Value>, OperatorError> {
        let matchers = silence::matchers(conditions).map_err(OperatorError::Wrong)?;
        let settings = self.settings();
        let mut alerts = self.living().await;
        alerts.retain(|(_, a)| matchers.matches(&outside_labels(a, &settings)));
        Ok(self.described_all(&alerts))
    }

    /// Someone knows of an alert: it is not repeated until it gets worse or ends.
    pub async fn acknowledge(&self, id: &str, by: &str, comment: &str) -> Result<Acknowledgement, OperatorError> {
        if by.trim().is_empty() || by.len() > TEXT_BYTES_MAX || comment.len() > TEXT_BYTES_MAX {
            let message = format!("by: 1 to {TEXT_BYTES_MAX} bytes are allowed, and as many at most for comment");
            return Err(OperatorError::Wrong(message));
        }
        let (group, alert) = self.lives(id).await?;
        let (by, comment, at_ms) = (by.trim().to_string(), comment.trim().to_string(), (self.0.clock)());
        let known = Acknowledgement { at_ms, by, comment, level: alert.track.level };
        self.0.operators.lock().acknowledge(id, known.clone())?;
        self.note_operator(&alert, &group, "acknowledged", &known.by, json!({ "comment": known.comment }));
        Ok(known)
    }

    /// Takes an acknowledgement back.
    pub async fn unacknowledge(&self, id: &str) -> Result<(), OperatorError> {
        let (group, alert) = self.lives(id).await?;
        if self.0.operators.lock().unacknowledge(id)? {
            self.note_operator(&alert, &group, "unacknowledged", "taken back", Value::Null);
            self.0.due.notify_one();
        }
        Ok(())
    }

    async fn lives(&self, id: &str) -> Result<(String, Active), OperatorError> {
        for group in self.0.groups.read().await.iter() {
            let group = group.lock().await;
            if let Some(alert) = group.rules.iter().flat_map(|r| r.active.values()).find(|a| a.id == id) {
                return Ok((rule_group(&group.group.name, &group.group.file), alert.clone()));
            }
        }
        Err(OperatorError::Unknown { what: "living alert", id: id.into() })
    }

    fn note_operator(&self, alert: &Active, group: &str, event: &str, reason: &str, detail: Value) {
        let now_ms = (self.0.clock)();
        let mut page = Page::default();
        page.add(&Entry {
            subject: &subject(alert, group),
            ts_ms: now_ms,
            event,
            value: None,
            reason: Some(reason),
            texts: None,
            receiver: None,
            detail: (!detail.is_null()).then(|| detail.to_string()),
        });
        page.write(&self.0.store, &self.0.tenant, now_ms);
    }

    /// Forgets decisions too old to matter; called now and then.
    pub(super) async fn forget_decisions(&self, now_ms: i64) {
        let living: std::collections::BTreeSet<String> = self.living().await.into_iter().map(|(_, a)| a.id).collect();
        if let Err(e) = self.0.operators.lock().forget(|id| living.contains(id), now_ms) {
            tracing::error!(error = %e, "the journal of silences and acknowledgements can't be rewritten");
        }
    }

    /// Every alert that fires, with who is told and what keeps it from them.
    pub async fn firing(&self) -> Vec<Firing> {
        let mut living = self.living().await;
        living.retain(|(_, a)| a.is_firing());
        self.marked(&living)
    }

    /// Alerts with their marks.
    pub(super) fn marked(&self, alerts: &[(String, Active)]) -> Vec<Firing> {
        let (settings, now_ms) = (self.settings(), (self.0.clock)());
        let labelled: Vec<Labels> = alerts.iter().map(|(_, a)| outside_labels(a, &settings)).collect();
        let mut firing: BTreeMap<String, Labels> = self.0.pipeline.lock().dispatcher.firing();
        let given = alerts.iter().zip(&labelled).filter(|((_, a), _)| a.is_firing());
        firing.extend(given.map(|((_, a), labels)| (a.fingerprint.to_string(), labels.clone())));
        let operators = self.0.operators.lock();
        let decisions = operators.decisions(now_ms);
        let marked = alerts.iter().zip(labelled).map(|((group, alert), labels)| {
            let mut routes = Vec::new();
            if let Some(root) = &settings.route {
                matching(root, &labels, &mut routes);
            }
            let fingerprint = alert.fingerprint.to_string();
            let silences = decisions.silences.iter().filter(|s| s.matches(&labels)).map(|s| s.id.clone());
            Firing {
                receivers: routes.iter().map(|r| r.receiver.clone()).collect(),
                silenced_by: silences.collect(),
                inhibited_by: inhibitor(&labels, &fingerprint, &settings.inhibit_rules, &firing)
                    .filter(|_| alert.is_firing())
                    .into_iter()
                    .collect(),
                alert: alert.clone(),
                group: group.clone(),
                labels,
            }
        });
        marked.collect()
    }

    /// Groups of alerts as they wait to be told: receiver, labels, and the fingerprints in them.
    pub fn message_groups(&self) -> Vec<(String, BTreeMap<String, String>, Vec<String>)> {
        let pipeline = self.0.pipeline.lock();
        let groups = pipeline.dispatcher.groups().map(|(receiver, labels, alerts)| {
            (receiver.to_string(), labels.clone(), alerts.map(|a| a.fingerprint.clone()).collect())
        });
        groups.collect()
    }
}

/// Labels as they leave: with the external ones.
fn outside_labels(alert: &Active, settings: &Settings) -> Labels {
    let mut labels = alert.labels.to_builder();
    for (name, value) in &settings.external_labels {
        labels.set_default(name, value);
    }
    labels.build()
}
