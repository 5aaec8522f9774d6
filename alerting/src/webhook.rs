//! The webhook channel: Alertmanager's body, version 4 (prometheus/alertmanager, notify/webhook/webhook.go), and beside it the
//! cause of an alert that fires, where it is known.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::deliver::{Receipt, Telling};
use crate::exchange::exchange;
use crate::message::{AlertNote, NO_TIME, rfc3339};
use crate::secret::Secret;

/// Carries the message's idempotency key.
pub const KEY_HEADER: &str = "Idempotency-Key";

/// An HTTP endpoint.
#[derive(Clone)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// Whether ends are told.
    pub send_resolved: bool,
    /// Most alerts in one body; 0: all.
    pub alerts_max: usize,
    /// How long one attempt may take.
    pub timeout_ms: u64,
    /// Sent with every request.
    pub headers: BTreeMap<String, String>,
    /// Sent as `Authorization: Bearer`.
    pub bearer_token: Option<Secret>,
}

impl std::fmt::Debug for Webhook {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The body.
pub fn body(telling: &Telling<'_>, alerts_max: usize) -> Value {
    let message = telling.message;
    let kept = if alerts_max == 0 { message.alerts.len() } else { alerts_max.min(message.alerts.len()) };
    let mut body = json!({
        "receiver": message.receiver,
        "status": message.status(),
        "alerts": message.alerts[..kept].iter().map(|a| alert(a, telling)).collect::<Vec<_>>(),
        "notification_reason": message.why.words(),
        "groupLabels": message.group_labels,
        "commonLabels": message.common(|a| &a.labels),
        "commonAnnotations": message.common(|a| &a.annotations),
        "routeLabels": {},
        "externalURL": message.external_url,
        "version": "4",
        "groupKey": message.group_key,
        "truncatedAlerts": message.alerts.len() - kept + message.left_out(),
    });
    if let Some(digest) = &message.digest {
        body["digest"] = json!(digest);
    }
    body
}

fn alert(alert: &AlertNote, telling: &Telling<'_>) -> Value {
    let mut body = json!({
        "status": alert.status(),
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": rfc3339(alert.starts_at_ms),
        "endsAt": alert.ends_at_ms.map_or_else(|| NO_TIME.to_string(), rfc3339),
        "generatorURL": alert.link,
        "fingerprint": alert.fingerprint,
    });
    if let Some(finding) = telling.finding(&alert.id).filter(|_| alert.is_firing()) {
        body["diagnosis"] = json!(finding);
    }
    body
}

/// One attempt. 2xx: taken; 408, 425, 429, 5xx and broken connections: again later, Retry-After is honoured; anything
/// else: refused for good.
pub async fn send(client: &reqwest::Client, webhook: &Webhook, telling: &Telling<'_>) -> Receipt {
    let mut request = client.post(&webhook.url).header(KEY_HEADER, telling.key);
    for (name, value) in &webhook.headers {
        request = request.header(name, value);
    }
    if let Some(token) = &webhook.bearer_token {
        request = request.bearer_auth(token.expose());
    }
    let request = request.json(&body(telling, webhook.alerts_max));
    match exchange(request, webhook.timeout_ms, telling.now_ms).await {
        Err(broken) => Receipt::again(broken.words(), None),
        Ok(reply) if reply.is_success() => Receipt::taken(reply.detail()),
        Ok(reply) if reply.is_for_later() => Receipt::again(reply.detail(), reply.retry_after_ms),
        Ok(reply) => Receipt::refused(reply.detail()),
    }
}
