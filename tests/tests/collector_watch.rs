//! Whole instances watched: plans that change, troubles said once, and that nobody is held up by it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use collector::{
    Context,
    config::{DatabaseConfig, Intervals, LogStart, Password},
    databases::{
        connection::{Connection, OwnStatements},
        fingerprint,
        sql_tokens::Dialect,
    },
};
use mysql_async::prelude::Queryable;
use proto::Table;
use tests::{MariaDb, Postgres, surroundings, wait::until};

const LIMIT: Duration = Duration::from_secs(20);

/// A watch with everything it sent.
struct Watched {
    captured: collector::outlet::Captured,
    payloads: Vec<proto::Payload>,
    context: Context,
    log_files: tokio::sync::mpsc::Receiver<collector::config::LogConfig>,
    task: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn start(config: DatabaseConfig) -> Watched {
        let (context, captured, log_files) = surroundings::captured();
        let task = tokio::spawn(collector::databases::watch(config, context.clone()));
        Watched { captured, payloads: Vec::new(), context, log_files, task }
    }

    /// Waits until `look` finds something in all that was sent so far.
    async fn until<T>(&mut self, what: &str, look: impl Fn(&[proto::Payload]) -> Option<T>) -> T {
        let found = until(LIMIT, async || {
            self.payloads.extend(self.captured.take());
            look(&self.payloads)
        });
        match found.await {
            Some(found) => found,
            None => {
                let logs: Vec<String> = rows(&self.payloads, Table::Logs).map(|(e, r)| text(e, r, "body")).collect();
                panic!("never came: {what}; logs: {logs:?}");
            }
        }
    }

    /// Waits for a log row of the collector.
    async fn said(&mut self, class: &str, level: &str) -> String {
        self.until(&format!("{class} {level}"), |payloads| {
            let mut found = rows(payloads, Table::Logs);
            found
                .find(|(e, r)| text(e, *r, "class") == class && text(e, *r, "level") == level)
                .map(|(e, r)| text(e, r, "body"))
        })
        .await
    }

    fn times_said(&self, class: &str, level: &str) -> usize {
        rows(&self.payloads, Table::Logs)
            .filter(|(e, r)| text(e, *r, "class") == class && text(e, *r, "level") == level)
            .count()
    }

    /// Waits until the newest `up` is this.
    async fn up(&mut self, want: f64) {
        self.until(&format!("up {want}"), |payloads| (last(payloads, "up") == Some(want)).then_some(())).await;
    }

    async fn stop(self) {
        self.context.shutdown.cancel();
        self.task.await.unwrap();
    }
}

fn rows(payloads: &[proto::Payload], table: Table) -> impl Iterator<Item = (&proto::Events, usize)> {
    payloads
        .iter()
        .filter_map(move |p| match p {
            proto::Payload::Events(events) if events.table == table => Some(events),
            _ => None,
        })
        .flat_map(|events| (0..events.rows()).map(move |r| (events, r)))
}

fn text(events: &proto::Events, row: usize, column: &str) -> String {
    match events.get(row, column) {
        proto::Value::Text(text) => text.to_string(),
        proto::Value::Null => String::new(),
        proto::Value::Int(v) => v.to_string(),
        other => format!("{other:?}"),
    }
}

/// The newest value of a metric, of whichever labels.
fn last(payloads: &[proto::Payload], metric: &str) -> Option<f64> {
    payloads.iter().rev().find_map(|p| match p {
        proto::Payload::Samples(s) => {
            (0..s.len()).rev().find(|i| s.labels[s.series[*i] as usize].metric_name() == metric).map(|i| s.values[i])
        }
        _ => None,
    })
}

fn quick(mut config: DatabaseConfig) -> DatabaseConfig {
    let second = Duration::from_secs(1);
    config.intervals = Intervals { metrics: second, activity: second, statements: second, objects: second };
    config.instance = Some("db1".into());
    config.time_budget = 1.0;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_plan_changes_when_an_index_is_dropped() {
    let server = Postgres::start(&["shared_preload_libraries=pg_stat_statements"]).await.unwrap();
    let admin = server.connect("postgres").await.unwrap();
    admin.batch_execute("create extension pg_stat_statements").await.unwrap();
    admin.batch_execute("create database shop").await.unwrap();
    let shop = server.connect("shop").await.unwrap();
    shop.batch_execute("create table orders (id int primary key, customer int, note text); create index orders_customer on orders (customer); \
        insert into orders select i, i % 5000, 'n' || i from generate_series(1, 50000) i; analyze orders").await.unwrap();
    let mut watched = Watched::start(quick(server.config()));
    watched.up(1.0).await;
    let sql = |i: i32| format!("select count(*), max(note) from orders where customer = {i}");
    let id = fingerprint(Dialect::Postgresql, &sql(1)).id;
    let load = async |look: &dyn Fn(&[proto::Payload]) -> bool, watched: &mut Watched, what: &str| {
        for i in 0.. {
            shop.batch_execute(&sql(i % 5000)).await.unwrap();
            watched.payloads.extend(watched.captured.take());
            if look(&watched.payloads) {
                return;
            }
            assert!(i < 200_000, "never came: {what}");
        }
    };
    let summaries = |p: &[proto::Payload]| -> Vec<(String, String)> {
        rows(p, Table::Plans)
            .filter(|(e, r)| text(e, *r, "fingerprint") == *id)
            .map(|(e, r)| (text(e, r, "summary"), text(e, r, "previous_plan_fingerprint")))
            .collect()
    };
    load(&|p| !summaries(p).is_empty(), &mut watched, "the first plan").await;
    shop.batch_execute("drop index orders_customer").await.unwrap();
    load(&|p| summaries(p).len() > 1, &mut watched, "the changed plan").await;
    let plans = summaries(&watched.payloads);
    println!("{plans:#?}");
    assert!(plans[0].0.contains("orders_customer") && plans[0].1.is_empty(), "{plans:?}");
    assert!(plans[1].0.contains("Seq Scan orders") && !plans[1].1.is_empty(), "{plans:?}");
    let removed = rows(&watched.payloads, Table::Objects)
        .find(|(e, r)| text(e, *r, "name") == "orders_customer" && text(e, *r, "change") == "removed");
    let (events, row) = removed.expect("the dropped index is a change");
    assert_eq!(
        (text(events, row, "kind"), text(events, row, "parent"), text(events, row, "database")),
        ("index".into(), "orders".into(), "shop".into())
    );
    let databases: i64 = admin
        .query_one("select count(*) from pg_stat_activity where application_name = 'tidewatch-collector'", &[])
        .await
        .unwrap()
        .get(0);
    assert!(databases <= 2, "{databases} connections");
    // Sitting in nobody's way: the database can be dropped at once.
    drop(shop);
    until(LIMIT, async || admin.batch_execute("drop database shop").await.ok())
        .await
        .expect("the database can be dropped");
    assert!(watched.said("database_dropped", "notice").await.contains("shop"));
    watched.up(1.0).await;
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_plan_changes_when_an_index_is_dropped() {
    let server = MariaDb::start(&[]).await.unwrap();
    let mut admin = server.connect("root").await.unwrap();
    admin.query_drop("create database shop").await.unwrap();
    admin.query_drop("create table shop.orders (id int primary key, customer int, note varchar(20), key orders_customer (customer))").await.unwrap();
    admin
        .query_drop("insert into shop.orders select seq, seq % 5000, concat('n', seq) from shop.seq_1_to_50000")
        .await
        .unwrap();
    admin.query_drop("analyze table shop.orders").await.unwrap();
    admin
        .query_drop(
            "update performance_schema.setup_consumers set enabled = 'YES' where name like 'events_statements%'",
        )
        .await
        .unwrap();
    let mut watched = Watched::start(quick(server.config()));
    watched.up(1.0).await;
    let sql = |i: i32| format!("select count(*), max(note) from shop.orders where customer = {i}");
    let id = fingerprint(Dialect::Mysql, &sql(1)).id;
    let summaries = |p: &[proto::Payload]| -> Vec<String> {
        rows(p, Table::Plans)
            .filter(|(e, r)| text(e, *r, "fingerprint") == *id)
            .map(|(e, r)| text(e, r, "summary"))
            .collect()
    };
    let mut client = server.connect("root").await.unwrap();
    let mut dropped = false;
    for i in 0.. {
        client.query_drop(sql(i % 5000)).await.unwrap();
        watched.payloads.extend(watched.captured.take());
        let plans = summaries(&watched.payloads);
        if plans.len() == 1 && !dropped {
            admin.query_drop("drop index orders_customer on shop.orders").await.unwrap();
            dropped = true;
        }
        if plans.len() > 1 {
            break;
        }
        assert!(i < 200_000, "the plan never changed: {plans:?}");
    }
    let plans = summaries(&watched.payloads);
    println!("{plans:#?}");
    assert!(plans[0].contains("Index Lookup orders using orders_customer"), "{plans:?}");
    assert!(plans[1].contains("Full Scan orders"), "{plans:?}");
    assert!(
        rows(&watched.payloads, Table::Objects)
            .any(|(e, r)| text(e, r, "name") == "orders_customer" && text(e, r, "change") == "removed")
    );
    let log = watched.log_files.recv().await.unwrap();
    assert_eq!(log.path, server.error_log());
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_troubles_are_said_once_and_pass() {
    let mut server = Postgres::start(&[]).await.unwrap();
    let admin = server.connect("postgres").await.unwrap();
    admin.batch_execute("create role watcher login password 'right'").await.unwrap();
    // Passwords are asked of this role only.
    let hba = server.data_dir().join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("host all watcher 127.0.0.1/32 scram-sha-256\n{rules}")).unwrap();
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    let mut config = quick(server.config());
    config.user = "watcher".into();
    config.password = Password::Text("wrong".into());
    until(LIMIT, async || {
        let refused = Connection::open(&config, None, &OwnStatements::default()).await.err()?;
        (refused.class.as_str() == "auth_failed").then_some(())
    })
    .await
    .expect("the new rules hold");

    // wrong password
    let mut watched = Watched::start(config.clone());
    assert!(watched.said("auth_failed", "error").await.contains("password"));
    watched.up(0.0).await;
    admin.batch_execute("alter role watcher password 'wrong'").await.unwrap();
    watched.up(1.0).await;
    watched.said("auth_failed", "info").await;

    // missing right and missing extension, the rest going on
    assert!(watched.said("missing_right", "warning").await.contains("pg_monitor"));
    assert!(watched.said("missing_extension", "warning").await.contains("pg_stat_statements"));
    watched.until("database counters", |p| last(p, "pg_stat_database_xact_commit")).await;
    let grant = watched
        .until("a finding with its grant", |p| {
            let mut found = rows(p, Table::Objects);
            found
                .find(|(e, r)| text(e, *r, "name") == "missing_right:pg_monitor")
                .map(|(e, r)| text(e, r, "attributes"))
        })
        .await;
    assert!(grant.contains("GRANT pg_monitor TO"), "{grant}");
    admin.batch_execute("grant pg_monitor to watcher").await.unwrap();

    // server away, then restarted
    drop(admin);
    server.stop();
    watched.up(0.0).await;
    server.run().await.unwrap();
    watched.up(1.0).await;
    watched.said("target_restarted", "notice").await;
    watched.said("missing_right", "info").await;
    for (class, level) in [
        ("auth_failed", "error"),
        ("missing_right", "warning"),
        ("missing_extension", "warning"),
        ("target_restarted", "notice"),
    ] {
        assert_eq!(watched.times_said(class, level), 1, "{class} is said once");
    }
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_troubles_are_said_once_and_pass() {
    let mut server = MariaDb::start(&["--performance-schema=OFF"]).await.unwrap();
    let mut admin = server.connect("root").await.unwrap();
    admin.query_drop("create user watcher@'%' identified by 'right'").await.unwrap();
    let mut config = quick(server.config());
    config.user = "watcher".into();
    config.password = Password::Text("wrong".into());
    let mut watched = Watched::start(config);
    watched.said("auth_failed", "error").await;
    watched.up(0.0).await;
    admin.query_drop("set password for watcher@'%' = password('wrong')").await.unwrap();
    watched.up(1.0).await;
    watched.said("missing_right", "warning").await;
    assert!(watched.said("instrumentation_off", "warning").await.contains("performance_schema"));
    watched.until("status", |p| last(p, "mysql_global_status_threads_connected")).await;
    admin.query_drop("grant process, binlog monitor, replica monitor on *.* to watcher@'%'").await.unwrap();
    // Uptime counts whole seconds: two starts must be further apart than that.
    until(LIMIT, async || {
        let row: Option<(String, u64)> = admin.query_first("show global status like 'Uptime'").await.ok()?;
        (row?.1 >= 4).then_some(())
    })
    .await
    .expect("it runs");
    admin.disconnect().await.unwrap();
    server.stop();
    watched.up(0.0).await;
    server.run().await.unwrap();
    watched.up(1.0).await;
    watched.said("target_restarted", "notice").await;
    watched
        .until("the right is there", |p| {
            let mut found = rows(p, Table::Objects);
            found
                .find(|(e, r)| text(e, *r, "name") == "missing_right:PROCESS" && text(e, *r, "change") == "removed")
                .map(drop)
        })
        .await;
    assert_eq!(watched.times_said("auth_failed", "error"), 1);
    assert_eq!(watched.times_said("instrumentation_off", "warning"), 1);
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_error_log_is_followed_through_rotation() {
    let server = MariaDb::start(&["--innodb-print-all-deadlocks=ON", "--log-warnings=2"]).await.unwrap();
    let mut watched = Watched::start(quick(server.config()));
    let mut log = watched.log_files.recv().await.unwrap();
    assert_eq!(log.path, server.error_log());
    // From the first byte, so that what the files hold can be compared with what was sent.
    log.start = LogStart::Beginning;
    let (_announce, announced) = tokio::sync::mpsc::channel(1);
    let (_order, ordered) = tokio::sync::mpsc::channel(1);
    let reader = tokio::spawn(collector::logs::watch(vec![log], announced, ordered, watched.context.clone()));
    let sent = |payloads: &[proto::Payload], class: &str| {
        rows(payloads, Table::Logs)
            .filter(|(e, r)| text(e, *r, "class") == class && !text(e, *r, "level").is_empty())
            .count()
    };
    let refuse = async |count: usize| {
        for i in 0..count {
            assert!(server.connect(&format!("nobody{i}")).await.is_err(), "there is no such account");
        }
    };
    refuse(20).await;
    watched.until("refused logins", |p| (sent(p, "auth_failed") == 20).then_some(())).await;

    // A deadlock is several lines, printed by InnoDB itself.
    let (mut one, mut two) = (server.connect("root").await.unwrap(), server.connect("root").await.unwrap());
    one.query_drop("create table mysql.d (id int primary key, n int) engine=innodb").await.unwrap();
    one.query_drop("insert into mysql.d values (1, 0), (2, 0)").await.unwrap();
    one.query_drop("begin").await.unwrap();
    two.query_drop("begin").await.unwrap();
    one.query_drop("update mysql.d set n = 41 where id = 1").await.unwrap();
    two.query_drop("update mysql.d set n = 42 where id = 2").await.unwrap();
    let crossing = tokio::spawn(async move { one.query_drop("update mysql.d set n = 43 where id = 2").await });
    let own = two.query_drop("update mysql.d set n = 44 where id = 1").await;
    assert!(own.is_err() != crossing.await.unwrap().is_err(), "one of the two is rolled back");
    watched.until("the deadlock", |p| (sent(p, "deadlock") > 0).then_some(())).await;

    // Rotation as logrotate does it.
    let rotated = server.error_log().with_extension("log.1");
    std::fs::rename(server.error_log(), &rotated).unwrap();
    let mut admin = server.connect("root").await.unwrap();
    refuse(5).await;
    admin.query_drop("flush error logs").await.unwrap();
    refuse(15).await;
    watched.until("refused logins after rotation", |p| (sent(p, "auth_failed") >= 40).then_some(())).await;
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap().matches("Access denied").count();
    assert_eq!(lines(&rotated) + lines(&server.error_log()), 40);
    assert_eq!(sent(&watched.payloads, "auth_failed"), 40, "each line once");
    let literals = rows(&watched.payloads, Table::Logs).filter(|(e, r)| text(e, *r, "body").contains("n = 4")).count();
    assert_eq!(literals, 0, "no literal of a deadlock's statements leaves");
    watched.stop().await;
    reader.await.unwrap();
}
