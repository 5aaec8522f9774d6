//! Verdict trees over a real store: the example of docs/diagnosis.md as a user would write it, and whether everything that
//! built-in trees ask can be asked.

use std::sync::atomic::Ordering;

use proto::Table;
use serde_json::Value as Json;

use crate::stage::Stage;

const DOCS: &str = include_str!("../../../docs/diagnosis.md");

/// The tree that docs/diagnosis.md shows.
fn documented() -> String {
    let blocks = DOCS.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block));
    blocks.into_iter().find(|b| b.starts_with("- verdict: queue_behind")).unwrap().to_owned()
}

/// The evidence of a firing alert.
async fn evidence_of(stage: &Stage, alerting: &alerting::Alerting, rule: &str, instance: &str) -> Json {
    let alerts = alerting.alerts("firing", 1000).await.unwrap();
    let mine = |a: &&Json| a["rule"] == rule && a["labels"]["instance"] == instance;
    let alert = alerts.iter().find(mine).unwrap_or_else(|| panic!("{rule} does not fire"));
    let id = alert["id"].as_str().unwrap();
    let look = async || {
        let alert = alerting.alert(id).await.unwrap().unwrap();
        (!alert["evidence"].is_null()).then(|| alert["evidence"].clone())
    };
    stage.eventually("the evidence", look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_tree_asks_and_answers_and_a_bad_one_changes_nothing() {
    let stage = Stage::new().await;
    std::fs::create_dir(stage.folder.path().join("trees")).unwrap();
    stage.write("trees/queue.yaml", &documented());
    stage.write(
        "shop.yaml",
        "groups: [{name: shop, interval: 5s, rules: [{alert: OrderQueueLong, expr: 'orders_waiting > 100', labels: {severity: warning}}]}]\n",
    );
    let config = "builtin_rules: false\nrules: [shop.yaml]\ndiagnosis: ['trees/*.yaml']\n\
                  receivers: [{name: r, webhooks: [{url: '$peer'}]}]\nroute: {receiver: r}\n";
    let alerting = stage.start(config).await;
    let statement = [("fingerprint", "00000000000000cc".into()), ("text", "SELECT * FROM queue".into())];
    stage.row(Table::Statements, "shop1", &statement).await;
    let queue = async |instance: &str, north: f64| {
        let begun = (stage.now.load(Ordering::SeqCst) / 1000 - 120) as f64;
        let series = |name: &str| format!("{name}{{instance=\"{instance}\"");
        let (waiting, seen) = (series("orders_waiting"), series("worker_last_seen"));
        let samples = [
            (format!("{waiting},shop=\"north\"}}"), north),
            (format!("{waiting},shop=\"south\"}}"), 3.0),
            (format!("{seen}}}"), begun),
        ];
        let samples: Vec<(&str, f64)> = samples.iter().map(|(s, v)| (s.as_str(), *v)).collect();
        stage.samples(&samples).await;
        let cells = [("fingerprint", "00000000000000cc".into()), ("calls", 10i64.into()), ("total_ms", 500.0.into())];
        stage.row(Table::StatementStats, "shop1", &cells).await;
    };
    stage.play(&alerting, 15, async |_| queue("shop1", 1500.0).await).await;
    let evidence = evidence_of(&stage, &alerting, "OrderQueueLong", "shop1").await;
    assert_eq!(evidence["errors"], serde_json::json!([]));
    let finding = &evidence["findings"][0];
    assert_eq!(finding["verdict"], "queue_worker_gone", "{finding}");
    let reasons = [
        "1500 orders of shop north wait",
        "the worker was last seen 2 min 0 s ago",
        "most time went into SELECT * FROM queue",
    ];
    assert_eq!(finding["reasons"], serde_json::json!(reasons));
    let reasons = [
        "店铺 north 有 1500 个订单在等待",
        "消费进程最后一次出现在 2 min 0 s 之前",
        "耗时最多的语句：SELECT * FROM queue",
    ];
    assert_eq!(finding["reasons_zh"], serde_json::json!(reasons));
    assert_eq!((&finding["advice"], &finding["advice_zh"]), (&"Start it.".into(), &"启动它。".into()));
    let message = stage.peer.got.lock()[0].body.clone();
    assert_eq!(&message["alerts"][0]["diagnosis"], finding, "the first message waits for the cause");

    stage.write("trees/worse.yaml", "- verdict: worse\n  title: {en: a, zh: b}\n  when: [{fact: nosuch, at_least: 1}]\n  reason: {en: a, zh: b}\n  advice: {en: a, zh: b}\n");
    let refused = alerting.reload(stage.settings(config)).await.unwrap_err().to_string();
    assert!(
        refused.contains("trees/worse.yaml:3: verdict \"worse\", when: \"nosuch\" is not a fact; there are: "),
        "{refused}"
    );
    stage.play(&alerting, 15, async |_| queue("shop2", 2000.0).await).await;
    let evidence = evidence_of(&stage, &alerting, "OrderQueueLong", "shop2").await;
    assert_eq!(evidence["findings"][0]["verdict"], "queue_worker_gone");

    stage.write("trees/worse.yaml", &documented().replace("queue_worker_gone", "worker_away"));
    alerting.reload(stage.settings(config)).await.unwrap();
    stage.play(&alerting, 15, async |_| queue("shop3", 2000.0).await).await;
    let evidence = evidence_of(&stage, &alerting, "OrderQueueLong", "shop3").await;
    assert_eq!(evidence["findings"][0]["verdict"], "worker_away", "a later file replaces the tree");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_built_in_trees_ask_can_be_asked() {
    let groups = alerting::builtin::groups(15_000).unwrap();
    let rules = groups.iter().flat_map(|g| &g.rules).filter(|r| r.alerting().is_some()).map(|r| r.name.clone());
    let trees = diagnosis::Trees::builtin();
    let named: std::collections::BTreeSet<String> = rules.filter(|r| trees.questions(r).next().is_some()).collect();
    assert!(named.len() >= 10, "{named:?}");
    let stage = Stage::new().await;
    // one alert under each name, so that only the questions of its trees are asked
    let rules: Vec<String> = named.iter().map(|n| format!("{{alert: {n}, expr: 'seed == 1'}}")).collect();
    stage.write("all.yaml", &format!("groups: [{{name: all, interval: 5s, rules: [{}]}}]\n", rules.join(", ")));
    let config = "builtin_rules: false\nrules: [all.yaml]\nreceivers: [{name: r, webhooks: [{url: '$peer'}]}]\n";
    let alerting = stage.start(config).await;
    let seed = "seed{instance=\"i\",mountpoint=\"/srv/data\",class=\"undefined_table\",fingerprint=\"00000000000000dd\",database=\"d\"}";
    stage.play(&alerting, 10, async |_| stage.samples(&[(seed, 1.0)]).await).await;
    for name in named {
        let evidence = evidence_of(&stage, &alerting, &name, "i").await;
        let late = |e: &&Json| !e.as_str().unwrap().contains("no answer within");
        let errors: Vec<&Json> = evidence["errors"].as_array().unwrap().iter().filter(late).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}
