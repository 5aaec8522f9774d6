//! `/api/v1/status/…`, `/targets`, `/alertmanagers`, `/-/healthy`, `/-/ready`: what the server says about itself.

use std::collections::{BTreeMap, BTreeSet};

use axum::{extract::State, http::StatusCode};
use proto::labels::METRIC_NAME;
use serde_json::{Value, json};
use storage::Matcher;

use super::{
    Api,
    form::Form,
    instances,
    reply::{ApiError, ApiResult, Reply},
    time::format_ms,
};

/// What Grafana takes us for: a Prometheus 3 without anybody's extensions.
const PROMETHEUS_VERSION: &str = "3.5.0";
/// How far back the cardinality page looks, milliseconds.
const RECENT_MS: i64 = 2 * 3_600_000;
/// Series the cardinality page counts.
const COUNTED_SERIES_MAX: usize = 1_000_000;
/// Entries of its lists unless `limit` says otherwise.
const TOP: usize = 10;

/// Which version this is.
pub async fn build_info() -> ApiResult {
    Reply::json(&json!({
        "version": PROMETHEUS_VERSION,
        "revision": concat!("tidewatch-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// How it runs.
pub async fn runtime_info(State(api): State<Api>) -> ApiResult {
    let retention = api.settings.store.retention.metrics.age_ms;
    let (reloaded, reloaded_ms) = api.metrics.last_reload();
    Reply::json(&json!({
        "startTime": format_ms(api.started_ms),
        "CWD": std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default(),
        "hostname": rustix::system::uname().nodename().to_string_lossy(),
        "serverTime": format_ms(api.now_ms()),
        "reloadConfigSuccess": reloaded,
        "lastConfigTime": format_ms(reloaded_ms),
        "corruptionCount": 0,
        "goroutineCount": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention.map_or_else(|| "forever".into(), query::promql::number::format_duration_ms),
    }))
}

/// The settings in force, by name; no secrets are among them.
fn settings(api: &Api) -> Vec<(&'static str, String)> {
    let (store, query) = (&api.settings.store, &api.settings.query);
    let duration = query::promql::number::format_duration_ms;
    vec![
        ("config.file", api.settings.file.as_ref().map(|f| f.display().to_string()).unwrap_or_default()),
        ("http.listen", api.settings.http_listen.to_string()),
        ("http.admin_api", api.settings.admin_api.to_string()),
        ("grpc.listen", api.settings.grpc_listen.to_string()),
        ("data_dir", store.data_dir.display().to_string()),
        ("storage.head_bytes_max", store.head_bytes_max.to_string()),
        ("storage.flush_log_bytes", store.flush_log_bytes.to_string()),
        ("storage.fsync_interval", duration(store.fsync_interval_ms as i64)),
        ("storage.object_store", store.object_store.to_string()),
        ("storage.limits.series_max", store.limits.series_max.to_string()),
        ("storage.retention.metrics.age", store.retention.metrics.age_ms.map_or_else(|| "forever".into(), duration)),
        ("storage.retention.events.age", store.retention.events.age_ms.map_or_else(|| "forever".into(), duration)),
        ("query.timeout", duration(query.timeout_ms as i64)),
        ("query.lookback", duration(query.lookback_ms)),
        ("query.series_max", query.series_max.to_string()),
        ("query.samples_max", query.samples_max.to_string()),
        ("query.sql_rows_max", query.sql_rows_max.to_string()),
        ("query.concurrency_max", api.settings.concurrency_max.to_string()),
        ("query.experimental", query.experimental.to_string()),
        ("query.log_file", api.settings.query_log.as_ref().map(|f| f.display().to_string()).unwrap_or_default()),
    ]
}

/// Settings as a map.
pub async fn flags(State(api): State<Api>) -> ApiResult {
    Reply::json(&settings(&api).into_iter().collect::<BTreeMap<_, _>>())
}

/// Settings as YAML, one line each.
pub async fn config(State(api): State<Api>) -> ApiResult {
    let yaml: String = settings(&api).iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect();
    Reply::json(&json!({ "yaml": yaml }))
}

/// What there is in the store, and which names and labels have the most series.
pub async fn tsdb(State(api): State<Api>, form: Form) -> ApiResult {
    let top = form.limit()?.unwrap_or(TOP);
    let _turn = api.turn().await?;
    let now_ms = api.now_ms();
    let snapshot = api.snapshot();
    let series = api.within(snapshot.series(&[], now_ms - RECENT_MS, now_ms, COUNTED_SERIES_MAX)).await?;
    let (mut by_metric, mut by_pair) = (BTreeMap::<String, u64>::new(), BTreeMap::<(String, String), u64>::new());
    for labels in &series {
        for (name, value) in labels {
            if name == METRIC_NAME {
                *by_metric.entry(value.to_owned()).or_default() += 1;
            }
            *by_pair.entry((name.to_owned(), value.to_owned())).or_default() += 1;
        }
    }
    let (mut values, mut bytes) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    for (name, value) in by_pair.keys() {
        *values.entry(name).or_default() += 1;
        *bytes.entry(name).or_default() += value.len() as u64;
    }
    let stats = api.querier.store().stats();
    Reply::json(&json!({
        "headStats": {
            "numSeries": stats.head_series,
            "numLabelPairs": by_pair.len(),
            "chunkCount": stats.tables.get("metrics").map_or(0, |t| t.rows),
            "minTime": now_ms - RECENT_MS,
            "maxTime": now_ms,
        },
        "seriesCountByMetricName": most(&by_metric, top),
        "labelValueCountByLabelName": most(&values, top),
        "memoryInBytesByLabelName": most(&bytes, top),
        "seriesCountByLabelValuePair":
            most(&by_pair.iter().map(|((n, v), count)| (format!("{n}={v}"), *count)).collect(), top),
    }))
}

fn most<K: AsRef<str> + Ord>(counts: &BTreeMap<K, u64>, top: usize) -> Vec<Value> {
    let mut list: Vec<_> = counts.iter().map(|(name, count)| (name.as_ref(), *count)).collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    list.truncate(top);
    list.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// What the collectors watch, in the form of Prometheus' targets.
pub async fn targets(State(api): State<Api>, form: Form) -> ApiResult {
    let wants_active = matches!(form.get("state").to_ascii_lowercase().as_str(), "" | "any" | "active");
    let pool = form.get("scrapePool");
    let mut active = Vec::new();
    if wants_active {
        for instance in instances::list(&api).await?.into_iter().filter(|i| pool.is_empty() || i.job == pool) {
            let health = match instance.up {
                Some(true) => "up",
                Some(false) => "down",
                None => "unknown",
            };
            active.push(json!({
                "discoveredLabels": {"__address__": instance.address, "engine": instance.engine},
                "labels": {"instance": instance.instance, "job": instance.job},
                "scrapePool": instance.job,
                "scrapeUrl": instance.address,
                "globalUrl": instance.address,
                "lastError": instance.error.unwrap_or_default(),
                "lastScrape": instance.last_seen_ms.map(format_ms).unwrap_or_default(),
                "lastScrapeDuration": 0,
                "health": health,
                "scrapeInterval": instance.interval_ms.map(query::promql::number::format_duration_ms).unwrap_or_default(),
                "scrapeTimeout": "",
            }));
        }
    }
    Reply::json(&json!({"activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {}}))
}

/// The jobs of what the collectors watch: Prometheus' scrape pools.
pub async fn scrape_pools(State(api): State<Api>) -> ApiResult {
    let jobs: BTreeSet<String> = instances::list(&api).await?.into_iter().map(|i| i.job).collect();
    Reply::json(&json!({ "scrapePools": jobs }))
}

/// What metrics are, for each of the targets that match. Kinds and helps are known by name, not by target, so every metric
/// that a target has samples of is listed with what is known.
pub async fn target_metadata(State(api): State<Api>, form: Form) -> ApiResult {
    let number = form.get("limit").parse::<i64>();
    let limit = match (form.get("limit"), number) {
        ("", _) => usize::MAX,
        (_, Ok(n)) => usize::try_from(n).unwrap_or(usize::MAX),
        (_, Err(_)) => return Err(ApiError::bad_data("limit must be a number")),
    };
    let matchers = match form.get("match_target") {
        "" => Vec::new(),
        text => match query::promql::parse(text) {
            Ok(query::promql::Expr::Selector(selector)) => selector.matchers,
            Ok(_) => return Err(ApiError::parameter("match_target", format!("{text:?} is not a selector"))),
            Err(e) => return Err(ApiError::parameter("match_target", e)),
        },
    };
    let (metric, snapshot, now_ms) = (form.get("metric"), api.snapshot(), api.now_ms());
    let families = snapshot.families();
    let mut out = Vec::new();
    for instance in instances::list(&api).await? {
        let label = |name: &str| match name {
            "instance" => instance.instance.as_str(),
            "job" => instance.job.as_str(),
            _ => "",
        };
        if !matchers.iter().all(|m| m.matches(label(m.name()))) {
            continue;
        }
        let own = [Matcher::equal("instance", &instance.instance), Matcher::equal("job", &instance.job)];
        let names = snapshot.label_values(METRIC_NAME, &own, now_ms - RECENT_MS, now_ms, COUNTED_SERIES_MAX);
        let names: BTreeSet<String> = api.within(names).await?.into_iter().collect();
        for family in families.iter().filter(|f| metric.is_empty() || f.name == metric) {
            if out.len() >= limit {
                break;
            }
            if names.contains(&family.name) {
                let target = json!({"instance": instance.instance, "job": instance.job});
                let mut entry =
                    json!({"target": target, "type": family.kind, "help": family.help, "unit": family.unit});
                if metric.is_empty() {
                    entry["metric"] = json!(family.name);
                }
                out.push(entry);
            }
        }
    }
    Reply::json(&out)
}

/// What the server has to say to whoever looks at its pages: that it takes no writes, that a reload failed.
pub async fn notifications(State(api): State<Api>) -> ApiResult {
    let mut out = Vec::new();
    let mut say =
        |text: String, since_ms: i64| out.push(json!({"text": text, "date": format_ms(since_ms), "active": true}));
    if let Some(why) = api.querier.store().stats().poisoned {
        say(format!("The store takes no writes: {why}"), api.now_ms());
    }
    if let (false, since_ms) = api.metrics.last_reload() {
        say("Configuration reload has failed.".into(), since_ms);
    }
    Reply::json(&out)
}

/// Notifications leave from here; there is no other Alertmanager.
pub async fn alertmanagers() -> ApiResult {
    Reply::json(&json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}))
}

/// Collectors that are or were connected.
pub async fn collectors(State(api): State<Api>) -> ApiResult {
    Reply::json(&api.collectors.list())
}

/// Whether the process runs.
pub async fn healthy() -> &'static str {
    "Tidewatch is Healthy.\n"
}

/// Whether it answers and takes rows.
pub async fn ready(State(api): State<Api>) -> (StatusCode, String) {
    match api.querier.store().stats().poisoned {
        None => (StatusCode::OK, "Tidewatch is Ready.\n".into()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("the store takes no writes: {why}\n")),
    }
}
