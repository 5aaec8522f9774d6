//! What operators do: silences, and taking alerts on.

use serde_json::{Value, json};

use super::Alerting;
use crate::acknowledge::Acknowledgement;
use crate::ledger::{Entry, Page, subject_of_note};
use crate::matcher::Matchers;
use crate::message::AlertNote;
use crate::silence::{Condition, Silence};
use crate::silences::{SilenceError, Wanted};

/// Why an alert can't be acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// None of that id fires.
    #[error("no alert {0:?} fires")]
    NotFound(String),
    /// It is not on disk, so it is not in force.
    #[error("the acknowledgement can't be kept: {0}")]
    Disk(#[from] std::io::Error),
}

impl Alerting {
    /// Makes or changes a silence; gives its id. `new_id` is used if a new one must be made.
    pub fn set_silence(&self, wanted: Wanted, new_id: String) -> Result<String, SilenceError> {
        let id = self.0.silences.lock().set(wanted, new_id, (self.0.clock)())?;
        self.0.due.notify_one();
        Ok(id)
    }

    /// Ends a silence.
    pub fn expire_silence(&self, id: &str) -> Result<(), SilenceError> {
        self.0.silences.lock().expire(id, (self.0.clock)())?;
        self.0.due.notify_one();
        Ok(())
    }

    /// One silence.
    pub fn silence(&self, id: &str) -> Option<Silence> {
        self.0.silences.lock().get(id).cloned()
    }

    /// Every silence.
    pub fn silences(&self) -> std::sync::Arc<Vec<Silence>> {
        self.0.silences.lock().snapshot()
    }

    /// The alerts that a silence with these conditions would mute now, as [`Alerting::alerts`] gives them.
    pub async fn preview(&self, conditions: &[Condition]) -> Result<Vec<Value>, String> {
        let matchers = Matchers::of_conditions(conditions)?;
        let ids: std::collections::BTreeSet<String> = {
            let pipeline = self.0.pipeline.lock();
            let living = pipeline.dispatcher.living().filter(|(_, labels)| matchers.matches(labels));
            living.map(|(note, _)| note.id.clone()).collect()
        };
        let firing = self.alerts("firing", usize::MAX).await?;
        Ok(firing.into_iter().filter(|a| a["id"].as_str().is_some_and(|id| ids.contains(id))).collect())
    }

    /// Takes an alert on: it is not repeated until it gets worse or ends.
    pub fn acknowledge(&self, alert_id: &str, by: &str, comment: &str) -> Result<Acknowledgement, AcknowledgeError> {
        let now_ms = (self.0.clock)();
        let mut pipeline = self.0.pipeline.lock();
        let note = pipeline.dispatcher.living().find(|(n, _)| n.id == alert_id).map(|(n, _)| n.clone());
        let Some(note) = note else { return Err(AcknowledgeError::NotFound(alert_id.into())) };
        let one = Acknowledgement { at_ms: now_ms, by: by.into(), comment: comment.into(), level: note.level };
        pipeline.acknowledged.set(alert_id, Some(one.clone()))?;
        drop(pipeline);
        self.note_taken(&note, "acknowledged", "taken", json!({ "by": by, "comment": comment }), now_ms);
        Ok(one)
    }

    /// Takes that back. `false`: nobody had taken it on.
    pub fn take_back(&self, alert_id: &str) -> Result<bool, AcknowledgeError> {
        let now_ms = (self.0.clock)();
        let mut pipeline = self.0.pipeline.lock();
        let note = pipeline.dispatcher.living().find(|(n, _)| n.id == alert_id).map(|(n, _)| n.clone());
        let Some(note) = note else { return Err(AcknowledgeError::NotFound(alert_id.into())) };
        let changed = pipeline.acknowledged.set(alert_id, None)?;
        drop(pipeline);
        if changed {
            self.note_taken(&note, "unacknowledged", "taken_back", Value::Null, now_ms);
        }
        Ok(changed)
    }

    /// What an alert's new state means for its acknowledgement: worse, or over, and it is gone.
    pub(super) fn outgrow(&self, note: &AlertNote, page: &mut Page, now_ms: i64) {
        let mut pipeline = self.0.pipeline.lock();
        let Some(one) = pipeline.acknowledged.get(&note.id) else { return };
        let reason = match note.is_firing() {
            true if note.level <= one.level => return,
            true => "level_rose",
            false => "ended",
        };
        if let Err(e) = pipeline.acknowledged.set(&note.id, None) {
            tracing::error!(error = %e, "an acknowledgement can't be written off");
        }
        page.add(&entry(note, "unacknowledged", reason, Value::Null, now_ms, &subject_of_note(note)));
    }

    fn note_taken(&self, note: &AlertNote, event: &str, reason: &str, detail: Value, now_ms: i64) {
        let mut page = Page::default();
        page.add(&entry(note, event, reason, detail, now_ms, &subject_of_note(note)));
        page.write(&self.0.store, &self.0.tenant, now_ms);
    }
}

fn entry<'a>(
    note: &AlertNote,
    event: &'a str,
    reason: &'a str,
    detail: Value,
    ts_ms: i64,
    subject: &'a crate::ledger::Subject,
) -> Entry<'a> {
    let detail = (!detail.is_null()).then(|| detail.to_string());
    Entry { subject, ts_ms, event, value: note.value, reason: Some(reason), texts: None, receiver: None, detail }
}
