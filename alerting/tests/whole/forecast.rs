//! Forecast rules on a real store: warned before a limit is reached, graded by the time that is left, quiet again after a cleanup.

use crate::stage::Stage;
use diagnosis::Evidence;

const CONFIG: &str = "rules: [rules.yml]\nbuiltin_rules: false\nreceivers: [{name: dba, webhooks: [{url: '$peer'}]}]\n\
    route: {receiver: dba, group_by: [alertname], group_interval: 1s}\n";

const FILLS: &str = "groups:\n- name: g\n  interval: 5s\n  rules:\n\
  \x20 - alert: Fills\n    forecast: {expr: 'used{job=\"disk\"}', horizon: 4m, crosses: {above: 90}, step: 5s}\n\
  \x20   levels: {warning: {within: 2m}, critical: {within: 30s}}\n\
  \x20 - alert: Few\n    forecast: {expr: used, horizon: 4m, crosses: {above: 90}, series_max: 1}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_told_before_it_is_reached_and_taken_back_after_a_cleanup() {
    let stage = Stage::new().await;
    stage.write("rules.yml", FILLS);
    let alerting = stage.start(CONFIG).await;
    let used = "used{job=\"disk\",instance=\"a\"}";
    let level = std::cell::Cell::new(40.0);
    let still = "used{job=\"still\",instance=\"b\"}";
    let step = async |by: f64| {
        level.set(level.get() + by);
        stage.samples(&[(used, level.get()), (still, 50.0)]).await;
    };
    // 0.25 a second from 40: 90 after 200 seconds
    stage.play(&alerting, 185, async |_| step(0.25).await).await;
    let ledger = stage.ledger("Fills").await;
    let steps: Vec<&str> = ledger.iter().map(|e| e.split(':').next().unwrap()).collect();
    assert_eq!(steps, ["pending", "firing", "grouped", "sent", "level", "grouped", "sent"], "{ledger:?}");
    let rows =
        stage.sql("SELECT event, value FROM alert_events WHERE rule = 'Fills' AND event IN ('firing', 'level')").await;
    let of = |event: &str| rows.iter().find(|r| r["event"] == event).unwrap()["value"].as_f64().unwrap();
    assert!((100.0..120.0).contains(&of("firing")), "warning two minutes ahead: {rows:?}");
    assert!((20.0..30.0).contains(&of("level")), "critical half a minute ahead: {rows:?}");

    let got = stage.peer.got.lock().clone();
    let alert = &got[0].body["alerts"][0];
    assert_eq!(alert["labels"]["severity"], "warning");
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("a: used{job=\"disk\"} reaches 90 in 1 min 5"), "{summary}");
    assert!(summary.contains("(80 %: "), "{summary}");
    assert!(alert["annotations"]["summary_zh"].as_str().unwrap().contains("预计 1 分钟 5"), "{alert}");
    assert!(alert["annotations"]["description"].as_str().unwrap().contains("seasonal-naive"), "{alert}");
    assert_eq!(got[1].body["alerts"][0]["labels"]["severity"], "critical");

    let all = alerting.alerts("firing", 10).await.unwrap();
    let id = all[0]["id"].as_str().unwrap().to_string();
    let evidence = stage
        .eventually("evidence", async || {
            let found = alerting.alert(&id).await.unwrap().unwrap()["evidence"].clone();
            serde_json::from_value::<Evidence>(found).ok()
        })
        .await;
    let drawn = &evidence.forecast.unwrap().series[0];
    assert_eq!((drawn.labels["instance"].as_str(), drawn.threshold), (Some("a"), Some(90.0)));
    assert!(drawn.reaches_at_ms.is_some() && drawn.forecast.len() > 30 && drawn.history.len() >= 12);
    assert!(drawn.mase.unwrap() < drawn.mase_baseline.unwrap());

    // cleaned up, and it fills more slowly: no warning for more than the two and a half minutes that would keep it
    level.set(20.0);
    stage.play(&alerting, 60, async |_| step(0.05).await).await;
    let ledger = stage.ledger("Fills").await;
    assert!(ledger.contains(&"resolved:recovered".to_string()), "{ledger:?}");
    assert_eq!(alerting.alerts("firing", 10).await.unwrap(), Vec::<serde_json::Value>::new());

    let rules = alerting.rules_json(&alerting::RulesFilter::default()).await;
    let few = &rules["groups"][0]["rules"][1];
    assert_eq!(few["health"], "err");
    assert_eq!(few["lastError"], "the query gives 2 series; at most 1 are foreseen at once", "{few}");
}
