//! The HTTP API as clients meet it: a real server with a store in a temporary folder, asked over loopback. Requests and the
//! answers they must get stand in tables.
#![allow(clippy::unwrap_used)]

use proto::{EventsBuilder, Labels, Table, samples::SamplesBuilder};
use serde_json::{Value, json};
use server::{
    config::{Config, Overrides},
    serve::{self, Server},
};
use storage::{Append, Rows, SampleRows};

/// The only time there is in these tests, milliseconds: 2027-01-15T08:00:00Z.
const NOW_MS: i64 = 1_800_000_000_000;

#[path = "api/notify.rs"]
mod notify;
#[path = "api/remote_write.rs"]
mod remote_write;

struct Running {
    server: Server,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Running {
    async fn start() -> Running {
        let running = Running::empty("").await;
        fill(&running.server).await;
        running
    }

    /// Without data, and with more in its config.
    async fn empty(config: &str) -> Running {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let free = Some("127.0.0.1:0".parse().unwrap());
        let overrides = Overrides {
            data_dir: Some(dir.path().into()),
            http_listen: free,
            grpc_listen: free,
            ..Overrides::default()
        };
        let config = format!("alerting: {{builtin_rules: false}}\n{config}");
        let config = Config::parse("test", &config).unwrap().with(overrides);
        let server = serve::start(config, "self".into(), || NOW_MS).await.unwrap();
        Running { server, client: reqwest::Client::new(), _dir: dir }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.http)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    async fn text(&self, path: &str) -> String {
        self.client.get(self.url(path)).send().await.unwrap().text().await.unwrap()
    }
}

fn append(rows: Rows<'_>) -> Append<'_> {
    Append { tenant: "0", origin: None, rows, now_ms: NOW_MS }
}

/// `http_total` of two instances: 0, 10, 20 … every 15 s for the last ten minutes; `up`; a statement; a finding.
async fn fill(server: &Server) {
    let mut samples = SamplesBuilder::default();
    for step in 0..=40i64 {
        let at_ms = NOW_MS - 600_000 + step * 15_000;
        for (instance, factor) in [("a", 10.0), ("b", 20.0)] {
            let labels = [("__name__", "http_total"), ("instance", instance), ("job", "postgres")];
            samples.push(&Labels::from_pairs(labels), at_ms, step as f64 * factor);
            let labels = [("__name__", "up"), ("instance", instance), ("job", "postgres")];
            samples.push(&Labels::from_pairs(labels), at_ms, f64::from(u8::from(instance == "a")));
        }
    }
    let info =
        [("__name__", "tidewatch_target_info"), ("instance", "a"), ("engine", "postgresql"), ("version", "15.8")];
    samples.push(&Labels::from_pairs(info), NOW_MS, 1.0);
    samples.push(&Labels::from_pairs([("__name__", "dotted"), ("http.status", "500")]), NOW_MS, 1.0);
    let samples = samples.build();
    let labels: Vec<&[u8]> = samples.labels.iter().map(|l| l.as_bytes()).collect();
    let rows = SampleRows {
        labels: &labels,
        series: &samples.series,
        timestamps_ms: &samples.timestamps_ms,
        values: &samples.values,
        histograms: &[],
        families: &[proto::samples::Family {
            name: "http_total".into(),
            kind: "counter".into(),
            help: "Requests.".into(),
            unit: String::new(),
        }],
    };
    server.store.append(append(Rows::Samples(rows))).unwrap().await.unwrap();
    let mut statements = EventsBuilder::new(Table::StatementStats);
    let cells = [("fingerprint", "f1".into()), ("calls", 7i64.into()), ("total_ms", 1.5.into())];
    statements.row("a", NOW_MS, cells);
    let mut objects = EventsBuilder::new(Table::Objects);
    for (name, change) in [("missing_right:pg_monitor", "added"), ("missing_extension:x", "removed")] {
        let attributes = "{\"grant\":\"GRANT pg_monitor TO watcher\"}";
        let cells = [
            ("kind", "finding".into()),
            ("name", name.into()),
            ("value", "can't see others' statements".into()),
            ("change", change.into()),
            ("attributes", attributes.into()),
        ];
        objects.row("a", NOW_MS, cells);
    }
    for events in [statements.build(), objects.build()] {
        server.store.append(append(Rows::Events(&events))).unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn answers_have_prometheus_form() {
    let running = Running::start().await;
    let now = NOW_MS / 1000;
    let series = |metric: &str, instance: &str| json!({"__name__": metric, "instance": instance, "job": "postgres"});
    let cases = vec![
        ("/api/v1/query?query=1%2B1&time=4".to_owned(), json!({"resultType": "scalar", "result": [4, "2"]})),
        ("/api/v1/query?query=%22x%22&time=4.5".into(), json!({"resultType": "string", "result": [4.5, "x"]})),
        (
            format!("/api/v1/query?query=http_total&time={now}"),
            json!({"resultType": "vector", "result": [
                {"metric": series("http_total", "a"), "value": [now, "400"]},
                {"metric": series("http_total", "b"), "value": [now, "800"]},
            ]}),
        ),
        (
            "/api/v1/query?query=sum(rate(http_total%5B5m%5D))&time=2027-01-15T08%3A00%3A00Z".into(),
            json!({"resultType": "vector", "result": [{"metric": {}, "value": [now, "2"]}]}),
        ),
        (
            format!(
                "/api/v1/query_range?query=http_total%7Binstance%3D%22a%22%7D&start={}&end={now}&step=15s",
                now - 30
            ),
            json!({"resultType": "matrix", "result": [
                {"metric": series("http_total", "a"), "values": [[now - 30, "380"], [now - 15, "390"], [now, "400"]]},
            ]}),
        ),
        ("/api/v1/series?match[]=http_total".into(), json!([series("http_total", "a"), series("http_total", "b")])),
        ("/api/v1/labels?match[]=http_total".into(), json!(["__name__", "instance", "job"])),
        ("/api/v1/label/instance/values?match[]=http_total".into(), json!(["a", "b"])),
        ("/api/v1/label/U__http_2e_status/values".into(), json!(["500"])),
        ("/api/v1/label/instance/values?match[]=http_total&limit=1".into(), json!(["a"])),
        // RE2's quoting, which Rust's regular expressions lack
        (
            "/api/v1/label/instance/values?match[]=http_total%7Binstance%3D~%22%5C%5CQa%5C%5CE%22%7D".into(),
            json!(["a"]),
        ),
        ("/api/v1/label/instance/values?start=1&end=2".into(), json!([])),
        (
            "/api/v1/metadata?metric=http_total".into(),
            json!({"http_total": [{"type": "counter", "help": "Requests.", "unit": ""}]}),
        ),
        ("/api/v1/query_exemplars?query=up&start=0&end=1".into(), json!([])),
        ("/api/v1/format_query?query=sum(up)by(job)".into(), json!("sum by (job) (up)")),
        ("/api/v1/rules".into(), json!({"groups": []})),
        ("/api/v1/alerts".into(), json!({"alerts": []})),
        ("/api/v1/alert?state=all".into(), json!([])),
        ("/api/v1/alertmanagers".into(), json!({"activeAlertmanagers": [], "droppedAlertmanagers": []})),
        (
            "/api/v1/sql?q=SELECT%20instance%2C%20calls%2C%20ts%20FROM%20statement_stats".into(),
            json!({
                "columns": [
                    {"name": "instance", "type": "Utf8"},
                    {"name": "calls", "type": "Int64"},
                    {"name": "ts", "type": "Timestamp(ms, \"UTC\")"},
                ],
                "rows": [["a", 7, "2027-01-15T08:00:00.000Z"]],
                "truncated": false,
            }),
        ),
    ];
    for (path, data) in cases {
        let (status, answer) = running.get(&path).await;
        assert_eq!((status, &answer["status"], &answer["data"]), (200, &json!("success"), &data), "{path}: {answer}");
    }
    let (_, tree) = running.get("/api/v1/parse_query?query=rate(up%5B5m%5D)").await;
    assert_eq!(tree["data"]["func"]["name"], "rate");
    assert_eq!(tree["data"]["args"][0]["range"], 300_000);
    let (_, limited) = running.get(&format!("/api/v1/query?query=http_total&time={now}&limit=1")).await;
    assert_eq!(limited["warnings"], json!(["results truncated due to limit"]));
    let (_, build) = running.get("/api/v1/status/buildinfo").await;
    assert!(build["data"]["version"].as_str().unwrap().starts_with("3.") && build["data"]["features"].is_null());
    running.server.stop().await;
}

#[tokio::test]
async fn errors_have_prometheus_form_and_words() {
    let running = Running::start().await;
    for (path, status, kind, error) in [
        ("/api/v1/query?query=sum(", 400, "bad_data", "invalid parameter \"query\": 1:5: parse error: "),
        ("/api/v1/query?query=", 400, "bad_data", "invalid parameter \"query\": "),
        (
            "/api/v1/query?query=up&time=x",
            400,
            "bad_data",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp",
        ),
        (
            "/api/v1/query?query=up&timeout=x",
            400,
            "bad_data",
            "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration",
        ),
        ("/api/v1/query?query=up&limit=-1", 400, "bad_data", "invalid parameter \"limit\": limit must be non-negative"),
        (
            "/api/v1/query_range?query=up&end=2&step=1",
            400,
            "bad_data",
            "invalid parameter \"start\": cannot parse \"\"",
        ),
        (
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            400,
            "bad_data",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            "/api/v1/query_range?query=up&start=1&end=2&step=0",
            400,
            "bad_data",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=11001&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        ("/api/v1/series", 400, "bad_data", "no match[] parameter provided"),
        ("/api/v1/series?match[]={}", 400, "bad_data", "invalid parameter \"match[]\": "),
        ("/api/v1/labels?match[]=up%5B5m%5D", 400, "bad_data", "invalid parameter \"match[]\": "),
        (
            "/api/v1/labels?start=2&end=1",
            400,
            "bad_data",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        ("/api/v1/query?query=label_replace(up,%22a%22,%22%22,%22job%22,%22(%22)", 422, "execution", ""),
        ("/api/v1/rules?type=x", 400, "bad_data", "not supported value \"x\""),
        (
            "/api/v1/alert?state=x",
            400,
            "bad_data",
            "invalid parameter \"state\": \"x\" is not allowed; allowed: firing",
        ),
        ("/api/v1/alert/none", 404, "not_found", "there is no alert \"none\""),
        ("/api/v1/sql", 400, "bad_data", "invalid parameter \"q\": no SQL given"),
        ("/api/v1/sql?q=SELECT%20nothing%20FROM%20logs", 400, "bad_data", ""),
        ("/api/v1/sql?q=DROP%20TABLE%20logs", 400, "bad_data", ""),
        (
            "/api/v1/sql?q=SELECT%201&format=xml",
            400,
            "bad_data",
            "invalid parameter \"format\": \"xml\" is not allowed; allowed: json, csv, arrow",
        ),
        ("/api/v1/nothing", 404, "not_found", "there is no /api/v1/nothing"),
    ] {
        let (found, answer) = running.get(path).await;
        assert_eq!(
            (found, &answer["status"], &answer["errorType"]),
            (status, &json!("error"), &json!(kind)),
            "{path}: {answer}"
        );
        assert!(answer["error"].as_str().unwrap().starts_with(error), "{path}: {answer}");
    }
    running.server.stop().await;
}

#[tokio::test]
async fn forms_in_the_body_are_read_and_answers_are_compressed_when_asked() {
    let running = Running::start().await;
    let form = format!("query=count%28http_total%29&time={}", NOW_MS / 1000);
    let response = running
        .client
        .post(running.url("/api/v1/query"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["data"]["result"][0]["value"][1], "2", "{answer}");
    // This client takes gzip and zstd and hides it; what the server sends is seen without it.
    let plain = reqwest::Client::builder().no_gzip().no_zstd().build().unwrap();
    for encoding in ["gzip", "zstd"] {
        let request = plain.get(running.url("/metrics")).header("accept-encoding", encoding);
        assert_eq!(request.send().await.unwrap().headers()["content-encoding"], encoding);
    }
    running.server.stop().await;
}

#[tokio::test]
async fn instances_show_state_findings_and_kind() {
    let running = Running::start().await;
    let (_, answer) = running.get("/api/v1/instances").await;
    let list = answer["data"].as_array().unwrap();
    let of = |name: &str| list.iter().find(|i| i["instance"] == name).unwrap_or_else(|| panic!("{name} in {answer}"));
    assert_eq!((&of("a")["up"], &of("b")["up"]), (&json!(true), &json!(false)));
    assert_eq!((&of("a")["engine"], &of("a")["version"]), (&json!("postgresql"), &json!("15.8")));
    let finding = json!({"name": "missing_right:pg_monitor", "text": "can't see others' statements",
        "grant": "GRANT pg_monitor TO watcher"});
    assert_eq!(of("a")["findings"], json!([finding]), "what was removed is gone");
    assert_eq!(of("a")["last_seen_ms"], NOW_MS);
    let (_, targets) = running.get("/api/v1/targets").await;
    let health: Vec<_> = targets["data"]["activeTargets"].as_array().unwrap().iter().map(|t| &t["health"]).collect();
    assert!(health.contains(&&json!("up")) && health.contains(&&json!("down")), "{targets}");
    running.server.stop().await;
}

#[tokio::test]
async fn the_server_shows_its_own_numbers_and_health() {
    let running = Running::start().await;
    assert_eq!(running.text("/-/healthy").await, "Tidewatch is Healthy.\n");
    assert_eq!(running.text("/-/ready").await, "Tidewatch is Ready.\n");
    running.get("/api/v1/query?query=(").await;
    let text = running.text("/metrics").await;
    for line in [
        "# TYPE process_resident_memory_bytes gauge",
        "# TYPE tidewatch_memory_allocated_bytes gauge",
        "tidewatch_http_requests_total{handler=\"/api/v1/query\",code=\"400\"} 1",
        "tidewatch_ingest_refused_rows_total{door=\"grpc\",reason=\"full\"} 0",
        "tidewatch_storage_poisoned 0",
    ] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line} is not in\n{text}");
    }
    let types: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let distinct: std::collections::BTreeSet<_> = types.iter().collect();
    assert_eq!(types.len(), distinct.len(), "a family is announced once");
    running.server.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_before_anything_is_opened() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let overrides = Overrides {
        data_dir: Some(data_dir.clone()),
        http_listen: Some(taken.local_addr().unwrap()),
        grpc_listen: Some("127.0.0.1:0".parse().unwrap()),
        ..Overrides::default()
    };
    let config = Config::defaults().unwrap().with(overrides);
    let Err(error) = serve::start(config, "self".into(), || NOW_MS).await else { panic!("it started") };
    assert!(error.to_string().starts_with("http.listen: 127.0.0.1:"), "{error}");
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn a_forecast_says_when_a_limit_is_reached_and_what_can_not_be_foreseen() {
    let running = Running::start().await;
    // 400 now, 40 a minute
    let asked = "/api/v1/forecast?query=http_total{instance=\"a\"}&horizon=5m&crosses=above%20480&confidence=0.9";
    let (status, body) = running.get(asked).await;
    assert_eq!(status, 200, "{body}");
    let series = &body["data"]["series"][0];
    assert_eq!(series["labels"]["instance"], "a", "{body}");
    let reaches = series["reaches_at_ms"].as_i64().unwrap() - NOW_MS;
    assert!((reaches - 120_000).abs() < 5_000, "{reaches}");
    assert_eq!((&series["threshold"], &series["confidence"]), (&json!(480.0), &json!(0.9)));
    assert!(series["mase"].as_f64().unwrap() < 0.1 * series["mase_baseline"].as_f64().unwrap());
    let last = series["forecast"].as_array().unwrap().last().unwrap().as_array().unwrap();
    assert_eq!((last.len(), last[0].as_i64().unwrap()), (4, NOW_MS + 300_000));
    assert_eq!(series["history"].as_array().unwrap().last().unwrap(), &json!([NOW_MS, 400.0]));

    let (_, body) = running.get("/api/v1/forecast?query=dotted&horizon=5m").await;
    assert_eq!(body["data"]["series"], json!([]));
    assert!(body["data"]["refused"][0]["reason"].as_str().unwrap().starts_with("1 values are too few"), "{body}");
    for (query, parameter) in [
        ("query=up", "horizon"),
        ("query=up&horizon=0s", "horizon"),
        ("query=up(&horizon=5m", "query"),
        ("query=1&horizon=5m&crosses=90", "crosses"),
        ("query=up&horizon=5m&confidence=2", "confidence"),
        ("query=up&horizon=50d&step=1s", "step"),
    ] {
        let (status, body) = running.get(&format!("/api/v1/forecast?{query}")).await;
        let message = body["error"].as_str().unwrap();
        assert!(status == 400 && message.contains(&format!("parameter \"{parameter}\"")), "{query}: {body}");
    }
}
