//! Reads the ledger back: which alerts live after a restart, what happened to one, which ended lately.

use std::collections::BTreeMap;

use diagnosis::evidence::Evidence;
use proto::Labels;
use query::promql::{AnswerValue, Point};
use query::{Ask, Querier, When};
use serde_json::{Value, json};

use crate::fingerprint::Fingerprint;
use crate::level::Level;
use crate::rows::{Row, moment, quoted, rows};

/// How far back living alerts are looked for, milliseconds.
const RESTORE_MS: i64 = 30 * 86_400_000;
/// How far back `ALERTS_FOR_STATE` is looked at (Prometheus' for-outage-tolerance), milliseconds.
const OUTAGE_MS: i64 = 3_600_000;
/// Longest timeline given.
const TIMELINE_MAX: usize = 2_000;

/// The last state of an alert that lived when we stopped.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Its id.
    pub id: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The rule's name.
    pub rule: String,
    /// Group and file.
    pub rule_group: String,
    /// Whether it fired.
    pub firing: bool,
    /// Its level.
    pub level: Level,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The last value in the ledger.
    pub value: f64,
    /// When it began, milliseconds.
    pub active_at_ms: i64,
    /// When it began to fire, milliseconds.
    pub fired_at_ms: Option<i64>,
    /// Since when it fires only because of `keep_firing_for`, milliseconds.
    pub keep_firing_since_ms: Option<i64>,
    /// When it was last evaluated, as far as its series tell, milliseconds.
    pub last_seen_ms: Option<i64>,
}

fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or("")
}

fn object(row: &Row, name: &str) -> BTreeMap<String, String> {
    serde_json::from_str(text(row, name)).unwrap_or_default()
}

fn detail(row: &Row) -> Value {
    serde_json::from_str(text(row, "detail")).unwrap_or(Value::Null)
}

async fn ask(querier: &Querier, tenant: &str, sql: &str) -> Result<Vec<Row>, String> {
    let answer = querier.sql(tenant, sql).await.map_err(|e| e.to_string())?;
    if answer.truncated {
        tracing::warn!(rows = answer.rows(), "the ledger holds more than one answer may; the rest is not read");
    }
    rows(&answer)
}

/// The alerts that lived at the last step the ledger has of them.
pub async fn living(querier: &Querier, tenant: &str, now_ms: i64) -> Result<Vec<Remembered>, String> {
    let sql = format!(
        "SELECT * FROM (SELECT alert_id, fingerprint, rule, rule_group, event, level, value, labels, annotations, detail, \
         row_number() OVER (PARTITION BY alert_id ORDER BY ts DESC, CASE event WHEN 'pending' THEN 0 WHEN 'firing' THEN 1 \
         WHEN 'level' THEN 2 WHEN 'resolved' THEN 4 WHEN 'inactive' THEN 4 ELSE 3 END DESC) AS place FROM alert_events \
         WHERE event IN ('pending', 'firing', 'level', 'keep_firing', 'holds_again', 'resolved', 'inactive') AND ts > {}) AS steps \
         WHERE place = 1 AND event NOT IN ('resolved', 'inactive')",
        moment(now_ms - RESTORE_MS)
    );
    let seen = last_seen(querier, tenant, now_ms).await.unwrap_or_default();
    let rows = ask(querier, tenant, &sql).await?;
    Ok(rows.iter().filter_map(|row| remembered(row, &seen)).collect())
}

fn remembered(row: &Row, seen: &BTreeMap<Labels, i64>) -> Option<Remembered> {
    let detail = detail(row);
    let labels = Labels::from_pairs(object(row, "labels"));
    Some(Remembered {
        id: text(row, "alert_id").into(),
        fingerprint: Fingerprint::parse(text(row, "fingerprint"))?,
        rule: text(row, "rule").into(),
        rule_group: text(row, "rule_group").into(),
        firing: text(row, "event") != "pending",
        level: Level::from_name(text(row, "level"))?,
        last_seen_ms: seen.get(&labels).copied(),
        labels,
        annotations: object(row, "annotations"),
        value: row.get("value").and_then(Value::as_f64).unwrap_or(f64::NAN),
        active_at_ms: detail["active_at_ms"].as_i64()?,
        fired_at_ms: detail["fired_at_ms"].as_i64(),
        keep_firing_since_ms: detail["keep_firing_since_ms"].as_i64(),
    })
}

/// How those of these alerts ended whose last step is their end: the alert, when (milliseconds), why.
pub async fn ends(
    querier: &Querier,
    tenant: &str,
    fingerprints: &[&str],
    now_ms: i64,
) -> Result<Vec<(Remembered, i64, String)>, String> {
    if fingerprints.is_empty() {
        return Ok(Vec::new());
    }
    let of: Vec<String> = fingerprints.iter().map(|fingerprint| quoted(fingerprint)).collect();
    let sql = format!(
        "SELECT * FROM (SELECT ts, alert_id, fingerprint, rule, rule_group, event, level, value, reason, labels, annotations, \
         detail, row_number() OVER (PARTITION BY fingerprint ORDER BY ts DESC, CASE event WHEN 'resolved' THEN 1 ELSE 0 END \
         DESC) AS place FROM alert_events WHERE event IN ('firing', 'level', 'keep_firing', 'holds_again', 'resolved') \
         AND ts > {} AND fingerprint IN ({})) AS steps WHERE place = 1 AND event = 'resolved'",
        moment(now_ms - RESTORE_MS),
        of.join(", ")
    );
    let rows = ask(querier, tenant, &sql).await?;
    let end = |row: &Row| {
        Some((remembered(row, &BTreeMap::new())?, row.get("ts")?.as_i64()?, text(row, "reason").to_string()))
    };
    Ok(rows.iter().filter_map(end).collect())
}

/// When each alert was last written to `ALERTS_FOR_STATE`, by its labels.
async fn last_seen(querier: &Querier, tenant: &str, now_ms: i64) -> Result<BTreeMap<Labels, i64>, String> {
    let query = "timestamp(ALERTS_FOR_STATE)";
    let ask = Ask { lookback_ms: Some(OUTAGE_MS), ..Ask::new(tenant, query, When::At(now_ms)) };
    let answer = querier.ask(ask).await.map_err(|e| e.to_string())?;
    let AnswerValue::Vector(samples) = answer.value else { return Ok(BTreeMap::new()) };
    Ok(samples
        .into_iter()
        .filter_map(|s| match s.value {
            Point::Float(seconds) => Some((s.labels, (seconds * 1000.0).round() as i64)),
            Point::Histogram(_) => None,
        })
        .collect())
}

/// The latest evidence of alerts, by id.
pub async fn latest_evidence(
    querier: &Querier,
    tenant: &str,
    alert_ids: &[&str],
) -> Result<Vec<(String, Evidence)>, String> {
    if alert_ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = alert_ids.iter().map(|id| quoted(id)).collect();
    let sql = format!(
        "SELECT alert_id, detail FROM (SELECT alert_id, detail, row_number() OVER (PARTITION BY alert_id ORDER BY ts DESC) \
         AS place FROM alert_events WHERE event = 'evidence' AND alert_id IN ({})) AS bundles WHERE place = 1",
        ids.join(", ")
    );
    let rows = ask(querier, tenant, &sql).await?;
    let parsed = |row: &Row| Some((text(row, "alert_id").to_string(), serde_json::from_str(text(row, "detail")).ok()?));
    Ok(rows.iter().filter_map(parsed).collect())
}

/// One alert with its timeline and evidence; `None`: there is none of that id.
pub async fn alert(querier: &Querier, tenant: &str, id: &str) -> Result<Option<Value>, String> {
    let sql = format!(
        "SELECT ts, event, level, value, reason, receiver, detail, labels, annotations, fingerprint, rule, rule_group \
         FROM alert_events WHERE alert_id = {} ORDER BY ts, CASE event WHEN 'pending' THEN 0 WHEN 'firing' THEN 1 ELSE 2 END \
         LIMIT {TIMELINE_MAX}",
        quoted(id)
    );
    let rows = ask(querier, tenant, &sql).await?;
    let steps = |r: &&Row| {
        matches!(
            text(r, "event"),
            "pending" | "firing" | "level" | "keep_firing" | "holds_again" | "resolved" | "inactive"
        )
    };
    let Some(last) = rows.iter().rfind(steps) else { return Ok(None) };
    let mut alert = described(id, last);
    let mut evidence = Value::Null;
    let mut timeline = Vec::new();
    for row in &rows {
        let is_evidence = text(row, "event") == "evidence";
        if is_evidence {
            evidence = detail(row);
        }
        timeline.push(json!({
            "ts_ms": row.get("ts"), "event": text(row, "event"), "level": row.get("level"), "value": row.get("value"),
            "reason": row.get("reason"), "receiver": row.get("receiver"),
            "detail": if is_evidence { Value::Null } else { detail(row) },
        }));
    }
    alert["timeline"] = timeline.into();
    alert["evidence"] = evidence;
    Ok(Some(alert))
}

/// Alerts that ended, latest first.
pub async fn ended(querier: &Querier, tenant: &str, limit: usize) -> Result<Vec<Value>, String> {
    let sql = format!(
        "SELECT ts, alert_id, event, level, value, reason, detail, labels, annotations, fingerprint, rule, rule_group \
         FROM alert_events WHERE event = 'resolved' ORDER BY ts DESC LIMIT {limit}"
    );
    let rows = ask(querier, tenant, &sql).await?;
    Ok(rows.iter().map(|row| described(text(row, "alert_id"), row)).collect())
}

/// An alert as its last step describes it.
fn described(id: &str, row: &Row) -> Value {
    let detail = detail(row);
    let group = text(row, "rule_group").split(';').next().unwrap_or("");
    let (state, ended) = match text(row, "event") {
        "pending" => ("pending", None),
        "resolved" | "inactive" => ("resolved", row.get("ts")),
        _ => ("firing", None),
    };
    json!({
        "id": id, "fingerprint": text(row, "fingerprint"), "rule": text(row, "rule"), "group": group, "state": state,
        "level": row.get("level"), "labels": object(row, "labels"), "annotations": object(row, "annotations"),
        "value": row.get("value"), "active_at_ms": detail["active_at_ms"], "fired_at_ms": detail["fired_at_ms"],
        "resolved_at_ms": ended, "reason": if ended.is_some() { row.get("reason") } else { None },
    })
}
