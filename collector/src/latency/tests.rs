//! Buckets, bounds on the number of series, and statements seen to run and to end.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use proto::{Payload, samples::is_stale};

use super::{board::OWN_MAX, running::Running, *};
use crate::databases::activity::Session;

fn ended(fingerprint: &str, seconds: f64) -> Ended {
    Ended { fingerprint: fingerprint.into(), source: "slow_log", ts_ms: 0, seconds }
}

/// What is published, by metric without its common begin, fingerprint and bound: times and values.
fn published(latencies: &mut Latencies, now_ms: i64) -> BTreeMap<(String, String, String), Vec<(i64, f64)>> {
    let (outlet, captured) = Outlet::capture();
    latencies.publish(now_ms, &outlet);
    let mut found: BTreeMap<_, Vec<(i64, f64)>> = BTreeMap::new();
    for payload in captured.take() {
        let Payload::Samples(samples) = payload else { panic!("samples") };
        for ((series, ts), value) in samples.series.iter().zip(&samples.timestamps_ms).zip(&samples.values) {
            let labels = &samples.labels[*series as usize];
            let label = |name: &str| labels.get(name).unwrap_or("").to_owned();
            let key = (label("__name__").replace(METRIC, ""), label("fingerprint"), label("le"));
            found.entry(key).or_default().push((*ts, *value));
        }
    }
    found
}

fn key(name: &str, fingerprint: &str, bound: &str) -> (String, String, String) {
    (name.into(), fingerprint.into(), bound.into())
}

#[test]
fn bounds_are_powers_of_two_of_a_millisecond_with_short_names() {
    let names: Vec<String> = BOUNDS_S.iter().map(f64::to_string).collect();
    assert_eq!((&*names[0], &*names[3], &*names[13], &*names[20]), ("0.000125", "0.001", "1.024", "131.072"));
    assert!(BOUNDS_S.windows(2).all(|w| w[1] == 2.0 * w[0]));
}

#[test]
fn buckets_are_cumulative_and_series_begin_at_zero() {
    let mut latencies = Latencies::default();
    let instance: Arc<str> = "db".into();
    for seconds in [0.0, 0.001, 0.0011, 1000.0, f64::NAN, -1.0] {
        latencies.observe(&instance, Engine::Postgresql, &ended("a", seconds), 1000);
    }
    latencies.observe(&instance, Engine::Postgresql, &ended("a", 5.0), LATE_MS + 1);
    let found = published(&mut latencies, 100_000);
    let begin = 100_000 - PUBLISH_INTERVAL_MS + 1;
    for (bound, want) in
        [("0.000125", 1.0), ("0.0005", 1.0), ("0.001", 2.0), ("0.002", 3.0), ("131.072", 3.0), ("+Inf", 4.0)]
    {
        assert_eq!(found[&key("_bucket", "a", bound)], [(begin, 0.0), (100_000, want)], "{bound}");
    }
    assert_eq!(found[&key("_count", "a", "")][1], (100_000, 4.0));
    assert!((found[&key("_sum", "a", "")][1].1 - 1000.0021).abs() < 1e-9);
    assert_eq!(found[&key("tidewatch_statement_latency_late_total", "", "")], [(100_000, 1.0)]);
    assert!(published(&mut latencies, 100_000 + PUBLISH_INTERVAL_MS - 1).is_empty(), "not yet");
    let again = published(&mut latencies, 200_000);
    assert_eq!(again[&key("_count", "a", "")], [(200_000, 4.0)]);
}

#[test]
fn series_are_bounded_and_nothing_is_left_out_of_the_sum() {
    let mut latencies = Latencies::default();
    let instance: Arc<str> = "db".into();
    let (mut now_ms, mut seen, mut total) = (0, 0, 0.0);
    let mut counts: BTreeMap<String, f64> = BTreeMap::new();
    for round in 0..30 {
        for i in 0..200 {
            // Those that cost most are others each ten rounds.
            let seconds = if i / 20 == round / 10 { 3.0 } else { 0.01 };
            latencies.observe(&instance, Engine::Mysql, &ended(&format!("f{i}"), seconds), 0);
            seen += 1;
        }
        now_ms += PUBLISH_INTERVAL_MS;
        let found = published(&mut latencies, now_ms);
        let names: Vec<&String> = found.keys().filter(|k| k.0 == "_count").map(|k| &k.1).collect();
        assert!(names.len() <= OWN_MAX + 1 + 5, "{} series", names.len());
        for ((name, fingerprint, _), samples) in &found {
            if name == "_count" {
                for (_, value) in samples {
                    let last = counts.remove(fingerprint).unwrap_or(0.0);
                    if is_stale(*value) {
                        continue; // it ended; what it counted stays counted
                    }
                    assert!(*value >= last, "{fingerprint} fell from {last} to {value}");
                    total += value - last;
                    counts.insert(fingerprint.clone(), *value);
                }
            }
        }
        if round % 10 == 9 {
            for i in 0..20 {
                let costly = format!("f{}", round / 10 * 20 + i);
                assert!(found.contains_key(&key("_count", &costly, "")), "{costly} costs most and has no series");
            }
        }
    }
    assert_eq!(total, f64::from(seen));
    // An hour and a half of silence ends them all.
    let mut left = 0;
    for _ in 0..300 {
        now_ms += PUBLISH_INTERVAL_MS;
        left = published(&mut latencies, now_ms).len();
    }
    assert_eq!(left, 0);
}

#[test]
fn a_statement_seen_twice_and_then_no_more_has_ended() {
    let session = |pid, text: &str, age_s: f64| Session {
        pid,
        text: Some(text.into()),
        query_ms: Some(age_s * 1000.0),
        state: Some("active".into()),
        backend: Some("client backend".into()),
        ..Session::default()
    };
    let mut running = Running::default();
    let mut read = |at_s: i64, sessions: &[Session]| {
        let ended = running.read(Engine::Postgresql, sessions, at_s * 1000);
        ended.iter().map(|e| e.seconds).collect::<Vec<_>>()
    };
    let walsender = Session { backend: Some("walsender".into()), ..session(9, "START_REPLICATION", 100.0) };
    assert!(read(10, &[session(1, "select 1", 2.0), session(2, "select 2", 3.0), walsender]).is_empty());
    assert!(read(14, &[session(1, "select 1", 6.0), session(3, "select 3", 1.5)]).is_empty(), "2 was seen once only");
    // The session runs the same text anew: the first execution is over.
    assert_eq!(read(18, &[session(1, "select 1", 1.2), session(3, "select 3", 5.5)]), [8.0]);
    assert_eq!(read(20, &[]), [6.5]);
    assert!(read(21, &[session(1, "select 1", 5.0)]).is_empty());
    assert!(read(22, &[session(1, "select 1", 6.0)]).is_empty());
    assert!(read(22 + 61, &[]).is_empty(), "nobody looked for a minute");
}
