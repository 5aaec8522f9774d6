//! Faults as the built-in rules see them, with the evidence and verdict they leave: rows as the collector writes them in,
//! the stored bundle out.

use crate::stage::Stage;
use proto::Table;
use serde_json::Value as Json;

const CONFIG: &str = "external_url: http://watch:7400\nreceivers: [{name: dba, webhooks: [{url: '$peer'}]}]\n";

async fn evidence_of(stage: &Stage, alerting: &alerting::Alerting, rule: &str) -> Json {
    let alerts = alerting.alerts("firing", 100).await.unwrap();
    let alert = alerts.iter().find(|a| a["rule"] == rule).unwrap_or_else(|| panic!("{rule} does not fire: {alerts:?}"));
    let id = alert["id"].as_str().unwrap().to_string();
    stage
        .eventually("the evidence", async || {
            let alert = alerting.alert(&id).await.unwrap().unwrap();
            (!alert["evidence"].is_null()).then_some(alert)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_pile_up_names_its_root_blocker_in_one_message() {
    let stage = Stage::new().await;
    let alerting = stage.start(CONFIG).await;
    let each = async |second: i64| {
        let waiting = 5.0;
        stage
            .samples(&[
                ("pg_sessions_waiting_for_lock{instance=\"db1\",job=\"postgres\"}", waiting),
                ("pg_sessions_active{instance=\"db1\"}", 6.0),
            ])
            .await;
        if second % 5 == 0 {
            for (pid, state, blocked_by) in [
                (10, "idle in transaction", None),
                (11, "active", Some("[10]")),
                (12, "active", Some("[10]")),
                (13, "active", Some("[11]")),
                (14, "active", Some("[11]")),
                (15, "active", Some("[12]")),
            ] {
                let cells = [
                    ("pid", pid.into()),
                    ("user", "shop".into()),
                    ("application", "checkout".into()),
                    ("state", state.into()),
                    ("transaction_ms", (f64::from(second as i32) * 1000.0).into()),
                    ("fingerprint", "00000000000000aa".into()),
                    ("text", "UPDATE stock SET n = n - ? WHERE id = ?".into()),
                    ("blocked_by", blocked_by.into()),
                ];
                stage.row(Table::Activity, "db1", &cells).await;
            }
            stage
                .row(
                    Table::Logs,
                    "db1",
                    &[
                        ("level", "error".into()),
                        ("class", "lock_timeout".into()),
                        ("body", "canceling statement due to lock timeout".into()),
                    ],
                )
                .await;
        }
    };
    stage.play(&alerting, 30, each).await;
    let alert = evidence_of(&stage, &alerting, "LockPileup").await;
    let evidence = &alert["evidence"];
    assert_eq!(evidence["errors"], serde_json::json!([]));
    let root = &evidence["blocking"][0];
    assert_eq!((&root["pid"], root["blocked"].as_array().unwrap().len()), (&10.into(), 2));
    assert_eq!(evidence["findings"][0]["verdict"], "lock_pileup_idle_in_transaction");
    assert!(
        evidence["findings"][0]["reasons"][0].as_str().unwrap().contains("5 session(s) wait for pid 10"),
        "{}",
        evidence["findings"]
    );
    assert!(evidence["logs"][0]["body"].as_str().unwrap().contains("lock timeout"));
    let titles: Vec<&str> =
        evidence["series"].as_array().unwrap().iter().map(|s| s["title"].as_str().unwrap()).collect();
    assert!(titles.contains(&"what the rule watches") && titles.contains(&"active sessions"), "{titles:?}");
    assert_eq!(stage.peer.story(), ["first notification:1/0"]);
    assert_eq!(alert["level"], "warning");
    let body = stage.peer.got.lock()[0].body.clone();
    assert_eq!(body["alerts"][0]["annotations"]["summary_zh"], "db1 上有 5 个会话在等待锁");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_is_found_behind_a_slow_statement() {
    let stage = Stage::new().await;
    let alerting = stage.start(CONFIG).await;
    let fingerprint = "00000000000000bb";
    stage
        .row(
            Table::Statements,
            "db1",
            &[("fingerprint", fingerprint.into()), ("text", "SELECT * FROM orders WHERE customer = ?".into())],
        )
        .await;
    let stats = async |calls: i64, total_ms: f64| {
        let cells = [
            ("database", "shop".into()),
            ("user", "app".into()),
            ("fingerprint", fingerprint.into()),
            ("calls", calls.into()),
            ("total_ms", total_ms.into()),
        ];
        stage.row(Table::StatementStats, "db1", &cells).await;
    };
    let plan = async |shape: &str, before: Option<&str>, summary: &str| {
        let cells = [
            ("fingerprint", fingerprint.into()),
            ("plan_fingerprint", shape.into()),
            ("previous_plan_fingerprint", before.into()),
            ("summary", summary.into()),
            ("plan", "[{\"Plan\":{}}]".into()),
        ];
        stage.row(Table::Plans, "db1", &cells).await;
    };
    plan("p1", None, "Index Scan using orders_customer on orders").await;
    stage
        .play(&alerting, 300, async |s| {
            if s % 10 == 0 {
                stats(1000, 50.0).await
            }
        })
        .await;
    assert!(stage.peer.got.lock().is_empty(), "{:?}", stage.peer.story());
    let removed = [
        ("kind", "index".into()),
        ("name", "orders_customer".into()),
        ("parent", "orders".into()),
        ("change", "removed".into()),
        ("previous", "CREATE INDEX orders_customer ON orders (customer)".into()),
    ];
    stage.row(Table::Objects, "db1", &removed).await;
    stage
        .play(&alerting, 60, async |s| {
            if s == 15 {
                plan("p2", Some("p1"), "Seq Scan on orders").await;
            }
            if s % 10 == 0 {
                stats(200, 10_000.0).await;
            }
        })
        .await;
    let alert = evidence_of(&stage, &alerting, "StatementRegression").await;
    let evidence = &alert["evidence"];
    assert_eq!(evidence["errors"], serde_json::json!([]));
    let statement = &evidence["statements"][0];
    assert_eq!(
        (&statement["fingerprint"], &statement["text"]),
        (&fingerprint.into(), &"SELECT * FROM orders WHERE customer = ?".into())
    );
    assert!(statement["change_ratio"].as_f64().unwrap() > 3.0, "{statement}");
    assert_eq!(evidence["findings"][0]["verdict"], "statement_regression_lost_index", "{}", evidence["findings"]);
    assert!(evidence["findings"][0]["advice"].as_str().unwrap().contains("CREATE INDEX orders_customer"));
    assert_eq!(evidence["changes"][0]["name"], "orders_customer");
    assert_eq!(alert["labels"]["fingerprint"], fingerprint);
    let stories = stage.peer.story();
    assert_eq!(stories[0], "first notification:1/0");
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_servers_page_nobody_and_a_dead_one_pages_once() {
    let stage = Stage::new().await;
    let alerting = stage.start(CONFIG).await;
    let well: Vec<(&str, f64)> = vec![
        ("up{instance=\"db1\",job=\"postgres\"}", 1.0),
        ("up{instance=\"db2\",job=\"mysql\"}", 1.0),
        ("pg_sessions_waiting_for_lock{instance=\"db1\"}", 0.0),
        ("pg_sessions_client_backends{instance=\"db1\"}", 10.0),
        ("pg_sessions_connections_usable{instance=\"db1\"}", 100.0),
        ("pg_sessions_oldest_transaction_seconds{instance=\"db1\"}", 2.0),
        ("mysql_innodb_transactions_waiting{instance=\"db2\"}", 0.0),
        ("node_filesystem_avail_bytes{instance=\"h\",mountpoint=\"/\"}", 50.0),
        ("node_filesystem_size_bytes{instance=\"h\",mountpoint=\"/\"}", 100.0),
    ];
    stage
        .play(&alerting, 180, async |s| {
            if s % 5 == 0 {
                stage.samples(&well).await
            }
        })
        .await;
    assert_eq!(stage.peer.story(), Vec::<String>::new());
    for group in alerting.rules_json(&alerting::RulesFilter::default()).await["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }
    let mut dead = well.clone();
    dead[0].1 = 0.0;
    stage
        .play(&alerting, 60, async |s| {
            if s % 5 == 0 {
                stage.samples(&dead).await
            }
        })
        .await;
    assert_eq!(stage.peer.story(), ["first notification:1/0"]);
    let got = stage.peer.got.lock()[0].body.clone();
    assert_eq!(got["alerts"][0]["labels"]["alertname"], "PostgresDown");
    // then the collector itself falls silent
    stage.play(&alerting, 200, async |_| {}).await;
    let names: Vec<String> = stage
        .peer
        .got
        .lock()
        .iter()
        .flat_map(|g| g.body["alerts"].as_array().unwrap().clone())
        .map(|a| a["labels"]["alertname"].as_str().unwrap().to_string())
        .collect();
    assert!(names.contains(&"CollectorSilent".to_string()), "{names:?}");
}
