//! What `tidewatch-collector check` says is missing, and that its statements, or the script of `grants`, are enough.

use collector::databases::{Tried, attempt, grants};

use super::*;

/// What is missing, with the statement that grants it.
async fn missing(config: &DatabaseConfig) -> Vec<Tried> {
    let (identity, tried) = attempt(config).await;
    assert!(identity.is_some(), "{tried:?}");
    for one in &tried {
        println!("{:<24} {:?} {}", one.what, one.outcome, one.remedy.as_deref().unwrap_or(""));
    }
    tried.into_iter().filter(|t| t.outcome.is_err()).collect()
}

fn account(config: &DatabaseConfig, user: &str) -> DatabaseConfig {
    let mut config = config.clone();
    config.user = user.to_owned();
    config
}

/// A bare role lacks what check says; each statement it prints works; then nothing is missing. The script does the same.
pub async fn postgres_grants(server: &Postgres, major: u32) {
    let client = server.connect("postgres").await.unwrap();
    for sql in [
        "create role bare login",
        "create database closed",
        "revoke connect on database closed from public",
        "create schema shop",
        "create table shop.orders (id int)",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let bare = account(&server.config(), "bare");
    let first = missing(&bare).await;
    let whats: Vec<&str> = first.iter().map(|t| t.what.as_str()).collect();
    for what in ["pg_monitor", "metrics wal_directory", "database closed", "plans"] {
        assert!(whats.contains(&what), "{major}: {what} in {whats:?}");
    }
    for one in &first {
        let sql = one.remedy.as_deref().unwrap_or_else(|| panic!("{major}: no statement for {one:?}"));
        client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{major}: {sql}: {e:?}"));
    }
    assert_eq!(missing(&bare).await, [], "{major}: every right was granted");

    client.batch_execute("grant connect on database closed to public").await.unwrap();
    client.batch_execute(&grants(Engine::Postgresql, "scripted")).await.unwrap();
    let left = missing(&account(&server.config(), "scripted")).await;
    let whats: Vec<&str> = left.iter().map(|t| t.what.as_str()).collect();
    // Before 14 there is no role that reads everything; the script says so.
    assert_eq!(whats, if major < 14 { &["plans"][..] } else { &[][..] }, "{major}: {left:?}");
    let own = OwnStatements::default();
    let mut session = Connection::open(&account(&server.config(), "scripted"), None, &own).await.unwrap();
    let written = session.read("create table should_not_be (id int)").await;
    assert!(written.is_err(), "{major}: the account writes");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_rights_named_by_check_are_enough() {
    let server = Postgres::start(&["shared_preload_libraries=pg_stat_statements"]).await.unwrap();
    server.connect("postgres").await.unwrap().batch_execute("create extension pg_stat_statements").await.unwrap();
    postgres_grants(&server, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_rights_named_by_check_are_enough() {
    let server = MariaDb::start(&["--log-bin"]).await.unwrap();
    let mut client = server.connect("root").await.unwrap();
    client.query_drop("create database app").await.unwrap();
    client.query_drop("create table app.t (id int primary key)").await.unwrap();
    client.query_drop("create user bare").await.unwrap();
    let bare = account(&server.config(), "bare");
    let first = missing(&bare).await;
    let whats: Vec<&str> = first.iter().map(|t| t.what.as_str()).collect();
    for what in ["PROCESS", "statement statistics", "metrics transactions", "metrics replica", "table sizes and plans"]
    {
        assert!(whats.contains(&what), "{what} in {whats:?}");
    }
    for one in &first {
        let sql = one.remedy.as_deref().unwrap_or_else(|| panic!("no statement for {one:?}"));
        client.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    assert_eq!(missing(&bare).await, []);

    let script = grants(Engine::Mariadb, "scripted").replace("IDENTIFIED BY '…choose one…' ", "");
    for statement in script.lines().filter(|l| !l.starts_with("--")) {
        client.query_drop(statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    assert_eq!(missing(&account(&server.config(), "scripted")).await, []);
}
