//! Groups and alerts in the JSON of Prometheus' `/api/v1/rules` and `/api/v1/alerts` (prometheus/prometheus, web/api/v1).

use serde_json::{Map, Value, json};

use query::promql::Matcher;

use crate::active::Active;
use crate::fingerprint::Fnv;
use crate::group::{Group, Health};
use crate::message::{NO_TIME, rfc3339};
use crate::rule::{Kind, Rule, Source};
use crate::state::Phase;

/// Go's `FormatFloat(v, 'e', -1)`: `1e+00`, `1.234567e+06`.
pub fn value_text(v: f64) -> String {
    if !v.is_finite() {
        return query::promql::number::format_g(v);
    }
    let text = format!("{v:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// One alert.
pub fn alert(alert: &Active) -> Value {
    let mut out = json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": alert.track.phase.name(),
        "activeAt": rfc3339(alert.track.active_at_ms),
    });
    if let Some(since) = alert.track.keep_firing_since_ms {
        out["keepFiringSince"] = rfc3339(since).into();
    }
    out["value"] = value_text(alert.track.value).into();
    out
}

/// Seconds as Go writes a float: whole ones without a point.
fn seconds(ms: i64) -> Value {
    if ms % 1000 == 0 { (ms / 1000).into() } else { (ms as f64 / 1000.0).into() }
}

fn time(ms: Option<i64>) -> String {
    ms.map_or_else(|| NO_TIME.into(), rfc3339)
}

/// What is asked of `/api/v1/rules`.
#[derive(Clone, Debug, Default)]
pub struct RulesFilter {
    /// `alert` or `record`; `None`: both.
    pub kind: Option<String>,
    /// Names of rules; empty: all.
    pub rule_names: Vec<String>,
    /// Names of groups; empty: all.
    pub groups: Vec<String>,
    /// Files; empty: all.
    pub files: Vec<String>,
    /// Leave alerts out.
    pub exclude_alerts: bool,
    /// Sets of matchers on the labels a rule adds (templates are no labels yet); one set must match. Empty: all rules.
    pub matchers: Vec<Vec<Matcher>>,
    /// Most groups in one answer; what is beyond is had with the token that comes with them.
    pub group_limit: Option<usize>,
    /// Where to go on, as an earlier answer said.
    pub group_next_token: Option<String>,
}

impl RulesFilter {
    fn takes(&self, rule: &Rule) -> bool {
        let among = self.rule_names.is_empty() || self.rule_names.contains(&rule.name);
        let kind = if rule.alerting().is_some() { "alert" } else { "record" };
        among && self.kind.as_deref().is_none_or(|k| k == kind) && self.matches(rule)
    }

    fn matches(&self, rule: &Rule) -> bool {
        let label = |name: &str| {
            let found = rule.labels.iter().find(|(n, t)| n == name && !t.source().contains("{{"));
            found.map_or("", |(_, t)| t.source())
        };
        self.matchers.is_empty() || self.matchers.iter().any(|set| set.iter().all(|m| m.matches(label(m.name()))))
    }
}

/// `data` of `/api/v1/rules` from the groups asked for, in order of file and name: all, or as many as one answer may hold from
/// the one its token names.
pub fn page(groups: Vec<Value>, filter: &RulesFilter) -> Value {
    let Some(limit) = filter.group_limit else { return json!({ "groups": groups }) };
    let token = |group: &Value| {
        let mut hash = Fnv::default();
        hash.text(group["file"].as_str().unwrap_or("")).text(group["name"].as_str().unwrap_or(""));
        format!("{:016x}", hash.0)
    };
    let from = |wanted: &String| groups.iter().position(|g| token(g) == *wanted).unwrap_or(groups.len());
    let first = filter.group_next_token.as_ref().map_or(0, from);
    let next = groups.get(first.saturating_add(limit)).map(token);
    let mut data = json!({ "groups": groups[first..].iter().take(limit).collect::<Vec<_>>() });
    if let Some(next) = next {
        data["groupNextToken"] = next.into();
    }
    data
}

/// One group with the rules asked for; `None`: none of them is in it.
pub fn group(group: &Group, filter: &RulesFilter) -> Option<Value> {
    let among = |list: &[String], name: &str| list.is_empty() || list.iter().any(|n| n == name);
    if !among(&filter.groups, &group.group.name) || !among(&filter.files, &group.group.file) {
        return None;
    }
    let rules: Vec<Value> = (0..group.rules.len())
        .filter(|i| filter.takes(&group.group.rules[*i]))
        .map(|i| rule(group, i, filter.exclude_alerts))
        .collect();
    if rules.is_empty() {
        return None;
    }
    Some(json!({
        "name": group.group.name,
        "file": group.group.file,
        "rules": rules,
        "interval": seconds(group.group.interval_ms),
        "limit": group.group.limit,
        "evaluationTime": group.evaluation_s,
        "lastEvaluation": time(group.last_evaluation_ms),
    }))
}

fn query_text(rule: &Rule) -> String {
    match &rule.source {
        Source::Promql { expr, .. } => expr.to_string(),
        Source::Sql(text) => text.clone(),
        Source::Forecast(source) => source.expr.to_string(),
    }
}

fn rule(group: &Group, index: usize, exclude_alerts: bool) -> Value {
    let (rule, state) = (&group.group.rules[index], &group.rules[index]);
    let labels: Map<String, Value> = rule.labels.iter().map(|(n, t)| (n.clone(), t.source().into())).collect();
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.into(), value);
    if let Kind::Alerting(alerting) = &rule.kind {
        let worst = if state.active.values().any(Active::is_firing) {
            Phase::Firing.name()
        } else if !state.active.is_empty() {
            Phase::Pending.name()
        } else if state.health == Health::Unknown {
            "unknown"
        } else {
            "inactive"
        };
        put("state", worst.into());
        put("name", rule.name.clone().into());
        put("query", query_text(rule).into());
        let for_ms = alerting.levels.iter().map(|l| l.for_ms).min().unwrap_or(alerting.for_ms);
        put("duration", seconds(for_ms));
        put("keepFiringFor", seconds(alerting.keep_firing_for_ms));
        put("labels", labels.into());
        let texts = alerting.annotations.iter().map(|(n, t)| (n.clone(), t.source().into()));
        put("annotations", texts.collect::<Map<_, _>>().into());
        let alerts = if exclude_alerts { Vec::new() } else { state.active.values().map(alert).collect() };
        put("alerts", alerts.into());
    } else {
        put("name", rule.name.clone().into());
        put("query", query_text(rule).into());
        put("labels", labels.into());
    }
    match &state.health {
        Health::Unknown => put("health", "unknown".into()),
        Health::Ok => put("health", "ok".into()),
        Health::Err(error) => {
            put("health", "err".into());
            put("lastError", error.clone().into())
        }
    };
    let blind = state
        .sight
        .blind()
        .map(|b| json!({ "cause": b.cause.word(), "selector": b.selector, "since": rfc3339(b.since_ms) }));
    put("blind", blind.into());
    put("evaluationTime", state.evaluation_s.into());
    put("lastEvaluation", time(state.last_evaluation_ms).into());
    put("type", if rule.alerting().is_some() { "alerting" } else { "recording" }.into());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_go_formats_them() {
        for (v, text) in [
            (0.0, "0e+00"),
            (1.0, "1e+00"),
            (1_234_567.0, "1.234567e+06"),
            (-0.001, "-1e-03"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(value_text(v), text);
        }
    }
}
