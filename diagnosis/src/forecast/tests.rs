//! Families of series with a known future, and inputs nobody means.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const MINUTE_MS: i64 = 60_000;

/// Reproducible noise around 0 of size 1 (splitmix64, two draws: a triangle).
fn noise(seed: u64, i: usize) -> f64 {
    let draw = |k: u64| {
        let mut z = seed.wrapping_add((2 * i as u64 + k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    draw(0) - draw(1)
}

fn series(step_ms: i64, count: usize, value: impl Fn(usize) -> f64) -> Vec<(i64, f64)> {
    (0..count).map(|i| (i as i64 * step_ms, value(i))).collect()
}

fn ask(samples: &[(i64, f64)], step_ms: i64, horizon: i64, threshold: Option<f64>) -> Forecast {
    let end_ms = samples.last().unwrap().0;
    let threshold = threshold.map(|value| Threshold { direction: Direction::Above, value });
    let question = Question { end_ms, step_ms, horizon_ms: horizon * step_ms, confidence: 0.8, threshold };
    forecast(samples, &question).unwrap()
}

fn wave(i: usize, period: usize) -> f64 {
    (i as f64 / period as f64 * std::f64::consts::TAU).sin()
}

#[test]
fn a_disk_that_fills_is_told_when() {
    // 40 % and 0.05 % a minute: 90 % after 1000 minutes, 400 of which are past
    let samples = series(MINUTE_MS, 401, |i| 40.0 + 0.05 * i as f64 + 0.02 * noise(1, i));
    let found = ask(&samples, MINUTE_MS, 900, Some(90.0));
    let crossing = found.crossing.unwrap();
    let minutes = |ms: Option<i64>| ms.map(|ms| (ms / MINUTE_MS - 400) as f64);
    let at = minutes(crossing.at_ms).unwrap();
    assert!((at - 600.0).abs() < 20.0, "{at} {}", found.model);
    assert!(minutes(crossing.from_ms).unwrap() <= at && minutes(crossing.to_ms).unwrap() >= at);
    assert!(found.quality.mase.unwrap() < 0.5 * found.quality.mase_baseline.unwrap(), "{:?}", found.tried);
}

#[test]
fn after_a_cleanup_only_what_follows_counts() {
    let samples = series(MINUTE_MS, 600, |i| {
        let level = if i < 450 { 10.0 + 0.1 * i as f64 } else { 20.0 + 0.1 * (i - 450) as f64 };
        level + 0.02 * noise(2, i)
    });
    let found = ask(&samples, MINUTE_MS, 300, Some(50.0));
    assert_eq!((found.since, found.since_ms / MINUTE_MS), (Since::Shift, 450));
    // 35 now, 0.1 a minute: 150 minutes
    let at = found.crossing.unwrap().at_ms.unwrap() / MINUTE_MS - 599;
    assert!((at - 150).abs() < 8, "{at} {}", found.model);
}

#[test]
fn growth_that_began_lately_is_believed_for_a_while() {
    let samples = series(MINUTE_MS, 1_000, |i| 30.0 + 0.2 * (i as f64 - 940.0).max(0.0) + 0.02 * noise(3, i));
    let found = ask(&samples, MINUTE_MS, 1_000, Some(60.0));
    assert_eq!(found.since, Since::TrendChange);
    let at = found.crossing.unwrap().at_ms.unwrap() / MINUTE_MS - 999;
    assert!((at - 91).abs() < 12, "{at} {}", found.model);
    // one hour of it is no ground for a day's forecast
    assert!(found.future.len() <= AHEAD_OF_PAST_MAX * 90, "{}", found.future.len());
}

#[test]
fn seasons_are_found_and_a_nightly_cleanup_is_one() {
    let hour = 60 * MINUTE_MS;
    let daily = series(hour, 24 * 14, |i| 50.0 + 20.0 * wave(i, 24) + noise(4, i));
    assert_eq!(ask(&daily, hour, 48, None).seasons_ms, [24 * hour]);
    let saw = series(hour, 24 * 14 + 5, |i| 20.0 + (i % 24) as f64 * 2.0 + 0.3 * noise(5, i));
    let found = ask(&saw, hour, 96, Some(90.0));
    assert_eq!((found.since, found.seasons_ms.as_slice()), (Since::Beginning, [24 * hour].as_slice()));
    assert_eq!(found.crossing.unwrap().at_ms, None, "a cleanup every night: it never fills");
    let weekly = series(hour, 24 * 28, |i| {
        let weekend = (i / 24) % 7 >= 5;
        if weekend { 10.0 } else { 50.0 + 20.0 * wave(i, 24) }
    });
    assert!(ask(&weekly, hour, 48, None).seasons_ms.contains(&(7 * 24 * hour)));
    let walk = {
        let mut at = 0.0;
        let steps: Vec<f64> = (0..600)
            .map(|i| {
                at += noise(6, i);
                at
            })
            .collect();
        series(hour, 600, |i| steps[i])
    };
    assert_eq!(ask(&walk, hour, 48, None).seasons_ms, [0_i64; 0]);
}

#[test]
fn what_was_always_cleaned_up_in_time_is_not_foreseen_full() {
    let (mut level, mut speeds) = (30.0, [0.3, 0.55, 0.4, 0.7].into_iter().cycle());
    let mut speed = 0.45;
    let values: Vec<f64> = (0..800)
        .map(|i| {
            level += speed;
            if level > 85.0 + 2.0 * noise(8, i) {
                (level, speed) = (30.0 + 5.0 * noise(9, i), speeds.next().unwrap());
            }
            level
        })
        .collect();
    // somewhere in the rise of a later cycle
    let seen = (600..800).find(|i| values[*i] > 60.0 && values[i - 1] < 60.0).unwrap();
    let samples = series(MINUTE_MS, seen, |i| values[i] + 0.05 * noise(10, i));
    let found = ask(&samples, MINUTE_MS, 150, Some(95.0));
    assert_eq!((found.since, found.crossing.unwrap().at_ms), (Since::Shift, None));
    assert!(ask(&samples, MINUTE_MS, 150, Some(80.0)).crossing.unwrap().at_ms.is_some(), "it did go there each time");
    let last = found.future.last().unwrap();
    assert!(last.low < 40.0 && last.mid < 92.0, "{last:?}");
}

#[test]
fn a_season_is_kept_over_a_shift_of_its_level() {
    let hour = 60 * MINUTE_MS;
    let samples =
        series(hour, 24 * 10, |i| 20.0 * wave(i, 24) + 0.2 * noise(7, i) + if i >= 24 * 9 { 200.0 } else { 0.0 });
    let found = ask(&samples, hour, 24, None);
    assert_eq!((found.since, found.seasons_ms.as_slice()), (Since::Shift, [24 * hour].as_slice()));
    let truth: Vec<f64> = (240..264).map(|i| 200.0 + 20.0 * wave(i, 24)).collect();
    let wrong = found.future.iter().zip(&truth).map(|(p, t)| (p.mid - t).abs()).fold(0.0, f64::max);
    assert!(wrong < 6.0, "{wrong} {}", found.model);
}

#[test]
fn a_constant_goes_on_without_doubt() {
    let found = ask(&series(MINUTE_MS, 100, |_| 7.0), MINUTE_MS, 50, Some(8.0));
    assert_eq!((found.model, found.quality.mase, found.quality.coverage), ("seasonal_naive", Some(0.0), 1.0));
    assert!(found.future.iter().all(|p| (p.low, p.mid, p.high) == (7.0, 7.0, 7.0)));
    assert_eq!(found.crossing, Some(Crossing::default()));
}

#[test]
fn what_is_past_the_limit_already_is_now() {
    let found = ask(&series(MINUTE_MS, 100, |i| i as f64), MINUTE_MS, 50, Some(50.0));
    assert_eq!(found.crossing.unwrap().at_ms, Some(99 * MINUTE_MS));
}

#[test]
fn a_horizon_of_too_many_steps_is_refused() {
    let samples = series(1, 100, |i| i as f64);
    let question = Question { end_ms: 99, step_ms: 1, horizon_ms: 5_000, confidence: 0.8, threshold: None };
    assert_eq!(forecast(&samples, &question), Err(Refused::TooFar { steps: 5_000 }));
}

/// Any float, the wild ones often.
fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -100.0..100.0_f64,
        1 => proptest::num::f64::ANY,
        1 => Just(f64::NAN),
        1 => Just(f64::MAX),
        1 => Just(-f64::MAX),
        1 => Just(0.0),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_what_comes_out_is_sound(
        values in proptest::collection::vec(any_value(), 0..220),
        steps in 1_usize..80,
        step_ms in 1_i64..90_000_000,
    ) {
        let samples = series(step_ms, values.len(), |i| values[i]);
        let end_ms = samples.last().map_or(0, |s| s.0);
        let threshold = Some(Threshold { direction: Direction::Below, value: -50.0 });
        let question = Question { end_ms, step_ms, horizon_ms: steps as i64 * step_ms, confidence: 0.8, threshold };
        if let Ok(found) = forecast(&samples, &question) {
            prop_assert!(found.future.iter().all(|p| p.mid.is_finite() && p.low <= p.mid && p.mid <= p.high));
            prop_assert!(!found.future.is_empty() && found.future.len() <= steps);
            prop_assert!((0.0..=1.0).contains(&found.quality.coverage));
            if let (Some(mase), Some(baseline)) = (found.quality.mase, found.quality.mase_baseline) {
                prop_assert!(mase <= baseline, "{mase} > {baseline} by {}", found.model);
            }
            prop_assert_eq!(forecast(&samples, &question), Ok(found));
        }
    }

    #[test]
    fn repeating_noisy_series_never_do_worse_than_the_baseline(
        seed in 0_u64..1000, period in 2_usize..40, slope in -1.0..1.0_f64, rough in 0.0..3.0_f64,
    ) {
        let samples = series(MINUTE_MS, 240, |i| 5.0 * wave(i, period) + slope * i as f64 + rough * noise(seed, i));
        let found = ask(&samples, MINUTE_MS, 40, None);
        prop_assert!(found.quality.mase.unwrap() <= found.quality.mase_baseline.unwrap());
        prop_assert_eq!(found.tried[0].1, found.quality.mase_baseline);
    }
}
