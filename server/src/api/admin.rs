//! `/api/v1/admin/tsdb/…`: what changes or copies the store as a whole, in Prometheus' form. Off unless `http.admin_api` is
//! set: whoever reaches the port could delete. A browser's request from another site's page is refused even then.

use std::path::{Path, PathBuf};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use serde_json::json;

use super::{
    Api,
    form::Form,
    reply::{ApiError, ApiResult, ErrorType, Reply},
    series::selectors,
};

/// Where snapshots are, in the data directory.
pub const SNAPSHOTS: &str = "snapshots";
/// What is kept in the data directory beside the store, and is copied into snapshots.
pub const BESIDE: &[&str] = &["alerting"];

fn allowed(api: &Api, headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |message: &str| Err(ApiError { kind: ErrorType::Unavailable, message: message.into() });
    if !api.settings.admin_api {
        return refused("admin APIs disabled; http: {admin_api: true} in the server's file allows them");
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let page = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
    if page.is_some() && page != text(header::HOST) {
        return refused("admin APIs are not for other sites' pages");
    }
    Ok(())
}

fn failed(error: impl ToString) -> ApiError {
    ApiError::internal(error.to_string())
}

/// The name of a snapshot taken at this time: sorted by time, and fit for a file.
fn name(now_ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    time.format("%Y%m%dT%H%M%S%3fZ").to_string()
}

fn directory(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join(SNAPSHOTS).join(name)
}

/// Takes a snapshot; the answer names it, and its directory on the server.
pub async fn snapshot(State(api): State<Api>, headers: HeaderMap) -> ApiResult {
    allowed(&api, &headers)?;
    let data_dir = &api.settings.store.data_dir;
    let name = name(api.now_ms());
    let to = directory(data_dir, &name);
    std::fs::create_dir_all(data_dir.join(SNAPSHOTS)).map_err(failed)?;
    let beside: Vec<PathBuf> = BESIDE.iter().map(|dir| data_dir.join(dir)).collect();
    let report = api.querier.store().back_up(&to, &beside).await.map_err(failed)?;
    let directory = std::fs::canonicalize(&to).unwrap_or(to);
    tracing::info!(directory = %directory.display(), parts = report.parts, bytes = report.bytes, "snapshot taken");
    Reply::json(&json!({
        "name": name, "directory": directory.display().to_string(), "parts": report.parts, "bytes": report.bytes,
    }))
}

/// Deletes samples of the series that any `match[]` selects, from `start` to `end`; 204, as Prometheus answers.
pub async fn delete_series(State(api): State<Api>, headers: HeaderMap, form: Form) -> Result<StatusCode, ApiError> {
    allowed(&api, &headers)?;
    let selectors = selectors(&form)?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let (min_ms, max_ms) = form.range_ms()?;
    let report = api.querier.store().delete_series(&api.tenant, &selectors, min_ms, max_ms).await;
    let report = report.map_err(failed)?;
    tracing::info!(matchers = ?form.all("match[]").collect::<Vec<_>>(), min_ms, max_ms, ?report, "series deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Nothing is left to clean: a deletion removes at once.
pub async fn clean_tombstones(State(api): State<Api>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    allowed(&api, &headers).map(|()| StatusCode::NO_CONTENT)
}
