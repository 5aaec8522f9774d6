//! `/api/v1/query_exemplars`: the exemplars of every series that a selector of the query selects.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use proto::Labels;
use query::promql::{
    Expr, Matcher,
    json::{write_labels, write_string, write_time},
    number::format_json,
};
use storage::SeriesExemplars;

use super::{
    Api,
    form::Form,
    reply::{ApiError, Reply},
    time::{MAX_TIME_MS, MIN_TIME_MS},
};

/// Answers with the exemplars between two times, both included; with 204 if nothing is selected, as Prometheus does.
pub async fn exemplars(State(api): State<Api>, form: Form) -> Result<Response, ApiError> {
    let time = |name: &str, default| form.time_ms(name, default).map_err(|e| ApiError::parameter(name, e));
    let (start_ms, end_ms) = (time("start", MIN_TIME_MS)?, time("end", MAX_TIME_MS)?);
    if end_ms < start_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let parsed = query::promql::parse_with(form.get("query"), api.querier.features());
    let selectors = selectors(&parsed.map_err(|e| ApiError::bad_data(e.to_string()))?);
    if selectors.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let _turn = api.turn().await?;
    // expressions over many series take longer than a runtime's thread may be held
    let answer = tokio::task::spawn_blocking(move || {
        let matches = |series: &Labels| selectors.iter().any(|one| selects(one, series));
        write(&api.querier.store().exemplars(&api.tenant, matches, start_ms, end_ms))
    });
    match answer.await {
        Ok(data) => Ok(Reply::raw(data).into_response()),
        Err(e) => Err(ApiError::internal(e.to_string())),
    }
}

/// The matchers of each selector, wherever it stands.
fn selectors(expr: &Expr) -> Vec<Vec<Matcher>> {
    let mut found = Vec::new();
    let mut waiting = vec![expr];
    while let Some(expr) = waiting.pop() {
        match expr {
            Expr::Selector(selector) => found.push(selector.matchers.clone()),
            Expr::Matrix(matrix) => found.push(matrix.selector.matchers.clone()),
            other => waiting.extend(other.children()),
        }
    }
    found
}

fn selects(matchers: &[Matcher], series: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(series.get(matcher.name()).unwrap_or("")))
}

/// Byte for byte as Prometheus writes them.
fn write(found: &[SeriesExemplars]) -> String {
    let mut out = String::from("[");
    for (i, of) in found.iter().enumerate() {
        out.push_str(if i > 0 { ",{\"seriesLabels\":" } else { "{\"seriesLabels\":" });
        write_labels(&mut out, &of.series);
        out.push_str(",\"exemplars\":[");
        for (i, exemplar) in of.exemplars.iter().enumerate() {
            out.push_str(if i > 0 { ",{\"labels\":" } else { "{\"labels\":" });
            write_labels(&mut out, &exemplar.labels);
            out.push_str(",\"value\":");
            write_string(&mut out, &format_json(exemplar.value));
            out.push_str(",\"timestamp\":");
            write_time(&mut out, exemplar.timestamp_ms);
            out.push('}');
        }
        out.push_str("]}");
    }
    out.push(']');
    out
}
