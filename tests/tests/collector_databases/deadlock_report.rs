//! A deadlock on a real MariaDB: its report, several records of the error log, becomes one row with both transactions, their
//! statements without literals, their locks, and who was rolled back.

use collector::{
    config::{LogConfig, LogFormat, LogRows, LogStart, Unmasked},
    logs::tailer::Tailer,
};
use proto::{Events, Value};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_of_mariadb_is_told_with_both_transactions() {
    let server = MariaDb::start(&["--innodb-print-all-deadlocks=1"]).await.unwrap();
    let mut one = server.connect("root").await.unwrap();
    let mut two = server.connect("root").await.unwrap();
    for sql in [
        "create database app",
        "create table app.stock (id int primary key, note text)",
        "insert into app.stock values (4711001, 'hush-1'), (4711002, 'hush-2')",
        "begin",
        "update app.stock set note = 'hush-3' where id = 4711001",
    ] {
        one.query_drop(sql).await.unwrap();
    }
    two.query_drop("begin").await.unwrap();
    two.query_drop("update app.stock set note = 'hush-4' where id = 4711002").await.unwrap();
    let waits =
        tokio::spawn(async move { one.query_drop("update app.stock set note = 'hush-5' where id = 4711002").await });
    // whichever of the two closes the circle: one of them is rolled back
    let second = two.query_drop("update app.stock set note = 'hush-6'\nwhere id = 4711001").await;
    let first = waits.await.unwrap();
    assert!(first.is_err() != second.is_err(), "{first:?} {second:?}");

    let config = LogConfig {
        path: server.error_log(),
        instance: "db".into(),
        engine: Engine::Mariadb,
        format: LogFormat::ErrorLog,
        start: LogStart::Beginning,
        rows: LogRows::Records,
        unmasked: Unmasked::default(),
    };
    let mut tailer = Tailer::new(config, &[]);
    let mut all: Vec<Events> = Vec::new();
    let found = until(LIMIT, async || {
        tailer
            .poll(1, &mut |rows, _| {
                all.push(rows);
                Ok(())
            })
            .unwrap();
        let rows = all.iter().flat_map(|events| (0..events.rows()).map(move |row| (events, row)));
        let mut deadlocks = rows.filter(|(events, row)| events.get(*row, "class") == "deadlock".into());
        let (events, row) = deadlocks.next()?;
        let Value::Text(attributes) = events.get(row, "attributes") else { panic!("attributes") };
        let Value::Text(body) = events.get(row, "body") else { panic!("a body") };
        Some((attributes.to_string(), body.to_string()))
    });
    let (attributes, body) = found.await.unwrap_or_else(|| panic!("no deadlock in {}", server.output()));
    assert!(!body.contains("hush") && !body.contains("4711") && !attributes.contains("hush"), "{body}\n{attributes}");
    let told: serde_json::Value = serde_json::from_str(&attributes).unwrap();
    println!("{told:#}");
    let transactions = told["transactions"].as_array().unwrap();
    assert_eq!(transactions.len(), 2, "{told}");
    let id = fingerprint(Dialect::Mysql, "update app.stock set note = 'x' where id = 1").id.to_string();
    for transaction in transactions {
        assert_eq!(transaction["fingerprint"], id.as_str(), "{transaction}");
        assert_eq!(transaction["waits_for"][0]["table"], "app.stock", "{transaction}");
        assert_eq!(transaction["waits_for"][0]["index"], "PRIMARY", "{transaction}");
        assert_eq!(transaction["holds"][0]["table"], "app.stock", "{transaction}");
        assert!(transaction["thread"].as_i64().unwrap() > 0);
    }
    assert!(matches!(told["victim"].as_i64(), Some(1 | 2)), "{told}");
}
