//! Every group of the PostgreSQL template, statements, sessions, objects and plans on PostgreSQL 13 to 18, each run for
//! real with a replica: a table of groups and rows in the output, none empty without a reason, no column guessed.

use std::collections::BTreeMap;

use collector::databases::{object_queries, plans};
use futures::future::join_all;
use tests::{postgres::StartError, postgres_versions};

use super::*;

/// Columns a version brought (first) or took away (second), by their name in the template.
const COLUMNS: &[(&str, i64, i64)] = &[
    ("session_time", 14, 99),
    ("active_time", 14, 99),
    ("idle_in_transaction_time", 14, 99),
    ("sessions_abandoned", 14, 99),
    ("sessions_fatal", 14, 99),
    ("sessions_killed", 14, 99),
    ("longest", 14, 99),
    ("apply_error_count", 15, 99),
    ("sync_error_count", 15, 99),
    ("confl_active_logicalslot", 16, 99),
    ("n_tup_newpage_upd", 16, 99),
    ("last_seq_scan_s", 16, 99),
    ("last_idx_scan_s", 16, 99),
    ("dead_tuple_bytes", 17, 99),
    ("max_dead_tuple_bytes", 17, 99),
    ("num_dead_item_ids", 17, 99),
    ("indexes_total", 17, 99),
    ("indexes_processed", 17, 99),
    ("parallel_workers_to_launch", 18, 99),
    ("parallel_workers_launched", 18, 99),
    ("num_done", 18, 99),
    ("slru_written", 18, 99),
    ("confl_insert_exists", 18, 99),
    ("confl_update_exists", 18, 99),
    ("confl_update_missing", 18, 99),
    ("confl_update_origin_differs", 18, 99),
    ("confl_delete_missing", 18, 99),
    ("confl_delete_origin_differs", 18, 99),
    ("confl_multiple_unique_conflicts", 18, 99),
    ("total_vacuum_time", 18, 99),
    ("total_autovacuum_time", 18, 99),
    ("total_analyze_time", 18, 99),
    ("total_autoanalyze_time", 18, 99),
    ("wal_write", 0, 18),
    ("wal_sync", 0, 18),
    ("wal_write_time", 0, 18),
    ("wal_sync_time", 0, 18),
];

/// Whether a server of this major version must have a column the template names.
pub fn has_column(major: i64, group: &str, column: &str) -> bool {
    let moved = match (group, column) {
        ("database", "sessions") => Some((14, 99)),
        _ => COLUMNS.iter().find(|(c, _, _)| *c == column).map(|(_, from, until)| (*from, *until)),
    };
    moved.is_none_or(|(from, until)| major >= from && major < until)
}

/// Rows and samples of each group; what is wrong is added to `wrong`.
pub async fn read_groups(
    config: &DatabaseConfig,
    version: i64,
    role: ServerRole,
    wrong: &mut Vec<String>,
) -> BTreeMap<String, (usize, usize)> {
    read_template(config, &Template::shipped(config.engine), version, role, wrong).await
}

/// The same of another template.
pub async fn read_template(
    config: &DatabaseConfig,
    template: &Template,
    version: i64,
    role: ServerRole,
    wrong: &mut Vec<String>,
) -> BTreeMap<String, (usize, usize)> {
    let mut connection = Connection::open(config, None, &OwnStatements::default()).await.unwrap();
    let base = Base::new("i", config.engine.job());
    let (mut families, mut found) = (HashSet::new(), BTreeMap::new());
    for group in template.groups_for(version, role) {
        let mut answer = connection.read(&group.sql).await;
        if let (Err(_), Some(other)) = (&answer, &group.sql_else) {
            answer = connection.read(other).await;
        }
        let reading = match answer {
            Ok(reading) => reading,
            Err(error) => {
                wrong.push(format!("{version} {role:?} {}: {error}", group.name));
                continue;
            }
        };
        for metric in &group.metrics {
            let (there, expected) =
                (reading.has(&metric.column), has_column(version / 10_000, &group.name, &metric.column));
            if &*template.name == "postgresql" && there != expected {
                wrong.push(format!("{version} {}: column {}: there {there}", group.name, metric.column));
            }
        }
        let mut out = SamplesBuilder::default();
        let taken = take(group, &reading, &base, 1, &mut out, &mut families);
        found.insert(group.name.clone(), (reading.rows.len(), taken.samples));
    }
    connection.close().await;
    found
}

/// Tables, a slot of each kind, a subscription, and what runs long enough to be seen.
const STATE: &str = "
    create extension pg_stat_statements;
    create table t (id serial primary key, n int, v text);
    insert into t (n, v) select g, repeat('x', 300) from generate_series(1, 20000) g;
    delete from t where id % 2 = 0;
    analyze t;
    create table big (id int primary key, v text);
    insert into big select g, repeat('y', 300) from generate_series(1, 20000) g;
    create function f() returns int language sql security definer as 'select 1';";

struct Seen {
    major: u32,
    primary: BTreeMap<String, (usize, usize)>,
    replica: BTreeMap<String, (usize, usize)>,
    wrong: Vec<String>,
}

async fn try_version(major: u32) -> Result<Seen, StartError> {
    let bin = postgres_versions::programs(major)?;
    let options = ["shared_preload_libraries=pg_stat_statements", "wal_level=logical", "autovacuum=off"];
    let mut server = Postgres::start_from(&bin, &options).await?;
    let client = server.connect("postgres").await.unwrap();
    client.batch_execute(STATE).await.unwrap();
    client.batch_execute("select pg_create_physical_replication_slot('follower', true)").await.unwrap();
    client.batch_execute("select pg_create_logical_replication_slot('decoded', 'pgoutput')").await.unwrap();
    client
        .batch_execute(
            "create subscription sub connection 'dbname=nowhere' publication p with (connect=false, slot_name=none)",
        )
        .await
        .unwrap();
    drop(client);
    let replica = server.copied_follower("follower", &options).await?;
    let client = server.connect("postgres").await.unwrap();
    // Work and waits that last: they end with their sessions.
    client.batch_execute("select pg_advisory_lock(7)").await.unwrap();
    let mut lasting = Vec::new();
    for sql in ["select pg_advisory_lock(7)", "vacuum big", "analyze t"] {
        let session = server.connect("postgres").await.unwrap();
        session.batch_execute("set vacuum_cost_delay = 100; set vacuum_cost_limit = 1").await.unwrap();
        lasting.push(tokio::spawn(async move { session.batch_execute(sql).await }));
    }
    until(LIMIT, async || {
        let row = client
            .query_one(
                "select (select count(*) from pg_stat_progress_vacuum where heap_blks_total > 0) = 1
                   and (select count(*) from pg_stat_progress_analyze where sample_blks_total > 0) = 1
                   and (select count(*) from pg_stat_activity where wait_event = 'advisory') = 1
                   and (select count(*) from pg_stat_replication where state = 'streaming') = 1
                   and (select count(*) from pg_stat_user_tables where n_tup_ins > 0) = 2",
                &[],
            )
            .await
            .ok()?;
        row.get::<_, bool>(0).then_some(())
    })
    .await
    .unwrap_or_else(|| panic!("{major}: the state is not reached: {}", server.output()));
    let mut wrong = Vec::new();
    let number: i64 =
        client.query_one("select current_setting('server_version_num')::bigint", &[]).await.unwrap().get(0);
    assert_eq!(number / 10_000, i64::from(major));
    let config = server.config();
    let primary = read_groups(&config, number, ServerRole::Primary, &mut wrong).await;
    let of_replica = read_groups(&replica.config(), number, ServerRole::Replica, &mut wrong).await;
    other_readers(&server, &client, number, &mut wrong).await;
    grants::postgres_grants(&server, major).await;
    drop(client);
    lasting.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(Seen { major, primary, replica: of_replica, wrong })
}

/// Statements, sessions, objects and plans.
async fn other_readers(server: &Postgres, client: &tokio_postgres::Client, number: i64, wrong: &mut Vec<String>) {
    let own = OwnStatements::default();
    let mut connection = Connection::open(&server.config(), None, &own).await.unwrap();
    let mut statements = PostgresStatements::default();
    statements.read(&mut connection, 1_000, &own).await.unwrap();
    for i in 0..7 {
        client.batch_execute(&format!("select v from t where id = {i}")).await.unwrap();
    }
    let loads = statements.read(&mut connection, 2_000, &own).await.unwrap().loads;
    let id = fingerprint(Dialect::Postgresql, "select v from t where id = 1").id;
    let calls: Vec<f64> = loads.iter().filter(|l| l.fingerprint == id).map(|l| l.calls()).collect();
    if calls != [7.0] {
        wrong.push(format!("{number} statements: {calls:?} calls of 7"));
    }
    let sessions = postgres_activity::read(&mut connection, &Default::default()).await.unwrap();
    let waits = |s: &activity::Session| {
        s.text.as_deref() == Some("select pg_advisory_lock(7)") && s.query_ms.is_some() && !s.blocked_by.is_empty()
    };
    if !sessions.iter().any(waits) {
        wrong.push(format!("{number} sessions: {sessions:?}"));
    }
    let mut listings = object_queries::instance(&mut connection, Engine::Postgresql).await.unwrap();
    listings.extend(object_queries::indexes(&mut connection, Engine::Postgresql, Some("postgres")).await.unwrap());
    let mut names = postgres_activity::RelationNames::default();
    listings.extend(
        object_queries::tables(&mut connection, Engine::Postgresql, Some("postgres"), &mut names).await.unwrap(),
    );
    for (kind, least) in [("setting", 50), ("database", 1), ("index", 2), ("table", 2), ("extension", 2)] {
        let count: usize = listings.iter().filter(|l| l.kind == kind).map(|l| l.objects.len()).sum();
        if count < least {
            wrong.push(format!("{number} objects: {count} of kind {kind}"));
        }
    }
    let plan = plans::postgres(&mut connection, number, "select v from t where id = $1 and n > $2").await.unwrap();
    if plan.is_none() {
        wrong.push(format!("{number} plans: no generic plan"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_13_to_18() {
    let mut seen = Vec::new();
    let mut wrong = Vec::new();
    for result in join_all(postgres_versions::MAJORS.map(try_version)).await {
        match result {
            Ok(version) => seen.push(version),
            Err(StartError::NotInstalled(what)) => println!("skipped: {what} is not to be had"),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    for version in &mut seen {
        wrong.append(&mut version.wrong);
    }
    let template = Template::shipped(Engine::Postgresql);
    let heads: Vec<String> = seen.iter().map(|s| format!("{:>9}", s.major)).collect();
    println!("rows (samples of the whole group) {}", heads.join(""));
    for group in &template.groups {
        let mut line = String::new();
        for version in &seen {
            let cell = version.primary.get(&group.name).or_else(|| version.replica.get(&group.name));
            let fits = template
                .groups_for(i64::from(version.major) * 10_000, group.role.unwrap_or(ServerRole::Primary))
                .any(|g| g.name == group.name);
            match cell {
                Some((rows, samples)) => line += &format!("{:>9}", format!("{rows} ({samples})")),
                None => line += "        -",
            }
            if fits && cell.is_none_or(|(_, samples)| *samples == 0) {
                wrong.push(format!("{} {} is empty", version.major, group.name));
            }
        }
        println!("{:<33} {line}", group.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Primary and replica of MariaDB with load: rows and samples of every group.
#[tokio::test(flavor = "multi_thread")]
async fn mariadb_primary_and_replica() {
    let primary = MariaDb::start(&["--server-id=1", "--log-bin"]).await.unwrap();
    let replica = MariaDb::start(&["--server-id=2", "--read-only=1"]).await.unwrap();
    let mut client = primary.connect("root").await.unwrap();
    for sql in [
        "create database app",
        "create table app.t (id int auto_increment primary key, v int)",
        "insert into app.t (v) select seq from app.seq_1_to_1000",
        "update performance_schema.setup_instruments set enabled = 'YES', timed = 'YES' where name like 'wait/io/table%'",
        "select count(*) from app.t where v > 10",
    ] {
        client.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    replica.follow(&primary).await.unwrap();
    let mut follower = replica.connect("root").await.unwrap();
    until(LIMIT, async || {
        let count: Option<u32> = follower.query_first("select count(*) from app.t").await.ok()?;
        (count == Some(1000)).then_some(())
    })
    .await
    .expect("the replica follows");
    follower.query_drop("select count(*) from app.t where v > 10").await.unwrap();
    // A transaction that stays open, and load while it is read.
    client.query_drop("begin").await.unwrap();
    client.query_drop("update app.t set v = 0 where id = 1").await.unwrap();
    let (mut wrong, template) = (Vec::new(), Template::shipped(Engine::Mariadb));
    let of_primary = read_groups(&primary.config(), 101_119, ServerRole::Primary, &mut wrong).await;
    let of_replica = read_groups(&replica.config(), 101_119, ServerRole::Replica, &mut wrong).await;
    println!("rows (samples of the whole group)     primary     replica");
    for group in &template.groups {
        let cell = |of: &BTreeMap<String, (usize, usize)>| {
            of.get(&group.name).map_or("-".to_owned(), |(rows, samples)| format!("{rows} ({samples})"))
        };
        println!("{:<33} {:>11} {:>11}", group.name, cell(&of_primary), cell(&of_replica));
        let samples = |of: &BTreeMap<String, (usize, usize)>| of.get(&group.name).map_or(0, |(_, s)| *s);
        // A primary follows nobody; a replica without a log of its own has no position in one.
        if samples(&of_primary) == 0 && group.name != "replica" {
            wrong.push(format!("primary: {} is empty", group.name));
        }
        if samples(&of_replica) == 0 && group.name != "binlog" {
            wrong.push(format!("replica: {} is empty", group.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
