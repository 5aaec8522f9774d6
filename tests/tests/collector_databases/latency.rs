//! Latency of statements as histograms: what real servers' logs and sessions tell lands in the buckets it belongs to, the
//! histograms of two servers merge by adding, and PromQL's `histogram_quantile` answers over them. MySQL's folding of its own
//! histogram is run on tables that look like MySQL's, in MariaDB, which has none.

use std::{collections::BTreeMap, path::PathBuf};

use collector::{
    Clock, Context,
    config::{LogConfig, LogFormat, LogRows, LogStart, Unmasked},
    latency::BOUNDS_S,
    outlet::Captured,
};
use proto::{Labels, Payload, Table, Value};
use query::{Querier, QueryLimits, promql::AnswerValue};
use storage::{Append, Rows, SampleRows, Store, StoreConfig};

use super::{watching::Watching, *};

const BUCKET: &str = "tidewatch_statement_latency_seconds_bucket";

/// Reads logs as the collector does, and keeps what it sends.
struct Reading {
    captured: Captured,
    sent: Vec<Payload>,
    context: Context,
    task: tokio::task::JoinHandle<()>,
}

impl Reading {
    fn start(logs: Vec<LogConfig>) -> Reading {
        let (context, captured, announced) = surroundings::captured();
        let (_, ordered) = tokio::sync::mpsc::channel(1);
        let task = tokio::spawn(collector::logs::watch(logs, announced, ordered, context.clone()));
        Reading { captured, sent: Vec::new(), context, task }
    }

    /// Durations in seconds of one statement's rows from a source, by instance.
    fn durations(&self, id: &str, source: &str) -> BTreeMap<String, Vec<f64>> {
        let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for payload in &self.sent {
            let Payload::Events(events) = payload else { continue };
            for row in (0..events.rows()).filter(|_| events.table == Table::StatementSamples) {
                let Value::Float(ms) = events.get(row, "duration_ms") else { panic!("a duration") };
                if events.get(row, "fingerprint") == id.into() && events.get(row, "source") == source.into() {
                    found.entry(events.instance(row).to_owned()).or_default().push(ms / 1000.0);
                }
            }
        }
        found
    }

    /// The newest value of each bucket of a statement from a source, by instance and bound.
    fn buckets(&self, id: &str, source: &str) -> BTreeMap<(String, String), f64> {
        let mut found = BTreeMap::new();
        for payload in &self.sent {
            let Payload::Samples(samples) = payload else { continue };
            for (series, value) in samples.series.iter().zip(&samples.values) {
                let labels = &samples.labels[*series as usize];
                let label = |name: &str| labels.get(name).unwrap_or("").to_owned();
                if (label("__name__"), label("fingerprint"), label("source"))
                    == (BUCKET.into(), id.into(), source.into())
                {
                    found.insert((label("instance"), label("le")), *value);
                }
            }
        }
        found
    }

    /// Waits until the histograms of a statement count so many executions, and compares every bucket with the rows.
    async fn until_counted(&mut self, id: &str, source: &str, executions: usize) -> BTreeMap<String, Vec<f64>> {
        let counted = until(Duration::from_secs(60), async || {
            self.sent.extend(self.captured.take());
            let all: f64 = self.buckets(id, source).iter().filter(|((_, le), _)| le == "+Inf").map(|(_, v)| v).sum();
            (all == executions as f64).then_some(())
        });
        counted.await.unwrap_or_else(|| panic!("not {executions} executions: {:?}", self.buckets(id, source)));
        let (durations, buckets) = (self.durations(id, source), self.buckets(id, source));
        for (instance, durations) in &durations {
            for bound in BOUNDS_S {
                let want = durations.iter().filter(|d| **d <= bound).count() as f64;
                assert_eq!(buckets[&(instance.clone(), bound.to_string())], want, "{instance} {bound}: {durations:?}");
            }
        }
        durations
    }

    async fn stop(self) -> Vec<Payload> {
        self.context.shutdown.cancel();
        self.task.await.unwrap();
        self.sent
    }
}

fn log(path: PathBuf, instance: &str, engine: Engine, format: LogFormat) -> LogConfig {
    let (start, unmasked) = (LogStart::Beginning, Unmasked::default());
    LogConfig { path, instance: instance.into(), engine, format, start, rows: LogRows::Executions, unmasked }
}

/// What PromQL answers over these samples.
async fn ask(payloads: &[Payload], question: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let now_ms = Clock::system().now_ms();
    let store = Store::open(StoreConfig::at(folder.path().join("data")), now_ms).await.unwrap();
    for payload in payloads {
        let Payload::Samples(samples) = payload else { continue };
        let labels: Vec<&[u8]> = samples.labels.iter().map(Labels::as_bytes).collect();
        let rows = SampleRows {
            labels: &labels,
            series: &samples.series,
            timestamps_ms: &samples.timestamps_ms,
            values: &samples.values,
            histograms: &[],
            families: &[],
        };
        let append = Append { tenant: "0", origin: None, rows: Rows::Samples(rows), now_ms };
        store.append(append).unwrap().await.unwrap();
    }
    let querier = Querier::new(store, QueryLimits::default());
    match querier.instant("0", question, now_ms).await.unwrap().value {
        AnswerValue::Vector(samples) if samples.len() == 1 => match samples[0].value {
            query::promql::Point::Float(value) => value,
            _ => panic!("a number"),
        },
        other => panic!("{question}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn durations_in_two_postgresql_logs_are_one_histogram() {
    let options = [
        "logging_collector=on",
        "log_filename=db.log",
        "log_line_prefix=%m [%p] %q%u@%d ",
        "log_min_duration_statement=0",
        "shared_preload_libraries=auto_explain",
        "auto_explain.log_min_duration=0",
    ];
    let mut servers = Vec::new();
    for sleeps in [&[2, 2, 2, 2, 30, 30, 30, 300][..], &[30, 30, 120, 120, 700]] {
        let server = Postgres::start(&options).await.unwrap();
        let client = server.connect("postgres").await.unwrap();
        for ms in sleeps {
            client.batch_execute(&format!("select pg_sleep ({})", f64::from(*ms) / 1000.0)).await.unwrap();
        }
        client.batch_execute("select 'the end'").await.unwrap();
        servers.push(server);
    }
    let format = LogFormat::Stderr(Some("%m [%p] %q%u@%d ".into()));
    let logs = servers.iter().zip(["a", "b"]).map(|(server, name)| {
        log(server.data_dir().join("log").join("db*.log"), name, Engine::Postgresql, format.clone())
    });
    let mut reading = Reading::start(logs.collect());
    let id = fingerprint(Dialect::Postgresql, "select pg_sleep (1)").id;
    let planned = reading.until_counted(&id, "auto_explain", 13).await;
    let durations = reading.until_counted(&id, "log_duration", 13).await;
    assert_ne!(planned, durations, "auto_explain measures the execution alone");
    assert_eq!((durations["a"].len(), durations["b"].len()), (8, 5));
    let mut all: Vec<f64> = durations.into_values().flatten().collect();
    all.sort_by(f64::total_cmp);
    let sent = reading.stop().await;
    for (quantile, exact) in [(0.25, all[3]), (0.5, all[6]), (0.9, all[11]), (1.0, all[12])] {
        let question = format!(
            "histogram_quantile({quantile}, sum by (le) (increase({BUCKET}{{source=\"log_duration\", fingerprint=\"{id}\"}}[5m])))"
        );
        let answer = ask(&sent, &question).await;
        println!("quantile {quantile}: {answer:.4} s of the histogram, {exact:.4} s exactly");
        assert!(answer >= exact / 2.0 && answer <= exact * 2.0, "{quantile}: {answer} for {exact} of {all:?}");
    }
    let count = ask(
        &sent,
        &format!("sum(tidewatch_statement_latency_seconds_count{{source=\"log_duration\", fingerprint=\"{id}\"}})"),
    )
    .await;
    assert_eq!(count, 13.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_has_no_histogram_and_its_slow_log_gives_one() {
    let server =
        MariaDb::start(&["--slow-query-log=1", "--slow-query-log-file=slow.log", "--long-query-time=0"]).await.unwrap();
    let mut client = server.connect("root").await.unwrap();
    let table: Option<u32> = client
        .query_first(
            "select count(*) from information_schema.tables where table_name = 'events_statements_histogram_by_digest'",
        )
        .await
        .unwrap();
    assert_eq!(table, Some(0));
    for ms in [1, 1, 20, 20, 20, 150] {
        client.query_drop(format!("select sleep ({})", f64::from(ms) / 1000.0)).await.unwrap();
    }
    client.query_drop("select 'the end'").await.unwrap();
    let path = server.data_dir().join("slow.log");
    let mut reading = Reading::start(vec![log(path, "m", Engine::Mariadb, LogFormat::SlowLog)]);
    reading.until_counted(&fingerprint(Dialect::Mysql, "select sleep (1)").id, "slow_log", 6).await;
    reading.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_statement_without_a_log_is_seen_to_end() {
    let server = Postgres::start(&[]).await.unwrap();
    let client = server.connect("postgres").await.unwrap();
    let mut watch = Watching::start(server.config(), "db");
    watch.until_value("pg_up", |v| v == 1.0).await;
    client.batch_execute("select pg_sleep (5.2)").await.unwrap();
    let id = fingerprint(Dialect::Postgresql, "select pg_sleep (1)").id;
    seen_to_end(watch, &id).await;
    let server = MariaDb::start(&[]).await.unwrap();
    let mut client = server.connect("root").await.unwrap();
    let mut watch = Watching::start(server.config(), "db");
    watch.until_value("mysql_up", |v| v == 1.0).await;
    client.query_drop("select sleep (5.2)").await.unwrap();
    let id = fingerprint(Dialect::Mysql, "select sleep (1)").id;
    seen_to_end(watch, &id).await;
}

/// One execution of a bit more than five seconds is counted, out of the sessions alone.
async fn seen_to_end(mut watch: Watching, id: &str) {
    let of = format!("fingerprint=\"{id}\"");
    let found = until(Duration::from_secs(60), async || {
        let count = watch.newest(&["_latency_seconds_count", "source=\"activity\"", &of]);
        count.first().map(|(_, count)| *count)
    });
    assert_eq!(found.await, Some(1.0));
    let (_, seconds) = watch.newest(&["_latency_seconds_sum", "source=\"activity\"", &of])[0];
    assert!((3.9..6.5).contains(&seconds), "{seconds}");
    watch.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysqls_buckets_fold_into_ours() {
    let server = MariaDb::start(&[]).await.unwrap();
    let mut client = server.connect("root").await.unwrap();
    for sql in [
        "create database lookalike",
        "create table lookalike.events_statements_summary_by_digest (SCHEMA_NAME varchar(64), DIGEST varchar(64), DIGEST_TEXT longtext,
           COUNT_STAR bigint unsigned, SUM_TIMER_WAIT bigint unsigned)",
        "create table lookalike.events_statements_histogram_by_digest (SCHEMA_NAME varchar(64), DIGEST varchar(64), BUCKET_NUMBER int unsigned,
           BUCKET_TIMER_LOW bigint unsigned, BUCKET_TIMER_HIGH bigint unsigned, COUNT_BUCKET bigint unsigned)",
        "insert into lookalike.events_statements_summary_by_digest values
           ('shop', 'd1', 'SELECT `a` FROM `t` WHERE `b` = ?', 7, 5000000000000), (null, 'd2', 'SELECT SLEEP (?)', 2, 9), (null, null, null, 5, 1)",
        // From just below 1 ms, over 1.024 s, without end; an empty one.
        "insert into lookalike.events_statements_histogram_by_digest values ('shop', 'd1', 1, 950000000, 990000000, 4),
           ('shop', 'd1', 2, 1000000000000, 1047000000000, 2), ('shop', 'd1', 449, 500000000000000, 18446744073709551615, 1),
           ('shop', 'd1', 3, 1047000000000, 1096000000000, 0), (null, 'd2', 1, 1, 100000000, 2)",
    ] {
        client.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    let mut connection = Connection::open(&server.config(), None, &OwnStatements::default()).await.unwrap();
    let mut found = BTreeMap::new();
    for name in ["statement_latency", "statement_latency_sum"] {
        let template = Template::shipped(Engine::Mysql);
        let group = template.groups.iter().find(|g| g.name == name).unwrap();
        let reading = connection.read(&group.sql.replace("performance_schema.", "lookalike.")).await.unwrap();
        let mut out = SamplesBuilder::default();
        take(group, &reading, &Base::new("i", "mysql"), 7, &mut out, &mut HashSet::new());
        let samples = out.build();
        for (series, value) in samples.series.iter().zip(&samples.values) {
            let labels = &samples.labels[*series as usize];
            let label = |name: &str| labels.get(name).unwrap_or("").to_owned();
            let metric = label("__name__").replace("tidewatch_statement_latency_seconds", "");
            assert_eq!(label("source"), "digest");
            assert!(found.insert((metric, label("schema"), label("fingerprint"), label("le")), *value).is_none());
        }
    }
    let id = |sql| fingerprint(Dialect::Mysql, sql).id.to_string();
    let value = |metric: &str, schema: &str, id: &str, le: &str| {
        found[&(metric.to_owned(), schema.to_owned(), id.to_owned(), le.to_owned())]
    };
    let (first, second) = (id("select a from t where b = 5"), id("select sleep (1)"));
    for (le, want) in [("0.0005", 0.0), ("0.001", 4.0), ("1.024", 4.0), ("2.048", 6.0), ("131.072", 6.0), ("+Inf", 7.0)]
    {
        assert_eq!(value("_bucket", "shop", &first, le), want, "{le}");
    }
    assert_eq!((value("_count", "shop", &first, ""), value("_sum", "shop", &first, "")), (7.0, 5.0));
    assert_eq!((value("_bucket", "", &second, "0.000125"), value("_count", "", &second, "")), (2.0, 2.0));
    let bounds: HashSet<&String> = found.keys().filter(|k| k.0 == "_bucket").map(|k| &k.3).collect();
    let ours: Vec<String> = BOUNDS_S.iter().map(f64::to_string).chain(["+Inf".to_owned()]).collect();
    assert_eq!(bounds, ours.iter().collect(), "one layout for all sources");
}
