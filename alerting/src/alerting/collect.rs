//! Evidence of what began to fire, beside everything else.

use std::time::Duration;

use super::Alerting;
use crate::active::Active;
use crate::evidence::AGAIN_MS;
use crate::known::Known;
use crate::ledger::{Entry, Page, Subject};

/// Most evidence bundles collected at once; further alerts wait for a place.
pub(super) const EVIDENCE_AT_ONCE_MAX: usize = 8;

impl Alerting {
    /// Beside everything else: messages never wait for it.
    pub(super) fn collect_evidence(&self, alert: Active, expr: Option<String>, subject: Subject) {
        let this = self.clone();
        tokio::spawn(async move {
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
