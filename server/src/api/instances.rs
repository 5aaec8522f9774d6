//! `/api/v1/instances`: everything that is watched, its state, and what its collector found wrong.

use std::collections::BTreeMap;

use axum::extract::State;
use proto::Labels;
use serde::Serialize;
use storage::{Matcher, SeriesQuery, SeriesSamples};

use super::{
    Api,
    reply::{ApiError, ApiResult, Reply, query_error, read_error},
};
use crate::self_metrics;

/// An instance is listed if it was seen within this time, milliseconds.
const SEEN_MS: i64 = 24 * 3_600_000;
/// `up` is unknown if nothing came for this long, milliseconds.
const FRESH_MS: i64 = 5 * 60_000;
/// Most instances listed.
const INSTANCES_MAX: usize = 10_000;
/// Firing alerts counted.
const ALERTS_MAX: usize = 10_000;
/// Samples read to find the last ones.
const SAMPLES_MAX: usize = 50_000_000;

/// One database instance or host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Instance {
    /// Its name.
    pub instance: String,
    /// `postgresql`, `mysql`, `mariadb` or `host`.
    pub engine: String,
    /// The server's version.
    pub version: String,
    /// `primary`, `replica` ….
    pub role: String,
    /// Cluster it belongs to.
    pub cluster: String,
    /// Host it runs on.
    pub host: String,
    /// Where its collector reaches it.
    pub address: String,
    /// `postgres`, `mysql`, `node`.
    pub job: String,
    /// Whether its collector reached it; none: nothing heard lately.
    pub up: Option<bool>,
    /// Last sample of `up`, milliseconds.
    pub last_seen_ms: Option<i64>,
    /// From the sample of `up` before it to it, milliseconds.
    pub interval_ms: Option<i64>,
    /// What its collector said last about not reaching it.
    pub error: Option<String>,
    /// Rights and extensions that are missing.
    pub findings: Vec<Finding>,
    /// Firing alerts by level.
    pub alerts: AlertCounts,
}

/// Something its collector found missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `missing_right:pg_monitor` and the like.
    pub name: String,
    /// In words.
    pub text: String,
    /// The statement that mends it.
    pub grant: Option<String>,
}

/// Firing alerts by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertCounts {
    /// Critical.
    pub critical: u64,
    /// Warning.
    pub warning: u64,
    /// Notice.
    pub notice: u64,
}

/// Answers with all of them.
pub async fn instances(State(api): State<Api>) -> ApiResult {
    Reply::json(&list(&api).await?)
}

/// All of them, by name.
pub async fn list(api: &Api) -> Result<Vec<Instance>, ApiError> {
    let now_ms = api.now_ms();
    let mut by_name: BTreeMap<String, Instance> = BTreeMap::new();
    for series in last_samples(api, "up", now_ms).await? {
        add_up(&mut by_name, &series, now_ms);
    }
    for series in last_samples(api, "tidewatch_target_info", now_ms).await? {
        if let Some(instance) = by_name.get_mut(series.labels.get("instance").unwrap_or("")) {
            add_target_info(instance, &series.labels);
        }
    }
    if by_name.values().any(|i| i.up == Some(false)) {
        add_errors(api, &mut by_name, now_ms).await?;
    }
    add_findings(api, &mut by_name).await?;
    add_alerts(api, &mut by_name).await?;
    Ok(by_name.into_values().collect())
}

async fn last_samples(api: &Api, metric: &str, now_ms: i64) -> Result<Vec<SeriesSamples>, ApiError> {
    let matchers = [Matcher::equal(proto::labels::METRIC_NAME, metric)];
    let query = SeriesQuery {
        matchers: &matchers,
        min_ms: now_ms - SEEN_MS,
        max_ms: now_ms + FRESH_MS,
        series_max: INSTANCES_MAX,
        samples_max: SAMPLES_MAX,
    };
    api.snapshot().select(&query).await.map_err(read_error)
}

fn add_up(by_name: &mut BTreeMap<String, Instance>, series: &SeriesSamples, now_ms: i64) {
    let (Some(name), Some(job)) = (series.labels.get("instance"), series.labels.get("job")) else { return };
    if job == self_metrics::JOB {
        return; // this server, not what it watches
    }
    let last = series.timestamps_ms.iter().zip(&series.values).rev().find(|(_, v)| !proto::samples::is_stale(**v));
    let Some((&seen_ms, &value)) = last else { return };
    let instance = by_name.entry(name.to_owned()).or_default();
    if instance.last_seen_ms.is_some_and(|before| before >= seen_ms) {
        return;
    }
    instance.instance = name.to_owned();
    instance.job = job.to_owned();
    instance.engine = match job {
        "postgres" => "postgresql",
        "node" => "host",
        other => other,
    }
    .to_owned();
    instance.last_seen_ms = Some(seen_ms);
    instance.interval_ms = match series.timestamps_ms[..] {
        [.., before, last] => Some(last - before),
        _ => None,
    };
    instance.up = (now_ms - seen_ms <= FRESH_MS).then_some(value != 0.0);
}

fn add_target_info(instance: &mut Instance, labels: &Labels) {
    let mut set = |field: fn(&mut Instance) -> &mut String, label: &str| {
        if let Some(value) = labels.get(label) {
            value.clone_into(field(instance));
        }
    };
    set(|i| &mut i.engine, "engine");
    set(|i| &mut i.version, "version");
    set(|i| &mut i.role, "role");
    set(|i| &mut i.cluster, "cluster");
    set(|i| &mut i.host, "host");
    set(|i| &mut i.address, "address");
}

/// Columns of text from an SQL answer, row by row.
async fn rows(api: &Api, sql: &str) -> Result<Vec<Vec<Option<String>>>, ApiError> {
    let answer = api.querier.sql(&api.tenant, sql).await.map_err(query_error)?;
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let columns = super::sql::texts(batch)?;
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c[row].clone()).collect()));
    }
    Ok(rows)
}

async fn add_errors(api: &Api, by_name: &mut BTreeMap<String, Instance>, now_ms: i64) -> Result<(), ApiError> {
    let since = super::time::format_ms(now_ms - SEEN_MS);
    let sql = format!(
        "SELECT instance, last_value(body ORDER BY ts) FROM logs \
         WHERE stream = 'collector' AND ts > TIMESTAMP '{since}' AND level IN ('error', 'fatal', 'panic') GROUP BY instance"
    );
    for row in rows(api, &sql).await? {
        if let [Some(name), body] = &row[..]
            && let Some(instance) = by_name.get_mut(name).filter(|i| i.up == Some(false))
        {
            instance.error.clone_from(body);
        }
    }
    Ok(())
}

async fn add_findings(api: &Api, by_name: &mut BTreeMap<String, Instance>) -> Result<(), ApiError> {
    let sql = "SELECT instance, name, last_value(value ORDER BY ts), last_value(attributes ORDER BY ts), \
               last_value(change ORDER BY ts) FROM objects WHERE kind = 'finding' GROUP BY instance, name ORDER BY name";
    for row in rows(api, sql).await? {
        let [Some(instance), Some(name), text, attributes, change] = &row[..] else { continue };
        if change.as_deref() == Some("removed") {
            continue;
        }
        let attributes = attributes.as_deref().and_then(|a| serde_json::from_str::<serde_json::Value>(a).ok());
        let grant = attributes.and_then(|a| a.get("grant")?.as_str().map(str::to_owned));
        if let Some(instance) = by_name.get_mut(instance) {
            instance.findings.push(Finding { name: name.clone(), text: text.clone().unwrap_or_default(), grant });
        }
    }
    Ok(())
}

async fn add_alerts(api: &Api, by_name: &mut BTreeMap<String, Instance>) -> Result<(), ApiError> {
    for alert in api.alerting.alerts("firing", ALERTS_MAX).await.map_err(ApiError::internal)? {
        let Some(instance) = by_name.get_mut(alert["labels"]["instance"].as_str().unwrap_or("")) else { continue };
        match alert["level"].as_str() {
            Some("critical") => instance.alerts.critical += 1,
            Some("notice") => instance.alerts.notice += 1,
            _ => instance.alerts.warning += 1,
        }
    }
    Ok(())
}
