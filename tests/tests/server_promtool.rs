//! Debian's promtool asks a running server: instant, range, labels and series, and a query that is wrong.
#![allow(clippy::unwrap_used)]

use std::process::Output;

use proto::{Labels, samples::SamplesBuilder};
use server::{
    config::{Config, Overrides},
    serve::{self, Server},
};
use storage::{Append, Rows, SampleRows};

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
    let overrides = Overrides { data_dir: Some(dir.path().into()), http_listen: free, grpc_listen: free };
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
