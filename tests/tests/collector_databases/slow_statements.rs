//! One statement in the logs of real servers: PostgreSQL's three formats with auto_explain in text and JSON, MariaDB's slow
//! log; each gives one sample with the one fingerprint, and no literal leaves.

use std::path::PathBuf;

use collector::{
    config::{LogConfig, LogFormat, LogRows, LogStart, Unmasked},
    logs::tailer::Tailer,
};
use proto::{Events, Value};

use super::*;

const SECRET: &str = "hush-7718";

/// What a tailer makes of the files of a pattern.
struct Read {
    tailer: Tailer,
    events: Vec<Events>,
}

impl Read {
    fn new(path: PathBuf, engine: Engine, format: LogFormat, rows: LogRows) -> Read {
        let config = LogConfig {
            path,
            instance: "db".into(),
            engine,
            format,
            start: LogStart::Beginning,
            rows,
            unmasked: Unmasked::default(),
        };
        Read { tailer: Tailer::new(config, &[]), events: Vec::new() }
    }

    /// Cells of the rows whose `text` or `body` holds a word, once there are `least`.
    async fn rows(&mut self, word: &str, columns: &[&str], least: usize) -> Vec<Vec<String>> {
        let found = until(LIMIT, async || {
            let events = &mut self.events;
            self.tailer
                .poll(1, &mut |rows, _| {
                    events.push(rows);
                    Ok(())
                })
                .unwrap();
            let mut found = Vec::new();
            for events in &self.events {
                for row in 0..events.rows() {
                    let cell = |name: &str| match events.get(row, name) {
                        Value::Text(text) => text.to_string(),
                        Value::Float(value) => value.to_string(),
                        other => format!("{other:?}"),
                    };
                    let text = if events.table == proto::Table::Logs { cell("body") } else { cell("text") };
                    assert!(!text.contains(SECRET), "{text}");
                    if text.contains(word) {
                        found.push(columns.iter().map(|c| cell(c)).collect());
                    }
                }
            }
            (found.len() >= least).then_some(found)
        });
        found.await.unwrap_or_else(|| panic!("less than {least} rows with {word}"))
    }
}

fn statement(i: u32) -> String {
    format!(
        "select slow_marker.id\nfrom slow_marker where id = {i} and note <> '{SECRET}' /* traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' */"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_logs_give_samples_in_every_format() {
    for (destination, ending, format, plan_format) in [
        ("stderr", ".log", LogFormat::Stderr(Some("%m [%p] %q%u@%d ".into())), "text"),
        ("csvlog", ".csv", LogFormat::Csvlog, "json"),
        ("jsonlog", ".json", LogFormat::Jsonlog, "json"),
    ] {
        let (destination_option, plan_option) =
            (format!("log_destination={destination}"), format!("auto_explain.log_format={plan_format}"));
        let server = Postgres::start(&[
            "shared_preload_libraries=pg_stat_statements,auto_explain",
            "logging_collector=on",
            "log_filename=db.log",
            "log_line_prefix=%m [%p] %q%u@%d ",
            "log_min_duration_statement=0",
            "auto_explain.log_min_duration=0",
            &destination_option,
            &plan_option,
        ])
        .await
        .unwrap();
        let client = server.connect("postgres").await.unwrap();
        client
            .batch_execute("create extension pg_stat_statements; create table slow_marker (id int, note text)")
            .await
            .unwrap();
        client.batch_execute(&statement(1)).await.unwrap();
        client.query(&statement(2), &[]).await.unwrap();
        let native: String = client
            .query_one("select query from pg_stat_statements where query like 'select slow_marker%'", &[])
            .await
            .unwrap()
            .get(0);
        let id = fingerprint(Dialect::Postgresql, &native).id.to_string();
        let path = server.data_dir().join("log").join(format!("db*{ending}"));
        let mut samples = Read::new(path.clone(), Engine::Postgresql, format.clone(), LogRows::Executions);
        let columns = ["fingerprint", "source", "database", "user", "trace_parent"];
        let mut rows = samples.rows("from slow_marker", &columns, 4).await;
        rows.sort();
        // Of parse, bind and execute only the last is an execution.
        assert_eq!(rows.len(), 4, "{destination}: {rows:?}");
        let sources: HashSet<&str> = rows.iter().map(|r| r[1].as_str()).collect();
        assert_eq!(sources, HashSet::from(["auto_explain", "log_duration"]), "{destination}: {rows:?}");
        for row in &rows {
            assert_eq!((&*row[0], &*row[2], &*row[3]), (&*id, "postgres", "postgres"), "{destination}: {row:?}");
            assert!(row[4].starts_with("00-0af7651916cd43dd"), "{row:?}");
        }
        let mut records = Read::new(path, Engine::Postgresql, format, LogRows::Records);
        let rows = records.rows("slow_marker", &["fingerprint", "body"], 4).await;
        let of_statement = rows.iter().filter(|r| r[0] == id).count();
        assert!(of_statement >= 4, "{destination}: {rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_slow_log_gives_samples() {
    let server = MariaDb::start(&[
        "--slow-query-log=1",
        "--slow-query-log-file=slow.log",
        "--long-query-time=0",
        "--log-slow-verbosity=query_plan,innodb,explain",
    ])
    .await
    .unwrap();
    let mut client = server.connect("root").await.unwrap();
    for sql in ["create database app", "use app", "create table slow_marker (id int, note text)"] {
        client.query_drop(sql).await.unwrap();
    }
    client.query_drop(statement(1)).await.unwrap();
    client.query_drop(statement(2)).await.unwrap();
    client.ping().await.unwrap();
    let native: String = client
        .query_first("select digest_text from performance_schema.events_statements_summary_by_digest where digest_text like '%slow_marker%' and digest_text like 'SELECT%'")
        .await
        .unwrap()
        .unwrap();
    let id = fingerprint(Dialect::Mysql, &native).id.to_string();
    let path = server.data_dir().join("slow.log");
    let mut samples = Read::new(path, Engine::Mariadb, LogFormat::SlowLog, LogRows::Executions);
    let columns = ["fingerprint", "source", "database", "user", "client", "duration_ms"];
    let rows = samples.rows("from slow_marker", &columns, 2).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in &rows {
        assert_eq!(row[..5], [&*id, "slow_log", "app", "root", "localhost"], "{row:?}");
        assert!(row[5].parse::<f64>().unwrap() > 0.0);
    }
    // The server says itself where its slow log is.
    let config = server.config();
    let mut connection = Connection::open(&config, None, &OwnStatements::default()).await.unwrap();
    let logs = collector::databases::log_sources::read(&mut connection, &config, "db", Engine::Mariadb).await;
    assert!(logs.iter().any(|l| l.format == LogFormat::SlowLog && l.path.ends_with("slow.log")), "{logs:?}");
}
