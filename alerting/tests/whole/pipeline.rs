//! What others post and what operators say, on a real store and a virtual clock: told, not told, why, and after a restart.

use crate::stage::Stage;
use alerting::outside::Posted;
use alerting::silence::Condition;
use alerting::silences::Wanted;

const CONFIG: &str = "builtin_rules: false\nexternal_labels: {region: north}\nresolve_timeout: 40s\n\
    receivers: [{name: dba, webhooks: [{url: '$peer'}]}, {name: nobody, webhooks: [{url: '$peer'}]}]\n\
    inhibit_rules: [{source_matchers: ['alertname=Down'], target_matchers: ['alertname=Slow'], equal: [host]}]\n\
    route: {receiver: dba, group_by: [alertname, host], group_interval: 5s, repeat_interval: 10s}\n";

fn posted(name: &str, host: &str, severity: &str) -> Posted {
    let pairs = [("alertname", name), ("host", host), ("severity", severity)];
    let annotations = [("summary".to_string(), format!("{name} on {host}"))].into();
    let labels = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    Posted { labels, annotations, generator_url: Some("http://prometheus/graph".into()), ..Posted::default() }
}

fn silence(stage: &Stage, name: &str, value: &str) -> Wanted {
    Wanted {
        id: String::new(),
        matchers: vec![Condition { name: name.into(), value: value.into(), is_regex: false, is_equal: true }],
        starts_at_ms: stage.now_ms(),
        ends_at_ms: stage.now_ms() + 3_600_000,
        updated_at_ms: 0,
        created_by: "dba".into(),
        comment: "upgrade".into(),
        recurrence: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_others_are_told_held_back_and_explained() {
    let stage = Stage::new().await;
    let alerting = stage.start(CONFIG).await;
    let id = alerting.set_silence(silence(&stage, "host", "quiet"), "s-1".into()).unwrap();
    let all =
        || vec![posted("Down", "a", "critical"), posted("Slow", "a", "warning"), posted("Down", "quiet", "warning")];
    alerting.take_posted(all()).await.unwrap();
    let error = alerting.take_posted(vec![posted("Slow", "b", "warning"), Posted::default()]).await.unwrap_err();
    assert_eq!(error, "at least one label pair required", "what is right is taken beside what is wrong");
    stage.play(&alerting, 3, async |_| {}).await;
    assert_eq!(stage.peer.story(), ["first notification:1/0", "first notification:1/0"]);
    let first = stage.peer.got.lock()[0].body.clone();
    assert_eq!(first["alerts"][0]["generatorURL"], "http://prometheus/graph");
    assert!(first["commonLabels"]["region"].is_null(), "labels of others stay as they are");

    let why = |name: &'static str, host: &'static str| {
        let alerting = alerting.clone();
        async move {
            let alerts = alerting.alerts("firing", 9).await.unwrap();
            let one = alerts.iter().find(|a| a["rule"] == name && a["labels"]["host"] == host).unwrap();
            alerting.why(one["id"].as_str().unwrap()).await.unwrap().unwrap()
        }
    };
    let told = why("Down", "a").await;
    assert_eq!(
        told.receivers.iter().map(|r| (r.receiver.as_str(), r.told)).collect::<Vec<_>>(),
        [("dba", true), ("nobody", false)]
    );
    assert!(
        told.answer.contains("dba: told at") && told.answer.contains("nobody: not told: no route"),
        "{}",
        told.answer
    );
    let held = why("Down", "quiet").await;
    assert!(!held.receivers[0].told && held.answer.contains("silence s-1"), "{}", held.answer);
    let needless = why("Slow", "a").await;
    assert!(!needless.receivers[0].told && needless.answer.contains("made needless by alert"), "{}", needless.answer);
    let by_rule = alerting.why("Slow").await.unwrap().unwrap();
    assert_eq!(by_rule.rule, "Slow");
    assert!(alerting.why("NoSuchRule").await.unwrap().is_none());

    let matchers = [Condition { name: "host".into(), value: "a|quiet".into(), is_regex: true, is_equal: true }];
    let preview = alerting.preview(&matchers).await.unwrap();
    assert_eq!(preview.len(), 3);
    let quiet = preview.iter().find(|a| a["labels"]["host"] == "quiet").unwrap();
    assert_eq!(quiet["silenced_by"], serde_json::json!([id]));

    // the silence ends: what still fires is told at the group's next turn; not posted again: all end
    alerting.expire_silence(&id).unwrap();
    alerting.take_posted(all()).await.unwrap();
    stage.play(&alerting, 6, async |_| {}).await;
    assert_eq!(stage.peer.got.lock().last().unwrap().body["groupLabels"]["host"], "quiet");
    stage.play(&alerting, 50, async |_| {}).await;
    assert!(alerting.alerts("firing", 9).await.unwrap().is_empty());
    let ends = stage.peer.got.lock().iter().filter(|g| g.body["status"] == "resolved").count();
    assert_eq!(ends, 3, "{:?}", stage.peer.story());
    assert!(stage.ledger("Slow").await.contains(&"resolved:timed_out".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_alerts_are_not_repeated_and_restarts_remember_everything() {
    let stage = Stage::new().await;
    let first = stage.start(CONFIG).await;
    first.take_posted(vec![posted("Down", "a", "warning"), posted("Down", "b", "warning")]).await.unwrap();
    stage.play(&first, 2, async |_| {}).await;
    let id =
        first.alerts("firing", 9).await.unwrap().iter().find(|a| a["labels"]["host"] == "a").unwrap()["id"].clone();
    let id = id.as_str().unwrap();
    first.acknowledge(id, "me", "on it").unwrap();
    assert!(first.acknowledge("none", "me", "").is_err());
    let silence_id = first.set_silence(silence(&stage, "host", "b"), "s-2".into()).unwrap();
    drop(first);

    let second = stage.start(CONFIG).await;
    assert_eq!(second.silence(&silence_id).unwrap().comment, "upgrade");
    let again = || vec![posted("Down", "a", "warning"), posted("Down", "b", "warning")];
    second.take_posted(again()).await.unwrap();
    stage.play(&second, 30, async |_| {}).await;
    assert_eq!(stage.peer.story(), ["first notification:1/0", "first notification:1/0"], "neither is repeated");
    let alert = second.alert(id).await.unwrap().unwrap();
    assert_eq!((&alert["acknowledged"]["by"], &alert["state"]), (&"me".into(), &"firing".into()));
    assert!(second.take_back(id).unwrap() && !second.take_back(id).unwrap());
    stage.play(&second, 5, async |_| {}).await;
    assert_eq!(stage.peer.story()[2..], ["repeat interval elapsed:1/0"], "taken back: the repeat is due");
    let ledger = stage.ledger("Down").await;
    for row in ["acknowledged:taken", "unacknowledged:taken_back", "silenced:silenced by s-2"] {
        assert!(ledger.iter().any(|l| l == row), "{row}: {ledger:?}");
    }
    assert_eq!(ledger.iter().filter(|l| l.starts_with("firing")).count(), 2, "posted again is not fired again");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_routes_hold_for_what_fires_already_and_no_end_is_lost() {
    let stage = Stage::new().await;
    let alerting = stage.start(CONFIG).await;
    alerting.take_posted(vec![posted("Down", "a", "warning"), posted("Down", "b", "warning")]).await.unwrap();
    stage.play(&alerting, 2, async |_| {}).await;
    let to =
        || stage.peer.got.lock().iter().map(|g| g.body["receiver"].as_str().unwrap().to_string()).collect::<Vec<_>>();
    assert_eq!(to(), ["dba", "dba"]);
    alerting.reload(stage.settings(CONFIG)).await.unwrap();
    stage.play(&alerting, 6, async |_| {}).await;
    assert_eq!(to().len(), 2, "the same routes: nothing is told again");
    let moved = CONFIG
        .replace("repeat_interval: 10s}", "repeat_interval: 10s, routes: [{matchers: [host=b], receiver: nobody}]}");
    alerting.reload(stage.settings(&moved)).await.unwrap();
    stage.play(&alerting, 1, async |_| {}).await;
    assert_eq!(to()[2..], ["nobody"], "b is another's now");
    let mut ends = vec![posted("Down", "a", "warning"), posted("Down", "b", "warning")];
    let now = chrono::DateTime::from_timestamp_millis(stage.now_ms()).unwrap().to_rfc3339();
    ends.iter_mut().for_each(|e| e.ends_at = Some(now.clone()));
    alerting.take_posted(ends).await.unwrap();
    alerting.reload(stage.settings(&moved)).await.unwrap();
    stage.play(&alerting, 30, async |_| {}).await;
    let ended = stage.peer.got.lock().iter().filter(|g| g.body["status"] == "resolved").count();
    assert_eq!(
        (ended, to().len()),
        (2, 5),
        "both ends are told once, and nothing is repeated after them: {:?}",
        stage.peer.story()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_comes_before_its_groups_turn_is_told_after_a_restart() {
    let stage = Stage::new().await;
    let first = stage.start(CONFIG).await;
    first.take_posted(vec![posted("Down", "a", "warning")]).await.unwrap();
    stage.play(&first, 1, async |_| {}).await;
    let mut end = posted("Down", "a", "warning");
    end.ends_at = Some(chrono::DateTime::from_timestamp_millis(stage.now_ms()).unwrap().to_rfc3339());
    first.take_posted(vec![end]).await.unwrap();
    drop(first);
    for _ in 0..2 {
        let next = stage.start(CONFIG).await;
        stage.play(&next, 10, async |_| {}).await;
        let said: Vec<_> =
            stage.peer.got.lock().iter().map(|g| g.body["status"].as_str().unwrap_or("").to_string()).collect();
        assert_eq!(said, ["firing", "resolved"]);
    }
}
