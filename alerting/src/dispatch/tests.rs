//! Routing, grouping, repeating, inhibiting, silencing: each scenario is a script of alerts on a virtual clock, and the
//! messages that left, as `seconds:receiver:why:fired/ended`.

use std::path::Path;

use super::*;
use crate::acknowledge::Acknowledgement;
use crate::config::Config;
use crate::level::Level;
use crate::matcher::Matchers;

const TWO: &str = "receivers:\n- {name: dba, webhooks: [{url: 'http://localhost:1/'}]}\n- {name: app, webhooks: [{url: 'http://localhost:1/', send_resolved: false}]}\n";

fn wishes<'a>(silences: &'a [Silence], acknowledged: &'a Acknowledged) -> Wishes<'a> {
    Wishes { silences, acknowledged }
}

fn silence(matchers: Matchers, ends_at_ms: i64) -> Silence {
    Silence {
        id: "s1".into(),
        matchers,
        conditions: Vec::new(),
        starts_at_ms: 0,
        ends_at_ms,
        updated_at_ms: 0,
        created_by: "dba".into(),
        comment: "maintenance".into(),
        recurrence: None,
    }
}

fn settings(rest: &str) -> Settings {
    let raw: Config = serde_saphyr::from_str(&format!("{TWO}{rest}")).expect("yaml");
    raw.check(Path::new("/")).expect("a good config")
}

fn note(labels: &str, level: Level, firing: bool, at_s: i64) -> AlertNote {
    let labels: BTreeMap<String, String> =
        labels.split(' ').map(|p| p.split_once('=').expect("name=value")).map(|(n, v)| (n.into(), v.into())).collect();
    let fingerprint = crate::fingerprint::Fingerprint::of(&Labels::from_pairs(&labels)).to_string();
    AlertNote {
        id: format!("{fingerprint}-1"),
        fingerprint,
        level,
        labels,
        annotations: BTreeMap::new(),
        starts_at_ms: at_s * 1000,
        ends_at_ms: (!firing).then_some(at_s * 1000),
        value: None,
        end_reason: None,
        link: String::new(),
        rule_group: String::new(),
    }
}

/// Script lines: `seconds fire|warn|end|ack label=value …` (ack: as a warning); every second between is flushed. A message is told at once.
fn check(rest: &str, silences: &[Silence], script: &str, until_s: i64, expected: &[&str]) {
    let settings = settings(rest);
    let root = settings.route.clone().expect("a route");
    let (mut dispatcher, mut told, mut seen) = (Dispatcher::default(), Told::default(), Vec::new());
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = Acknowledged::open(&folder.path().join("a")).expect("none yet");
    let lines: Vec<(i64, &str, &str)> = script
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(|l| {
            let mut words = l.splitn(3, ' ');
            let at = words.next().and_then(|s| s.parse().ok()).expect("seconds");
            (at, words.next().expect("verb"), words.next().expect("labels"))
        })
        .collect();
    for second in 0..=until_s {
        for (_, verb, labels) in lines.iter().filter(|(at, ..)| *at == second) {
            let level = if *verb == "warn" { Level::Warning } else { Level::Critical };
            let note = note(labels, level, *verb != "end", second);
            if *verb == "ack" {
                let (by, comment) = ("me".into(), String::new());
                let one = Acknowledgement { at_ms: second * 1000, by, comment, level: Level::Warning };
                acknowledged.set(&note.id, Some(one)).expect("kept");
                continue;
            }
            dispatcher.update(&root, &Labels::from_pairs(&note.labels), &note, second * 1000);
        }
        let out = dispatcher.flush(&settings, &wishes(silences, &acknowledged), &told, second * 1000);
        for (parcel, tells) in out.parcels {
            let m = &parcel.message;
            let line =
                format!("{second}:{}:{}:{}/{}", m.receiver, m.why.words(), m.firing(), m.alerts.len() - m.firing());
            seen.push(line);
            tells.into_iter().for_each(|(key, entry)| told.set(key, entry));
        }
    }
    assert_eq!(seen, expected, "{rest}\n{script}");
}

#[test]
fn messages_by_script() {
    let one =
        "route: {receiver: dba, group_by: [alertname], group_wait: 0s, group_interval: 10s, repeat_interval: 60s}\n";
    let waits =
        "route: {receiver: dba, group_by: [alertname], group_wait: 5s, group_interval: 10s, repeat_interval: 60s}\n";
    let tree = "route: {receiver: dba, group_interval: 10s, routes: [{matchers: [team=app], receiver: app, continue: true}, {matchers: [team=app], receiver: dba, group_by: [team]}]}\n";
    let app = "route: {receiver: app, group_interval: 10s}\n";
    let night = "time_intervals: [{name: night, time_intervals: [{times: [{start_time: '00:00', end_time: '00:01'}]}]}]\n\
        route: {receiver: dba, group_interval: 10s, mute_time_intervals: [night]}\n";
    let day = "time_intervals: [{name: night, time_intervals: [{times: [{start_time: '00:00', end_time: '00:01'}]}]}]\n\
        route: {receiver: dba, group_interval: 10s, active_time_intervals: [night]}\n";
    let theirs = "as_alertmanager: true\nroute: {receiver: dba, group_wait: 5s, group_interval: 10s}\n";
    let each = "route: {receiver: dba, group_by: ['...'], group_interval: 10s}\n";
    let inhibits = "inhibit_rules: [{source_matchers: [alertname=Down], target_matchers: ['alertname!=Down'], equal: [instance]}]\nroute: {receiver: dba, group_by: ['...'], group_interval: 10s}\n";
    for (rest, script, until, expected) in [
        (one, "3 fire alertname=A i=1", 20, &["3:dba:first notification:1/0"][..]),
        (
            one,
            "3 fire alertname=A i=1\n4 fire alertname=A i=1\n5 fire alertname=A i=1",
            20,
            &["3:dba:first notification:1/0"],
        ),
        (
            one,
            "3 fire alertname=A i=1\n5 fire alertname=A i=2",
            20,
            &["3:dba:first notification:1/0", "13:dba:new alerts added:2/0"],
        ),
        (
            one,
            "3 fire alertname=A i=1\n30 fire alertname=A i=2",
            40,
            &["3:dba:first notification:1/0", "30:dba:new alerts added:2/0"],
        ),
        (
            one,
            "3 fire alertname=A i=1\n5 end alertname=A i=1",
            20,
            &["3:dba:first notification:1/0", "13:dba:all alerts resolved:0/1"],
        ),
        (
            one,
            "3 fire alertname=A i=1\n3 fire alertname=A i=2\n5 end alertname=A i=1",
            20,
            &["3:dba:first notification:2/0", "13:dba:some alerts resolved:1/1"],
        ),
        (
            one,
            "3 fire alertname=A i=1",
            130,
            &[
                "3:dba:first notification:1/0",
                "63:dba:repeat interval elapsed:1/0",
                "123:dba:repeat interval elapsed:1/0",
            ],
        ),
        (
            one,
            "3 warn alertname=A i=1\n20 fire alertname=A i=1\n40 warn alertname=A i=1",
            50,
            &["3:dba:first notification:1/0", "20:dba:new alerts added:1/0"],
        ),
        (
            one,
            "3 fire alertname=A i=1\n3 fire alertname=B i=1",
            9,
            &["3:dba:first notification:1/0", "3:dba:first notification:1/0"],
        ),
        (
            one,
            "3 fire alertname=A i=1\n5 end alertname=A i=1\n30 fire alertname=A i=1",
            40,
            &["3:dba:first notification:1/0", "13:dba:all alerts resolved:0/1", "30:dba:first notification:1/0"],
        ),
        (waits, "3 fire alertname=A i=1\n6 fire alertname=A i=2", 20, &["8:dba:first notification:2/0"]),
        (waits, "3 fire alertname=A i=1\n6 end alertname=A i=1", 20, &[]),
        (app, "3 fire alertname=A i=1\n5 end alertname=A i=1", 20, &["3:app:first notification:1/0"]),
        (tree, "1 fire alertname=A team=app", 9, &["1:app:first notification:1/0", "1:dba:first notification:1/0"]),
        (tree, "1 fire alertname=A team=db", 9, &["1:dba:first notification:1/0"]),
        (night, "3 fire alertname=A", 70, &["63:dba:first notification:1/0"]),
        (day, "3 fire alertname=A\n70 fire alertname=B", 90, &["3:dba:first notification:1/0"]),
        (one, "3 warn alertname=A\n5 ack alertname=A", 200, &["3:dba:first notification:1/0"]),
        (
            one,
            "3 warn alertname=A\n5 ack alertname=A\n80 fire alertname=A",
            150,
            &["3:dba:first notification:1/0", "80:dba:new alerts added:1/0", "140:dba:repeat interval elapsed:1/0"],
        ),
        // an empty group's ticks go on for half a minute
        (
            theirs,
            "3 fire alertname=A\n12 end alertname=A\n45 fire alertname=A",
            60,
            &["8:dba:first notification:1/0", "18:dba:all alerts resolved:0/1", "48:dba:first notification:1/0"],
        ),
        (
            theirs,
            "3 fire alertname=A\n12 end alertname=A\n50 fire alertname=A",
            60,
            &["8:dba:first notification:1/0", "18:dba:all alerts resolved:0/1", "55:dba:first notification:1/0"],
        ),
        (
            each,
            "1 fire alertname=A i=1\n1 fire alertname=A i=2",
            9,
            &["1:dba:first notification:1/0", "1:dba:first notification:1/0"],
        ),
        (
            inhibits,
            "1 fire alertname=Down instance=x\n1 fire alertname=Slow instance=x\n1 fire alertname=Slow instance=y",
            9,
            &["1:dba:first notification:1/0", "1:dba:first notification:1/0"],
        ),
        (
            inhibits,
            "1 fire alertname=Down instance=x\n1 fire alertname=Slow instance=x\n15 end alertname=Down instance=x",
            30,
            &["1:dba:first notification:1/0", "15:dba:all alerts resolved:0/1", "21:dba:first notification:1/0"],
        ),
    ] {
        check(rest, &[], script, until, expected);
    }
}

#[test]
fn silences_hold_messages_back_and_let_them_go_when_they_end() {
    let silence = silence(Matchers::parse(&["i=1"]).expect("matchers"), 25_000);
    let rest = "route: {receiver: dba, group_by: [alertname], group_interval: 10s}\n";
    let script = "3 fire alertname=A i=1\n4 fire alertname=B i=2";
    check(rest, &[silence], script, 40, &["4:dba:first notification:1/0", "33:dba:first notification:1/0"]);
}

#[test]
fn the_ledger_hears_of_grouping_and_of_every_reason_for_silence_once() {
    let settings = settings("route: {receiver: dba, group_interval: 10s}\n");
    let root = settings.route.clone().expect("a route");
    let silence = silence(Matchers::default(), 1_000_000);
    let mut dispatcher = Dispatcher::default();
    let note = note("alertname=A", Level::Critical, true, 1);
    let steps = dispatcher.update(&root, &Labels::from_pairs(&note.labels), &note, 1000);
    assert_eq!(steps.iter().map(|s| (s.event, s.reason.as_str())).collect::<Vec<_>>(), [("grouped", "{}:{}")]);
    let told = Told::default();
    let mut seen = Vec::new();
    for second in 1..60 {
        let out = dispatcher.flush(
            &settings,
            &wishes(std::slice::from_ref(&silence), &Acknowledged::default()),
            &told,
            second * 1000,
        );
        assert!(out.parcels.is_empty());
        seen.extend(out.steps.iter().map(|s| format!("{}:{}", s.event, s.reason)));
    }
    assert_eq!(seen, ["silenced:silenced by s1"]);
}

#[test]
fn a_message_made_again_after_a_crash_has_the_same_key() {
    let settings = settings("route: {receiver: dba}\n");
    let root = settings.route.clone().expect("a route");
    let keys: Vec<String> = [5_000, 9_000]
        .iter()
        .map(|now_ms| {
            let mut dispatcher = Dispatcher::default();
            let note = note("alertname=A i=1", Level::Critical, true, 1);
            dispatcher.update(&root, &Labels::from_pairs(&note.labels), &note, *now_ms);
            let out = dispatcher.flush(&settings, &wishes(&[], &Acknowledged::default()), &Told::default(), *now_ms);
            out.parcels[0].0.key.clone()
        })
        .collect();
    assert_eq!(keys[0], keys[1]);
}

/// Alerts by receiver and event.
type Accounts = BTreeMap<(String, &'static str), BTreeSet<String>>;

/// Messages as `seconds:receiver:firing/ended of groups:cause`, and how many alerts have which row in the ledger, by receiver.
fn play(
    settings: &Settings,
    seconds: &[i64],
    killed_at_s: i64,
    mut alerts: impl FnMut(i64) -> Vec<AlertNote>,
) -> (Vec<String>, Accounts) {
    let root = settings.route.clone().expect("a route");
    let (mut dispatcher, mut told) = (Dispatcher::default(), Told::default());
    let (mut seen, mut ledger) = (Vec::new(), Accounts::new());
    for second in seconds.iter().copied() {
        if second == killed_at_s {
            let before = std::mem::take(&mut dispatcher);
            before.living().for_each(|(note, labels)| dispatcher.rejoin(&root, labels, note, second * 1000));
        }
        let mut steps = Vec::new();
        for note in alerts(second) {
            steps.extend(dispatcher.update(&root, &Labels::from_pairs(&note.labels), &note, second * 1000));
        }
        let out = dispatcher.flush(settings, &wishes(&[], &Acknowledged::default()), &told, second * 1000);
        for (parcel, tells) in out.parcels {
            let m = &parcel.message;
            let of = m.digest.as_ref().map_or("-".into(), |d| format!("{} groups:{}", d.groups, d.cause));
            seen.push(format!(
                "{second}:{}:{}/{} of {of}",
                m.receiver,
                m.firing(),
                m.digest.as_ref().map_or(0, |d| d.resolved)
            ));
            tells.into_iter().for_each(|(key, entry)| told.set(key, entry));
        }
        for step in steps.into_iter().chain(out.steps) {
            ledger.entry((step.receiver, step.event)).or_default().insert(step.alert.id);
        }
    }
    (seen, ledger)
}

#[test]
fn five_thousand_alerts_of_one_cause_are_one_message_a_receiver_and_each_is_accounted_for() {
    let settings = settings(
        "route: {receiver: dba, group_by: ['...'], group_interval: 10s, routes: [{receiver: app, continue: true}, {receiver: dba}]}\n",
    );
    let ends = |batch: i64, second: i64| {
        (0..500)
            .map(|i| note(&format!("alertname=Down instance=h{batch}-{i}"), Level::Warning, false, second))
            .collect::<Vec<_>>()
    };
    let alerts = |second: i64| match second {
        1..=10 => (0..500)
            .map(|i| note(&format!("alertname=Down instance=h{second}-{i}"), Level::Warning, true, second))
            .collect(),
        400 => ends(1, second),
        420 | 1_050 => ends(second / 400 + 1, second),
        _ => Vec::new(),
    };
    let (seen, ledger) =
        play(&settings, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 100, 301, 350, 400, 420, 440, 460, 1_050], 350, alerts);
    assert_eq!(
        seen,
        [
            "1:app:500/0 of 500 groups:storm",
            "1:dba:500/0 of 500 groups:storm",
            "301:app:4500/0 of 4500 groups:storm",
            "301:dba:4500/0 of 4500 groups:storm",
            "400:dba:0/500 of 500 groups:storm",
            "460:dba:0/500 of 500 groups:storm",
            "1050:dba:0/500 of 500 groups:storm",
        ],
        "one message at once, the rest of the storm in one five minutes later, ends in one, after a kill and after the storm too"
    );
    for receiver in ["app", "dba"] {
        for (event, count) in [("grouped", 5_000), ("digested", 5_000), ("held", 4_500)] {
            assert_eq!(ledger[&(receiver.to_string(), event)].len(), count, "{receiver} {event}");
        }
    }
}

#[test]
fn the_overflow_of_a_rate_limit_is_one_message() {
    let raw = "receivers:\n- {name: dba, rate_limit: {messages: 2, per: 1m}, webhooks: [{url: 'http://localhost:1/'}]}\n\
        route: {receiver: dba, group_by: [alertname], group_interval: 10s}\n";
    let raw: Config = serde_saphyr::from_str(raw).expect("yaml");
    let settings = raw.check(Path::new("/")).expect("a good config");
    let alerts = |second: i64| match second {
        1..=5 => vec![note(&format!("alertname=R{second}"), Level::Warning, true, second)],
        _ => Vec::new(),
    };
    let (seen, ledger) = play(&settings, &(0..120).collect::<Vec<_>>(), -1, alerts);
    assert_eq!(seen, ["1:dba:1/0 of -", "2:dba:1/0 of -", "31:dba:3/0 of 3 groups:rate_limit"]);
    assert_eq!(ledger[&("dba".to_string(), "held")].len(), 3);
    assert_eq!(ledger[&("dba".to_string(), "digested")].len(), 3);
}
