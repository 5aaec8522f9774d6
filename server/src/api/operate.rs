//! What operators do with alerts: preview of a silence, acknowledging, and asking why somebody was told.

use alerting::{AcknowledgeError, silence::Condition};
use axum::{
    body::Bytes,
    extract::{Path, State},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Api,
    reply::{ApiError, ApiResult, Reply},
};

/// Longest name and comment of an acknowledgement, bytes.
const TEXT_BYTES_MAX: usize = 4_096;

#[derive(Debug, Deserialize)]
struct Preview {
    matchers: Vec<Condition>,
}

/// Which alerts a silence would mute now.
pub async fn preview(State(api): State<Api>, body: Bytes) -> ApiResult {
    let asked: Preview = serde_json::from_slice(&body).map_err(|e| ApiError::bad_data(e.to_string()))?;
    if asked.matchers.is_empty() {
        return Err(ApiError::bad_data("matchers: at least one is needed"));
    }
    let alerts = api.alerting.preview(&asked.matchers).await.map_err(ApiError::bad_data)?;
    Reply::json(&json!({ "count": alerts.len(), "alerts": alerts }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Taken {
    by: String,
    comment: String,
}

fn refused(error: AcknowledgeError) -> ApiError {
    match error {
        AcknowledgeError::NotFound(_) => ApiError::not_found(error.to_string()),
        AcknowledgeError::Disk(_) => ApiError::internal(error.to_string()),
    }
}

/// Takes an alert on.
pub async fn acknowledge(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> ApiResult {
    let taken: Taken = serde_json::from_slice(&body).map_err(|e| ApiError::bad_data(e.to_string()))?;
    if taken.by.is_empty() || taken.by.len() + taken.comment.len() > TEXT_BYTES_MAX {
        let message = format!("by: must be set, and with comment at most {TEXT_BYTES_MAX} bytes long");
        return Err(ApiError::bad_data(message));
    }
    let one = api.alerting.acknowledge(&id, &taken.by, &taken.comment).map_err(refused)?;
    Reply::json(&json!({ "at_ms": one.at_ms, "by": one.by, "comment": one.comment }))
}

/// Takes that back.
pub async fn take_back(State(api): State<Api>, Path(id): Path<String>) -> ApiResult {
    let changed = api.alerting.take_back(&id).map_err(refused)?;
    Reply::json(&json!({ "changed": changed }))
}

/// Why somebody was, or was not, told.
pub async fn why(State(api): State<Api>, Path(id): Path<String>) -> ApiResult {
    match api.alerting.why(&id).await.map_err(ApiError::internal)? {
        Some(answer) => Reply::json(&answer),
        None => Err(ApiError::not_found(format!("there is no alert {id:?}"))),
    }
}
