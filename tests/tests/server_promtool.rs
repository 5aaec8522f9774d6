//! Debian's promtool and amtool ask a running server: queries, and a query that is wrong; alerts and silences, which stay
//! when the server is killed.
#![allow(clippy::unwrap_used)]

use std::process::Output;

use proto::{Labels, samples::SamplesBuilder};
use server::{
    config::{Config, Overrides},
    serve::{self, Server},
};
use storage::{Append, Rows, SampleRows};
use tests::program::Program;

/// The only time there is in this test, milliseconds.
const NOW_MS: i64 = 1_800_000_000_000;
const PROMTOOL: &str = "/usr/bin/promtool";

/// `up` of one instance, 1 every 15 s for five minutes.
async fn fill(server: &Server) {
    let mut samples = SamplesBuilder::default();
    for step in 0..=20i64 {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", "db1"), ("job", "postgres")]);
        samples.push(&labels, NOW_MS - step * 15_000, 1.0);
    }
    let samples = samples.build();
    let rows = Rows::Samples(SampleRows {
        labels: &[samples.labels[0].as_bytes()],
        series: &samples.series,
        timestamps_ms: &samples.timestamps_ms,
        values: &samples.values,
        histograms: &[],
        families: &[],
    });
    server.store.append(Append { tenant: "0", origin: None, rows, now_ms: NOW_MS }).unwrap().await.unwrap();
}

async fn promtool(arguments: Vec<String>) -> Output {
    tokio::task::spawn_blocking(|| std::process::Command::new(PROMTOOL).args(arguments).output())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_is_answered() {
    if !std::path::Path::new(PROMTOOL).exists() {
        eprintln!("skipped: {PROMTOOL} is not installed (Debian package prometheus)");
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let free = Some("127.0.0.1:0".parse().unwrap());
    let overrides =
        Overrides { data_dir: Some(dir.path().into()), http_listen: free, grpc_listen: free, ..Overrides::default() };
    let config = Config::parse("test", "alerting: {builtin_rules: false}").unwrap().with(overrides);
    let server = serve::start(config, "self".into(), || NOW_MS).await.unwrap();
    fill(&server).await;
    let (url, now) = (format!("http://{}", server.http), NOW_MS / 1000);
    let db1 = "up{instance=\"db1\", job=\"postgres\"}";
    let cases = [
        (format!("query instant --time={now} {url} up{{instance=\"db1\"}}"), format!("{db1} => 1 @[{now}]\n")),
        (
            format!("query range --start={} --end={now} --step=15s {url} up{{instance=\"db1\"}}", now - 30),
            format!("{db1} =>\n1 @[{}]\n1 @[{}]\n1 @[{now}]\n", now - 30, now - 15),
        ),
        (format!("query labels --match=up{{instance=\"db1\"}} {url} job"), "postgres\n".into()),
        (
            format!("query series --match=up{{instance=\"db1\"}} {url}"),
            "{__name__=\"up\", instance=\"db1\", job=\"postgres\"}\n".into(),
        ),
    ];
    for (arguments, expected) in cases {
        let output = promtool(arguments.split(' ').map(str::to_owned).collect()).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out == expected, "promtool {arguments}\n{out}{err}\nexpected:\n{expected}");
    }
    let wrong = promtool(["query", "instant", &url, "sum("].map(str::to_owned).to_vec()).await;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("parse error"), "{said}");
    server.stop().await;
}

const AMTOOL: &str = "/usr/bin/amtool";
const ALWAYS: &str = "groups: [{name: g, interval: 1s, rules: [{alert: Always, expr: 'vector(1)', labels: {instance: db1}}, \
    {alert: Other, expr: 'vector(2)', labels: {instance: db2}}]}]";

async fn amtool(url: &str, words: &[&str]) -> String {
    let mut command = std::process::Command::new(AMTOOL);
    command.arg(format!("--alertmanager.url={url}")).args(words);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "amtool {words:?}: {out}{err}");
    out.into_owned()
}

async fn data(url: &str) -> serde_json::Value {
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn amtool_sees_alerts_and_sets_silences_that_outlive_a_kill() {
    if !std::path::Path::new(AMTOOL).exists() {
        eprintln!("skipped: {AMTOOL} is not installed (Debian package prometheus-alertmanager)");
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yml"), ALWAYS).unwrap();
    let config = "alerting: {builtin_rules: false, rules: [rules.yml], \
        receivers: [{name: dba, webhooks: [{url: 'http://127.0.0.1:1/'}]}]}";
    std::fs::write(dir.path().join("tidewatch.yaml"), config).unwrap();
    let port = tests::process::free_port().unwrap();
    let (url, grpc) = (format!("http://127.0.0.1:{port}"), tests::process::free_port().unwrap());
    let start = async || {
        let at = |name: &str| dir.path().join(name).display().to_string();
        let (http, grpc) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{grpc}"));
        let (config, data) = (at("tidewatch.yaml"), at("data"));
        let words = ["serve", "--config", &config, "--data-dir", &data, "--http-listen", &http, "--grpc-listen", &grpc];
        let mut server = Program::start("tidewatch", words, &[], &dir.path().join("log")).unwrap();
        server.ready(&url).await.unwrap();
        server
    };
    let server = start().await;
    let fired = tests::wait::until(std::time::Duration::from_secs(20), async || {
        let alerts = data(&format!("{url}/api/v2/alerts")).await;
        (alerts.as_array().map(Vec::len) == Some(2)).then_some(alerts)
    });
    let alerts = fired.await.expect("both alerts fire");
    assert_eq!(alerts[0]["receivers"], serde_json::json!([{ "name": "dba" }]));
    assert!(amtool(&url, &["alert", "query", "alertname=Always"]).await.contains("Always"));
    let add = [
        "silence",
        "add",
        "--author=me",
        "--comment=upgrade",
        "--duration=1h",
        "alertname=Always",
        "instance=~db[0-9]",
    ];
    let id = amtool(&url, &add).await.trim().to_owned();
    assert!(amtool(&url, &["silence", "query"]).await.contains(&id));
    assert!(
        !amtool(&url, &["alert", "query"]).await.contains("Always"),
        "what is silenced is not listed unless asked for"
    );
    assert!(amtool(&url, &["alert", "query", "--silenced"]).await.contains("Always"));

    // our own questions about the same
    let client = reqwest::Client::new();
    let post = async |path: &str, body: &str| {
        let response = client.post(format!("{url}{path}")).body(body.to_owned()).send().await.unwrap();
        (response.status().as_u16(), response.json::<serde_json::Value>().await.unwrap())
    };
    let matcher = r#"{"matchers":[{"name":"alertname","value":"Al.*","isRegex":true,"isEqual":true}]}"#;
    let (status, preview) = post("/api/v1/silences/preview", matcher).await;
    assert_eq!((status, preview["data"]["count"].as_u64()), (200, Some(1)), "{preview}");
    let alert = &preview["data"]["alerts"][0];
    assert_eq!(alert["silenced_by"], serde_json::json!([id]));
    let alert_id = alert["id"].as_str().unwrap();
    let (status, known) =
        post(&format!("/api/v1/alert/{alert_id}/acknowledge"), r#"{"by":"me","comment":"on it"}"#).await;
    assert_eq!((status, known["data"]["by"].as_str()), (200, Some("me")), "{known}");
    let (status, wrong) = post(&format!("/api/v1/alert/{alert_id}/acknowledge"), r#"{"by":""}"#).await;
    assert!(status == 400 && wrong["error"].as_str().unwrap().starts_with("by:"), "{wrong}");
    assert_eq!(post("/api/v1/alert/none/acknowledge", r#"{"by":"me"}"#).await.0, 404);
    let (status, wrong) = post("/api/v2/silences", r#"{"matchers":[],"startsAt":"x","endsAt":"y"}"#).await;
    assert!(status == 400 && wrong.as_str().unwrap().starts_with("startsAt"), "{wrong}");
    let why = tests::wait::until(std::time::Duration::from_secs(20), async || {
        let why = data(&format!("{url}/api/v1/alert/Other/why")).await;
        why["data"]["answer"].as_str().filter(|a| a.contains("dba: not told yet: webhook answered")).map(str::to_owned)
    });
    why.await.expect("nobody listens at the webhook, and why says so");
    server.kill();

    // a later life knows the silence and the acknowledgement, until they are taken back
    let server = start().await;
    assert!(amtool(&url, &["silence", "query"]).await.contains(&id));
    let again = tests::wait::until(std::time::Duration::from_secs(20), async || {
        let alert = data(&format!("{url}/api/v1/alert/{alert_id}")).await;
        (alert["data"]["acknowledged"]["by"] == "me").then_some(())
    });
    again.await.expect("the acknowledgement is remembered");
    amtool(&url, &["silence", "expire", &id]).await;
    assert!(amtool(&url, &["silence", "query", "--expired", "--within=1h"]).await.contains(&id));
    let taken =
        reqwest::Client::new().delete(format!("{url}/api/v1/alert/{alert_id}/acknowledge")).send().await.unwrap();
    assert_eq!(taken.status().as_u16(), 200);
    assert_eq!(data(&format!("{url}/api/v1/alert/{alert_id}")).await["data"]["acknowledged"], serde_json::Value::Null);
    server.stop();
}
