//! The same scenarios beside Debian's Alertmanager 0.25: what receivers hear is equal, but for what `scenarios.yaml` gives a
//! reason for.

use std::{collections::BTreeMap, sync::Arc};

use collector::Clock;

use crate::{
    peer::{Peer, has_alertmanager},
    play::{Times, play},
    scenario::{self, Scenario},
    story::{self, Story, same, stories},
};

/// Time until the first scenario begins, milliseconds.
const LEAD_MS: i64 = 300;
/// How slowly scenarios that failed are played again, and again: on a busy machine something may come a tick late.
const SLOW_PACES: [f64; 2] = [2.5, 4.0];

/// What both modes of ours and Alertmanager told.
struct Told {
    theirs: Story,
    exact: Story,
    default: Story,
    /// What a server refused.
    refused: String,
}

async fn told(scenarios: &[Scenario], pace: f64) -> BTreeMap<String, Told> {
    let (theirs, exact, default) = tokio::join!(
        Peer::alertmanager(scenario::external_url(), |url| scenario::of_alertmanager(scenarios, url, pace)),
        Peer::tidewatch("tidewatch, as_alertmanager", |url| scenario::of_tidewatch(scenarios, url, pace, true)),
        Peer::tidewatch("tidewatch, by default", |url| scenario::of_tidewatch(scenarios, url, pace, false)),
    );
    let times = Arc::new(Times::new(scenarios, Clock::system().now_ms() + LEAD_MS, pace));
    let refused = tokio::join!(
        play(&theirs, scenarios, &times),
        play(&exact, scenarios, &times),
        play(&default, scenarios, &times)
    );
    let refused = [refused.0, refused.1, refused.2].concat();
    let refused = |name: &str| refused.iter().filter(|(n, _)| n == name).map(|(_, e)| e.as_str()).collect();
    let mut all = Vec::new();
    for peer in [theirs, exact, default] {
        all.push(stories(scenarios, &peer.receiver.heard().await, &times));
        peer.stop();
    }
    let [mut theirs, mut exact, mut default] = <[_; 3]>::try_from(all).unwrap();
    let mut take = |name: &String| Told {
        theirs: theirs.remove(name).unwrap(),
        exact: exact.remove(name).unwrap(),
        default: default.remove(name).unwrap(),
        refused: refused(name),
    };
    scenarios.iter().map(|s| (s.name.clone(), take(&s.name))).collect()
}

/// What is not as the file says: of what is equal, and of what is said to differ.
fn wrong(scenario: &Scenario, told: &Told) -> Option<String> {
    let by_default = scenario.differs_by_default.as_ref().or(scenario.differs.as_ref());
    let modes =
        [("as_alertmanager", &told.exact, scenario.differs.as_ref()), ("by default", &told.default, by_default)];
    let mut out = told.refused.clone();
    for (mode, ours, reason) in modes {
        match (same(ours, &told.theirs), reason) {
            (false, None) => out += &format!(" ours, {mode}:\n{}", story::text(ours)),
            (true, Some(reason)) => out += &format!(" ours, {mode}, is equal, though it is said that {reason}\n"),
            _ => {}
        }
    }
    let theirs = story::text(&told.theirs);
    (!out.is_empty()).then(|| format!("{}:\n alertmanager:\n{theirs}{out}", scenario.name))
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_tells_the_same_of_the_same_alerts() {
    let _alone = crate::ALONE.lock().await;
    if !has_alertmanager() {
        println!("skipped: Alertmanager is not installed (Debian package prometheus-alertmanager)");
        return;
    }
    let scenarios = scenario::all();
    let of = |all: &BTreeMap<String, Told>, some: &[Scenario]| -> Vec<(Scenario, String)> {
        some.iter().filter_map(|s| Some((s.clone(), wrong(s, &all[&s.name])?))).collect()
    };
    let first = told(&scenarios, 1.0).await;
    let mut failed = of(&first, &scenarios);
    for pace in SLOW_PACES {
        if !failed.is_empty() {
            let some: Vec<Scenario> = failed.into_iter().map(|(s, _)| s).collect();
            println!("played again: {:?}", some.iter().map(|s| &s.name).collect::<Vec<_>>());
            failed = of(&told(&some, pace).await, &some);
        }
    }
    let texts: Vec<&str> = failed.iter().map(|(_, text)| text.as_str()).collect();
    assert!(texts.is_empty(), "{} of {} scenarios:\n\n{}", texts.len(), scenarios.len(), texts.join("\n"));
    let messages: usize = first.values().flat_map(|t| t.theirs.values()).map(Vec::len).sum();
    let reasons = scenarios.iter().filter(|s| s.differs.is_some() || s.differs_by_default.is_some()).count();
    println!("{} scenarios, {messages} messages of Alertmanager's; {reasons} differ for a reason", scenarios.len());
}
