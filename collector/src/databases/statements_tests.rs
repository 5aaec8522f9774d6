//! The ledger against every way a server's counters move.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::databases::{fingerprint::fingerprint, sql_tokens::Dialect};

fn key(id: &str) -> Key {
    Key { database: Some("app".into()), user: Some("u".into()), native_id: Some(id.into()), toplevel: true }
}

fn seen(id: &str, calls: f64) -> Observation {
    let mut counters = [None; COLUMNS.len()];
    counters[CALLS] = Some(calls);
    counters[TOTAL_MS] = Some(calls * 2.0);
    Observation { key: key(id), counters, max_ms: Some(2.0), since: None }
}

fn state(reset: &str, evictions: f64) -> ViewState {
    ViewState { stats_reset: Some(reset.into()), evictions: Some(evictions), started: None }
}

fn calls(step: &Step) -> Vec<(String, f64, Vec<&'static str>)> {
    let mut out: Vec<_> = step
        .deltas
        .iter()
        .map(|d| (d.key.native_id.as_deref().unwrap_or("-").to_owned(), d.counters[CALLS].unwrap(), d.quality.clone()))
        .collect();
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

#[test]
fn deltas_follow_the_counters() {
    let mut ledger = Ledger::default();
    let first = ledger.observe(1_000, vec![seen("a", 5.0)], state("r1", 0.0));
    assert!(first.deltas.is_empty() && first.interval_ms == 0);
    let second = ledger.observe(3_000, vec![seen("a", 8.0), seen("b", 2.0)], state("r1", 0.0));
    assert_eq!(second.interval_ms, 2_000);
    assert_eq!(calls(&second), [("a".into(), 3.0, vec![]), ("b".into(), 2.0, vec![])]);
    assert_eq!(second.deltas[0].counters[TOTAL_MS], Some(6.0));
    assert!(ledger.observe(4_000, vec![seen("a", 8.0), seen("b", 2.0)], state("r1", 0.0)).deltas.is_empty());
    let fell = ledger.observe(5_000, vec![seen("a", 1.0), seen("b", 2.0)], state("r1", 0.0));
    assert_eq!(calls(&fell), [("a".into(), 1.0, vec!["reset"])]);
    // the same count after a reset is not "no calls"
    let same = ledger.observe(6_000, vec![seen("a", 1.0)], state("r2", 0.0));
    assert_eq!(calls(&same), [("a".into(), 1.0, vec!["reset"])]);
    let evicted = ledger.observe(7_000, vec![seen("a", 2.0), seen("c", 1.0)], state("r2", 3.0));
    assert_eq!(
        calls(&evicted),
        [("a".into(), 1.0, vec!["lower_bound"]), ("c".into(), 1.0, vec!["evicted", "lower_bound"])]
    );
    ledger.forget();
    assert!(ledger.observe(8_000, vec![seen("a", 9.0)], state("r2", 3.0)).deltas.is_empty());
}

#[test]
fn one_fingerprint_adds_up_and_ours_are_left_out() {
    let mut texts = Texts::default();
    for (id, sql) in
        [("1", "select * from t where a in ($1)"), ("2", "select * from t where a in ($1, $2)"), ("3", "select 1")]
    {
        let fingerprint = Arc::new(fingerprint(Dialect::Postgresql, sql));
        texts.learn(id, Known { fingerprint, truncated: id == "2", raw: None });
    }
    let mut ledger = Ledger::default();
    ledger.observe(0, vec![], ViewState::default());
    let step =
        ledger.observe(1, vec![seen("1", 2.0), seen("2", 3.0), seen("3", 7.0), seen("4", 1.0)], ViewState::default());
    let ours = texts.get("3").unwrap().fingerprint.id.clone();
    let sums = loads(&step.deltas, &texts, |f| f.id == ours);
    assert_eq!(sums.len(), 1);
    assert_eq!((sums[0].calls(), sums[0].total_ms()), (5.0, 10.0));
    assert_eq!(sums[0].quality, ["truncated"]);
    let events = rows(Engine::Postgresql, "i", 9, 1, &sums);
    assert_eq!(events.get(0, "calls"), Value::Int(5));
    assert_eq!(events.get(0, "quality"), "truncated".into());
    assert_eq!(events.get(0, "wal_bytes"), Value::Null);
    assert_eq!(texts.announce(Engine::Postgresql, "i", 9, &step.deltas).rows(), 3);
    assert_eq!(texts.announce(Engine::Postgresql, "i", 9, &step.deltas).rows(), 0);
}

proptest! {
    /// Without resets the deltas add up to the counters; with them nothing is ever negative.
    #[test]
    fn deltas_are_never_negative_and_add_up(steps in proptest::collection::vec((0u32..5, proptest::bool::ANY), 1..40)) {
        let (mut ledger, mut total, mut now) = (Ledger::default(), 0.0, 10.0);
        ledger.observe(0, vec![seen("a", now)], ViewState::default());
        for (i, (add, reset)) in steps.into_iter().enumerate() {
            let before = now;
            if reset {
                now = 0.0;
            }
            now += f64::from(add);
            let step = ledger.observe(i as i64, vec![seen("a", now)], ViewState::default());
            let delta = step.deltas.first().map_or(0.0, |d| d.counters[CALLS].unwrap());
            prop_assert!(delta >= 0.0);
            // a reset that is followed by as many calls as before can't be seen without the server's word
            if !reset || now < before {
                prop_assert_eq!(delta, f64::from(add));
                total += delta;
            }
        }
        prop_assert!(total >= 0.0);
    }
}
