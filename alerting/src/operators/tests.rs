//! Decisions of operators: changed as Alertmanager changes them, and still there after a restart.
#![allow(clippy::unwrap_used)]

use super::*;

const NOW_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn wish(value: &str, starts_at_ms: i64, ends_at_ms: i64) -> Wish {
    Wish {
        conditions: vec![Condition { name: "instance".into(), value: value.into(), is_regex: false, is_equal: true }],
        starts_at_ms,
        ends_at_ms,
        created_by: "me".into(),
        comment: "upgrade".into(),
        recurrence: None,
    }
}

fn acknowledgement(level: Level) -> Acknowledgement {
    Acknowledgement { at_ms: NOW_MS, by: "me".into(), comment: "on it".into(), level }
}

#[test]
fn an_end_moves_in_place_and_other_matchers_make_a_new_silence() {
    let dir = tempfile::tempdir().unwrap();
    let mut operators = Operators::open(&dir.path().join("o.jsonl")).unwrap();
    let mut set = |id: Option<&str>, wish, fresh: &str, now| operators.set_silence(id, wish, fresh.into(), now);
    assert_eq!(set(None, wish("db1", NOW_MS, NOW_MS + HOUR_MS), "a", NOW_MS).unwrap(), "a");
    let longer = wish("db1", NOW_MS, NOW_MS + 2 * HOUR_MS);
    assert_eq!(set(Some("a"), longer, "b", NOW_MS + 1).unwrap(), "a");
    let other = wish("db2", NOW_MS, NOW_MS + HOUR_MS);
    assert_eq!(set(Some("a"), other, "c", NOW_MS + 2).unwrap(), "c");
    assert!(matches!(
        set(Some("none"), wish("x", NOW_MS, NOW_MS + 1_000), "d", NOW_MS),
        Err(OperatorError::Unknown { .. })
    ));
    assert!(matches!(set(None, wish("x", 0, NOW_MS - 1), "e", NOW_MS), Err(OperatorError::Wrong(_))));
    let states: Vec<_> = operators.silences().map(|s| (s.id.as_str(), s.state(NOW_MS + 3))).collect();
    assert_eq!(states, [("a", SilenceState::Expired), ("c", SilenceState::Active)]);
    assert!(matches!(operators.expire_silence("a", NOW_MS + 4), Err(OperatorError::Wrong(_))));
    operators.expire_silence("c", NOW_MS + 4).unwrap();
    assert_eq!(operators.silence("c").unwrap().state(NOW_MS + 4), SilenceState::Expired);
}

#[test]
fn decisions_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("o.jsonl");
    let mut operators = Operators::open(&path).unwrap();
    let mut weekly = wish("db1", NOW_MS, NOW_MS + HOUR_MS);
    weekly.recurrence = Some(
        Recurrence::new(RawRecurrence {
            weekdays: vec!["mon".into()],
            from: "22:00".into(),
            to: "06:00".into(),
            time_zone_offset_minutes: 480,
        })
        .unwrap(),
    );
    operators.set_silence(None, weekly.clone(), "a".into(), NOW_MS).unwrap();
    operators.acknowledge("alert-1", acknowledgement(Level::Warning)).unwrap();
    operators.acknowledge("alert-2", acknowledgement(Level::Critical)).unwrap();
    assert!(operators.unacknowledge("alert-1").unwrap());
    assert!(!operators.unacknowledge("alert-1").unwrap());
    drop(operators);
    let mut operators = Operators::open(&path).unwrap();
    assert_eq!(operators.silence("a").unwrap().wish, weekly);
    assert_eq!(operators.acknowledged().keys().collect::<Vec<_>>(), ["alert-2"]);
    let later_ms = NOW_MS + HOUR_MS + AGE_MS_MAX;
    operators.forget(|id| id == "alert-2", later_ms).unwrap();
    assert_eq!(operators.silences().count(), 0);
    assert_eq!(operators.acknowledged().len(), 1, "of an alert that still lives");
    operators.forget(|_| false, later_ms).unwrap();
    assert!(operators.acknowledged().is_empty());
}
