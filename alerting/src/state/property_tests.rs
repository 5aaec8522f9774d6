//! Random rules and random readings: what must hold of every step, checked against the readings alone.

use proptest::prelude::*;

use super::*;

const MINUTE_MS: i64 = 60_000;

/// A level above its threshold, left at or below `recover`.
#[derive(Clone, Debug)]
struct Rule {
    threshold: f64,
    recover: f64,
    for_ms: i64,
}

#[derive(Clone, Debug)]
enum Given {
    Value(f64),
    Absent,
    NoData,
    Blind,
    NotANumber,
}

/// One to three levels, thresholds ascending.
fn rules() -> impl Strategy<Value = Vec<(Level, Rule)>> {
    let one = (1..4i64, 0..4i64, 0..4i64);
    proptest::collection::vec((any::<bool>(), one), 3).prop_map(|parts| {
        let mut threshold = 0.0;
        let mut levels = Vec::new();
        for (level, (on, (up, back, for_minutes))) in Level::ALL.into_iter().zip(parts) {
            threshold += up as f64;
            let rule = Rule { threshold, recover: threshold - back as f64, for_ms: for_minutes * MINUTE_MS };
            if on || level == Level::Warning {
                levels.push((level, rule));
            }
        }
        levels
    })
}

fn readings() -> impl Strategy<Value = Vec<(i64, Given)>> {
    let given = prop_oneof![
        8 => (-2..12i32).prop_map(|v| Given::Value(f64::from(v))),
        1 => Just(Given::Absent),
        1 => Just(Given::NoData),
        1 => Just(Given::Blind),
        1 => Just(Given::NotANumber),
    ];
    proptest::collection::vec((1..4i64, given), 1..60)
}

fn holds(rule: &Rule, v: f64) -> bool {
    v > rule.threshold
}

fn stays(rule: &Rule, v: f64) -> bool {
    v > rule.recover
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_step_is_justified(levels in rules(), readings in readings(), keep_minutes in 0..4i64) {
        let keep_ms = keep_minutes * MINUTE_MS;
        let mut track: Option<Track> = None;
        let mut now_ms = 0;
        // of each level, since when its condition has held as far as anybody could see
        let mut held: [Option<i64>; 3] = [None; 3];
        let mut began_ms = None;
        let mut ended_since_ms = None;
        for (minutes, given) in readings {
            now_ms += minutes * MINUTE_MS;
            let judged: Vec<LevelReading> = match given {
                Given::Value(v) => levels.iter().map(|(level, rule)| LevelReading {
                    level: *level, for_ms: rule.for_ms, holds: holds(rule, v), stays: stays(rule, v),
                }).collect(),
                _ => Vec::new(),
            };
            for (level, rule) in &levels {
                let since = &mut held[*level as usize];
                match given {
                    Given::Value(v) if holds(rule, v) => *since = since.or(Some(now_ms)),
                    Given::Blind | Given::NotANumber => {}
                    _ => *since = None,
                }
            }
            let reading = match given {
                Given::Value(value) => Reading::Seen { value, levels: &judged },
                Given::Absent => Reading::Absent,
                Given::NoData => Reading::NoData,
                Given::Blind => Reading::Blind,
                Given::NotANumber => Reading::NotANumber,
            };
            let (next, steps) = step(track.as_ref(), reading, keep_ms, now_ms);

            let rule_of = |level: Level| &levels.iter().find(|(l, _)| *l == level).expect("a level of the rule").1;
            let before = track.clone();
            let mut alive = before.is_some();
            for transition in &steps {
                match transition.change {
                    Change::Pending => {
                        prop_assert!(!alive, "a second identity");
                        alive = true;
                        began_ms = Some(now_ms);
                    }
                    Change::Fired => {
                        let level = next.as_ref().expect("it fires").level;
                        prop_assert!(before.as_ref().is_none_or(|b| b.phase == Phase::Pending));
                        let since = held[level as usize].expect("its condition holds");
                        prop_assert!(now_ms - since >= rule_of(level).for_ms, "fired too early");
                    }
                    Change::LevelChanged { from } => {
                        let to = next.as_ref().expect("it fires on").level;
                        prop_assert_ne!(from, to);
                        let Given::Value(v) = given else { panic!("a level changed without a value") };
                        if to > from {
                            let since = held[to as usize].expect("its condition holds");
                            prop_assert!(now_ms - since >= rule_of(to).for_ms, "raised too early");
                        } else {
                            prop_assert!(!stays(rule_of(from), v), "lowered short of the recovery condition");
                            prop_assert!(holds(rule_of(to), v) || stays(rule_of(to), v));
                        }
                    }
                    Change::Dropped => prop_assert_eq!(before.as_ref().map(|b| b.phase), Some(Phase::Pending)),
                    Change::Kept => ended_since_ms = Some(now_ms),
                    Change::HoldsAgain => ended_since_ms = None,
                    Change::Resolved => {
                        let b = before.as_ref().expect("it fired");
                        prop_assert_eq!(b.phase, Phase::Firing);
                        if let Given::Value(v) = given {
                            for (level, rule) in levels.iter().filter(|(l, _)| *l <= b.level) {
                                prop_assert!(!stays(rule, v), "resolved short of {level}'s recovery condition");
                            }
                        }
                        if keep_ms > 0 {
                            let since = ended_since_ms.take().expect("it was kept");
                            prop_assert!(now_ms - since >= keep_ms, "not kept for long enough");
                        }
                    }
                    Change::Blinded => prop_assert!(matches!(given, Given::Blind | Given::NotANumber)),
                    Change::Sighted => prop_assert!(before.as_ref().is_some_and(|b| b.blind)),
                    Change::Flapping | Change::Steady => panic!("not a step of the machine"),
                    Change::BackToPending => prop_assert_eq!(levels.len(), 0, "no `for` was raised here"),
                }
                prop_assert!(!transition.reason.word().is_empty() && !transition.change.event().is_empty());
            }
            // what changed was told, and nothing was told that did not change
            let said = |change: fn(&Change) -> bool| steps.iter().any(|s| change(&s.change));
            let ended = said(|c| matches!(c, Change::Resolved | Change::Dropped));
            prop_assert_eq!(next.is_none(), ended || before.is_none() && steps.is_empty());
            if let (Some(b), Some(n)) = (&before, &next) {
                prop_assert_eq!(b.phase != n.phase, said(|c| matches!(c, Change::Fired)));
                let moved = n.phase == Phase::Firing && b.phase == Phase::Firing && n.level != b.level;
                prop_assert_eq!(moved, said(|c| matches!(c, Change::LevelChanged { .. })));
                prop_assert_eq!(n.active_at_ms, b.active_at_ms, "one identity from beginning to end");
                if matches!(given, Given::Blind | Given::NotANumber) {
                    prop_assert_eq!((n.phase, n.level, n.since_ms), (b.phase, b.level, b.since_ms), "held");
                }
            }
            if let Some(n) = &next {
                prop_assert_eq!(Some(n.active_at_ms), began_ms);
                prop_assert_eq!(n.fired_at_ms.is_some(), n.phase == Phase::Firing);
                if let Given::Value(v) = given && n.phase == Phase::Firing && n.keep_firing_since_ms.is_none() {
                    prop_assert!(stays(rule_of(n.level), v) || holds(rule_of(n.level), v), "a level nothing speaks for");
                }
            }
            track = next;
        }
    }
}
