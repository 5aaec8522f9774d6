//! `/api/v1/rules`, `/alerts` as Prometheus has them; `/api/v1/alert` and `/api/v1/alert/<id>` with timeline and evidence.

use axum::extract::{Path, State};

use super::{
    Api,
    form::Form,
    reply::{ApiError, ApiResult, Reply},
};

/// Alerts listed unless `limit` says otherwise.
const LISTED: usize = 500;
/// States that may be asked for.
const STATES: [&str; 4] = ["firing", "pending", "resolved", "all"];

/// Rule groups, with their alerts.
pub async fn rules(State(api): State<Api>, form: Form) -> ApiResult {
    // some clients leave the brackets out
    let all = |name: &str| form.all(&format!("{name}[]")).chain(form.all(name)).map(str::to_owned).collect();
    let kind = match form.get("type") {
        "" => None,
        kind @ ("alert" | "record") => Some(kind.to_owned()),
        other => return Err(ApiError::bad_data(format!("not supported value {other:?}"))),
    };
    let exclude_alerts = match form.get("exclude_alerts") {
        "" | "false" | "0" => false,
        "true" | "1" => true,
        other => return Err(ApiError::bad_data(format!("error converting exclude_alerts: {other:?} is not a bool"))),
    };
    let matchers = form.all("match[]").map(|text| match query::promql::parse(text) {
        Ok(query::promql::Expr::Selector(selector)) => Ok(selector.matchers),
        Ok(_) => Err(ApiError::parameter("match[]", format!("{text:?} is not a selector"))),
        Err(e) => Err(ApiError::parameter("match[]", e.to_string())),
    });
    let matchers = matchers.collect::<Result<Vec<_>, _>>()?;
    let group_limit = match form.get("group_limit") {
        "" => None,
        text => match text.parse() {
            Ok(limit) if limit > 0 => Some(limit),
            _ => return Err(ApiError::parameter("group_limit", format!("{text:?} is not a number above 0"))),
        },
    };
    let group_next_token = Some(form.get("group_next_token")).filter(|t| !t.is_empty()).map(str::to_owned);
    if group_next_token.is_some() && group_limit.is_none() {
        return Err(ApiError::parameter("group_limit", "must be there with group_next_token"));
    }
    let filter = alerting::RulesFilter {
        kind,
        rule_names: all("rule_name"),
        groups: all("rule_group"),
        files: all("file"),
        exclude_alerts,
        matchers,
        group_limit,
        group_next_token,
    };
    let rules = api.alerting.rules_json(&filter).await;
    if filter.group_next_token.is_some() && rules["groups"].as_array().is_none_or(Vec::is_empty) {
        return Err(ApiError::parameter("group_next_token", "no group goes by it any more"));
    }
    Reply::json(&rules)
}

/// Pending and firing alerts.
pub async fn alerts(State(api): State<Api>) -> ApiResult {
    Reply::json(&api.alerting.alerts_json().await)
}

/// Alerts by state, without evidence.
pub async fn list(State(api): State<Api>, form: Form) -> ApiResult {
    let state = if form.get("state").is_empty() { "all" } else { form.get("state") };
    if !STATES.contains(&state) {
        let message = format!("{state:?} is not allowed; allowed: {}", STATES.join(", "));
        return Err(ApiError::parameter("state", message));
    }
    let limit = form.limit()?.unwrap_or(LISTED);
    Reply::json(&api.alerting.alerts(state, limit).await.map_err(ApiError::internal)?)
}

/// One alert with its timeline and evidence.
pub async fn one(State(api): State<Api>, Path(id): Path<String>) -> ApiResult {
    match api.alerting.alert(&id).await.map_err(ApiError::internal)? {
        Some(alert) => Reply::json(&alert),
        None => Err(ApiError::not_found(format!("there is no alert {id:?}"))),
    }
}
