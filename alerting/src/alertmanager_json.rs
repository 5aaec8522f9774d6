//! Shapes of Alertmanager's API v2: silences, alerts, groups, and the filters they are asked by.

use serde_json::{Value, json};

use crate::matcher::Matchers;
use crate::message::{AlertNote, rfc3339};
use crate::silence::{Condition, Silence};
use query::promql::matcher::MatchOp;

/// What keeps an alert from being told.
#[derive(Clone, Debug, Default)]
pub struct Suppressed {
    /// Ids of silences.
    pub silenced_by: Vec<String>,
    /// Fingerprints of alerts.
    pub inhibited_by: Vec<String>,
}

impl Suppressed {
    /// `active` or `suppressed`.
    pub fn state(&self) -> &'static str {
        if self.silenced_by.is_empty() && self.inhibited_by.is_empty() { "active" } else { "suppressed" }
    }
}

/// A gettableSilence.
pub fn silence(silence: &Silence, now_ms: i64) -> Value {
    let mut json = json!({
        "id": silence.id,
        "status": { "state": silence.state(now_ms).name() },
        "updatedAt": rfc3339(silence.updated_at_ms),
        "matchers": silence.conditions,
        "startsAt": rfc3339(silence.starts_at_ms),
        "endsAt": rfc3339(silence.ends_at_ms),
        "createdBy": silence.created_by,
        "comment": silence.comment,
    });
    if let Some((recurrence, _)) = &silence.recurrence {
        json["recurrence"] = json!(recurrence);
    }
    json
}

/// A gettableAlert; the times, milliseconds: when it was last updated, and until when it is known to fire.
pub fn alert(note: &AlertNote, receivers: &[String], suppressed: &Suppressed, times_ms: (i64, i64)) -> Value {
    json!({
        "labels": note.labels,
        "annotations": note.annotations,
        "generatorURL": note.link,
        "receivers": receivers.iter().map(|r| json!({ "name": r })).collect::<Vec<_>>(),
        "fingerprint": note.fingerprint,
        "startsAt": rfc3339(note.starts_at_ms),
        "updatedAt": rfc3339(times_ms.0),
        "endsAt": rfc3339(times_ms.1),
        "status": {
            "state": suppressed.state(),
            "silencedBy": suppressed.silenced_by,
            "inhibitedBy": suppressed.inhibited_by,
        },
    })
}

/// Whether a silence's own matchers meet a filter, as Alertmanager compares them: by name and value, absent ones as empty.
pub fn silence_meets(conditions: &[Condition], filter: &Matchers) -> bool {
    filter.iter().all(|m| {
        let value = conditions.iter().find(|c| c.name == m.name()).map(|c| c.value.as_str());
        let negative = matches!(m.op(), MatchOp::Ne | MatchOp::Nre);
        m.value().is_empty() && value.is_some() == negative || m.matches(value.unwrap_or(""))
    })
}
