//! The two looks: which of them counts, and spans nobody means.

#![allow(clippy::unwrap_used)]

use super::*;

const MINUTE_MS: i64 = 60_000;
const HALF_HOUR_MS: i64 = 30 * MINUTE_MS;

fn question(step_ms: Option<i64>) -> Ask {
    Ask {
        query: "used".into(),
        horizon_ms: 5 * 24 * 60 * MINUTE_MS,
        history_ms: None,
        step_ms,
        confidence: 0.8,
        threshold: Some(Threshold { direction: Direction::Above, value: 90.0 }),
        finest_ms: 1_000,
        series_max: 1,
    }
}

/// What a rule sees at the end of 16 days of `value` (minutes before the end to the value there).
fn seen(value: impl Fn(i64) -> f64) -> SeriesReport {
    let at_ms = 16 * 24 * 60 * MINUTE_MS;
    let samples = |step_ms: i64, steps: i64| -> Vec<(i64, f64)> {
        (0..=steps).rev().map(|i| (at_ms - i * step_ms, value(i * step_ms / MINUTE_MS))).collect()
    };
    let (coarse, fine) = (samples(HALF_HOUR_MS, 768), samples(MINUTE_MS, FINE_STEPS));
    let found = look(&question(None), Labels::empty(), (HALF_HOUR_MS, &coarse), Some((MINUTE_MS, &fine)), at_ms).result;
    found.unwrap()
}

/// Grows by 1.5 % a day, to 87 % now, never twice by the same; 90 % is two days away.
fn slow(minutes: i64) -> f64 {
    87.0 - minutes as f64 / 960.0 + 0.02 * (minutes as f64 * 0.7).sin()
}

#[test]
fn a_surprise_does_not_hide_a_limit_the_fine_look_can_not_see() {
    let hours =
        |report: &SeriesReport| report.reaches_at_ms.map(|at| (at - 16 * 24 * 60 * MINUTE_MS) / (60 * MINUTE_MS));
    let calm = seen(slow);
    assert!(hours(&calm).is_some_and(|h| (40..56).contains(&h)), "{:?}", hours(&calm));
    // half a per cent was copied there a quarter of an hour ago
    let surprised = seen(|m| slow(m) + if m < 15 { 0.5 } else { 0.0 });
    assert!(hours(&surprised).is_some_and(|h| (24..56).contains(&h)), "{:?}", hours(&surprised));
    // but what was just cleaned up reaches nothing
    let cleaned = seen(|m| slow(m) - if m < 15 { 50.0 } else { 0.0 });
    assert_eq!(hours(&cleaned), None);
    // and what fills since forty minutes is told by the fine look
    let filling = seen(|m| slow(m) - 60.0 + (40 - m).max(0) as f64 * 0.5);
    assert!(hours(&filling).is_some_and(|h| h < 4), "{:?}", hours(&filling));
}

#[test]
fn steps_of_any_size_are_answered_or_refused() {
    for step_ms in [1, 1_000, MINUTE_MS, i64::MAX / 2, i64::MAX] {
        let asked = question(Some(step_ms));
        assert!(asked.spans().is_err() || step_ms <= HALF_HOUR_MS * 32, "{step_ms}");
        assert_eq!(asked.fine_step_ms(step_ms), None);
    }
    for horizon_ms in [1, MINUTE_MS, i64::MAX / 4, i64::MAX] {
        let asked = Ask { horizon_ms, ..question(None) };
        let (history_ms, step_ms) = asked.spans().unwrap();
        assert!(history_ms > 0 && step_ms > 0);
        assert!(asked.fine_step_ms(step_ms).is_none_or(|fine_ms| fine_ms < step_ms));
    }
}
