//! The webhook channel: Alertmanager's body, version 4 (prometheus/alertmanager, notify/webhook/webhook.go).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::deliver::Receipt;
use crate::message::{AlertNote, Message, NO_TIME, rfc3339};

/// Carries the message's idempotency key.
pub const KEY_HEADER: &str = "Idempotency-Key";
/// How much of an answer's body is kept with the receipt, bytes.
const ANSWER_BYTES_MAX: usize = 1024;

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
    pub bearer_token: Option<String>,
}

impl std::fmt::Debug for Webhook {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The body.
pub fn body(message: &Message, alerts_max: usize) -> Value {
    let kept = if alerts_max == 0 { message.alerts.len() } else { alerts_max.min(message.alerts.len()) };
    json!({
        "receiver": message.receiver,
        "status": message.status(),
        "alerts": message.alerts[..kept].iter().map(alert).collect::<Vec<_>>(),
        "notification_reason": message.why.words(),
        "groupLabels": message.group_labels,
        "commonLabels": message.common(|a| &a.labels),
        "commonAnnotations": message.common(|a| &a.annotations),
        "routeLabels": {},
        "externalURL": message.external_url,
        "version": "4",
        "groupKey": message.group_key,
        "truncatedAlerts": message.alerts.len() - kept,
    })
}

fn alert(alert: &AlertNote) -> Value {
    json!({
        "status": alert.status(),
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": rfc3339(alert.starts_at_ms),
        "endsAt": alert.ends_at_ms.map_or_else(|| NO_TIME.to_string(), rfc3339),
        "generatorURL": alert.link,
        "fingerprint": alert.fingerprint,
    })
}

/// One attempt. 2xx: taken; 429 and 5xx: again later (Retry-After is honoured); anything else: refused for good.
pub async fn send(client: &reqwest::Client, webhook: &Webhook, message: &Message, key: &str) -> Receipt {
    let mut request = client
        .post(&webhook.url)
        .timeout(Duration::from_millis(webhook.timeout_ms))
        .header(KEY_HEADER, key)
        .header("User-Agent", concat!("tidewatch/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &webhook.headers {
        request = request.header(name, value);
    }
    if let Some(token) = &webhook.bearer_token {
        request = request.bearer_auth(token);
    }
    let mut answer = match request.json(&body(message, webhook.alerts_max)).send().await {
        Ok(answer) => answer,
        Err(e) => return Receipt::again(describe(&e), None),
    };
    let status = answer.status();
    let retry_after_ms = retry_after_ms(answer.headers());
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() >= ANSWER_BYTES_MAX {
            text.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    let detail = format!("{status} {}", String::from_utf8_lossy(&text)).trim_end().to_string();
    if status.is_success() {
        Receipt::taken(detail)
    } else if status.as_u16() == 429 || status.as_u16() == 408 || status.is_server_error() {
        Receipt::again(detail, retry_after_ms)
    } else {
        Receipt::refused(detail)
    }
}

/// Seconds to wait as the peer asks (RFC 9110, 10.2.3); dates are not read.
fn retry_after_ms(headers: &reqwest::header::HeaderMap) -> Option<i64> {
    let seconds: i64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    (seconds >= 0).then(|| seconds.saturating_mul(1000))
}

/// The error with its causes, without the address, which may hold a secret.
fn describe(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timeout".to_string() } else { "can't send".to_string() };
    let mut source = std::error::Error::source(error);
    while let Some(e) = source {
        text.push_str(": ");
        text.push_str(&e.to_string());
        source = e.source();
    }
    text
}
