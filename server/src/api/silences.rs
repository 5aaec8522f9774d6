//! Silences in the shape of Alertmanager's API v2, with `recurrence` beside its fields; and the preview of one.
//!
//! Source of the shape: prometheus/alertmanager, api/v2/openapi.yaml. Errors are a JSON string, as there.

use alerting::{
    Silence,
    matcher::Matchers,
    message::rfc3339,
    operators::OperatorError,
    recurrence::{RawRecurrence, Recurrence},
    silence::{Condition, SilenceState, Wish},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api,
    form::Form,
    reply::{ApiError, ApiResult, Reply},
};

/// A silence as it is sent to us.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    id: Option<String>,
    matchers: Vec<Condition>,
    starts_at: String,
    ends_at: String,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
    recurrence: Option<RawRecurrence>,
}

/// An error in Alertmanager's form.
pub struct V2Error(StatusCode, String);

impl IntoResponse for V2Error {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl V2Error {
    /// The request is wrong.
    pub fn bad(message: impl Into<String>) -> V2Error {
        V2Error(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<OperatorError> for V2Error {
    fn from(error: OperatorError) -> V2Error {
        let status = match error {
            OperatorError::Wrong(_) => StatusCode::BAD_REQUEST,
            OperatorError::Unknown { .. } => StatusCode::NOT_FOUND,
            OperatorError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        V2Error(status, error.to_string())
    }
}

impl From<ApiError> for V2Error {
    fn from(error: ApiError) -> V2Error {
        V2Error::bad(error.message)
    }
}

impl From<OperatorError> for ApiError {
    fn from(error: OperatorError) -> ApiError {
        match error {
            OperatorError::Wrong(message) => ApiError::bad_data(message),
            OperatorError::Unknown { .. } => ApiError::not_found(error.to_string()),
            OperatorError::Disk(_) => ApiError::internal(error.to_string()),
        }
    }
}

/// A silence as it is given out.
fn shown(silence: &Silence, now_ms: i64) -> Value {
    let wish = &silence.wish;
    let mut out = json!({
        "id": silence.id,
        "status": { "state": silence.state(now_ms).name() },
        "updatedAt": rfc3339(silence.updated_at_ms),
        "comment": wish.comment,
        "createdBy": wish.created_by,
        "endsAt": rfc3339(wish.ends_at_ms),
        "matchers": wish.conditions,
        "startsAt": rfc3339(wish.starts_at_ms),
    });
    if let Some(recurrence) = &wish.recurrence {
        out["recurrence"] = json!(recurrence.raw());
        out["inForce"] = silence.is_in_force(now_ms).into();
    }
    out
}

/// The parameters `filter`, each a matcher.
pub fn filter(form: &Form) -> Result<Matchers, V2Error> {
    let texts: Vec<&str> = form.all("filter").chain(form.all("filter[]")).collect();
    Matchers::parse(&texts).map_err(|e| V2Error::bad(format!("filter: {e}")))
}

/// A parameter that is true or false; true unless it is there.
pub fn wanted(form: &Form, name: &str) -> Result<bool, V2Error> {
    match form.get(name) {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        other => Err(V2Error::bad(format!("{name}: {other:?}; allowed are true, false"))),
    }
}

/// `GET /api/v2/silences`: active ones first, then pending, then expired; within each by end.
pub async fn list(State(api): State<Api>, form: Form) -> Result<Json<Value>, V2Error> {
    let (matchers, now_ms) = (filter(&form)?, api.now_ms());
    let (active, pending, expired) = (wanted(&form, "active")?, wanted(&form, "pending")?, wanted(&form, "expired")?);
    let mut silences = api.alerting.silences();
    silences.retain(|s| {
        let of_state = match s.state(now_ms) {
            SilenceState::Active => active,
            SilenceState::Pending => pending,
            SilenceState::Expired => expired,
        };
        // a silence fits a filter when its own conditions, read as labels, do (alertmanager, api/v2, CheckSilenceMatchesFilterLabels)
        let labels = proto::Labels::from_pairs(s.wish.conditions.iter().map(|c| (c.name.as_str(), c.value.as_str())));
        of_state && matchers.matches(&labels)
    });
    silences.sort_by_key(|s| (s.state(now_ms) as u8 != 1, s.state(now_ms) as u8, s.wish.ends_at_ms, s.id.clone()));
    Ok(Json(silences.iter().map(|s| shown(s, now_ms)).collect()))
}

/// `POST /api/v2/silences`.
pub async fn set(State(api): State<Api>, body: Bytes) -> Result<Json<Value>, V2Error> {
    let posted: Posted = serde_json::from_slice(&body).map_err(|e| V2Error::bad(format!("silence: {e}")))?;
    let time = |field: &str, text: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(text);
        time.map(|t| t.timestamp_millis())
            .map_err(|e| V2Error::bad(format!("{field}: {text:?}: {e}; RFC 3339 is allowed")))
    };
    let wish = Wish {
        conditions: posted.matchers,
        starts_at_ms: time("startsAt", &posted.starts_at)?,
        ends_at_ms: time("endsAt", &posted.ends_at)?,
        created_by: posted.created_by,
        comment: posted.comment,
        recurrence: posted.recurrence.map(Recurrence::new).transpose().map_err(V2Error::bad)?,
    };
    let id = posted.id.filter(|id| !id.is_empty());
    let id = api.alerting.set_silence(id.as_deref(), wish, uuid::Uuid::new_v4().to_string())?;
    Ok(Json(json!({ "silenceID": id })))
}

/// `GET /api/v2/silence/{id}`.
pub async fn one(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, V2Error> {
    match api.alerting.silence(&id) {
        Some(silence) => Ok(Json(shown(&silence, api.now_ms()))),
        None => Err(OperatorError::Unknown { what: "silence", id }.into()),
    }
}

/// `DELETE /api/v2/silence/{id}`: ends it now.
pub async fn expire(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, V2Error> {
    api.alerting.expire_silence(&id)?;
    Ok(StatusCode::OK)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Previewed {
    matchers: Vec<Condition>,
}

/// `POST /api/v1/silences/preview`: the alerts that such a silence would be about.
pub async fn preview(State(api): State<Api>, body: Bytes) -> ApiResult {
    let previewed: Previewed = serde_json::from_slice(&body).map_err(|e| ApiError::bad_data(e.to_string()))?;
    let alerts = api.alerting.preview_silence(&previewed.matchers).await?;
    Reply::json(&json!({ "count": alerts.len(), "alerts": alerts }))
}
