//! Configs and what becomes of them.
#![allow(clippy::unwrap_used)]
use super::*;
use proto::Table;

#[test]
fn an_empty_file_is_the_defaults() {
    let config = Config::parse("t.yaml", "{}").unwrap();
    assert_eq!(config.http_listen.to_string(), HTTP_LISTEN_DEFAULT);
    assert_eq!(config.grpc_listen.to_string(), GRPC_LISTEN_DEFAULT);
    assert_eq!(config.store, StoreConfig::default());
    assert_eq!(config.query, QueryLimits::default());
}

#[test]
fn values_arrive_checked() {
    let text = "
data_dir: data
http: {listen: '0.0.0.0:80'}
storage:
  head_bytes_max: 2GiB
  fsync_interval: 50ms
  retention:
    metrics: {age: 1y, bytes: 10GiB}
    events: {age: forever}
    tables: {logs: {age: 7d}}
  limits: {series_max: 5000, age_max: 2h}
query: {timeout: 30s, samples_max: 1000, experimental: false}
";
    let config = Config::parse("/etc/tidewatch/t.yaml", text).unwrap();
    assert_eq!(config.store.data_dir, PathBuf::from("/etc/tidewatch/data"));
    assert_eq!(config.http_listen.to_string(), "0.0.0.0:80");
    assert_eq!((config.store.head_bytes_max, config.store.fsync_interval_ms), (2 << 30, 50));
    let retention = &config.store.retention;
    assert_eq!((retention.metrics.age_ms, retention.metrics.bytes), (Some(365 * 86_400_000), Some(10 << 30)));
    assert_eq!(retention.of(Some(Table::Activity)).age_ms, None);
    assert_eq!(retention.of(Some(Table::Logs)).age_ms, Some(7 * 86_400_000));
    assert_eq!((config.store.limits.series_max, config.store.limits.age_ms_max), (5000, 7_200_000));
    assert_eq!((config.query.timeout_ms, config.query.samples_max, config.query.experimental), (30_000, 1000, false));
}

/// Text, then what its error must begin with and contain.
#[test]
fn errors_name_file_line_field_and_what_is_allowed() {
    for (text, begins, contains) in [
        ("htp: {}\n", "t.yaml:1:", "http"),
        ("http:\n  listen: nowhere\n", "t.yaml:2:11: http.listen: \"nowhere\"", "address:port"),
        ("http:\n  port: 3\n", "t.yaml:2:", "listen"),
        ("http:\n  tls: {}\n", "t.yaml:2:", "listen"),
        ("storage:\n  on_damage: cry\n", "t.yaml:2:14: storage.on_damage: \"cry\"", "stop, skip"),
        ("storage:\n  fsync_interval: 1s\n", "t.yaml:2:19: storage.fsync_interval", "at most 100 ms"),
        ("storage:\n  head_bytes_max: much\n", "t.yaml:2:19: storage.head_bytes_max", "64MiB"),
        (
            "storage:\n  retention:\n    tables:\n      log: {age: 1d}\n",
            "t.yaml:4:12: storage.retention.tables",
            "logs",
        ),
        ("storage:\n  limits:\n    series_max: 0\n", "t.yaml:3:17: storage.limits.series_max: 0", "1 to"),
        ("storage:\n  object_store: {kind: s3}\n", "t.yaml:2:24: storage.object_store.bucket", "must be set"),
        ("query:\n  timeout: soon\n", "t.yaml:2:12: query.timeout: \"soon\"", "5m"),
        ("query: {timeout: [1]}\n", "t.yaml:1:", ""),
        (
            "grpc:\n  tls: {cert_file: /nowhere/c.pem, key_file: k}\n",
            "t.yaml:2:20: grpc.tls.cert_file",
            "/nowhere/c.pem",
        ),
        ("alerting:\n  evaluation_interval: never\n", "t.yaml:2:", "alerting.evaluation_interval"),
        ("alerting:\n  rulez: []\n", "t.yaml:2:", "rules"),
        ("a: [\n", "t.yaml:", ""),
    ] {
        let error = Config::parse("t.yaml", text).unwrap_err().to_string();
        assert!(error.starts_with(begins) && error.contains(contains), "{text:?} gave {error:?}");
    }
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        data_dir: Some("/elsewhere".into()),
        http_listen: Some("127.0.0.1:0".parse().unwrap()),
        grpc_listen: None,
    };
    let config = Config::parse("t.yaml", "http: {listen: '127.0.0.1:9'}\n").unwrap().with(overrides);
    assert_eq!(config.http_listen.port(), 0);
    assert_eq!(config.grpc_listen.to_string(), GRPC_LISTEN_DEFAULT);
    assert_eq!(config.store.data_dir, PathBuf::from("/elsewhere"));
}
