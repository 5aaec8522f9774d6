//! Rules to receivers on a real store: what a user sees at every station, on a virtual clock.

use crate::stage::{BEGIN_MS, Stage};
use alerting::RulesFilter;
use proto::Table;
use serde_json::Value as Json;

const CONFIG: &str = "rules: [rules.yml]\nbuiltin_rules: false\nexternal_url: http://watch:7400\nexternal_labels: {region: north}\n\
    receivers: [{name: dba, webhooks: [{url: '$peer'}]}]\nroute: {receiver: dba, group_by: [alertname], group_interval: 5s}\n";

const HOT: &str = "groups:\n- name: g\n  interval: 5s\n  rules:\n\
  \x20 - record: job:temperature:max\n    expr: max by (job) (temperature)\n\
  \x20 - alert: Hot\n    expr: temperature > 30\n    for: 10s\n    labels: {severity: critical}\n    annotations: {summary: '{{ $labels.room }} has {{ $value }}', from: '{{ query \"job:temperature:max\" | first | value }}'}\n\
  \x20 - alert: Anything\n    expr: ALERTS{alertname=\"Hot\",alertstate=\"firing\"}\n    labels: {alertname: x}\n";

#[tokio::test(flavor = "multi_thread")]
async fn from_sample_to_webhook_and_back() {
    let stage = Stage::new().await;
    stage.write("rules.yml", HOT);
    let alerting = stage.start(CONFIG).await;
    let hot = "temperature{room=\"a\",job=\"lab\"}";
    stage
        .play(&alerting, 40, async |_| {
            stage.samples(&[(hot, 31.5), ("temperature{room=\"b\",job=\"lab\"}", 20.0)]).await
        })
        .await;

    let got = stage.peer.got.lock().clone();
    let body = got.iter().map(|g| &g.body).find(|b| b["groupLabels"]["alertname"] == "Hot").unwrap();
    assert_eq!((&body["version"], &body["status"], &body["receiver"]), (&"4".into(), &"firing".into(), &"dba".into()));
    assert_eq!(body["groupKey"], r#"{}:{alertname="Hot"}"#);
    let alert = &body["alerts"][0];
    assert_eq!(alert["labels"]["region"], "north");
    assert_eq!(alert["annotations"]["summary"], "a has 31.5");
    assert_eq!(alert["annotations"]["from"], "31.5", "a template sees what an earlier rule of the group recorded");
    assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z");
    assert!(alert["generatorURL"].as_str().unwrap().starts_with("http://watch:7400/alert/"));
    let later = got
        .iter()
        .find(|g| g.body["groupLabels"]["alertname"] == "Anything")
        .map(|g| g.body["alerts"][0]["startsAt"].clone());
    assert_eq!(later, Some(alert["startsAt"].clone()), "a later rule sees the earlier rule's ALERTS in the same cycle");

    let rules = alerting.rules_json(&RulesFilter::default()).await;
    let group = &rules["groups"][0];
    assert_eq!((&group["name"], &group["interval"]), (&"g".into(), &5.into()));
    let rule = &group["rules"][1];
    assert_eq!((&rule["state"], &rule["type"], &rule["health"]), (&"firing".into(), &"alerting".into(), &"ok".into()));
    assert_eq!((&rule["query"], &rule["duration"]), (&"temperature > 30".into(), &10.into()));
    assert_eq!(rule["alerts"][0]["value"], "3.15e+01");
    assert_eq!(alerting.alerts_json().await["alerts"].as_array().unwrap().len(), 2);
    let only = RulesFilter { kind: Some("record".into()), ..RulesFilter::default() };
    assert_eq!(alerting.rules_json(&only).await["groups"][0]["rules"].as_array().unwrap().len(), 1);

    stage.play(&alerting, 20, async |_| stage.samples(&[(hot, 25.0)]).await).await;
    let resolved =
        stage.peer.got.lock().iter().rev().find(|g| g.body["groupLabels"]["alertname"] == "Hot").unwrap().body.clone();
    assert_eq!(
        (&resolved["status"], &resolved["notification_reason"]),
        (&"resolved".into(), &"all alerts resolved".into())
    );
    assert_eq!(
        stage.ledger("Hot").await,
        [
            "pending:condition_holds",
            "firing:held_long_enough",
            "grouped:{}:{alertname=\"Hot\"}",
            "sent:first notification",
            "resolved:condition_false",
            "grouped:{}:{alertname=\"Hot\"}",
            "sent:all alerts resolved",
        ]
    );
    let at_end = stage.sql("SELECT value FROM alert_events WHERE rule = 'Hot' AND event = 'resolved'").await;
    assert_eq!(at_end[0]["value"], 25.0, "the value at recovery is told though the expression no longer gives it");
    let gone = stage.querier.instant("0", "ALERTS{alertname=\"Hot\"}", stage.now_ms()).await.unwrap();
    assert!(format!("{:?}", gone.value).contains("[]"), "marked stale: {:?}", gone.value);

    let ended = alerting.alerts("resolved", 10).await.unwrap();
    let hot = ended.iter().find(|a| a["rule"] == "Hot").unwrap();
    assert_eq!(
        (&hot["state"], &hot["reason"], &hot["level"]),
        (&"resolved".into(), &"condition_false".into(), &"critical".into())
    );
    let one = alerting.alert(hot["id"].as_str().unwrap()).await.unwrap().unwrap();
    let events: Vec<&str> = one["timeline"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert!(events.starts_with(&["pending", "firing"]) && events.contains(&"sent"), "{events:?}");
    assert!(alerting.alert("nosuch").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_neither_forgets_nor_repeats() {
    let stage = Stage::new().await;
    stage.write("rules.yml", "groups:\n- name: g\n  interval: 5s\n  rules:\n  - alert: Hot\n    expr: t > 30\n  - alert: Slow\n    expr: t > 30\n    for: 60s\n");
    let hot = async |_| stage.samples(&[("t{instance=\"x\"}", 31.0)]).await;
    let first = stage.start(CONFIG).await;
    stage.play(&first, 30, hot).await;
    assert_eq!(stage.peer.story(), ["first notification:1/0"]);
    let before = first.alerts("all", 10).await.unwrap();
    drop(first);
    stage.now.fetch_add(20_000, std::sync::atomic::Ordering::SeqCst);

    let second = stage.start(CONFIG).await;
    let after = second.alerts("all", 10).await.unwrap();
    let ids = |alerts: &[Json]| alerts.iter().map(|a| a["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&before), ids(&after), "the same alerts live on");
    stage.play(&second, 25, hot).await;
    assert_eq!(stage.peer.story(), ["first notification:1/0"], "nothing is told twice");
    // 25 s pending before, the stop does not count: fires within the next 15 s
    stage.play(&second, 20, hot).await;
    assert_eq!(stage.peer.story(), ["first notification:1/0", "first notification:1/0"]);
    stage.play(&second, 15, async |_| stage.samples(&[("t{instance=\"x\"}", 1.0)]).await).await;
    assert_eq!(stage.peer.story()[2..], ["all alerts resolved:0/1", "all alerts resolved:0/1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_refuses_is_asked_again_and_one_that_rejects_is_not() {
    let stage = Stage::new().await;
    stage.write("rules.yml", "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Hot\n    expr: t > 30\n");
    let alerting = stage.start(CONFIG).await;
    *stage.peer.answers.lock() = vec![(503, None), (429, Some("7")), (200, None), (400, None)];
    stage.play(&alerting, 20, async |_| stage.samples(&[("t", 31.0)]).await).await;
    let got = stage.peer.got.lock().clone();
    assert_eq!(got.len(), 3, "{:?}", stage.peer.story());
    assert!(got.iter().all(|g| g.key == got[0].key), "every attempt has the same key");
    stage.play(&alerting, 20, async |_| stage.samples(&[("t", 1.0)]).await).await;
    assert_eq!(stage.peer.got.lock().len(), 4, "a refusal is final");
    let ledger = stage.ledger("Hot").await;
    let count = |event: &str| ledger.iter().filter(|l| l.starts_with(event)).count();
    assert_eq!((count("retry"), count("sent"), count("failed")), (2, 1, 1), "{ledger:?}");
    assert!(crate::stage::is_empty(&stage.folder.path().join("alerting/outbox")));
    let sent = stage.sql("SELECT ts FROM alert_events WHERE event = 'sent'").await;
    let retry = stage.sql("SELECT max(ts) AS ts FROM alert_events WHERE event = 'retry'").await;
    let waited_ms = sent[0]["ts"].as_i64().unwrap() - retry[0]["ts"].as_i64().unwrap();
    assert!((7_000..=8_000).contains(&waited_ms), "Retry-After is honoured: {waited_ms} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_is_all_or_nothing_and_keeps_alerts() {
    let stage = Stage::new().await;
    let rules = |name: &str, text: &str| {
        format!(
            "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: {name}\n    expr: t > 30\n    annotations: {{summary: '{text}'}}\n"
        )
    };
    stage.write("rules.yml", &rules("Hot", "one"));
    let alerting = stage.start(CONFIG).await;
    let hot = async |_| stage.samples(&[("t", 31.0)]).await;
    stage.play(&alerting, 3, hot).await;
    let id = alerting.alerts("firing", 1).await.unwrap()[0]["id"].clone();
    stage.write("rules.yml", "groups:\n- name: g\n  rules:\n  - alert: Hot\n    expr: t >\n");
    let error = alerting.reload(stage.settings(CONFIG)).await.unwrap_err().to_string();
    assert!(error.contains("rules.yml:5") && error.contains("field expr"), "{error}");
    stage.play(&alerting, 2, hot).await;
    assert_eq!(alerting.alerts("firing", 1).await.unwrap()[0]["id"], id, "the old rules run on");
    stage.write("rules.yml", &rules("Hot", "two"));
    alerting.reload(stage.settings(CONFIG)).await.unwrap();
    stage.play(&alerting, 2, hot).await;
    let alert = &alerting.alerts("firing", 1).await.unwrap()[0];
    assert_eq!((&alert["id"], &alert["annotations"]["summary"]), (&id, &"two".into()));
    stage.write("rules.yml", &rules("Cold", "three"));
    alerting.reload(stage.settings(CONFIG)).await.unwrap();
    stage.play(&alerting, 8, hot).await;
    assert_eq!(stage.peer.story(), ["first notification:1/0", "first notification:1/0", "all alerts resolved:0/1"]);
    assert!(stage.ledger("Hot").await.contains(&"resolved:rule_gone".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_one_identity_and_a_blind_rule_holds_its_state() {
    let stage = Stage::new().await;
    stage.write(
        "rules.yml",
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Full\n    sql: SELECT name, value FROM (SELECT name, size_bytes AS value FROM objects ORDER BY ts DESC LIMIT 1) WHERE 1 / (value - 13) < 99\n    levels: {warning: {above: 80, recover: 70}, critical: {above: 90, recover: 85}}\n    annotations: {summary: '{{ $value }} full'}\n",
    );
    let alerting = stage.start(CONFIG).await;
    let sizes = [50, 85, 95, 88, 75, 13, 13, 75, 60];
    let mut seen = Vec::new();
    for size in sizes {
        stage
            .play(&alerting, 1, async |_| {
                stage.row(Table::Objects, "x", &[("name", "d".into()), ("size_bytes", size.into())]).await
            })
            .await;
        let alerts = alerting.alerts("firing", 5).await.unwrap();
        let word =
            |a: &Json| format!("{}{}", a["level"].as_str().unwrap(), if a["blind"] == true { " blind" } else { "" });
        seen.push(alerts.first().map_or("-".to_string(), word));
    }
    assert_eq!(
        seen,
        ["-", "warning", "critical", "critical", "warning", "warning blind", "warning blind", "warning", "-"]
    );
    let ids = stage.sql("SELECT DISTINCT alert_id FROM alert_events").await;
    assert_eq!(ids.len(), 1, "one identity through all levels");
    let end = stage
        .sql("SELECT value, annotations FROM alert_events WHERE event = 'resolved'")
        .await
        .pop()
        .expect("it ended");
    let said = end.get("annotations").and_then(Json::as_str).unwrap_or("").to_string();
    assert_eq!(
        (end.get("value"), said.as_str()),
        (Some(&60.0.into()), r#"{"summary":"75 full"}"#),
        "what it last said"
    );
    let rules = alerting.rules_json(&RulesFilter::default()).await;
    assert_eq!(rules["groups"][0]["rules"][0]["health"], "ok");
    let ledger = stage.ledger("Full").await;
    assert!(ledger.contains(&"blind:cannot_see".into()) && ledger.contains(&"resolved:recovered".into()), "{ledger:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_duplicates_are_errors_of_the_rule() {
    let stage = Stage::new().await;
    stage.write(
        "rules.yml",
        "groups:\n- name: l\n  interval: 1s\n  limit: 1\n  rules: [{alert: Many, expr: t > 0}]\n- name: d\n  interval: 1s\n  rules: [{alert: Twice, expr: t > 0, labels: {room: same}}]\n",
    );
    let alerting = stage.start(CONFIG).await;
    stage.play(&alerting, 3, async |_| stage.samples(&[("t{room=\"a\"}", 1.0), ("t{room=\"b\"}", 1.0)]).await).await;
    let rules = alerting.rules_json(&RulesFilter::default()).await;
    let error = |group: usize| rules["groups"][group]["rules"][0]["lastError"].as_str().unwrap().to_string();
    assert!(error(0).contains("same labelset after applying alert labels"), "{}", error(0));
    assert!(error(1).contains("exceeded limit of 1 with 2 alerts"), "{}", error(1));
    assert!(stage.peer.got.lock().is_empty());
    assert!(stage.now_ms() > BEGIN_MS);
}

/// The room left to itself, on the machine's clock.
#[tokio::test(flavor = "multi_thread")]
async fn left_to_itself_it_evaluates_tells_and_reloads() {
    #[allow(clippy::disallowed_methods)] // this test is about real time
    fn wall_ms() -> i64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
    }
    let stage = Stage::new().await;
    stage.write("rules.yml", "groups:\n- name: g\n  interval: 200ms\n  rules:\n  - alert: Hot\n    expr: t > 30\n");
    stage.now.store(wall_ms(), std::sync::atomic::Ordering::SeqCst);
    let folder = stage.folder.path().join("alerting");
    let settings = stage.settings(CONFIG);
    let clock: alerting::Clock = std::sync::Arc::new(wall_ms);
    let (store, querier) = (stage.store.clone(), stage.querier.clone());
    let alerting = alerting::Alerting::start(settings, store, querier, "0", folder, clock).await.unwrap();
    let runner = alerting.clone();
    let task = tokio::spawn(async move { runner.run().await });
    stage.now.store(wall_ms(), std::sync::atomic::Ordering::SeqCst);
    let appended_ms = stage.now_ms();
    stage.samples(&[("t{instance=\"x\"}", 31.0)]).await;
    stage.eventually("the webhook", async || (!stage.peer.got.lock().is_empty()).then_some(())).await;
    println!("sample to webhook: {} ms", wall_ms() - appended_ms);
    let id = alerting.alerts("firing", 1).await.unwrap()[0]["id"].as_str().unwrap().to_string();
    stage
        .eventually("the evidence", async || {
            let alert = alerting.alert(&id).await.unwrap()?;
            alert["evidence"]["collected_at_ms"].as_i64()
        })
        .await;
    let evidence = stage.sql("SELECT ts FROM alert_events WHERE event = 'evidence'").await;
    let fired = stage.sql("SELECT ts FROM alert_events WHERE event = 'firing'").await;
    let took_ms = evidence[0]["ts"].as_i64().unwrap() - fired[0]["ts"].as_i64().unwrap();
    assert!(took_ms <= 2_000, "evidence after {took_ms} ms");
    stage.write("rules.yml", "groups: []\n");
    alerting.reload(stage.settings(CONFIG)).await.unwrap();
    stage.eventually("the end", async || (stage.peer.story().len() >= 2).then_some(())).await;
    assert_eq!(stage.peer.story(), ["first notification:1/0", "all alerts resolved:0/1"]);
    task.abort();
}
