//! Configs and what becomes of them.
#![allow(clippy::unwrap_used)]
use super::*;
use ingest::kafka::Partitions;
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
  exemplars_max: 0
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
    assert_eq!(config.store.exemplars_max, 0);
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
        ("storage:\n  exemplars_max: 10000001\n", "t.yaml:2:18: storage.exemplars_max: 10000001", "0 to 10000000"),
        (
            "storage:\n  retention:\n    tables:\n      log: {age: 1d}\n",
            "t.yaml:4:12: storage.retention.tables",
            "logs",
        ),
        ("storage:\n  limits:\n    series_max: 0\n", "t.yaml:3:17: storage.limits.series_max: 0", "1 to"),
        ("storage:\n  object_store: {kind: s3}\n", "t.yaml:2:24: storage.object_store.bucket", "must be set"),
        ("storage:\n  object_store: {kind: gcs}\n", "t.yaml:2:24: storage.object_store.kind: \"gcs\"", "local, s3"),
        (
            "storage:\n  object_store:\n    kind: local\n    bucket: b\n",
            "t.yaml:4:13: storage.object_store.bucket",
            "only allowed for kind s3",
        ),
        (
            "storage:\n  object_store:\n    kind: s3\n    bucket: B_1\n",
            "t.yaml:4:13: storage.object_store.bucket: \"B_1\"",
            "lower-case letters",
        ),
        (
            "storage:\n  object_store:\n    kind: s3\n    bucket: bbb\n    prefix: a/../b\n",
            "t.yaml:5:13: storage.object_store.prefix",
            "letters, digits",
        ),
        (
            "storage:\n  object_store:\n    kind: s3\n    bucket: bbb\n    endpoint: http://key:secret@h\n",
            "t.yaml:5:15: storage.object_store.endpoint",
            "without path and password",
        ),
        (
            "storage:\n  object_store:\n    kind: s3\n    bucket: bbb\n    access_key_id: key\n",
            "t.yaml:5:20: storage.object_store.access_key_id",
            "belong together",
        ),
        (
            "storage:\n  object_store:\n    kind: s3\n    bucket: bbb\n    secret_access_key_file: /no/key\n",
            "t.yaml:5:29: storage.object_store.secret_access_key_file",
            "/no/key",
        ),
        (
            "storage:\n  object_store:\n    kind: s3\n    bucket: bbb\n    cache_bytes_max: some\n",
            "t.yaml:5:22: storage.object_store.cache_bytes_max: \"some\"",
            "2GiB",
        ),
        (
            "storage:\n  object_store:\n    kind: s3\n    bucket: bbb\n    retry_for: 1h\n",
            "t.yaml:5:16: storage.object_store.retry_for",
            "at most 240000 ms",
        ),
        ("query:\n  timeout: soon\n", "t.yaml:2:12: query.timeout: \"soon\"", "5m"),
        ("query: {timeout: [1]}\n", "t.yaml:1:", ""),
        (
            "grpc:\n  tls: {cert_file: /nowhere/c.pem, key_file: k}\n",
            "t.yaml:2:20: grpc.tls.cert_file",
            "/nowhere/c.pem",
        ),
        ("kafka:\n  brokers: [k1]\n  topic: t\n", "t.yaml:2:13: kafka.brokers[0]: \"k1\"", "host:port"),
        ("kafka:\n  brokers: []\n  topic: t\n", "t.yaml:3:10: kafka.brokers", "at least one"),
        ("kafka:\n  brokers: ['k:1']\n  topic: a/b\n", "t.yaml:3:10: kafka.topic: \"a/b\"", "letters"),
        (
            "kafka: {brokers: ['k:1'], topic: t, partitions: some}\n",
            "t.yaml:1:49: kafka.partitions: \"some\"",
            "all, or",
        ),
        ("kafka: {brokers: ['k:1'], topic: t, partitions: []}\n", "t.yaml:1:49: kafka.partitions: an empty", "all, or"),
        (
            "kafka: {brokers: ['k:1'], topic: t, dead_letter_topic: t}\n",
            "t.yaml:1:56: kafka.dead_letter_topic: \"t\"",
            "other than kafka.topic",
        ),
        (
            "kafka:\n  brokers: ['k:1']\n  topic: t\n  tls: {ca_file: /nowhere/ca.pem}\n",
            "t.yaml:4:18: kafka.tls.ca_file",
            "/nowhere/ca.pem",
        ),
        (
            "kafka:\n  brokers: ['k:1']\n  topic: t\n  sasl: {mechanism: gssapi, username: u, password_file: p}\n",
            "t.yaml:4:21: kafka.sasl.mechanism: \"gssapi\"",
            "plain, scram-sha-256, scram-sha-512",
        ),
        (
            "kafka:\n  brokers: ['k:1']\n  topic: t\n  sasl: {mechanism: plain, username: u, password_file: /no/p}\n",
            "t.yaml:4:56: kafka.sasl.password_file",
            "/no/p",
        ),
        ("kafka:\n  brokers: ['k:1']\n  topik: t\n", "t.yaml:", "topic"),
        ("alerting:\n  evaluation_interval: never\n", "t.yaml:2:", "alerting.evaluation_interval"),
        ("alerting:\n  rulez: []\n", "t.yaml:2:", "rules"),
        ("a: [\n", "t.yaml:", ""),
    ] {
        let error = Config::parse("t.yaml", text).unwrap_err().to_string();
        assert!(error.starts_with(begins) && error.contains(contains), "{text:?} gave {error:?}");
    }
}

#[test]
fn a_topic_is_read_by_a_section_of_its_own() {
    let of = |text: &str| Config::parse("/etc/t.yaml", text).unwrap().kafka.unwrap();
    assert!(Config::parse("t.yaml", "{}").unwrap().kafka.is_none());
    let least = of("kafka: {brokers: ['k1:9092', 'k2:9092'], topic: tidewatch}\n");
    assert_eq!(least.connection.brokers, ["k1:9092", "k2:9092"]);
    assert_eq!((least.topic.as_str(), &least.partitions), ("tidewatch", &Partitions::All));
    assert_eq!(least.dead_letter_topic.as_deref(), Some("tidewatch.dead-letter"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "secret\n").unwrap();
    std::fs::write(dir.path().join("ca.pem"), "").unwrap();
    let text = "
kafka:
  brokers: ['k1:9093']
  topic: t
  partitions: [3, 1]
  dead_letter_topic: none
  tls: {ca_file: ca.pem}
  sasl: {mechanism: scram-sha-256, username: reader, password_file: password}
";
    let file = dir.path().join("t.yaml").display().to_string();
    let most = Config::parse(&file, text).unwrap().kafka.unwrap();
    assert_eq!((most.partitions, most.dead_letter_topic), (Partitions::These([1, 3].into()), None));
    let properties = most.connection.properties("secret");
    let ca_file = dir.path().join("ca.pem").display().to_string();
    for (name, value) in [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "reader"),
        ("ssl.ca.location", &ca_file),
    ] {
        assert!(properties.contains(&(name, value.to_owned())), "{properties:?}");
    }
}

#[test]
fn parts_may_live_in_an_s3_compatible_store() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("s3.secret"), "the secret\n").unwrap();
    let text = "
storage:
  object_store:
    kind: s3
    bucket: tidewatch
    prefix: prod/one
    region: eu-central-1
    endpoint: http://127.0.0.1:9000
    access_key_id: key
    secret_access_key_file: s3.secret
    cache_bytes_max: 0
    timeout: 5s
    retry_for: 1m
";
    let file = dir.path().join("t.yaml").display().to_string();
    let config = Config::parse(&file, text).unwrap();
    let storage::ObjectStoreConfig::S3(s3) = &config.store.object_store else { panic!("{:?}", config.store) };
    let expected = storage::S3Config {
        bucket: "tidewatch".into(),
        prefix: "prod/one".into(),
        region: "eu-central-1".into(),
        endpoint: "http://127.0.0.1:9000".into(),
        access_key_id: "key".into(),
        secret_access_key: "the secret".into(),
        cache_bytes_max: 0,
        timeout_ms: 5_000,
        retry_ms: 60_000,
    };
    assert_eq!(*s3, expected);
    assert!(!format!("{config:?}").contains("the secret"));
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        data_dir: Some("/elsewhere".into()),
        http_listen: Some("127.0.0.1:0".parse().unwrap()),
        grpc_listen: None,
        take_over: true,
    };
    let config = Config::parse("t.yaml", "http: {listen: '127.0.0.1:9'}\n").unwrap().with(overrides);
    assert_eq!(config.http_listen.port(), 0);
    assert_eq!(config.grpc_listen.to_string(), GRPC_LISTEN_DEFAULT);
    assert_eq!(config.store.data_dir, PathBuf::from("/elsewhere"));
    assert!(config.store.take_over);
}
