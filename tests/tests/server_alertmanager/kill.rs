//! kill -9 between evaluation and receipt: the real program, fed by a collector's road, is killed while a message is being made,
//! waits, or has been heard and not answered. Nothing is lost, and nothing is said twice under another key.
//!
//! Five kills by default; `SOAK=1` makes it twenty.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use collector::Clock;
use proto::{Labels, samples::SamplesBuilder};
use serde_json::{Value, json};
use tests::{
    program::Program,
    receiver::{Heard, Receiver},
    road::Road,
    wait,
};

use crate::peer::Site;

/// Until a message is heard: a restart, a slot and the collector's own pause lie before it.
const PATIENCE: Duration = Duration::from_secs(60);
/// A round's alert ends so many rounds later.
const LIFE: usize = 2;

const RULES: &str = "groups:\n- name: g\n  interval: 500ms\n  rules:\n\
    \x20 - {alert: Round, expr: kill_round > 0, annotations: {summary: 'round {{ $labels.n }}'}}\n";

/// When the program is killed.
#[derive(Clone, Copy, Debug)]
enum When {
    /// So long after the sample was handed over, milliseconds: before, in or after the evaluation.
    After(u64),
    /// As soon as a message lies in the outbox, which nobody answers.
    Waits,
    /// As soon as one was heard, which was not answered.
    Heard,
}

struct Stage {
    site: Site,
    /// Told of each alert alone.
    each: Receiver,
    /// Told of all in one group.
    all: Receiver,
    /// The value of each round's series.
    rounds: Vec<f64>,
}

impl Stage {
    async fn new() -> Stage {
        let (each, all) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
        let webhook = |name: &str, url: &str| json!({ "name": name, "webhooks": [{ "url": url, "timeout": "60s" }] });
        let route = json!({
            "receiver": "each", "group_by": ["n"], "group_interval": "1s",
            "routes": [
                { "receiver": "all", "group_by": [], "matchers": ["alertname=\"Round\""], "continue": true },
                { "receiver": "each", "matchers": ["alertname=\"Round\""] },
            ],
        });
        let config = json!({ "alerting": {
            "rules": ["rules.yml"], "builtin_rules": false, "route": route,
            "receivers": [webhook("each", each.url()), webhook("all", all.url())],
        } });
        let site = Site::new();
        site.write("tidewatch.yaml", &config.to_string());
        site.write("rules.yml", RULES);
        Stage { site, each, all, rounds: Vec::new() }
    }

    /// Hands over one sample of every round so far.
    fn send(&self, road: &Road) {
        let mut samples = SamplesBuilder::default();
        let now_ms = Clock::system().now_ms();
        for (n, value) in self.rounds.iter().enumerate() {
            let labels = Labels::from_pairs([("__name__", "kill_round"), ("instance", "test"), ("n", &n.to_string())]);
            samples.push(&labels, now_ms, *value);
        }
        road.outlet.send_samples(samples);
    }

    fn be_mute(&self, mute: bool) {
        self.each.be_mute(mute);
        self.all.be_mute(mute);
    }

    async fn heard(&self) -> [Vec<Heard>; 2] {
        [self.each.heard().await, self.all.heard().await]
    }

    /// Whether anything waits in the outbox.
    fn something_waits(&self) -> Option<()> {
        let folder = self.site.folder.path().join("data/alerting/outbox");
        std::fs::read_dir(folder)
            .ok()?
            .flatten()
            .any(|e| e.path().extension().is_some_and(|e| e == "json"))
            .then_some(())
    }

    /// Until the moment has come to kill.
    async fn moment(&self, when: When) -> Option<()> {
        let [each, all] = self.heard().await.map(|h| h.len());
        match when {
            When::After(ms) => {
                let end = tokio::time::Instant::now() + Duration::from_millis(ms);
                wait::until(PATIENCE, async || (tokio::time::Instant::now() >= end).then_some(())).await
            }
            When::Waits => wait::until(PATIENCE, async || self.something_waits()).await,
            When::Heard => {
                let more = async || {
                    let [each_now, all_now] = self.heard().await.map(|h| h.len());
                    (each_now > each || all_now > all).then_some(())
                };
                wait::until(PATIENCE, more).await
            }
        }
    }

    /// Until both receivers have taken that the alert of a round fires, or has ended.
    async fn taken(&self, n: usize, status: &str, program: &Program) {
        let n = n.to_string();
        let tells = |heard: &Heard| heard.answered && alerts(&heard.body).contains(&(n.clone(), status.into()));
        let both = async || self.heard().await.iter().all(|h| h.iter().any(tells)).then_some(());
        let found = wait::until(PATIENCE, both).await;
        assert!(found.is_some(), "lost: round {n} {status}\n{}\n{}", self.story().await, program.output());
    }

    async fn story(&self) -> String {
        let line =
            |h: &Heard| format!("{} {} {:?}\n", h.key, if h.answered { "taken" } else { "heard" }, alerts(&h.body));
        self.heard().await.map(|h| h.iter().map(line).collect::<String>()).join("\n")
    }
}

/// Round and status of every alert of a body.
fn alerts(body: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    body["alerts"].as_array().unwrap().iter().map(|a| (text(&a["labels"]["n"]), text(&a["status"]))).collect()
}

/// Messages in order, each key once. Panics if one key says different things.
fn by_key(heard: &[Heard]) -> Vec<(String, Value)> {
    let mut messages: Vec<(String, Value)> = Vec::new();
    for heard in heard {
        assert!(!heard.key.is_empty(), "a message without a key: {}", heard.body);
        match messages.iter().find(|(key, _)| *key == heard.key) {
            Some((key, body)) => {
                assert_eq!(alerts(body), alerts(&heard.body), "key {key} says something else the second time")
            }
            None => messages.push((heard.key.clone(), heard.body.clone())),
        }
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_between_evaluation_and_receipt_loses_nothing_and_repeats_nothing() {
    let _alone = crate::ALONE.lock().await;
    let kills = if std::env::var_os("SOAK").is_some() { 20 } else { 5 };
    let seed = fastrand::u64(..);
    println!("seed {seed}, {kills} kills");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut stage = Stage::new().await;
    let mut program = stage.site.start().await;
    let road = Road::start(stage.site.folder.path(), stage.site.grpc).unwrap();
    for round in 0..kills {
        let when = [When::Heard, When::After(random.u64(0..1_500)), When::Waits][round % 3];
        stage.rounds.push(1.0);
        if round >= LIFE {
            stage.rounds[round - LIFE] = 0.0;
        }
        stage.be_mute(true);
        stage.send(&road);
        let come = stage.moment(when).await;
        assert!(come.is_some(), "{when:?} never came\n{}\n{}", stage.story().await, program.output());
        program.kill();
        stage.be_mute(false);
        program = stage.site.start().await;
        stage.send(&road);
        stage.taken(round, "firing", &program).await;
        if round >= LIFE {
            stage.taken(round - LIFE, "resolved", &program).await;
        }
        println!("kill {}: {when:?}", round + 1);
    }

    let [each, all] = stage.heard().await;
    let repeated = each.len() + all.len();
    let (each, all) = (by_key(&each), by_key(&all));
    println!("{} messages, heard {repeated} times", each.len() + all.len());
    let mut keys: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for (key, body) in &each {
        alerts(body).into_iter().for_each(|alert| keys.entry(alert).or_default().push(key));
    }
    let wanted = (0..kills).map(|n| (n, "firing")).chain((0..kills - LIFE).map(|n| (n, "resolved")));
    let wanted: BTreeSet<(String, String)> = wanted.map(|(n, status)| (n.to_string(), status.to_string())).collect();
    assert_eq!(keys.keys().cloned().collect::<BTreeSet<_>>(), wanted, "\n{}", stage.story().await);
    assert!(keys.values().all(|k| k.len() == 1), "said twice under another key: {keys:?}\n{}", stage.story().await);
    for pair in all.windows(2) {
        let [(one, before), (other, after)] = pair else { unreachable!() };
        assert_ne!(alerts(before), alerts(after), "{one} and {other} say the same\n{}", stage.story().await);
    }

    // every message that was taken is in the ledger, and every alert has fired there once
    let sent = async || {
        let rows = stage.site.api().sql("SELECT DISTINCT detail FROM alert_events WHERE event = 'sent'").await.ok()?;
        let details: Vec<String> = rows.iter().filter_map(|r| r[0].as_str().map(str::to_string)).collect();
        each.iter().chain(&all).all(|(key, _)| details.iter().any(|d| d.contains(key))).then_some(())
    };
    assert!(wait::until(PATIENCE, sent).await.is_some(), "the ledger lacks a message that was taken");
    let fired = "SELECT count(*), count(DISTINCT alert_id) FROM alert_events WHERE event = 'firing'";
    let rows = stage.site.api().sql(fired).await.unwrap();
    assert_eq!(rows[0].iter().map(Value::as_u64).collect::<Vec<_>>(), [Some(kills as u64); 2]);
    road.stop();
    program.stop();
}
