//! What the collector reads from real PostgreSQL and MariaDB servers.
#![allow(clippy::unwrap_used)]

mod deadlock_report;
mod galera;
mod grants;
mod journal;
mod latency;
mod manners;
mod own_templates;
mod patroni;
mod pgbouncer;
mod reload;
mod replication_stopped;
mod scrape;
mod scrape_peers;
mod scrape_tls;
mod slow_statements;
mod versions;
mod watching;

use std::{collections::HashSet, time::Duration};

use collector::{
    config::{Address, DatabaseConfig, Engine},
    databases::{
        Surroundings, activity,
        connection::{Connection, OwnStatements},
        discover, fingerprint,
        metrics::{Base, take},
        mysql_activity,
        mysql_statements::MysqlStatements,
        postgres_activity,
        postgres_statements::PostgresStatements,
        sql_tokens::Dialect,
        template::{ServerRole, Template},
    },
};
use mysql_async::prelude::Queryable;
use proto::samples::SamplesBuilder;
use tests::{MariaDb, Postgres, surroundings, wait::until};

const LIMIT: Duration = Duration::from_secs(20);

/// Reads every group of a template once and prints what each gave; those in `may_be_empty` may give nothing.
async fn every_group_gives_samples(config: &DatabaseConfig, version: i64, may_be_empty: &[&str]) {
    let mut wrong = Vec::new();
    let found = versions::read_groups(config, version, ServerRole::Primary, &mut wrong).await;
    for (group, (rows, samples)) in &found {
        println!("{group:<24} {rows:>4} rows {samples:>5} samples");
        if *samples == 0 && !may_be_empty.contains(&group.as_str()) {
            wrong.push(format!("{group} is empty"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_metrics() {
    let server = Postgres::start(&[]).await.unwrap();
    let client = server.connect("postgres").await.unwrap();
    client
        .batch_execute(
            "create table t (id int primary key, n serial); insert into t select generate_series(1, 100); analyze t",
        )
        .await
        .unwrap();
    client.batch_execute("select pg_create_physical_replication_slot('s', true)").await.unwrap();
    until(LIMIT, async || {
        let rows = client.query("select from pg_stat_user_tables where n_tup_ins > 0", &[]).await.ok()?;
        (!rows.is_empty()).then_some(())
    })
    .await
    .unwrap();
    let empty = [
        "waits",
        "replication_sender",
        "subscriptions",
        "vacuum_progress",
        "progress",
        "slot_decoding",
        "table_bloat",
        "xmin_horizon",
    ];
    every_group_gives_samples(&server.config(), 150_018, &empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_metrics() {
    let server = MariaDb::start(&["--log-bin"]).await.unwrap();
    let mut client = server.connect("root").await.unwrap();
    client.query_drop("create database app; create table app.t (id int auto_increment primary key); insert into app.t values (1), (2)").await.unwrap();
    client.query_drop("select * from app.t").await.unwrap();
    every_group_gives_samples(&server.config(), 101_119, &["replica", "table_io"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_statement_deltas_equal_what_was_run() {
    let server = Postgres::start(&["shared_preload_libraries=pg_stat_statements"]).await.unwrap();
    let client = server.connect("postgres").await.unwrap();
    client
        .batch_execute("create extension pg_stat_statements; create table orders (id int primary key, note text)")
        .await
        .unwrap();
    let own = OwnStatements::default();
    let mut connection = Connection::open(&server.config(), None, &own).await.unwrap();
    let mut statements = PostgresStatements::default();
    let sql = |i: i32| format!("select * from orders where id in ({i}, {}) and note = 'secret {i}'", i + 1);
    client.batch_execute(&sql(1)).await.unwrap();
    let first = statements.read(&mut connection, 1_000, &own).await.unwrap();
    assert!(first.loads.is_empty(), "the first reading is a baseline");
    for i in 0..37 {
        client.batch_execute(&sql(i)).await.unwrap();
    }
    client.batch_execute("select count(*) from orders").await.unwrap();
    let second = statements.read(&mut connection, 3_000, &own).await.unwrap();
    let id = fingerprint(Dialect::Postgresql, &sql(99)).id;
    let calls: Vec<(&str, f64)> = second.loads.iter().map(|l| (&*l.fingerprint, l.calls())).collect();
    let count = fingerprint(Dialect::Postgresql, "select count(*) from orders").id;
    assert_eq!(calls.len(), 2, "only what was run, nothing of ours: {:?}", second.step.deltas);
    assert!(calls.contains(&(&*id, 37.0)) && calls.contains(&(&*count, 1.0)), "{calls:?}");
    let third = statements.read(&mut connection, 4_000, &own).await.unwrap();
    assert!(third.loads.is_empty(), "{:?}", third.loads);
    client.batch_execute("select pg_stat_statements_reset()").await.unwrap();
    client.batch_execute(&sql(5)).await.unwrap();
    let reset = statements.read(&mut connection, 5_000, &own).await.unwrap();
    let of = reset.loads.iter().find(|l| l.fingerprint == id).unwrap();
    assert_eq!((of.calls(), &of.quality[..]), (1.0, &["reset"][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_statement_deltas_equal_what_was_run() {
    let server = MariaDb::start(&[]).await.unwrap();
    let mut client = server.connect("root").await.unwrap();
    client.query_drop("create database app").await.unwrap();
    client.query_drop("create table app.orders (id int primary key, note varchar(20))").await.unwrap();
    let own = OwnStatements::default();
    let mut connection = Connection::open(&server.config(), None, &own).await.unwrap();
    let mut statements = MysqlStatements::default();
    let sql = |i: i32| {
        format!("SELECT * FROM app.`Orders` WHERE id IN ({i}, {}) AND note = 'secret {i}'", i + 1)
            .replace("Orders", "orders")
    };
    client.query_drop(sql(1)).await.unwrap();
    // The server counts a statement after it has answered: a ping is answered when that is done.
    client.ping().await.unwrap();
    assert!(statements.read(&mut connection, 1_000, &own).await.unwrap().loads.is_empty());
    for i in 0..37 {
        client.query_drop(sql(i)).await.unwrap();
    }
    client.ping().await.unwrap();
    let second = statements.read(&mut connection, 3_000, &own).await.unwrap();
    let id = fingerprint(Dialect::Mysql, &sql(99)).id;
    let calls: Vec<(&str, f64)> = second.loads.iter().map(|l| (&*l.fingerprint, l.calls())).collect();
    assert_eq!(calls, [(&*id, 37.0)], "{:?}", second.step.deltas);
    let third = statements.read(&mut connection, 4_000, &own).await.unwrap();
    assert!(third.loads.is_empty(), "{:?}", third.loads);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_blockers() {
    let server = Postgres::start(&[]).await.unwrap();
    let admin = server.connect("postgres").await.unwrap();
    admin
        .batch_execute("create table t (id int primary key, v int); insert into t values (1, 1), (2, 2)")
        .await
        .unwrap();
    let (head, middle, last) = (
        server.connect("postgres").await.unwrap(),
        server.connect("postgres").await.unwrap(),
        server.connect("postgres").await.unwrap(),
    );
    let pid = async |c: &tokio_postgres::Client| {
        i64::from(c.query_one("select pg_backend_pid()", &[]).await.unwrap().get::<_, i32>(0))
    };
    let pids = (pid(&head).await, pid(&middle).await, pid(&last).await);
    head.batch_execute("begin; update t set v = 9 where id = 1").await.unwrap();
    middle.batch_execute("begin; update t set v = 9 where id = 2").await.unwrap();
    let waiting = tokio::spawn(async move { middle.batch_execute("update t set v = 8 where id = 1; rollback").await });
    let waiting_too = tokio::spawn(async move { last.batch_execute("update t set v = 7 where id = 2").await });
    let mut connection = Connection::open(&server.config(), None, &OwnStatements::default()).await.unwrap();
    let sessions = until(LIMIT, async || {
        let sessions = postgres_activity::read(&mut connection, &Default::default()).await.unwrap();
        (sessions.iter().filter(|s| !s.blocked_by.is_empty()).count() == 2).then_some(sessions)
    })
    .await
    .expect("two sessions wait");
    let places = activity::places(&sessions);
    assert_eq!(places[&pids.0].blocking, 2);
    assert_eq!(places[&pids.1].root_blocker, Some(pids.0));
    assert_eq!(places[&pids.2].root_blocker, Some(pids.0));
    let victim = sessions.iter().find(|s| s.pid == pids.1).unwrap();
    assert!(victim.lock_mode.is_some() && victim.lock_object.as_deref().is_some_and(|o| o.contains('t')), "{victim:?}");
    assert_eq!(activity::next_interval(&sessions, Duration::from_secs(5)), activity::BLOCKED_INTERVAL);
    let holder = sessions.iter().find(|s| s.pid == pids.0).unwrap();
    assert_eq!(holder.state.as_deref(), Some("idle in transaction"));
    head.batch_execute("rollback").await.unwrap();
    waiting.await.unwrap().unwrap();
    waiting_too.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_blockers() {
    let server = MariaDb::start(&["--plugin-load-add=metadata_lock_info"]).await.unwrap();
    let mut admin = server.connect("root").await.unwrap();
    admin.query_drop("create database app").await.unwrap();
    admin.query_drop("create table app.t (id int primary key, v int) engine=innodb").await.unwrap();
    admin.query_drop("insert into app.t values (1, 1), (2, 2)").await.unwrap();
    let (mut head, mut middle, mut ddl) = (
        server.connect("root").await.unwrap(),
        server.connect("root").await.unwrap(),
        server.connect("root").await.unwrap(),
    );
    let (head_id, middle_id, ddl_id) = (i64::from(head.id()), i64::from(middle.id()), i64::from(ddl.id()));
    head.query_drop("begin").await.unwrap();
    head.query_drop("update app.t set v = 9 where id = 1").await.unwrap();
    let waiting = tokio::spawn(async move { middle.query_drop("update app.t set v = 8 where id = 1").await });
    let waiting_too = tokio::spawn(async move { ddl.query_drop("alter table app.t add column x int").await });
    let mut connection = Connection::open(&server.config(), None, &OwnStatements::default()).await.unwrap();
    let mut views = mysql_activity::Views::default();
    let sessions = until(LIMIT, async || {
        let sessions = mysql_activity::read(&mut connection, Engine::Mariadb, &mut views, &[]).await.unwrap();
        (sessions.iter().filter(|s| !s.blocked_by.is_empty()).count() == 2).then_some(sessions)
    })
    .await
    .expect("two sessions wait");
    let places = activity::places(&sessions);
    assert_eq!(places[&middle_id].root_blocker, Some(head_id));
    assert_eq!(places[&ddl_id].root_blocker, Some(head_id), "{sessions:?}");
    assert_eq!(places[&head_id].blocking, 2);
    let victim = sessions.iter().find(|s| s.pid == middle_id).unwrap();
    assert!(victim.lock_object.as_deref().is_some_and(|o| o.contains("app.t")), "{victim:?}");
    head.query_drop("rollback").await.unwrap();
    waiting.await.unwrap().unwrap();
    waiting_too.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn local_databases_are_found() {
    let postgres = Postgres::start(&[]).await.unwrap();
    let mariadb = MariaDb::start(&[]).await.unwrap();
    let around = Surroundings {
        env: vec![
            (
                "TIDEWATCH_PG".into(),
                format!("postgresql://postgres@/?host={}&port={}", postgres.socket_dir().display(), postgres.port()),
            ),
            ("TIDEWATCH_MYSQL".into(), format!("mysql://root@localhost?socket={}", mariadb.socket().display())),
        ],
        ..Surroundings::default()
    };
    let found = discover(&around).await;
    let engines: Vec<Engine> = found.iter().map(|d| d.config.engine).collect();
    assert_eq!(engines, [Engine::Postgresql, Engine::Mariadb], "{found:?}");
    assert_eq!(found[0].identity.as_ref().unwrap().version, 150_018);
    let problem = &found[0].problems[0];
    assert!(
        problem.what == "statement statistics"
            && problem.remedy.as_deref().is_some_and(|r| r.contains("CREATE EXTENSION")),
        "{problem:?}"
    );
    // Without being told: the running processes and sockets lead to the same MariaDB.
    let around = Surroundings {
        account: "root".into(),
        env: vec![("TIDEWATCH_PG".into(), " ".into())],
        ..Surroundings::default()
    };
    let found = discover(&around).await;
    assert!(
        found.iter().any(|d| d.config.address == (Address::Socket { path: mariadb.socket(), port: 0 })),
        "{found:?}"
    );
    // And the listening socket leads to the same PostgreSQL, with no word from the environment.
    let around = Surroundings {
        account: "postgres".into(),
        env: vec![("TIDEWATCH_MYSQL".into(), " ".into())],
        ..Surroundings::default()
    };
    let found = discover(&around).await;
    let socket = Address::Socket { path: postgres.socket_dir().canonicalize().unwrap(), port: postgres.port() };
    let own = found.iter().find(|d| d.config.address == socket).unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!(own.identity.as_ref().map(|i| i.engine), Some(Engine::Postgresql), "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_statement_has_one_id_in_every_source() {
    let postgres = Postgres::start(&["shared_preload_libraries=pg_stat_statements"]).await.unwrap();
    let client = postgres.connect("postgres").await.unwrap();
    client
        .batch_execute("create extension pg_stat_statements; create table t (a int, b text, c timestamptz, d jsonb)")
        .await
        .unwrap();
    for sql in STATEMENTS.iter().chain(POSTGRES_STATEMENTS) {
        client.batch_execute("select pg_stat_statements_reset()").await.unwrap();
        client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let row = client
            .query_one("select query from pg_stat_statements where query not like '%pg_stat_statements%'", &[])
            .await
            .unwrap();
        let native: String = row.get(0);
        let (a, b) = (fingerprint(Dialect::Postgresql, sql), fingerprint(Dialect::Postgresql, &native));
        assert_eq!(a.normalized_text, b.normalized_text, "{sql}\n{native}");
        assert_eq!(a.id, b.id);
    }
    let mariadb = MariaDb::start(&[]).await.unwrap();
    let mut client = mariadb.connect("root").await.unwrap();
    client.query_drop("create database app").await.unwrap();
    client.query_drop("use app").await.unwrap();
    client.query_drop("create table t (a int, b text, c datetime, d int)").await.unwrap();
    let mut differ = Vec::new();
    for sql in STATEMENTS.iter().chain(MARIADB_STATEMENTS) {
        client.query_drop("truncate table performance_schema.events_statements_summary_by_digest").await.unwrap();
        client.query_drop(*sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        client.ping().await.unwrap();
        let native: String = client
            .query_first("select digest_text from performance_schema.events_statements_summary_by_digest where digest_text not like 'TRUNCATE%'")
            .await
            .unwrap()
            .unwrap();
        let (a, b) = (fingerprint(Dialect::Mysql, sql), fingerprint(Dialect::Mysql, &native));
        if a.id != b.id {
            differ.push(format!("{sql}\n  {}\n  {}", a.normalized_text, b.normalized_text));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// Run on both servers.
const STATEMENTS: &[&str] = &[
    "select 1",
    "SELECT a, b FROM t WHERE a = 5 AND b = 'x'",
    "select a from t where a in (1, 2, 3)",
    "select a from t where a in (1)",
    "select a from t where a not in (1, 2) or b like 'x%'",
    "insert into t (a, b) values (1, 'x')",
    "insert into t (a, b) values (1, 'x'), (2, 'y'), (3, null)",
    "insert into t values (1, 'x', null, null)",
    "update t set a = a + 1, b = 'z' where a between 1 and 10",
    "delete from t where a = -5",
    "select a from t where a > -1.5e3 and a <> 7",
    "select count(*) from t where b is null and c is not null",
    "select /* hi */ a -- there\nfrom t order by a desc limit 10",
    "select t.a, (select max(a) from t x where x.a < t.a) from t where exists (select 1 from t y where y.a = 3)",
    "select a from t union all select 5",
    "select case when a = 1 then 'one' when a = 2 then 'two' else 'many' end from t group by a having count(*) > 1",
    "select coalesce(a, 1, 2) from t",
    "with x as (select a from t where a > 10) select * from x join t on t.a = x.a where t.b = 'q'",
    "select a - 5 from t where (a) - 1 > 0",
];

const POSTGRES_STATEMENTS: &[&str] = &[
    "select a::text from t where c > now() - interval '1 day' and b = $$x$$",
    "select * from t where a = any(array[1, 2, 3])",
    "select d->>'k' from t where d @> '{\"a\": 1}'::jsonb and d ? 'x'",
    "select * from t where b in ('a'::text, 'b'::text) offset 5 limit 3",
    "select extract(year from c), \"b\", E'it\\'s' from \"t\" where b ~ '^x'",
    "insert into t (a) values (1) returning a",
    "select true, false, null from t where a is distinct from 4",
];

const MARIADB_STATEMENTS: &[&str] = &[
    "select `a`, b from `t` where b = \"x\" limit 5, 10",
    "select a from t where a in (select a from t where b = 'x') and c > now() - interval 1 day",
    "replace into t (a) values (5)",
    "select if(a > 1, 'x', 'y'), concat(b, '-', 1) from t where a <=> 3 and b regexp 'x'",
    "select substr(b, 1, 2) from t where c > current_timestamp",
    "insert into t (a) values (1) on duplicate key update a = 2",
    "select 0x1F, true, null, a div 2, a % 2 from t use index () where not a = 1",
];
