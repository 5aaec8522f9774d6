//! The requests Grafana's Prometheus source sends, in its forms, and what it reads in the answers: health, flavour, queries
//! over a range and at a time, exemplars, completion of names, and the calls it tries by POST before it asks by GET. Then what
//! stands in the query log after them.

use std::time::Duration;

use serde_json::{Value, json};
use tests::wait::until;

use super::{
    exemplars::{self, Exemplar},
    own::{self, Own},
    samples::{self, FIRST_MS, NOW_MS},
};

const CLOCK_MS: i64 = NOW_MS;
const EXEMPLAR_MS: i64 = FIRST_MS + 700_000;
/// What Grafana asks for at most when it completes names.
const LIMIT: &str = "40000";
const PATIENCE: Duration = Duration::from_secs(30);
const CONFIG: &str =
    "query: {log_file: queries.log}\nalerting: {builtin_rules: false, rules: [rules.yml], evaluation_interval: 1s}\n";
const RULES: &str = "groups: [{name: shop, rules: [{record: 'shop:stock:sum', expr: 'sum(shop_stock)'}]}]";

async fn start() -> Own {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let own = Own::start(folder, CONFIG, || CLOCK_MS).await;
    let mut series = samples::shop();
    let labels = [("__name__", "shop.sales"), ("店.名", "北京"), ("plain", "x")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    series.push(samples::Series { labels, samples: vec![(NOW_MS - 1_000, 7.0)], histograms: Vec::new() });
    for (job, instance, value) in [("postgres", "orders", 1.0), ("mysql", "stock", 0.0)] {
        let labels = [("__name__", "up"), ("job", job), ("instance", instance)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let samples = (0..5).rev().map(|i| (NOW_MS - 500 - i * 10_000, value)).collect();
        series.push(samples::Series { labels, samples, histograms: Vec::new() });
    }
    own.write(&series).await;
    let labels = [("__name__", "shop_orders_total"), ("job", "shop"), ("kind", "book"), ("shop", "north")];
    let exemplar = Exemplar::new(EXEMPLAR_MS, 1.0, &[("trace_id", "4bf92f3577b34da6")]);
    own::write_bytes(&own.client, &own.url, &exemplars::write_request(&[(&labels, &[], &[exemplar])])).await;
    own
}

fn seconds(ms: i64) -> String {
    format!("{}", ms as f64 / 1000.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn grafana_finds_nothing_missing() {
    let own = start().await;
    health_and_flavour(&own).await;
    queries(&own).await;
    names(&own).await;
    by_get_alone(&own).await;
    metadata_and_targets(&own).await;
    errors_and_notes(&own).await;
    compressed(&own).await;
    query_log(&own).await;
    own.stop().await;
}

async fn health_and_flavour(own: &Own) {
    let (status, answer) = own.post("/api/v1/query", &[("query", "1+1"), ("time", "4")]).await;
    let expected = json!({"status": "success", "data": {"resultType": "scalar", "result": [4, "2"]}});
    assert_eq!((status, answer), (200, expected));
    let build = own.data("/api/v1/status/buildinfo", &[]).await;
    assert!(build["version"].as_str().unwrap().starts_with("3."), "{build}");
    assert!(build.get("features").is_none(), "features would make it another product: {build}");
}

async fn queries(own: &Own) {
    let (start, end) = (seconds(FIRST_MS + 600_000), seconds(FIRST_MS + 900_000));
    let form = [
        ("query", "sum by (shop) (rate(shop_orders_total[1m]))"),
        ("start", start.as_str()),
        ("end", end.as_str()),
        ("step", "15"),
    ];
    let (status, answer) = own.post("/api/v1/query_range", &form).await;
    assert_eq!((status, &answer["data"]["resultType"]), (200, &json!("matrix")), "{answer}");
    let series = answer["data"]["result"].as_array().unwrap();
    assert_eq!(series.len(), 3, "{answer}");
    let values = series[0]["values"].as_array().unwrap();
    assert_eq!((values.len(), &values[0][0]), (21, &json!((FIRST_MS + 600_000) / 1000)), "{answer}");
    // the same by GET, when POST is not allowed on the way
    assert_eq!(own.get("/api/v1/query_range", &form).await.1, answer);
    let with_timeout = form.iter().copied().chain([("timeout", "30s")]).collect::<Vec<_>>();
    assert_eq!(own.post("/api/v1/query_range", &with_timeout).await.1, answer);

    let at = [("query", "shop_info{shop=\"north\"}"), ("time", "1789999000.5"), ("stats", "all")];
    let (_, answer) = own.post("/api/v1/query", &at).await;
    let one = &answer["data"]["result"][0];
    assert_eq!((&one["metric"]["version"], &one["value"]), (&json!("1.101"), &json!([1789999000.5, "1"])), "{answer}");
    let stats = &answer["data"]["stats"];
    assert_eq!(stats["samples"]["totalQueryableSamplesPerStep"], json!([[1789999000.5, 1]]), "{stats}");
    assert_eq!(stats["samples"]["totalQueryableSamples"], 1, "{stats}");
    assert!(stats["samples"]["peakSamples"].as_u64().unwrap() > 0, "{stats}");
    let timings = ["evalTotalTime", "queryPreparationTime", "innerEvalTime", "execTotalTime"];
    assert!(timings.iter().all(|t| stats["timings"][t].as_f64().unwrap() > 0.0), "{stats}");
    let timings = ["resultSortTime", "execQueueTime"];
    assert!(timings.iter().all(|t| stats["timings"][t].is_number()), "{stats}");

    let form = [("query", "shop_orders_total"), ("start", start.as_str()), ("end", end.as_str())];
    let (status, answer) = own.post("/api/v1/query_exemplars", &form).await;
    let labels = json!({"__name__": "shop_orders_total", "job": "shop", "kind": "book", "shop": "north"});
    let exemplar = json!({"labels": {"trace_id": "4bf92f3577b34da6"}, "value": "1", "timestamp": EXEMPLAR_MS / 1000});
    let expected = json!([{"seriesLabels": labels, "exemplars": [exemplar]}]);
    assert_eq!((status, &answer["data"]), (200, &expected), "{answer}");

    let formatted = own.data("/api/v1/format_query", &[("query", "sum(shop_stock)by(kind)/2")]).await;
    assert_eq!(formatted, "sum by (kind) (shop_stock) / 2");
    let tree = own.data("/api/v1/parse_query", &[("query", "foo{a=\"b\"}[5m]")]).await;
    assert_eq!(
        (&tree["type"], &tree["range"], &tree["name"]),
        (&json!("matrixSelector"), &json!(300_000), &json!("foo"))
    );
}

async fn names(own: &Own) {
    let (start, end) = (seconds(FIRST_MS), seconds(NOW_MS));
    let within = [("start", start.as_str()), ("end", end.as_str()), ("limit", LIMIT)];
    let with = |matcher: &'static str| [&within[..], &[("match[]", matcher)]].concat();
    for path in ["/api/v1/labels", "/api/v1/series"] {
        let form = with("{__name__=\"shop_stock\",shop=\"north\"}");
        let (status, answer) = own.post(path, &form).await;
        assert_eq!((status, own.get(path, &form).await.1), (200, answer.clone()), "{path}");
        let expected = match path {
            "/api/v1/labels" => json!(["__name__", "job", "kind", "shop"]),
            _ => json!(
                ["book", "card", "gift", "toy"]
                    .map(|kind| json!({"__name__": "shop_stock", "job": "shop", "kind": kind, "shop": "north"}))
            ),
        };
        assert_eq!(answer["data"], expected, "{path}");
    }
    let all = own.data("/api/v1/series", &with("{__name__!=\"\"}")).await;
    assert!(all.as_array().unwrap().len() >= 60, "{all}");
    let values = own.data("/api/v1/label/kind/values", &with("shop_orders_total")).await;
    assert_eq!(values, json!(["book", "card", "gift", "toy"]));
    let metrics = own.data("/api/v1/label/__name__/values", &with("{shop=\"new\"}")).await;
    assert_eq!(metrics, json!(["shop_late"]));
    // outside of the time there is nothing
    let before = [("start", "1000"), ("end", "2000"), ("match[]", "shop_stock")];
    assert_eq!(own.data("/api/v1/label/kind/values", &before).await, json!([]));
    // names that are no identifiers come escaped
    let escaped = own.data("/api/v1/label/U___5e97__2e__540d_/values", &within).await;
    assert_eq!(escaped, json!(["北京"]));
    let form = [("query", "{\"shop.sales\", \"店.名\"=\"北京\"}"), ("time", end.as_str())];
    let (_, answer) = own.post("/api/v1/query", &form).await;
    assert_eq!(answer["data"]["result"][0]["value"][1], "7", "{answer}");
    // what is cut is said to be cut
    let (_, answer) = own.get("/api/v1/label/kind/values", &[("limit", "2"), ("match[]", "shop_stock")]).await;
    assert_eq!(
        (&answer["data"], &answer["warnings"]),
        (&json!(["book", "card"]), &json!(["results truncated due to limit"]))
    );
    let (_, answer) = own.get("/api/v1/series", &[("limit", "3"), ("match[]", "shop_stock")]).await;
    assert_eq!((answer["data"].as_array().unwrap().len(), answer["warnings"].is_array()), (3, true));
}

async fn by_get_alone(own: &Own) {
    let paths = [
        "/api/v1/label/shop/values",
        "/api/v1/metadata",
        "/api/v1/rules",
        "/api/v1/alerts",
        "/api/v1/targets",
        "/api/v1/alertmanagers",
        "/api/v1/notifications",
        "/api/v1/scrape_pools",
        "/api/v1/status/config",
        "/api/v1/status/flags",
        "/api/v1/status/runtimeinfo",
        "/api/v1/status/tsdb",
    ];
    for path in paths {
        // Grafana posts first, and asks by GET after one of these answers
        let (status, _) = own.post(path, &[]).await;
        assert!(matches!(status, 400 | 405), "{path}: {status}");
        own.data(path, &[]).await;
    }
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(own.get(path, &[]).await.0, 200, "{path}");
    }
    let tsdb = own.data("/api/v1/status/tsdb", &[("limit", "1")]).await;
    let lists = [
        "seriesCountByMetricName",
        "labelValueCountByLabelName",
        "memoryInBytesByLabelName",
        "seriesCountByLabelValuePair",
    ];
    assert!(lists.iter().all(|list| tsdb[list].as_array().unwrap().len() == 1), "{tsdb}");
    let info = own.data("/api/v1/status/runtimeinfo", &[]).await;
    assert!(["startTime", "serverTime", "storageRetention", "hostname"].iter().all(|f| info[f].is_string()), "{info}");
    let group = own.data("/api/v1/rules", &[("type", "record")]).await;
    assert_eq!(group["groups"][0]["rules"][0]["name"], "shop:stock:sum", "{group}");
}

async fn metadata_and_targets(own: &Own) {
    // the server tells its own numbers with their kinds
    let known = until(PATIENCE, async || {
        let data = own.data("/api/v1/metadata", &[("metric", "tidewatch_build_info")]).await;
        data["tidewatch_build_info"].is_array().then_some(data)
    });
    let known = known.await.expect("kinds of the server's own numbers");
    assert_eq!(known["tidewatch_build_info"][0]["type"], "gauge", "{known}");
    assert_eq!(known["tidewatch_build_info"][0]["unit"], "", "{known}");
    let count = async |form: &[(&str, &str)]| own.data("/api/v1/metadata", form).await.as_object().unwrap().len();
    assert_eq!(count(&[("limit", "2")]).await, 2);
    assert_eq!(count(&[("limit", "0")]).await, 0);
    assert!(count(&[("limit", "-1"), ("limit_per_metric", "1")]).await > 2);
    let (status, answer) = own.get("/api/v1/metadata", &[("limit_per_metric", "x")]).await;
    assert_eq!((status, &answer["error"]), (400, &json!("limit_per_metric must be a number")));

    let targets = own.data("/api/v1/targets", &[("state", "active"), ("scrapePool", "postgres")]).await;
    let active = targets["activeTargets"].as_array().unwrap();
    assert_eq!(active.len(), 1, "{targets}");
    let fields = [("scrapePool", "postgres"), ("health", "up"), ("scrapeInterval", "10s"), ("lastError", "")];
    assert!(fields.iter().all(|(field, value)| active[0][field] == *value), "{targets}");
    assert_eq!(active[0]["labels"], json!({"instance": "orders", "job": "postgres"}));
    let dropped = own.data("/api/v1/targets", &[("state", "dropped")]).await;
    assert_eq!(dropped, json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}));
    assert_eq!(own.data("/api/v1/scrape_pools", &[]).await, json!({"scrapePools": ["mysql", "postgres"]}));
}

async fn errors_and_notes(own: &Own) {
    let many = "shop_stock * on (shop) shop_orders_total";
    let end = seconds(NOW_MS - 200_000);
    for (path, form, status, kind, words) in [
        (
            "query",
            vec![("query", "sum(")],
            400,
            "bad_data",
            "invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis",
        ),
        (
            "query",
            vec![("query", "")],
            400,
            "bad_data",
            "invalid parameter \"query\": unknown position: parse error: no expression found in input",
        ),
        (
            "query",
            vec![("query", many), ("time", &end)],
            422,
            "execution",
            "found duplicate series for the match group",
        ),
        (
            "query",
            vec![("query", "up"), ("time", "x")],
            400,
            "bad_data",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp",
        ),
        (
            "query",
            vec![("query", "up"), ("lookback_delta", "x")],
            400,
            "bad_data",
            "error parsing lookback delta duration: cannot parse \"x\" to a valid duration",
        ),
        (
            "query_range",
            vec![("query", "up"), ("start", "1"), ("end", "2"), ("step", "0")],
            400,
            "bad_data",
            "zero or negative query resolution step widths are not accepted",
        ),
        (
            "query_range",
            vec![("query", "up"), ("start", "1"), ("end", "20000"), ("step", "1")],
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries",
        ),
        (
            "query_range",
            vec![("query", "up[5m]"), ("start", "1"), ("end", "2"), ("step", "1")],
            400,
            "bad_data",
            "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
        ("series", vec![], 400, "bad_data", "no match[] parameter provided"),
        (
            "series",
            vec![("match[]", "{a=~\".*\"}")],
            400,
            "bad_data",
            "match[] must contain at least one non-empty matcher",
        ),
        (
            "labels",
            vec![("start", "x")],
            400,
            "bad_data",
            "invalid time value for 'start': cannot parse \"x\" to a valid timestamp",
        ),
        ("query_exemplars", vec![("query", "sum(")], 400, "bad_data", "1:5: parse error"),
    ] {
        let (got, answer) = own.post(&format!("/api/v1/{path}"), &form).await;
        assert_eq!(
            (got, answer["status"].as_str(), answer["errorType"].as_str()),
            (status, Some("error"), Some(kind)),
            "{path} {form:?}: {answer}"
        );
        assert!(answer["error"].as_str().unwrap().contains(words), "{path} {form:?}: {answer} instead of {words}");
    }
    assert_eq!(own.get("/api/v1/nothing", &[]).await.0, 404);
    let form = [("query", "rate(shop_stock[5m])"), ("time", &end)];
    let (_, answer) = own.post("/api/v1/query", &form).await;
    let info = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"shop_stock\" (1:6)";
    assert_eq!(answer["infos"], json!([info]), "{answer}");
    let form = [("query", "quantile(2, shop_stock)"), ("time", &end)];
    let (_, answer) = own.post("/api/v1/query", &form).await;
    assert_eq!(
        answer["warnings"],
        json!(["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]),
        "{answer}"
    );
    let form = [("query", "shop_stock"), ("time", &end), ("limit", "5")];
    let (_, answer) = own.post("/api/v1/query", &form).await;
    assert_eq!(
        (answer["data"]["result"].as_array().unwrap().len(), &answer["warnings"]),
        (5, &json!(["results truncated due to limit"]))
    );
}

async fn compressed(own: &Own) {
    let plain = reqwest::Client::builder().no_gzip().no_zstd().build().unwrap();
    let url = format!("{}/api/v1/series?match[]=shop_stock", own.url);
    let (_, expected) = own.get("/api/v1/series?match[]=shop_stock", &[]).await;
    for encoding in ["gzip", "zstd"] {
        let answer = plain.get(&url).header("accept-encoding", encoding).send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], encoding);
        let bytes = answer.bytes().await.unwrap();
        if encoding == "zstd" {
            let text = zstd::decode_all(&bytes[..]).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected);
        } else {
            assert_eq!(&bytes[..2], [0x1f, 0x8b]); // the client that asked for `expected` reads gzip too
        }
    }
}

/// The lines of a server's query log.
fn logged(own: &Own) -> Vec<Value> {
    let text = std::fs::read_to_string(own.folder.path().join("queries.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first line of the log that is `wanted`.
async fn line(own: &Own, wanted: &dyn Fn(&Value) -> bool) -> Value {
    let found = until(PATIENCE, async || logged(own).into_iter().find(|line| wanted(line))).await;
    found.unwrap_or_else(|| panic!("not in the log: {:#?}", logged(own)))
}

/// Each question above, with who asked.
async fn query_log(own: &Own) {
    let asked = line(own, &|line| line["params"]["query"] == "sum by (shop) (rate(shop_orders_total[1m]))").await;
    assert_eq!(asked["httpRequest"], json!({"clientIP": "127.0.0.1", "method": "POST", "path": "/api/v1/query_range"}));
    assert_eq!((&asked["params"]["step"], asked.get("error")), (&json!(15.0), None), "{asked}");
    assert!(asked["stats"]["samples"]["totalQueryableSamples"].as_u64().unwrap() > 0, "{asked}");
    let wrong = line(own, &|line| line["params"]["query"] == "sum(").await;
    assert!(wrong["error"].as_str().unwrap().contains("parse error"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_stand_in_the_query_log() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let own = Own::start(folder, CONFIG, || collector::Clock::system().now_ms()).await;
    let asked = line(&own, &|line| line["ruleGroup"]["name"] == "shop").await;
    assert_eq!(asked["params"]["query"], "sum(shop_stock)", "{asked}");
    assert!(asked["ruleGroup"]["file"].as_str().unwrap().ends_with("rules.yml"), "{asked}");
    own.stop().await;
}
