//! Fresh evidence: when an alert begins to fire, the collector of its instance is asked to read sessions and statement counters at
//! once, so that what the alert is completed with is of now and not of the last interval.

use std::{collections::BTreeSet, time::Duration};

use alerting::Alerting;
use ingest::Collectors;
use proto::Class;
use serde_json::Value;
use storage::Store;
use tokio_util::sync::CancellationToken;

/// How long a collector may take to read, milliseconds; evidence is completed soon after an alert began.
const READ_WAIT_MS_MAX: u64 = 10_000;
/// Firing alerts looked at after each change.
const ALERTS_MAX: usize = 1_000;
/// What is read.
const WHAT: [&str; 2] = ["activity", "statements"];

/// Watches the ledger until `stop`.
pub async fn watch(store: Store, alerting: Alerting, collectors: Collectors, stop: CancellationToken) {
    let mut notices = store.subscribe();
    let mut known = BTreeSet::new();
    loop {
        let notice = tokio::select! {
            () = stop.cancelled() => return,
            notice = notices.next() => notice,
        };
        match notice {
            Some(notice) if notice.class == Class::AlertEvents => {}
            Some(_) => continue,
            None => return,
        }
        let Ok(firing) = alerting.alerts("firing", ALERTS_MAX).await else { continue };
        let text = |alert: &Value, name: &str| alert[name].as_str().unwrap_or_default().to_owned();
        let now: BTreeSet<String> = firing.iter().map(|alert| text(alert, "id")).collect();
        let fresh = firing.iter().filter(|alert| !known.contains(&text(alert, "id")));
        let instances: BTreeSet<String> = fresh.map(|alert| text(&alert["labels"], "instance")).collect();
        known = now;
        for instance in instances.into_iter().filter(|name| !name.is_empty()) {
            tokio::spawn(ask(collectors.clone(), instance));
        }
    }
}

async fn ask(collectors: Collectors, instance: String) {
    let deadline = Duration::from_millis(READ_WAIT_MS_MAX);
    match collectors.read_now(&instance, &WHAT, None, deadline).await {
        Ok(()) => tracing::info!(instance, "read now, for the evidence of an alert"),
        Err(error) => tracing::debug!(instance, %error, "not read now"),
    }
}
