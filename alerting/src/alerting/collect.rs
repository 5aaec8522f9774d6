//! Evidence of what began to fire, beside everything else.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use super::Alerting;
use crate::active::Active;
use crate::evidence::AGAIN_MS;
use crate::known::Known;
use crate::ledger::{Entry, Page, Subject};
use crate::message::Message;

/// Most evidence bundles collected at once; further alerts wait for a place.
pub(super) const EVIDENCE_AT_ONCE_MAX: usize = 4;
/// Most alerts whose evidence is under way, the wait for the second look included; further ones get none.
pub(super) const EVIDENCE_WAITING_MAX: usize = 200;
/// While more alerts than this wait for their first evidence, messages leave without: in a storm speed counts, and the
/// evidence of so many would come too late for most.
const LOOKING_MAX: usize = EVIDENCE_AT_ONCE_MAX;
/// Longest a message waits for the first evidence of its alerts: it says more with the cause in it, and is not late.
const MESSAGE_WAIT: Duration = Duration::from_secs(2);

/// Ids of the alerts whose first evidence is under way.
pub(super) type Looking = watch::Sender<BTreeSet<String>>;

/// Takes the alert from those under way, however its look ends.
struct Look(Alerting, String);

impl Drop for Look {
    fn drop(&mut self) {
        self.0.0.looking.send_if_modified(|alerts| alerts.remove(&self.1));
    }
}

impl Alerting {
    /// In a storm not every alert gets its own; the ledger says so.
    fn skip_evidence(page: &mut Page, subject: &Subject, now_ms: i64) {
        page.add(&Entry {
            subject,
            ts_ms: now_ms,
            event: "evidence_skipped",
            value: None,
            reason: Some("too_many_at_once"),
            texts: None,
            receiver: None,
            detail: None,
        });
    }

    /// Waits until the first evidence of a message's alerts is there, at most [`MESSAGE_WAIT`], and not in a storm.
    pub(super) async fn await_evidence(&self, message: &Message) {
        let mut looking = self.0.looking.subscribe();
        let seen = looking
            .wait_for(|alerts| alerts.len() > LOOKING_MAX || !message.alerts.iter().any(|a| alerts.contains(&a.id)));
        if let Err(_late) = tokio::time::timeout(MESSAGE_WAIT, seen).await {
            tracing::debug!(receiver = message.receiver, "a message leaves before the evidence of its alerts");
        }
    }

    /// Beside everything else: messages wait a moment for the first look, never for the second.
    pub(super) fn collect_evidence(
        &self,
        alert: Active,
        expr: Option<String>,
        subject: Subject,
        page: &mut Page,
        now_ms: i64,
    ) {
        let this = self.clone();
        let Ok(waiting) = self.0.evidence_waiting.clone().try_acquire_owned() else {
            return Self::skip_evidence(page, &subject, now_ms);
        };
        self.0.looking.send_if_modified(|alerts| alerts.insert(alert.id.clone()));
        let mut look = Some(Look(self.clone(), alert.id.clone()));
        tokio::spawn(async move {
            let _waiting = waiting;
            for again in [false, true] {
                if again {
                    tokio::time::sleep(Duration::from_millis(AGAIN_MS as u64)).await;
                }
                let Ok(_place) = this.0.evidence_places.acquire().await else { return };
                let now_ms = (this.0.clock)();
                let evidence = this.0.evidence.collect(&alert, expr.as_deref(), now_ms).await;
                this.0.known.lock().set(&alert.id, Known::of(&evidence));
                drop(look.take());
                let mut page = Page::default();
                page.add(&Entry {
                    subject: &subject,
                    ts_ms: (this.0.clock)(),
                    event: "evidence",
                    value: None,
                    reason: Some(if again { "completed" } else { "at_firing" }),
                    texts: None,
                    receiver: None,
                    detail: serde_json::to_string(&evidence).ok(),
                });
                page.write(&this.0.store, &this.0.tenant, now_ms);
            }
        });
    }
}
