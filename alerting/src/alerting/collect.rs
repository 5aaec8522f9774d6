//! Evidence of what began to fire, beside everything else.

use std::time::Duration;

use super::Alerting;
use crate::active::Active;
use crate::evidence::AGAIN_MS;
use crate::known::Known;
use crate::ledger::{Entry, Page, Subject};

/// Most evidence bundles collected at once; further alerts wait for a place.
pub(super) const EVIDENCE_AT_ONCE_MAX: usize = 8;
/// Most alerts whose evidence is under way, the wait for the second look included; further ones get none.
pub(super) const EVIDENCE_WAITING_MAX: usize = 200;

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

    /// Beside everything else: messages never wait for it.
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
