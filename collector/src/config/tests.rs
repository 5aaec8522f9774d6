//! What is refused, with its line, field and what is allowed; what is taken, with its defaults.
#![allow(clippy::unwrap_used)]

use super::*;

const MINIMAL: &str = "server: {address: \"http://127.0.0.1:7401\"}\ndata_dir: /var/lib/c\n";

fn refused(extra: &str) -> String {
    Config::parse("c.yaml", &format!("{MINIMAL}{extra}")).unwrap_err().to_string()
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = Config::parse("c.yaml", MINIMAL).unwrap();
    assert_eq!(&*config.tenant, "0");
    assert_eq!(config.spool_bytes_max, SPOOL_BYTES_DEFAULT);
    assert_eq!(config.host.unwrap().interval, Duration::from_secs(10));
    assert!(config.databases.is_empty() && config.logs.is_empty());
    assert!(matches!(config.destination, Destination::Grpc(ServerConfig { tls: None, .. })));
}

#[test]
fn errors_name_line_field_and_what_is_allowed() {
    let database =
        |more: &str| refused(&format!("databases:\n  - engine: postgresql\n    address: localhost:5432\n    {more}\n"));
    for (got, want) in [
        (refused("tenant: ../x\n"), "c.yaml:3:9: tenant: \"../x\" is not allowed; allowed: 1 to 64 letters"),
        (refused("host: {interval: 10}\n"), "c.yaml:3:18: host.interval: \"10\" is not allowed; allowed: 1s to 24h"),
        (refused("host: {interval: 100ms}\n"), "c.yaml:3:18: host.interval: \"100ms\" is not allowed"),
        (refused("spool: {bytes_max: 1MiB}\n"), "c.yaml:3:20: spool.bytes_max: \"1MiB\" is not allowed; allowed: at"),
        (refused("labels: {instance: x}\n"), "c.yaml:3:20: labels: name \"instance\" is not allowed"),
        (
            refused("databases:\n  - engine: oracle\n    address: a:1\n"),
            "c.yaml:4:13: databases[0].engine: \"oracle\" is not allowed; allowed: postgresql, mysql, mariadb",
        ),
        (
            refused("databases:\n  - engine: mysql\n    address: localhost\n"),
            "c.yaml:5:14: databases[0].address: \"localhost\" is not allowed; allowed: host:port or /path",
        ),
        (database("tls: maybe"), "c.yaml:6:10: databases[0].tls: \"maybe\" is not allowed; allowed: disable, prefer"),
        (
            refused("logs:\n  - {path: /x, unit: postgresql.service, instance: a, engine: mysql}\n"),
            "c.yaml:4:52: logs[0].path: exactly one of path, unit, identifier must be given",
        ),
        (
            database("unmasked: [literals, passwords]"),
            "c.yaml:6:26: databases[0].unmasked[1]: \"passwords\" is not allowed; allowed: literals, parameters, row_values",
        ),
        (database("logs: {mode: files}"), "c.yaml:6:18: databases[0].logs.mode: \"files\" is not allowed"),
        (
            database("time_budget: 5"),
            "c.yaml:6:18: databases[0].time_budget: \"5\" is not allowed; allowed: 0.1% to 100%",
        ),
        (
            database("template: tidb"),
            "c.yaml:6:15: databases[0].template: \"tidb\" is not allowed; allowed: kingbasees, opengauss, pgbouncer",
        ),
        (refused("templates: [/none/of/it]\n"), "c.yaml:3:13: templates[0]: \"/none/of/it\": "),
        (database("password: a\n    password_env: B"), "c.yaml:7:19: databases[0].password: at most one of"),
        (
            database("name: x\n  - engine: mysql\n    address: h:1\n    name: x"),
            "c.yaml:9:11: databases[1].name: \"x\" is not allowed; allowed: a name no other",
        ),
        (
            refused("logs:\n  - {path: /x, instance: a, engine: mysql, format: csvlog}\n"),
            "c.yaml:4:52: logs[0].format: \"csvlog\" is not allowed; allowed: auto, error_log",
        ),
    ] {
        assert!(got.starts_with(want), "\n got: {got}\nwant: {want}");
    }
}

#[test]
fn unknown_fields_are_errors_with_the_line_and_the_known_ones() {
    for (extra, line, field, known) in [
        ("hots: {}\n", "c.yaml:3:", "hots", "databases"),
        ("host: {intervall: 10s}\n", "c.yaml:3:", "intervall", "interval"),
        ("databases:\n  - engine: mysql\n    address: a:1\n    pasword: x\n", "c.yaml:6:", "pasword", "password_file"),
    ] {
        let got = refused(extra);
        assert!(got.starts_with(line) && got.contains(field) && got.contains(known), "{got}");
    }
    let missing = Config::parse("c.yaml", "data_dir: /x\n").unwrap_err().to_string();
    assert!(missing.contains("server"), "{missing}");
}

#[test]
fn server_addresses_are_urls_with_a_port() {
    let parse = |server: &str| Config::parse("c.yaml", &format!("server: {server}\ndata_dir: /x\n"));
    let tls = parse("{address: \"https://h:1\"}").unwrap().destination;
    assert!(matches!(tls, Destination::Grpc(ServerConfig { tls: Some(_), .. })));
    for bad in ["127.0.0.1:7401", "http://h", "ftp://h:1", "http://h:1/x"] {
        let got = parse(&format!("{{address: {bad:?}}}")).unwrap_err();
        assert!(got.message.contains("server.address") && got.line == 1, "{bad}: {got}");
    }
    let half = parse("{address: \"https://h:1\", tls: {cert_file: /c}}").unwrap_err();
    assert!(half.message.contains("both or not at all"), "{half}");
    let plain = parse("{address: \"http://h:1\", tls: {ca_file: /c}}").unwrap_err();
    assert!(plain.message.contains("because server.tls is set"), "{plain}");
}

#[test]
fn one_line_chooses_kafka() {
    let parse = |kafka: &str| Config::parse("c.yaml", &format!("kafka: {kafka}\ndata_dir: /x\n"));
    let of = |kafka: &str| match parse(kafka).unwrap().destination {
        Destination::Kafka(kafka) => kafka,
        Destination::Grpc(_) => panic!("kafka was chosen"),
    };
    let least = of("{brokers: [\"k1:9092\", \"k2:9092\"], topic: tidewatch}");
    assert_eq!(
        (least.topic.as_str(), &least.connection.brokers[..]),
        ("tidewatch", &["k1:9092", "k2:9092"].map(String::from)[..])
    );
    assert_eq!((least.value_bytes_max, least.compression), (1_000_000, Compression::None));
    assert!(least.connection.tls.is_none() && least.connection.sasl.is_none());
    let most = of("{brokers: [\"k:1\"], topic: t, value_bytes_max: 4MiB, compression: zstd, tls: {ca_file: /ca}, \
                   sasl: {mechanism: scram-sha-512, username: u, password_file: /p}}");
    assert_eq!((most.value_bytes_max, most.compression), (4 << 20, Compression::Zstd));
    let properties = most.connection.properties("secret");
    let wanted = [("security.protocol", "sasl_ssl"), ("sasl.mechanism", "SCRAM-SHA-512"), ("ssl.ca.location", "/ca")];
    assert!(wanted.iter().all(|(k, v)| properties.contains(&(*k, (*v).to_owned()))), "{properties:?}");
    for (bad, want) in [
        ("{brokers: [k1], topic: t}", "c.yaml:1:19: kafka.brokers[0]: \"k1\" is not allowed; allowed: host:port"),
        ("{brokers: [], topic: t}", "c.yaml:1:29: kafka.brokers: at least one"),
        ("{brokers: [\"k:1\"], topic: a/b}", "c.yaml:1:34: kafka.topic: \"a/b\" is not allowed"),
        ("{brokers: [\"k:1\"], topic: t, value_bytes_max: 9MiB}", "c.yaml:1:54: kafka.value_bytes_max: \"9MiB\""),
        (
            "{brokers: [\"k:1\"], topic: t, compression: lz4}",
            "c.yaml:1:50: kafka.compression: \"lz4\" is not allowed; allowed: none, zstd",
        ),
        ("{brokers: [\"k:1\"], topic: t, tls: {key_file: k}}", "c.yaml:1:53: kafka.tls: cert_file and key_file"),
        (
            "{brokers: [\"k:1\"], topic: t, sasl: {mechanism: gssapi, username: u, password_file: p}}",
            "c.yaml:1:55: kafka.sasl.mechanism: \"gssapi\" is not allowed; allowed: plain, scram-sha-256, scram-sha-512",
        ),
    ] {
        let got = parse(bad).unwrap_err().to_string();
        assert!(got.starts_with(want), "\n got: {got}\nwant: {want}");
    }
    let unknown = parse("{brokers: [\"k:1\"], topik: t}").unwrap_err().to_string();
    assert!(unknown.contains("topik") && unknown.contains("topic"), "{unknown}");
    let both = refused("kafka: {brokers: [\"k:1\"], topic: t}\n");
    assert!(both.starts_with("c.yaml:3:") && both.contains("exactly one of server and kafka"), "{both}");
}

#[test]
fn addresses_of_databases() {
    for (engine, text, want) in [
        ("postgresql", "db.example:6432", Address::Tcp { host: "db.example".into(), port: 6432 }),
        ("mysql", "[::1]:3306", Address::Tcp { host: "::1".into(), port: 3306 }),
        ("postgresql", "/run/postgresql", Address::Socket { path: "/run/postgresql".into(), port: 5432 }),
        ("postgresql", "/run/postgresql:5433", Address::Socket { path: "/run/postgresql".into(), port: 5433 }),
        ("postgresql", "/tmp/.s.PGSQL.5434", Address::Socket { path: "/tmp".into(), port: 5434 }),
        ("mariadb", "/run/mysqld/mysqld.sock", Address::Socket { path: "/run/mysqld/mysqld.sock".into(), port: 0 }),
    ] {
        let text = format!("{MINIMAL}databases:\n  - {{engine: {engine}, address: \"{text}\"}}\n");
        assert_eq!(Config::parse("c", &text).unwrap().databases[0].address, want);
    }
}

#[test]
fn names_match_with_stars() {
    for (pattern, name, want) in [
        ("app", "app", true),
        ("app", "apps", false),
        ("app*", "apps", true),
        ("*", "", true),
        ("a*b*c", "a__b__c", true),
        ("a*b*c", "a__c__b", false),
        ("*.log", "x.log", true),
        ("*.log", "x.log.1", false),
    ] {
        assert_eq!(name_matches(pattern, name), want, "{pattern} {name}");
    }
    let filter = NameFilter { include: vec!["app*".into()], exclude: vec!["*_test".into()] };
    assert!(filter.allows("app1") && !filter.allows("app_test") && !filter.allows("other"));
}

#[test]
fn a_password_never_shows_in_debug_output() {
    let text = format!("{MINIMAL}databases:\n  - {{engine: mysql, address: \"h:1\", password: hunter2}}\n");
    let config = Config::parse("c", &text).unwrap();
    assert_eq!(config.databases[0].password.read().unwrap().as_deref(), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_example_is_valid() {
    let config = Config::parse("example", include_str!("../../collector.example.yaml")).unwrap();
    assert_eq!((config.databases.len(), config.logs.len(), config.scrapes.len()), (2, 2, 3));
    assert_eq!(config.scrapes[2].speech, Speech::Patroni);
    assert_eq!(config.databases[0].intervals, Intervals::default());
}

#[test]
fn an_engine_may_be_the_name_of_a_template() {
    let of =
        |line: &str| Config::parse("c", &format!("{MINIMAL}databases:\n  - {{{line}}}\n")).unwrap().databases.remove(0);
    let plain = of("engine: postgresql, address: \"h:1\", time_budget: 2.5%");
    assert!(plain.template.is_none() && plain.time_budget == 0.025);
    assert_eq!(of("engine: postgresql, address: \"h:1\"").time_budget, TIME_BUDGET_DEFAULT);
    for (line, engine, template) in [
        ("engine: pgbouncer, address: \"h:6432\"", Engine::Postgresql, "pgbouncer"),
        ("engine: tidb, address: \"h:4000\"", Engine::Mysql, "tidb"),
        ("engine: mysql, template: mariadb, address: \"h:1\"", Engine::Mysql, "mariadb"),
    ] {
        let database = of(line);
        assert_eq!((database.engine, &*database.template.unwrap().name), (engine, template));
    }
}
