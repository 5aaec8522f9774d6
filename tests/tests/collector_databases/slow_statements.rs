//! One statement in the logs of real servers: PostgreSQL's three formats with auto_explain in text and JSON, MariaDB's slow
//! log; each gives one sample with the one fingerprint, and no literal leaves. Then statements of many shapes: one id each in
//! statistics, sessions, auto_explain and log; in digests and slow log.

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

/// Statements of many shapes; `«»` becomes a number by which each is found again, as the name of a column.
const POSTGRES_SHAPES: [&str; 22] = [
    "select 1 as «», 'x', null, true, -5, 1.5e3",
    "select a as «» from one_id where a in (1, 2, 3) and note = 'x'",
    "select a as «» from one_id where (a, note) in ((1, 'x'), (2, 'y'))",
    "select a as «» from one_id where a = any(array[1, 2]) or a = any('{3}'::int[])",
    "SELECT  a AS «» FROM public.One_Id WHERE a BETWEEN -1 AND +2 -- why",
    "select \"a\" as «» from \"one_id\" where \"one_id\".\"user\" is not null",
    "select a as «» from one_id where note = $$it's$$ or note = E'it\\'s' or note = U&'d\\0061'",
    "select extract(year from now()) as «», interval '1 day', date '2026-01-01'",
    "select '{\"k\": 1}'::jsonb ? 'k' as «», '{\"k\": 1}'::jsonb -> 'k', '{}'::jsonb @> '{}'",
    "select a as «» from one_id where a is distinct from 3 and not false order by a desc limit 5 offset 2",
    "with x as (select 1 as y) select y as «» from x where y = 1 /* c */",
    "select case when a > 1 then 'x' else 'y' end as «», coalesce(a, 0) from one_id group by a having count(*) > 1",
    "select v.a as «» from (values (1, 'x'), (2, 'y')) v(a, b)",
    "select a as «» from one_id where note like 'x%' and note !~ 'y' and a % 2 = 0",
    "insert into one_id values (1, 'x', 'u'), (2, 'y', 'v') returning a as «»",
    "update one_id set note = 'z', a = a + 1 where a = -1 returning a as «»",
    "delete from one_id where a = 99 returning a as «»",
    "select count(*) filter (where a > 1) as «» from one_id tablesample system (50)",
    "select a[1] as «» from (select array[1, 2, 3] as a) x",
    "select 'a' || 'b' as «», cast('5' as int), '6'::int",
    "select a as «» from one_id for update skip locked",
    "select a as «» from one_id union all select 2 except select 3",
];

const MARIADB_SHAPES: [&str; 21] = [
    "select 1 as «», 'x', null, true, -5, 1.5e3, 0xff, x'4d', b'1'",
    "select a as «» from one_id where a in (1, 2, 3) and note = 'x'",
    "select a as «» from one_id where (a, note) in ((1, 'x'), (2, 'y'))",
    "SELECT  `a` AS «» FROM app.one_id WHERE a BETWEEN -1 AND +2 -- why",
    "select one_id.user as «», `order` from one_id where one_id.`order` is not null # why",
    "select a as «» from one_id where note = \"it's\" or note = 'it\\'s' or note = _utf8mb4'x'",
    "select now() as «», date '2026-01-01', now() - interval 1 day",
    "select a <=> null as «», not false from one_id where a is not null order by a desc limit 2, 5",
    "select a as «» from one_id where a regexp '1' and note not like 'x%' limit 3",
    "with x as (select 1 as y) select y as «» from x where y = 1 /* c */",
    "select case when a > 1 then 'x' else 'y' end as «», coalesce(a, 0) from one_id group by a having count(*) > 1",
    "select substr(note, 1, 2) as «», mid(note, 1, 2), mid from one_id",
    "select @x := 5 as «», @@max_connections",
    "select /*!50000 a, */ note as «» from one_id where a div 2 = 1 and a mod 2 = 0",
    "select schema() as «», curdate(), current_timestamp",
    "select distinct a as «» from one_id use index () where a != 3 and a <> 4",
    "select a as «» from one_id union all select 2 union select 3",
    "insert into one_id (a, note) select 1, 'x' as «» from dual where 1 = 0",
    "select a as «» from one_id where exists (select 1 from one_id i where i.a = one_id.a and i.note = 'x')",
    "select -a as «», - 1, 3 - 1, 3 - -1, ~a, !a from one_id",
    "select a as «» from one_id lock in share mode",
];

/// The name that stands for a shape.
fn marker(i: usize) -> String {
    format!("shape_{i:02}_end")
}

/// Fails with every shape whose text from some source has another id than what its client sent.
fn one_id_each(dialect: Dialect, sent: &[String], sources: &[(&str, Vec<(String, String)>)]) {
    let mut wrong = Vec::new();
    for (i, sql) in sent.iter().enumerate() {
        let want = fingerprint(dialect, sql);
        for (source, rows) in sources {
            let Some((text, id)) = rows.iter().find(|(text, _)| text.contains(&marker(i))) else {
                wrong.push(format!("{source} does not show: {sql}"));
                continue;
            };
            if **id != *want.id {
                wrong.push(format!(
                    "{source}: {text}\n   is {}\n  not {}",
                    fingerprint(dialect, text).normalized_text,
                    want.normalized_text
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Texts as a view shows them, with the id each has.
fn with_ids(dialect: Dialect, texts: Vec<String>) -> Vec<(String, String)> {
    texts.into_iter().map(|text| (text.clone(), fingerprint(dialect, &text).id.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_in_every_source_of_postgresql() {
    let server = Postgres::start(&[
        "shared_preload_libraries=pg_stat_statements,auto_explain",
        "logging_collector=on",
        "log_filename=db.log",
        "log_line_prefix=%m [%p] %q%u@%d ",
        "log_min_duration_statement=0",
        "auto_explain.log_min_duration=0",
        "auto_explain.log_nested_statements=off",
    ])
    .await
    .unwrap();
    let client = server.connect("postgres").await.unwrap();
    let watcher = server.connect("postgres").await.unwrap();
    client
        .batch_execute("create extension pg_stat_statements; create table one_id (a int, note text, \"user\" text)")
        .await
        .unwrap();
    let mut activity = Vec::new();
    let sent: Vec<String> =
        POSTGRES_SHAPES.iter().enumerate().map(|(i, shape)| shape.replace("«»", &marker(i))).collect();
    for sql in &sent {
        client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let shown =
            "select query from pg_stat_activity where pid <> pg_backend_pid() and query like '%shape!_%' escape '!'";
        activity.push(watcher.query_one(shown, &[]).await.unwrap().get::<_, String>(0));
    }
    let statistics = watcher.query("select query from pg_stat_statements", &[]).await.unwrap();
    let statistics = statistics.iter().map(|row| row.get(0)).collect();
    let path = server.data_dir().join("log").join("db*.log");
    let format = LogFormat::Stderr(Some("%m [%p] %q%u@%d ".into()));
    let mut log = Read::new(path, Engine::Postgresql, format, LogRows::Executions);
    let rows = log.rows("_end", &["text", "fingerprint", "source"], sent.len() * 2).await;
    let of =
        |source: &str| rows.iter().filter(|r| r[2] == source).map(|r| (r[0].clone(), r[1].clone())).collect::<Vec<_>>();
    let d = Dialect::Postgresql;
    let sources = [
        ("pg_stat_statements", with_ids(d, statistics)),
        ("pg_stat_activity", with_ids(d, activity)),
        ("auto_explain", of("auto_explain")),
        ("log", of("log_duration")),
    ];
    one_id_each(d, &sent, &sources);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_in_every_source_of_mariadb() {
    let server =
        MariaDb::start(&["--slow-query-log=1", "--slow-query-log-file=slow.log", "--long-query-time=0"]).await.unwrap();
    let mut client = server.connect("root").await.unwrap();
    for sql in [
        "create database app",
        "use app",
        "create table one_id (a int, note text, user text, `order` int, mid int)",
        "insert into one_id values (1, 'x', 'u', 1, 1)",
    ] {
        client.query_drop(sql).await.unwrap();
    }
    let sent: Vec<String> =
        MARIADB_SHAPES.iter().enumerate().map(|(i, shape)| shape.replace("«»", &marker(i))).collect();
    for sql in &sent {
        client.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
    let digests: Vec<String> = client
        .query("select digest_text from performance_schema.events_statements_summary_by_digest where digest_text is not null")
        .await
        .unwrap();
    let mut slow =
        Read::new(server.data_dir().join("slow.log"), Engine::Mariadb, LogFormat::SlowLog, LogRows::Executions);
    let rows = slow.rows("_end", &["text", "fingerprint"], sent.len()).await;
    let slow = rows.iter().map(|r| (r[0].clone(), r[1].clone())).collect();
    let d = Dialect::Mysql;
    let sources = [("digest", with_ids(d, digests)), ("slow log", slow)];
    one_id_each(d, &sent, &sources);
}
