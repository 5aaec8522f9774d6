//! The ledger: every step of every alert, appended to table `alert_events`.

use proto::{EventsBuilder, Table, Value};
use serde_json::json;
use storage::{Append, Rows, Store};

use crate::active::{ALERT_NAME, Happening};
use crate::dispatch::Step;
use crate::message::AlertNote;
use crate::state::Change;

/// Which alert a row is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Whom the alert is about.
    pub instance: String,
    /// The alert's id.
    pub alert_id: String,
    /// 16 hex digits.
    pub fingerprint: String,
    /// The rule's name.
    pub rule: String,
    /// Group and file.
    pub rule_group: String,
    /// Level's name.
    pub level: &'static str,
}

/// A row.
pub struct Entry<'a> {
    /// About whom.
    pub subject: &'a Subject,
    /// When, milliseconds.
    pub ts_ms: i64,
    /// What happened.
    pub event: &'a str,
    /// The value then.
    pub value: Option<f64>,
    /// Why, as a word.
    pub reason: Option<&'a str>,
    /// Labels and annotations as JSON.
    pub texts: Option<(String, String)>,
    /// To whom.
    pub receiver: Option<&'a str>,
    /// JSON.
    pub detail: Option<String>,
}

/// Name of group and file in one text.
pub fn rule_group(group: &str, file: &str) -> String {
    format!("{group};{file}")
}

/// Who an alert's rows are about.
pub fn subject(alert: &crate::active::Active, rule_group: &str) -> Subject {
    Subject {
        instance: alert.labels.get("instance").unwrap_or("").into(),
        alert_id: alert.id.clone(),
        fingerprint: alert.fingerprint.to_string(),
        rule: alert.labels.get(ALERT_NAME).unwrap_or("").into(),
        rule_group: rule_group.into(),
        level: alert.track.level.name(),
    }
}

/// Who a message's alert is about.
pub fn subject_of_note(note: &AlertNote) -> Subject {
    let label = |name: &str| note.labels.get(name).cloned().unwrap_or_default();
    Subject {
        instance: label("instance"),
        alert_id: note.id.clone(),
        fingerprint: note.fingerprint.clone(),
        rule: label(ALERT_NAME),
        rule_group: note.rule_group.clone(),
        level: note.level.name(),
    }
}

/// Rows to append together.
#[derive(Default)]
pub struct Page(Option<EventsBuilder>);

impl Page {
    /// Adds a row.
    pub fn add(&mut self, entry: &Entry<'_>) {
        let s = entry.subject;
        let text = |t: &str| if t.is_empty() { Value::Null } else { Value::from(t) };
        let (labels, annotations) = entry.texts.clone().unzip();
        let cells = [
            ("alert_id", text(&s.alert_id)),
            ("fingerprint", text(&s.fingerprint)),
            ("rule", text(&s.rule)),
            ("rule_group", text(&s.rule_group)),
            ("event", text(entry.event)),
            ("level", text(s.level)),
            ("value", entry.value.into()),
            ("reason", entry.reason.into()),
            ("labels", labels.into()),
            ("annotations", annotations.into()),
            ("receiver", entry.receiver.into()),
            ("detail", entry.detail.clone().into()),
        ];
        self.0.get_or_insert_with(|| EventsBuilder::new(Table::AlertEvents)).row(&s.instance, entry.ts_ms, cells);
    }

    /// Adds a step of an alert's state.
    pub fn add_happening(&mut self, happening: &Happening, rule_group: &str) {
        let alert = &happening.alert;
        let subject = subject(alert, rule_group);
        let from = match happening.transition.change {
            Change::LevelChanged { from } => Some(from.name()),
            _ => None,
        };
        let detail = json!({
            "active_at_ms": alert.track.active_at_ms,
            "fired_at_ms": alert.track.fired_at_ms,
            "from_level": from,
            "keep_firing_since_ms": alert.track.keep_firing_since_ms,
        });
        let texts = (json!(alert.labels).to_string(), json!(alert.annotations).to_string());
        self.add(&Entry {
            subject: &subject,
            ts_ms: happening.ts_ms,
            event: happening.transition.change.event(),
            value: alert.track.value.is_finite().then_some(alert.track.value),
            reason: Some(happening.transition.reason.word()),
            texts: Some(texts),
            receiver: None,
            detail: Some(detail.to_string()),
        });
    }

    /// Adds a step of the pipeline.
    pub fn add_step(&mut self, step: &Step, ts_ms: i64) {
        self.add(&Entry {
            subject: &subject_of_note(&step.alert),
            ts_ms,
            event: step.event,
            value: None,
            reason: Some(&step.reason),
            texts: None,
            receiver: Some(&step.receiver),
            detail: step.detail.clone(),
        });
    }

    /// Appends the rows. They can be read at once; a failure to keep them is logged and stops nothing.
    pub fn write(self, store: &Store, tenant: &str, now_ms: i64) {
        if self.0.is_some() {
            tokio::spawn(self.keep(store, tenant, now_ms));
        }
    }

    /// The same; what it gives ends when the rows are on disk, or can't be.
    pub fn keep(self, store: &Store, tenant: &str, now_ms: i64) -> impl Future<Output = ()> + Send + use<> {
        let pending = self.0.map(|builder| {
            let events = builder.build();
            store
                .append(Append { tenant, origin: None, rows: Rows::Events(&events), now_ms })
                .inspect_err(|e| tracing::error!(error = %e, rows = events.rows(), "the ledger could not be stored"))
        });
        async move {
            if let Some(Ok(pending)) = pending
                && let Err(e) = pending.await
            {
                tracing::error!(error = %e, "the ledger could not be stored");
            }
        }
    }
}
