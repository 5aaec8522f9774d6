//! The state machine as tables: a timeline of readings in, a timeline of transitions out.

use super::*;

const MINUTE_MS: i64 = 60_000;

/// A rule with one level, as Prometheus has it. `readings`: one character a minute: `x` the condition holds, `.` it does not,
/// `?` blind, `n` the value is NaN, `!` the rule is gone. Expected: `minute:event:reason`, separated by spaces.
fn check_plain(for_minutes: i64, keep_minutes: i64, readings: &str, expected: &str) {
    let mut track = None;
    let mut seen = Vec::new();
    for (minute, c) in (0..).zip(readings.chars()) {
        let level = [LevelReading { level: Level::Warning, for_ms: for_minutes * MINUTE_MS, holds: true, stays: true }];
        let reading = match c {
            'x' => Reading::Seen { value: 1.0, levels: &level },
            '.' => Reading::Absent,
            '?' => Reading::Blind,
            'n' => Reading::NotANumber,
            '!' => Reading::RuleGone,
            other => panic!("no such reading: {other}"),
        };
        let (next, steps) = step(track.as_ref(), reading, keep_minutes * MINUTE_MS, minute * MINUTE_MS);
        seen.extend(steps.iter().map(|s| format!("{minute}:{}:{}", s.change.event(), s.reason.word())));
        track = next;
    }
    assert_eq!(seen.join(" "), expected, "for {for_minutes}m keep {keep_minutes}m {readings}");
}

#[test]
fn prometheus_rules() {
    let fires_at_once = "0:pending:condition_holds 0:firing:held_long_enough";
    for (for_minutes, keep_minutes, readings, expected) in [
        (0, 0, "x", fires_at_once),
        (0, 0, "", ""),
        (0, 0, "..", ""),
        (0, 0, "x.", "0:pending:condition_holds 0:firing:held_long_enough 1:resolved:condition_false"),
        (
            0,
            0,
            "xx.x",
            "0:pending:condition_holds 0:firing:held_long_enough 2:resolved:condition_false 3:pending:condition_holds 3:firing:held_long_enough",
        ),
        (2, 0, "xx", "0:pending:condition_holds"),
        (2, 0, "xxx", "0:pending:condition_holds 2:firing:held_long_enough"),
        (
            2,
            0,
            "xx.xxx",
            "0:pending:condition_holds 2:inactive:condition_false 3:pending:condition_holds 5:firing:held_long_enough",
        ),
        (2, 0, "xxx.", "0:pending:condition_holds 2:firing:held_long_enough 3:resolved:condition_false"),
        (0, 2, "x..", "0:pending:condition_holds 0:firing:held_long_enough 1:keep_firing:condition_false"),
        (
            0,
            2,
            "x...",
            "0:pending:condition_holds 0:firing:held_long_enough 1:keep_firing:condition_false 3:resolved:keep_firing_over",
        ),
        (
            0,
            2,
            "x..x...",
            "0:pending:condition_holds 0:firing:held_long_enough 1:keep_firing:condition_false 3:holds_again:condition_holds 4:keep_firing:condition_false 6:resolved:keep_firing_over",
        ),
        // a long `for` does not send a kept alert back to pending when its condition returns
        (
            2,
            5,
            "xxx.x",
            "0:pending:condition_holds 2:firing:held_long_enough 3:keep_firing:condition_false 4:holds_again:condition_holds",
        ),
        (1, 2, "x.", "0:pending:condition_holds 1:inactive:condition_false"),
        (0, 0, "x??", "0:pending:condition_holds 0:firing:held_long_enough 1:blind:cannot_see"),
        (0, 0, "x??x", "0:pending:condition_holds 0:firing:held_long_enough 1:blind:cannot_see 3:sighted:sees_again"),
        (
            0,
            0,
            "x?.",
            "0:pending:condition_holds 0:firing:held_long_enough 1:blind:cannot_see 2:resolved:condition_false",
        ),
        (
            0,
            0,
            "xnn?x",
            "0:pending:condition_holds 0:firing:held_long_enough 1:blind:not_a_number 4:sighted:sees_again",
        ),
        (0, 0, "nx", "1:pending:condition_holds 1:firing:held_long_enough"),
        (0, 0, "??x", "2:pending:condition_holds 2:firing:held_long_enough"),
        (3, 0, "x??x", "0:pending:condition_holds 1:blind:cannot_see 3:sighted:sees_again 3:firing:held_long_enough"),
        (0, 0, "x!", "0:pending:condition_holds 0:firing:held_long_enough 1:resolved:rule_gone"),
        (5, 0, "x!", "0:pending:condition_holds 1:inactive:rule_gone"),
        (0, 0, "!", ""),
    ] {
        check_plain(for_minutes, keep_minutes, readings, expected);
    }
}

/// Warning above 80 for 2 minutes, back below 70; critical above 90 at once, back below 85. One value a minute.
fn check_levels(values: &[f64], expected: &str) {
    let mut track = None;
    let mut seen = Vec::new();
    for (minute, &value) in (0..).zip(values) {
        let levels = [
            LevelReading { level: Level::Warning, for_ms: 2 * MINUTE_MS, holds: value > 80.0, stays: value >= 70.0 },
            LevelReading { level: Level::Critical, for_ms: 0, holds: value > 90.0, stays: value >= 85.0 },
        ];
        let (next, steps) = step(track.as_ref(), Reading::Seen { value, levels: &levels }, 0, minute * MINUTE_MS);
        let level = |t: &Option<Track>| t.as_ref().map_or("-", |t| t.level.name());
        seen.extend(steps.iter().map(|s| format!("{minute}:{}:{}", s.change.event(), level(&next))));
        track = next;
    }
    assert_eq!(seen.join(" "), expected, "{values:?}");
}

#[test]
fn one_identity_moves_through_levels_with_hysteresis() {
    for (values, expected) in [
        (&[50.0, 60.0][..], ""),
        (&[81.0, 82.0, 83.0], "0:pending:warning 2:firing:warning"),
        (&[81.0, 79.0, 83.0], "0:pending:warning 1:inactive:- 2:pending:warning"),
        (&[81.0, 81.0, 81.0, 75.0, 69.0], "0:pending:warning 2:firing:warning 4:resolved:-"),
        (&[95.0], "0:pending:critical 0:firing:critical"),
        (&[81.0, 95.0, 88.0, 84.0, 60.0], "0:pending:warning 1:firing:critical 3:level:warning 4:resolved:-"),
        (
            &[81.0, 81.0, 81.0, 91.0, 86.0, 84.0, 91.0],
            "0:pending:warning 2:firing:warning 3:level:critical 5:level:warning 6:level:critical",
        ),
        // on the way down a milder level needs no `for`: the alert already fires
        (&[95.0, 84.0], "0:pending:critical 0:firing:critical 1:level:warning"),
        (
            &[95.0, 84.0, 95.0, 60.0],
            "0:pending:critical 0:firing:critical 1:level:warning 2:level:critical 3:resolved:-",
        ),
    ] {
        check_levels(values, expected);
    }
}

#[test]
fn raising_for_sends_a_firing_alert_back_to_pending() {
    let at = |for_ms| [LevelReading { level: Level::Critical, for_ms, holds: true, stays: true }];
    let (track, _) = step(None, Reading::Seen { value: 1.0, levels: &at(0) }, 0, 0);
    let (track, steps) = step(track.as_ref(), Reading::Seen { value: 2.0, levels: &at(600_000) }, 0, 60_000);
    assert_eq!(steps, [Transition { change: Change::BackToPending, reason: Reason::ForRaised }]);
    let track = track.expect("still there");
    assert_eq!((track.phase, track.active_at_ms, track.fired_at_ms, track.value), (Phase::Pending, 0, None, 2.0));
}

#[test]
fn for_goes_on_after_a_stop_as_prometheus_does_it() {
    const GRACE_MS: i64 = 10 * MINUTE_MS;
    for (what, active_at, last_seen, for_, now, expected) in [
        ("over already", 0, 40, 30, 60, 0),
        ("nearly over: the grace period from now", 0, 25, 30, 60, 40),
        ("far from over: the stop does not count", 0, 10, 30, 60, 50),
    ] {
        let m = |minutes: i64| minutes * MINUTE_MS;
        let restored = restored_active_at_ms(m(active_at), m(last_seen), m(for_), GRACE_MS, m(now));
        assert_eq!(restored, m(expected), "{what}");
    }
}

#[test]
fn severity_words_have_levels() {
    for (word, level) in [
        (Some("info"), Level::Notice),
        (Some("notice"), Level::Notice),
        (Some("warning"), Level::Warning),
        (Some("page"), Level::Critical),
        (Some("CRITICAL"), Level::Critical),
        (Some("error"), Level::Critical),
        (Some("something"), Level::Warning),
        (None, Level::Warning),
    ] {
        assert_eq!(Level::from_severity(word), level, "{word:?}");
    }
}
