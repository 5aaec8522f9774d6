//! Parts of a date: `hour(v)` and its like read floats as seconds since the epoch, in UTC, in the Gregorian calendar.

/// Every such function.
pub(super) static PARTS: &[super::function_math::FloatMap] = &[
    ("day_of_month", |v| date(v).2),
    ("day_of_week", |v| days(v).map_or(f64::NAN, |d| (d + 4).rem_euclid(7) as f64)),
    ("day_of_year", |v| days(v).map_or(f64::NAN, |d| (d - days_from_civil(civil(d).0, 1, 1) + 1) as f64)),
    ("days_in_month", |v| days(v).map_or(f64::NAN, |d| days_in_month(civil(d)))),
    ("hour", |v| second_of_day(v).map_or(f64::NAN, |s| (s / 3600) as f64)),
    ("minute", |v| second_of_day(v).map_or(f64::NAN, |s| (s / 60 % 60) as f64)),
    ("month", |v| date(v).1),
    ("year", |v| date(v).0),
];

const SECONDS_PER_DAY: i64 = 86_400;

fn seconds(v: f64) -> Option<i64> {
    // Beyond this, and for NaN, Go's conversion to an integer depends on the processor.
    const SECONDS_MAX: f64 = 9.2e18;
    (v.abs() <= SECONDS_MAX).then_some(v as i64)
}

fn days(v: f64) -> Option<i64> {
    seconds(v).map(|s| s.div_euclid(SECONDS_PER_DAY))
}

fn second_of_day(v: f64) -> Option<i64> {
    seconds(v).map(|s| s.rem_euclid(SECONDS_PER_DAY))
}

fn date(v: f64) -> (f64, f64, f64) {
    days(v).map(civil).map_or((f64::NAN, f64::NAN, f64::NAN), |(y, m, d)| (y as f64, m as f64, d as f64))
}

/// Year, month, day of a day since the epoch. Years begin in March here, so that the leap day is the last.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day since the epoch of a date.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn days_in_month((year, month, _): (i64, i64, i64)) -> f64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    (days_from_civil(next_year, next_month, 1) - days_from_civil(year, month, 1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_both_ways() {
        for day in (-800_000..800_000).step_by(977) {
            let (y, m, d) = civil(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(date(9.2e18).0, 291_536_396_232.0);
        assert_eq!(days_in_month((2016, 2, 1)), 29.0);
    }
}
