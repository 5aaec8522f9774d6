//! Alertmanager's API v2, for Grafana, amtool and karma: `/api/v2/…`. Answers are bare JSON; errors are a JSON text.

use alerting::{
    AlertsFilter,
    matcher::Matchers,
    message::rfc3339,
    outside::Posted,
    silence::{Condition, Recurrence, SilenceState},
    silences::{SilenceError, Wanted},
};
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, form::Form};

/// What amtool and Grafana take us for.
const ALERTMANAGER_VERSION: &str = "0.25.0";

/// An answer or the status and words of a refusal.
type Answer = Result<Response, Refusal>;

/// A refusal.
pub struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json_answer(&Value::String(self.1));
        *response.status_mut() = self.0;
        response
    }
}

fn bad(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn of_silence(error: SilenceError) -> Refusal {
    let status = match error {
        SilenceError::NotFound(_) => StatusCode::NOT_FOUND,
        SilenceError::Invalid(_) => StatusCode::BAD_REQUEST,
        SilenceError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal(status, error.to_string())
}

/// Version, uptime and config.
pub async fn status(State(api): State<Api>) -> Answer {
    let settings = api.alerting.settings();
    let receivers: Vec<Value> = settings.receivers.keys().map(|name| json!({ "name": name })).collect();
    // JSON is YAML: what amtool's `config routes` reads
    let config = json!({ "route": settings.route.as_ref().map(route), "receivers": receivers });
    Ok(json_answer(&json!({
        "cluster": { "status": "disabled", "peers": [] },
        "versionInfo": {
            "version": ALERTMANAGER_VERSION, "revision": concat!("tidewatch-", env!("CARGO_PKG_VERSION")), "branch": "",
            "buildUser": "", "buildDate": "", "goVersion": "",
        },
        "config": { "original": config.to_string() },
        "uptime": rfc3339(api.started_ms),
    })))
}

fn route(route: &alerting::config::Route) -> Value {
    let duration = |ms| query::promql::number::format_duration_ms(ms);
    let mut group_by: Vec<&str> = route.group_by.iter().flatten().map(String::as_str).collect();
    if route.group_by.is_none() {
        group_by.push("...");
    }
    json!({
        "receiver": route.receiver,
        "group_by": group_by,
        "group_wait": duration(route.group_wait_ms),
        "group_interval": duration(route.group_interval_ms),
        "repeat_interval": duration(route.repeat_interval_ms),
        "matchers": route.matchers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "continue": route.go_on,
        "routes": route.routes.iter().map(self::route).collect::<Vec<_>>(),
    })
}

/// Names of receivers.
pub async fn receivers(State(api): State<Api>) -> Answer {
    let names: Vec<Value> = api.alerting.settings().receivers.keys().map(|name| json!({ "name": name })).collect();
    Ok(json_answer(&names.into()))
}

fn flag(form: &Form, name: &str) -> Result<bool, Refusal> {
    match form.get(name) {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        other => Err(bad(format!("{name}: {other:?} is not a bool"))),
    }
}

fn matchers(form: &Form) -> Result<Matchers, Refusal> {
    let texts: Vec<&str> = form.all("filter").chain(form.all("filter[]")).collect();
    Matchers::parse(&texts).map_err(|e| bad(format!("bad matcher format: {e}")))
}

/// Silences: those in force first, then by how soon they begin or end.
pub async fn silences(State(api): State<Api>, form: Form) -> Answer {
    let (now_ms, filter) = (api.now_ms(), matchers(&form)?);
    let wanted = [flag(&form, "active")?, flag(&form, "pending")?, flag(&form, "expired")?];
    let all = api.alerting.silences();
    let mut found: Vec<_> = all
        .iter()
        .filter(|s| {
            wanted[s.state(now_ms) as usize] && alerting::alertmanager_json::silence_meets(&s.conditions, &filter)
        })
        .collect();
    found.sort_by_key(|s| match s.state(now_ms) {
        SilenceState::Active => (SilenceState::Active, s.ends_at_ms),
        SilenceState::Pending => (SilenceState::Pending, s.starts_at_ms),
        SilenceState::Expired => (SilenceState::Expired, -s.ends_at_ms),
    });
    let found: Vec<Value> = found.into_iter().map(|s| alerting::alertmanager_json::silence(s, now_ms)).collect();
    Ok(json_answer(&found.into()))
}

/// A silence as posted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedSilence {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<Condition>,
    starts_at: String,
    ends_at: String,
    created_by: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    recurrence: Option<Recurrence>,
}

/// Alertmanager's refusal of a body in which something is missing.
fn incomplete(name: &str) -> Refusal {
    Refusal(StatusCode::UNPROCESSABLE_ENTITY, format!("{name} in body is required"))
}

fn moment_ms(field: &str, text: &str) -> Result<i64, Refusal> {
    let parsed = chrono::DateTime::parse_from_rfc3339(text);
    parsed.map(|t| t.timestamp_millis()).map_err(|e| bad(format!("{field}: {text:?} is not a time: {e}")))
}

/// Makes or changes a silence.
pub async fn set_silence(State(api): State<Api>, body: Bytes) -> Answer {
    let posted: PostedSilence = serde_json::from_slice(&body).map_err(|e| bad(format!("silence: {e}")))?;
    let (starts_at_ms, ends_at_ms) = (moment_ms("startsAt", &posted.starts_at)?, moment_ms("endsAt", &posted.ends_at)?);
    let required = |text: Option<String>, name: &str| text.ok_or_else(|| incomplete(name));
    let wanted = Wanted {
        id: posted.id.unwrap_or_default(),
        matchers: posted.matchers,
        starts_at_ms,
        ends_at_ms,
        updated_at_ms: 0,
        created_by: required(posted.created_by, "createdBy")?,
        comment: required(posted.comment, "comment")?,
        recurrence: posted.recurrence,
    };
    let id = api.alerting.set_silence(wanted, uuid::Uuid::new_v4().to_string()).map_err(of_silence)?;
    Ok(json_answer(&json!({ "silenceID": id })))
}

/// One silence.
pub async fn silence(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    match api.alerting.silence(&id) {
        Some(silence) => Ok(json_answer(&alerting::alertmanager_json::silence(&silence, api.now_ms()))),
        None => Err(of_silence(SilenceError::NotFound(id))),
    }
}

/// Ends a silence.
pub async fn expire_silence(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    api.alerting.expire_silence(&id).map_err(of_silence)?;
    Ok(StatusCode::OK.into_response())
}

fn alerts_filter(form: &Form) -> Result<AlertsFilter, Refusal> {
    let receiver = match form.get("receiver") {
        "" => None,
        text => Some(Regex::new(&format!("^(?:{text})$")).map_err(|e| bad(format!("receiver: {e}")))?),
    };
    Ok(AlertsFilter {
        active: flag(form, "active")?,
        silenced: flag(form, "silenced")?,
        inhibited: flag(form, "inhibited")?,
        matchers: matchers(form)?,
        receiver,
    })
}

/// Alerts that fire.
pub async fn alerts(State(api): State<Api>, form: Form) -> Answer {
    Ok(json_answer(&api.alerting.alertmanager_alerts(&alerts_filter(&form)?).into()))
}

/// Alerts by group and receiver.
pub async fn groups(State(api): State<Api>, form: Form) -> Answer {
    Ok(json_answer(&api.alerting.alertmanager_groups(&alerts_filter(&form)?).into()))
}

/// Alerts that others post.
pub async fn take_alerts(State(api): State<Api>, body: Bytes) -> Answer {
    let posted: Vec<Posted> = serde_json::from_slice(&body).map_err(|e| bad(format!("alerts: {e}")))?;
    api.alerting.take_posted(posted).await.map_err(bad)?;
    Ok(StatusCode::OK.into_response())
}
