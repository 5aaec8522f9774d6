//! How far back and at which distance a forecast looks where nobody says.

use diagnosis::forecast::{HORIZON_STEPS_MAX, POINTS_MAX, POINTS_MIN};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Steps that divide a day, so that daily and weekly seasons are whole numbers of them.
const STEPS_MS: [i64; 22] = [
    SECOND_MS,
    2 * SECOND_MS,
    5 * SECOND_MS,
    10 * SECOND_MS,
    15 * SECOND_MS,
    20 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    15 * MINUTE_MS,
    20 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    4 * HOUR_MS,
    6 * HOUR_MS,
    8 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
];
/// Points a chosen step aims at.
const POINTS_AIMED: i64 = 1_000;
/// Steps ahead a chosen step aims at.
const AHEAD_AIMED: i64 = 400;
/// Horizons of the past that are looked at.
const HORIZONS_BACK: i64 = 4;

/// A horizon this long and longer looks back over days, so that a day's and a week's season can be seen.
const LONG_HORIZON_MS: i64 = HOUR_MS;

/// The past looked at for a horizon: four of it; at least ten minutes, or a week where it is an hour or longer; at most four
/// weeks.
pub fn history_ms(horizon_ms: i64) -> i64 {
    let least = if horizon_ms < LONG_HORIZON_MS { 10 * MINUTE_MS } else { 7 * DAY_MS };
    horizon_ms.saturating_mul(HORIZONS_BACK).clamp(least, (28 * DAY_MS).max(horizon_ms))
}

/// The shortest step, not finer than `finest_ms`, with which past and horizon have not too many points.
pub fn step_ms(history_ms: i64, horizon_ms: i64, finest_ms: i64) -> i64 {
    let wanted = (history_ms / POINTS_AIMED).max(horizon_ms / AHEAD_AIMED).max(finest_ms);
    STEPS_MS.into_iter().find(|step| *step >= wanted).unwrap_or_else(|| (wanted + DAY_MS - 1) / DAY_MS * DAY_MS)
}

/// What is wrong with spans that were given.
pub fn check(history_ms: i64, horizon_ms: i64, step_ms: i64) -> Result<(), String> {
    if history_ms / step_ms > POINTS_MAX as i64 {
        return Err(format!("the past looked at has {} steps; at most {POINTS_MAX} are allowed", history_ms / step_ms));
    }
    if history_ms / step_ms < POINTS_MIN as i64 {
        return Err(format!("the past looked at has {} steps; at least {POINTS_MIN} are needed", history_ms / step_ms));
    }
    if horizon_ms / step_ms > HORIZON_STEPS_MAX as i64 {
        return Err(format!("the horizon has {} steps; at most {HORIZON_STEPS_MAX} are allowed", horizon_ms / step_ms));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_horizon_gets_a_step_within_the_bounds() {
        for (horizon_ms, history, step) in [
            (MINUTE_MS, 10 * MINUTE_MS, SECOND_MS),
            (4 * HOUR_MS, 7 * DAY_MS, 15 * MINUTE_MS),
            (4 * DAY_MS, 16 * DAY_MS, 30 * MINUTE_MS),
            (60 * DAY_MS, 60 * DAY_MS, 4 * HOUR_MS),
        ] {
            let found = history_ms(horizon_ms);
            let found_step = step_ms(found, horizon_ms, SECOND_MS);
            assert_eq!((found, found_step), (history, step), "{horizon_ms}");
            assert_eq!(check(found, horizon_ms, found_step), Ok(()));
        }
        assert_eq!(step_ms(HOUR_MS, MINUTE_MS, 15 * SECOND_MS), 15 * SECOND_MS);
        assert!(check(DAY_MS, HOUR_MS, SECOND_MS).is_err());
        assert!(check(HOUR_MS, HOUR_MS, 6 * MINUTE_MS).is_err());
    }
}
