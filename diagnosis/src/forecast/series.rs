//! From samples to a regular series: one value a step, small gaps filled, everything that is no number left out.

use super::Refused;

/// Most points of a series; older ones are left out.
pub const POINTS_MAX: usize = 2_016;
/// Fewest points a forecast is made from.
pub const POINTS_MIN: usize = 12;
/// Steps in a row that may be missing however short the series is.
const GAP_STEPS_MIN: usize = 3;
/// One part in so many of the points may be missing in a row.
const GAP_PART: usize = 20;

/// Values at equal distances.
#[derive(Clone, Debug, PartialEq)]
pub struct Regular {
    /// Time of the last value, milliseconds.
    pub end_ms: i64,
    /// Distance, milliseconds.
    pub step_ms: i64,
    /// Oldest first, all finite.
    pub values: Vec<f64>,
    /// What lies before a gap too long to fill was left out.
    pub cut_at_gap: bool,
}

/// Lays samples (milliseconds, value; in order of time) on steps that end at `end_ms`: the last sample of a step is its value.
/// What isn't finite counts as missing. Gaps are filled by a straight line if short; of longer ones only what follows counts.
pub fn regular(samples: &[(i64, f64)], end_ms: i64, step_ms: i64) -> Result<Regular, Refused> {
    let step_ms = step_ms.max(1);
    let mut slots: Vec<Option<f64>> = Vec::new();
    for (ts_ms, value) in samples.iter().rev().filter(|(ts, v)| *ts <= end_ms && v.is_finite()) {
        let back = (end_ms.saturating_sub(*ts_ms) / step_ms) as usize;
        if back >= POINTS_MAX {
            break;
        }
        if back >= slots.len() {
            slots.resize(back + 1, None);
        }
        // newest first: the first sample seen of a step is its last
        slots[back].get_or_insert(*value);
    }
    let found = slots.iter().flatten().count();
    let gap_max = (slots.len() / GAP_PART).max(GAP_STEPS_MIN);
    let Some(newest) = slots.iter().position(Option::is_some) else { return Err(Refused::TooFew { points: 0 }) };
    if newest > gap_max {
        return Err(Refused::Silent { steps: newest });
    }
    let (mut values, mut missing, mut cut_at_gap) = (Vec::with_capacity(slots.len()), 0_usize, false);
    for slot in &slots[newest..] {
        let Some(value) = slot else {
            missing += 1;
            continue;
        };
        if missing > gap_max {
            cut_at_gap = true;
            break;
        }
        if let Some(after) = values.last().copied() {
            let part = |i: usize| after + (value - after) * (i as f64 / (missing + 1) as f64);
            values.extend((1..=missing).map(part));
        }
        values.push(*value);
        missing = 0;
    }
    values.reverse();
    if values.len() < POINTS_MIN || found < POINTS_MIN {
        return Err(Refused::TooFew { points: values.len().min(found) });
    }
    Ok(Regular { end_ms: end_ms - newest as i64 * step_ms, step_ms, values, cut_at_gap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_or_cut_and_what_is_no_number_is_missing() {
        let mut samples: Vec<(i64, f64)> = (0..100).map(|i| (i * 1000, i as f64)).collect();
        samples[50].1 = f64::NAN;
        samples[51].1 = f64::INFINITY;
        let whole = regular(&samples, 99_000, 1000).unwrap();
        assert_eq!(whole.values, (0..100).map(f64::from).collect::<Vec<_>>());
        samples.drain(30..60);
        let cut = regular(&samples, 99_400, 1000).unwrap();
        assert_eq!((cut.values.len(), cut.values[0], cut.cut_at_gap), (40, 60.0, true));
        assert_eq!(regular(&samples[..5], 99_000, 1000), Err(Refused::Silent { steps: 95 }));
        assert_eq!(regular(&samples[..5], 5_000, 1000), Err(Refused::TooFew { points: 5 }));
        assert_eq!(regular(&[], 0, 1000), Err(Refused::TooFew { points: 0 }));
    }
}
