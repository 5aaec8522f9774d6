//! Alertmanager's API v2 over our alerts, for Grafana, amtool and karma (prometheus/alertmanager, api/v2/openapi.yaml).

use std::collections::BTreeMap;

use alerting::{Firing, message::rfc3339};
use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{
    Api,
    form::Form,
    silences::{V2Error, filter, wanted},
};

/// The version whose shapes these are.
const VERSION: &str = "0.25.0";
/// How long an alert that is not heard of again is taken to last, milliseconds: `endsAt` of one that fires.
const ALIVE_MS: i64 = 5 * 60_000;

/// `GET /api/v2/status`.
pub async fn status(State(api): State<Api>) -> Json<Value> {
    Json(json!({
        "cluster": { "status": "disabled", "peers": [] },
        "config": { "original": "# receivers and routes stand in the section `alerting` of the server's own config\n" },
        "uptime": rfc3339(api.started_ms),
        "versionInfo": {
            "version": VERSION, "revision": env!("CARGO_PKG_VERSION"), "branch": "tidewatch", "buildUser": "",
            "buildDate": "", "goVersion": "",
        },
    }))
}

/// `GET /api/v2/receivers`.
pub async fn receivers(State(api): State<Api>) -> Json<Value> {
    Json(api.alerting.settings().receivers.keys().map(|name| json!({ "name": name })).collect())
}

fn shown(firing: &Firing, now_ms: i64) -> Value {
    let alert = &firing.alert;
    let suppressed = !firing.silenced_by.is_empty() || !firing.inhibited_by.is_empty();
    let since_ms = alert.track.fired_at_ms.unwrap_or(alert.track.active_at_ms);
    json!({
        "annotations": alert.annotations,
        "endsAt": rfc3339(now_ms + ALIVE_MS),
        "fingerprint": alert.fingerprint.to_string(),
        "receivers": firing.receivers.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "startsAt": rfc3339(since_ms),
        "status": {
            "state": if suppressed { "suppressed" } else { "active" },
            "silencedBy": firing.silenced_by, "inhibitedBy": firing.inhibited_by,
        },
        "updatedAt": rfc3339(now_ms),
        "generatorURL": format!("/alert/{}", alert.id),
        "labels": firing.labels,
    })
}

/// The alerts a request asks for.
async fn asked(api: &Api, form: &Form) -> Result<Vec<Firing>, V2Error> {
    let matchers = filter(form)?;
    let (active, silenced, inhibited) =
        (wanted(form, "active")?, wanted(form, "silenced")?, wanted(form, "inhibited")?);
    let receiver = match form.get("receiver") {
        "" => None,
        text => {
            let anchored = format!("^(?:{text})$");
            Some(regex::Regex::new(&anchored).map_err(|e| V2Error::bad(format!("receiver: {text:?}: {e}")))?)
        }
    };
    let mut firing = api.alerting.firing().await;
    firing.retain(|f| {
        let suppressed = !f.silenced_by.is_empty() || !f.inhibited_by.is_empty();
        matchers.matches(&f.labels)
            && (active || suppressed)
            && (silenced || f.silenced_by.is_empty())
            && (inhibited || f.inhibited_by.is_empty())
            && receiver.as_ref().is_none_or(|r| f.receivers.iter().any(|name| r.is_match(name)))
    });
    firing.sort_by_key(|f| f.alert.fingerprint.to_string());
    Ok(firing)
}

/// `GET /api/v2/alerts`.
pub async fn alerts(State(api): State<Api>, form: Form) -> Result<Json<Value>, V2Error> {
    let now_ms = api.now_ms();
    Ok(Json(asked(&api, &form).await?.iter().map(|f| shown(f, now_ms)).collect()))
}

/// `GET /api/v2/alerts/groups`.
pub async fn groups(State(api): State<Api>, form: Form) -> Result<Json<Value>, V2Error> {
    let now_ms = api.now_ms();
    let firing = asked(&api, &form).await?;
    let by_fingerprint: BTreeMap<String, &Firing> =
        firing.iter().map(|f| (f.alert.fingerprint.to_string(), f)).collect();
    let groups = api.alerting.message_groups().into_iter().filter_map(|(receiver, labels, fingerprints)| {
        let alerts: Vec<Value> =
            fingerprints.iter().filter_map(|f| by_fingerprint.get(f)).map(|f| shown(f, now_ms)).collect();
        (!alerts.is_empty()).then(|| json!({ "labels": labels, "receiver": { "name": receiver }, "alerts": alerts }))
    });
    Ok(Json(groups.collect()))
}
