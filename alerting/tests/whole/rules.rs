//! Groups and rules on a real store and a virtual clock: slots, order, series written, blindness, restart and reload.

use std::sync::atomic::Ordering;

use alerting::{Alerting, RulesFilter};
use query::promql::{AnswerValue, Point};
use serde_json::{Value as Json, json};

use crate::stage::Stage;

const CONFIG: &str = "rules: ['*.yml']\nbuiltin_rules: false\nexternal_url: http://watch:7400\n\
    receivers: [{name: dba, webhooks: [{url: '$peer'}]}]\nroute: {receiver: dba, group_by: [alertname], group_interval: 1s}\n";

/// A file of one group, `rules` a YAML flow sequence. Every millisecond is a slot, so that each look at the clock finds one.
fn group(name: &str, head: &str, rules: &str) -> String {
    format!("groups:\n- name: {name}\n  interval: 1ms\n  {head}\n  rules: {rules}\n")
}

/// `labels=value` of an instant query, in order.
async fn ask(stage: &Stage, query: &str) -> Vec<String> {
    let AnswerValue::Vector(samples) = stage.querier.instant("0", query, stage.now_ms()).await.unwrap().value else {
        panic!("{query} gives no vector");
    };
    let text = |point: Point| match point {
        Point::Float(v) => v.to_string(),
        Point::Histogram(_) => "histogram".into(),
    };
    let mut lines: Vec<String> = samples.into_iter().map(|s| format!("{}={}", s.labels, text(s.value))).collect();
    lines.sort();
    lines
}

async fn rule(alerting: &Alerting, name: &str) -> Json {
    let filter = RulesFilter { rule_names: vec![name.into()], ..RulesFilter::default() };
    alerting.rules_json(&filter).await["groups"][0]["rules"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_slots_are_counted_and_not_caught_up() {
    let stage = Stage::new().await;
    let rules = "[{alert: A, expr: t > 0}, {alert: B, expr: 't[5m]'}]";
    stage.write("a.yml", &group("g", "", rules).replace("1ms", "1s"));
    let alerting = stage.start(CONFIG).await;
    stage.play(&alerting, 3, async |_| {}).await;
    stage.now.fetch_add(9_000, Ordering::SeqCst);
    stage.play(&alerting, 1, async |_| {}).await;
    let numbers = alerting.rule_numbers();
    let (name, g) = &numbers[0];
    assert!(name.starts_with("g;") && name.ends_with("a.yml"), "{name}");
    // 13 slots came: 4 were evaluated, with 2 rules each; the second rule gives no instant vector
    assert_eq!((g.missed_slots, g.evaluations, g.failures, g.failing), (9, 8, 4, 1));
    assert_eq!(rule(&alerting, "B").await["health"], "err");
}

#[tokio::test(flavor = "multi_thread")]
async fn later_rules_see_earlier_ones_though_an_offset_shifts_their_look() {
    let stage = Stage::new().await;
    let chain = "[{alert: A, expr: t > 1, labels: {severity: notice}}, {record: 't:sum', expr: sum(t)}, \
        {alert: B, expr: 'ALERTS{alertname=\"A\", alertstate=\"firing\"}', labels: {alertstate: ''}}, {record: twice, expr: '2 * t:sum'}]";
    stage.write("a.yml", &group("g", "query_offset: 5s", chain));
    let alerting = stage.start(CONFIG).await;
    let mut seen = Vec::new();
    stage
        .play(&alerting, 8, async |second| {
            stage.samples(&[("t", (second + 1) as f64)]).await;
            seen = ask(&stage, "timestamp(twice) - time()").await;
        })
        .await;
    // evaluated a second ago as of five seconds before
    assert_eq!(seen, ["{}=-6"]);
    assert_eq!(ask(&stage, "twice").await, ["{__name__=\"twice\"}=6"]);
    let firing: Vec<Json> = alerting.alerts("firing", 9).await.unwrap();
    let names: Vec<&Json> = firing.iter().map(|a| &a["rule"]).collect();
    assert!(names.contains(&&json!("A")) && names.contains(&&json!("B")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_are_recorded_and_later_rules_see_them() {
    let stage = Stage::new().await;
    let chain = "[{record: 'h:increase', expr: 'increase(h[4s])'}, {record: 'h:median', expr: 'histogram_quantile(0.5, h:increase)'}, \
        {record: 'h:less', expr: '-h'}, {alert: Slow, expr: 'histogram_avg(h:increase) > 1'}]";
    stage.write("a.yml", &group("g", "", chain));
    let alerting = stage.start(CONFIG).await;
    stage.play(&alerting, 6, async |second| stage.histogram("h", 100 + 10 * second as u64).await).await;
    assert_eq!(ask(&stage, "h:increase").await, ["{__name__=\"h:increase\"}=histogram"]);
    assert_eq!(ask(&stage, "histogram_count(h:increase)").await, ["{}=40"]);
    assert_eq!(ask(&stage, "h:median > 1 < 2").await.len(), 1);
    assert_eq!(ask(&stage, "h:less").await, Vec::<String>::new(), "what has negative counts is not stored");
    assert_eq!(alerting.alerts("firing", 9).await.unwrap()[0]["rule"], "Slow");
    // nothing more comes: what was recorded ends
    stage.now.fetch_add(600_000, Ordering::SeqCst);
    stage.play(&alerting, 1, async |_| {}).await;
    assert_eq!(ask(&stage, "h:increase").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn series_of_alerts_begin_change_and_end_with_them() {
    let stage = Stage::new().await;
    stage.write("a.yml", &group("g", "", "[{alert: A, expr: t > 1, for: 2s, labels: {x: '{{ $labels.room }}!'}}]"));
    let alerting = stage.start(CONFIG).await;
    let all = "{__name__=~\"ALERTS.*\"}";
    let mut story = Vec::new();
    for value in [1.0, 2.0, 2.0, 2.0, 1.0, 1.0] {
        stage.play(&alerting, 1, async |_| stage.samples(&[("t{room=\"r\"}", value)]).await).await;
        let found = ask(&stage, all).await;
        story.push(
            found.iter().map(|l| l.split(['"', '=']).nth(5).unwrap_or("").to_string()).collect::<Vec<_>>().join("+"),
        );
        if value > 1.0 {
            assert_eq!(found.len(), 2, "one ALERTS, one ALERTS_FOR_STATE: {found:?}");
            assert!(found.iter().all(|l| l.contains("room=\"r\"") && l.contains("x=\"r!\"")), "{found:?}");
        } else {
            assert!(found.is_empty(), "{found:?}");
        }
    }
    let states = stage.querier.instant("0", "count_over_time(ALERTS[1m])", stage.now_ms()).await.unwrap();
    assert!(format!("{:?}", states.value).contains("pending") && format!("{:?}", states.value).contains("firing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_state_by_name_and_labels_and_ends_the_series_of_what_is_gone() {
    let stage = Stage::new().await;
    let rules = "[{record: gone, expr: t}, {alert: A, expr: t > 1, for: 3s, labels: {x: '1'}}, {alert: A, expr: t > 0, for: 9s, labels: {x: '2'}}]";
    stage.write("a.yml", &group("g", "", rules));
    stage.write("b.yml", &group("h", "", "[{record: also_gone, expr: t}]"));
    let alerting = stage.start(CONFIG).await;
    let hot = async |_| stage.samples(&[("t", 2.0)]).await;
    stage.play(&alerting, 2, hot).await;
    assert_eq!(ask(&stage, "{__name__=~\".*gone\"}").await.len(), 2);
    // the order changes, expressions and texts change: the waiting goes on where it was
    let rules = "[{alert: A, expr: t > 1.5, for: 9s, labels: {x: '2'}}, {alert: A, expr: t > 1.5, for: 3s, labels: {x: '1'}, annotations: {a: new}}]";
    stage.write("a.yml", &group("g", "", rules));
    std::fs::remove_file(stage.folder.path().join("b.yml")).unwrap();
    alerting.reload(stage.settings(CONFIG)).await.unwrap();
    stage.play(&alerting, 2, hot).await;
    let firing = alerting.alerts("firing", 9).await.unwrap();
    assert_eq!(
        (firing.len(), &firing[0]["labels"]["x"], &firing[0]["annotations"]["a"]),
        (1, &json!("1"), &json!("new"))
    );
    assert_eq!(ask(&stage, "{__name__=~\".*gone\"}").await, Vec::<String>::new());
    assert_eq!(alerting.rule_numbers().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_firing_for_goes_on_after_a_restart() {
    let stage = Stage::new().await;
    stage.write("a.yml", &group("g", "", "[{alert: A, expr: t > 1, keep_firing_for: 20s}]"));
    let first = stage.start(CONFIG).await;
    stage.play(&first, 2, async |_| stage.samples(&[("t", 2.0)]).await).await;
    stage.play(&first, 5, async |_| stage.samples(&[("t", 1.0)]).await).await;
    drop(first);
    stage.now.fetch_add(4_000, Ordering::SeqCst);
    let second = stage.start(CONFIG).await;
    // since the 3rd second of 20: 5 s before the stop, 4 s of stop, 11 s more
    stage.play(&second, 10, async |_| stage.samples(&[("t", 1.0)]).await).await;
    assert_eq!(second.alerts("firing", 9).await.unwrap().len(), 1, "it fires on");
    stage.play(&second, 3, async |_| stage.samples(&[("t", 1.0)]).await).await;
    assert!(second.alerts("firing", 9).await.unwrap().is_empty());
    let ledger = stage.ledger("A").await;
    let steps: Vec<&str> =
        ledger.iter().map(String::as_str).filter(|l| !l.starts_with("grouped") && !l.starts_with("sent")).collect();
    assert_eq!(
        steps,
        [
            "pending:condition_holds",
            "firing:held_long_enough",
            "keep_firing:condition_false",
            "resolved:keep_firing_over"
        ]
    );
    assert_eq!(stage.peer.story(), ["first notification:1/0", "all alerts resolved:0/1"]);
    assert_eq!(ask(&stage, "ALERTS").await, Vec::<String>::new(), "the series of its first life is marked stale too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_clears_all_alerts_of_the_rule_with_that_reason() {
    let stage = Stage::new().await;
    stage.write("a.yml", &group("g", "limit: 2", "[{alert: A, expr: t > 1}]"));
    let alerting = stage.start(CONFIG).await;
    let rooms = ["t{room=\"a\"}", "t{room=\"b\"}", "t{room=\"c\"}"];
    for (count, firing) in [(2, 2), (3, 0), (2, 2)] {
        let values: Vec<(&str, f64)> =
            rooms.iter().enumerate().map(|(i, r)| (*r, f64::from(u8::from(i < count)) * 2.0)).collect();
        stage.play(&alerting, 1, async |_| stage.samples(&values).await).await;
        assert_eq!(alerting.alerts("firing", 9).await.unwrap().len(), firing, "{count} rooms are hot");
        let error = if firing == 0 { json!("exceeded limit of 2 with 3 alerts") } else { Json::Null };
        assert_eq!(rule(&alerting, "A").await["lastError"], error);
    }
    assert!(stage.ledger("A").await.contains(&"resolved:limit_exceeded".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_template_says_so_in_its_place_and_the_alert_goes_on() {
    let stage = Stage::new().await;
    let rules = "[{alert: A, expr: t > 1, labels: {l: '{{ humanize \"x\" }}'}, annotations: {good: fine, bad: '{{ index 5 1 }}'}}]";
    stage.write("a.yml", &group("g", "", rules));
    let alerting = stage.start(CONFIG).await;
    stage.play(&alerting, 1, async |_| stage.samples(&[("t", 2.0)]).await).await;
    let alert = &alerting.alerts("firing", 9).await.unwrap()[0];
    let failed = |text: &Json| text.as_str().unwrap().starts_with("<error expanding template: ");
    assert!(failed(&alert["annotations"]["bad"]) && failed(&alert["labels"]["l"]), "{alert}");
    assert_eq!(alert["annotations"]["good"], "fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn blind_rules_of_ours_hold_their_alerts_and_prometheus_rules_do_not() {
    let stage = Stage::new().await;
    let rules = "[{alert: Ours, expr: t, levels: {warning: {above: 1}}}, {alert: Theirs, expr: t > 1}, {alert: Or, expr: nosuch or t, levels: {notice: {above: 1}}}, \
        {record: r, expr: t}, {alert: Never, expr: nosuch > 1}]";
    stage.write("a.yml", &group("g", "", rules));
    let alerting = stage.start(CONFIG).await;
    stage.play(&alerting, 2, async |_| stage.samples(&[("t{i=\"a\"}", 2.0), ("t{i=\"b\"}", 2.0)]).await).await;
    for (name, blind) in [("Ours", false), ("Theirs", false), ("Or", false), ("r", false), ("Never", true)] {
        assert_eq!(rule(&alerting, name).await["blind"].is_object(), blind, "{name}");
    }
    // one target ends: its alert ends too, for the rule still sees the other
    let stale = f64::from_bits(query::promql::STALE_NAN_BITS);
    stage.play(&alerting, 1, async |_| stage.samples(&[("t{i=\"a\"}", stale)]).await).await;
    assert!(stage.ledger("Ours").await.contains(&"resolved:no_data".to_string()));
    // both are gone: ours holds, Prometheus' resolves; both say that they are blind
    stage.play(&alerting, 3, async |_| stage.samples(&[("t{i=\"b\"}", stale)]).await).await;
    let firing = alerting.alerts("firing", 9).await.unwrap();
    let of = |name: &str| firing.iter().filter(|a| a["rule"] == name).collect::<Vec<_>>();
    assert_eq!((of("Ours").len(), of("Or").len(), of("Theirs").len()), (1, 1, 0));
    assert_eq!(of("Ours")[0]["blind"], true);
    let theirs = rule(&alerting, "Theirs").await;
    assert_eq!((&theirs["health"], &theirs["state"]), (&json!("ok"), &json!("inactive")));
    assert_eq!((&theirs["blind"]["cause"], &theirs["blind"]["selector"]), (&json!("lost"), &json!("t")));
    let blind: Vec<u64> = alerting.rule_numbers()[0].1.blind.to_vec();
    assert_eq!(blind, [0, 4, 1], "query_failed, lost, never_matched");
    // it sees again: the state goes on
    stage.play(&alerting, 1, async |_| stage.samples(&[("t{i=\"b\"}", 2.0)]).await).await;
    let ledger = stage.ledger("Ours").await;
    let tail = ledger.iter().filter(|l| l.starts_with("blind") || l.starts_with("sighted")).collect::<Vec<_>>();
    assert_eq!(tail, ["blind:cannot_see", "sighted:sees_again"]);
    // what stays away for more than an hour was retired
    stage.play(&alerting, 1, async |_| stage.samples(&[("t{i=\"b\"}", stale)]).await).await;
    stage.now.fetch_add(3_600_000, Ordering::SeqCst);
    stage.play(&alerting, 2, async |_| {}).await;
    assert!(alerting.alerts("firing", 9).await.unwrap().is_empty());
    assert_eq!(rule(&alerting, "Ours").await["blind"], Json::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_answered_in_pages_and_by_their_labels() {
    let stage = Stage::new().await;
    for name in ["a", "b", "c"] {
        let rules = format!("[{{alert: A{name}, expr: t, labels: {{team: {name}, t: '{{{{ $value }}}}'}}}}]");
        stage.write(&format!("{name}.yml"), &group(name, "", &rules));
    }
    let alerting = stage.start(CONFIG).await;
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let filter = RulesFilter { group_limit: Some(2), group_next_token: token.take(), ..RulesFilter::default() };
        let data = alerting.rules_json(&filter).await;
        names.push(
            data["groups"]
                .as_array()
                .unwrap()
                .iter()
                .map(|g| g["name"].as_str().unwrap().to_string())
                .collect::<String>(),
        );
        match data["groupNextToken"].as_str() {
            Some(next) => token = Some(next.to_string()),
            None => break,
        }
    }
    assert_eq!(names, ["ab", "c"]);
    let matching = async |text: &str| {
        let query::promql::Expr::Selector(selector) = query::promql::parse(text).unwrap() else { panic!("{text}") };
        let filter = RulesFilter { matchers: vec![selector.matchers], ..RulesFilter::default() };
        alerting.rules_json(&filter).await["groups"].as_array().unwrap().len()
    };
    assert_eq!(
        (matching("{team=~\"a|c\"}").await, matching("{team=\"x\"}").await, matching("{t!=\"\"}").await),
        (2, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_comes_and_goes_is_flapping_until_it_is_calm() {
    let stage = Stage::new().await;
    stage.write("a.yml", &group("g", "", "[{alert: A, expr: t > 1}]"));
    let alerting = stage.start(CONFIG).await;
    let mut seen = Vec::new();
    for round in 0..8 {
        stage.play(&alerting, 1, async |_| stage.samples(&[("t", f64::from(2 - round % 2))]).await).await;
        seen.push(alerting.alerts("firing", 9).await.unwrap().first().map(|a| a["flapping"] == true));
    }
    let (steady, flapping) = (Some(false), Some(true));
    assert_eq!(seen, [steady, None, steady, None, steady, None, flapping, None]);
    stage.play(&alerting, 1, async |_| stage.samples(&[("t", 2.0)]).await).await;
    for _ in 0..7 {
        stage.now.fetch_add(240_000, Ordering::SeqCst);
        stage.play(&alerting, 1, async |_| stage.samples(&[("t", 2.0)]).await).await;
    }
    assert_eq!(alerting.alerts("firing", 9).await.unwrap()[0]["flapping"], false);
    let ledger = stage.ledger("A").await;
    let told = |event: &str| ledger.iter().filter(|l| *l == event).count();
    assert_eq!((told("flapping:change_rate"), told("steady:change_rate")), (2, 1), "{ledger:?}");
}

/// A rule with `for: 30m` waits `before` minutes, everything stops for `stop` minutes; it fires `after` minutes after the start.
async fn check_restart(before: i64, stop: i64, after: i64) {
    const MINUTE_MS: i64 = 60_000;
    let stage = Stage::new().await;
    stage.write("a.yml", &group("g", "", "[{alert: A, expr: t > 1, for: 30m}]"));
    let minutes = async |alerting: &Alerting, count: i64| {
        for _ in 0..count {
            stage.now.fetch_add(MINUTE_MS - 1_000, Ordering::SeqCst);
            stage.play(alerting, 1, async |_| stage.samples(&[("t", 2.0)]).await).await;
        }
    };
    let first = stage.start(CONFIG).await;
    minutes(&first, before + 1).await;
    drop(first);
    stage.now.fetch_add(stop * MINUTE_MS, Ordering::SeqCst);
    let second = stage.start(CONFIG).await;
    let state = async || second.alerts("all", 9).await.unwrap()[0]["state"].as_str().unwrap().to_string();
    minutes(&second, after - 1).await;
    assert_eq!(state().await, "pending", "{before} minutes, {stop} of stop, {} more", after - 1);
    minutes(&second, 1).await;
    assert_eq!(state().await, "firing", "{before} minutes, {stop} of stop, {after} more");
    let begun = stage.sql("SELECT DISTINCT alert_id FROM alert_events WHERE event IN ('pending', 'firing')").await;
    assert_eq!(begun.len(), 1, "the same alert from beginning to end");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_goes_on_after_a_restart_as_prometheus_has_it() {
    check_restart(5, 20, 25).await; // the stop does not count
    check_restart(25, 20, 10).await; // nearly over: ten minutes of grace
    check_restart(0, 40, 30).await;
}
