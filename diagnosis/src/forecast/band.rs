//! Intervals from what the back-test got wrong, not from a bell curve: quantiles of the errors, by how far ahead they looked.
//! They are widened until origins left out of them fall inside as often as asked for.

use super::order::{quantile_of_sorted, sorted};

/// Widening tried, from none on; the last stands if none suffices.
const WIDENINGS: [f64; 9] = [1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0];

/// Errors that build up with distance are widened by this over how many stretches of that length the past held side by side.
const FEW_STRETCHES: f64 = 1.0;

/// Where values lie around the forecast, by step.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Steps the errors were pooled around, and the offsets below and above the forecast there.
    knots: Vec<(f64, f64, f64)>,
    /// Steps the back-test looked ahead; beyond, the band widens in proportion.
    reach: f64,
    /// Share of the errors of origins that fell into the band made without them.
    pub coverage: f64,
}

impl Band {
    /// From the errors of each origin by step (all of the same length), for intervals that hold `confidence` of the values.
    /// `room`: steps from the first origin to the end of the past.
    pub fn of(errors: &[Vec<f64>], room: usize, confidence: f64) -> Band {
        let reach = errors.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let without = |left_out: Option<usize>| {
            let rest: Vec<&[f64]> = errors
                .iter()
                .enumerate()
                .filter(|(i, _)| errors.len() == 1 || Some(*i) != left_out)
                .map(|(_, e)| e.as_slice())
                .collect();
            knots(&rest, reach, confidence)
        };
        let left_out: Vec<_> = (0..errors.len()).map(|i| without(Some(i))).collect();
        let covered = |widening: f64| {
            let (mut inside, mut count) = (0_usize, 0_usize);
            for (knots, errors) in left_out.iter().zip(errors) {
                for (step, error) in errors.iter().enumerate() {
                    let (low, high) = offsets(knots, (step + 1) as f64);
                    let slack = 1e-12 * (high - low).abs();
                    inside += usize::from((widening * low - slack..=widening * high + slack).contains(error));
                    count += 1;
                }
            }
            inside as f64 / count.max(1) as f64
        };
        let fits = WIDENINGS.iter().map(|w| (*w, covered(*w))).find(|(_, c)| *c >= confidence);
        let widest = WIDENINGS[WIDENINGS.len() - 1];
        let (widening, coverage) = fits.unwrap_or_else(|| (widest, covered(widest)));
        let knots = without(None).into_iter().map(|(at, low, high)| (at, low * widening, high * widening)).collect();
        let knots = allow_for_few(knots, room);
        Band { knots, reach: reach as f64, coverage }
    }

    /// Offsets below (at most 0) and above (at least 0) the forecast `step` steps ahead, from 1.
    pub fn at(&self, step: usize) -> (f64, f64) {
        let step = step as f64;
        let beyond = (step / self.reach).max(1.0);
        let (low, high) = offsets(&self.knots, step.min(self.reach));
        (low * beyond, high * beyond)
    }
}

/// Errors pooled over steps 1, 2–3, 4–7 …, each pool's quantiles at its middle; never narrower farther ahead.
fn knots(errors: &[&[f64]], reach: usize, confidence: f64) -> Vec<(f64, f64, f64)> {
    let tail = (1.0 - confidence) / 2.0;
    let (mut knots, mut from): (Vec<(f64, f64, f64)>, usize) = (Vec::new(), 1);
    while from <= reach {
        let to = (2 * from - 1).min(reach);
        let pool: Vec<f64> = errors.iter().flat_map(|e| e.get(from - 1..to.min(e.len()))).flatten().copied().collect();
        let pool = sorted(&pool);
        // few origins know little of tails: the quantile leans outward by what one more would add
        let origins = errors.len() as f64;
        let outward = (tail - tail / (origins + 1.0)).min(tail);
        let (mut low, mut high) = (quantile_of_sorted(&pool, outward), quantile_of_sorted(&pool, 1.0 - outward));
        let before = knots.last().map_or((0.0, 0.0), |k| (k.1, k.2));
        (low, high) = (low.min(before.0), high.max(before.1));
        knots.push(((from + to) as f64 / 2.0, low, high));
        from = to + 1;
    }
    knots
}

/// Origins overlap: of errors that build up with distance, far ones were seen independently only a few times.
fn allow_for_few(mut knots: Vec<(f64, f64, f64)>, room: usize) -> Vec<(f64, f64, f64)> {
    let width = |knot: &(f64, f64, f64)| knot.2 - knot.1;
    let near = knots.first().map_or(0.0, width);
    for knot in &mut knots {
        let built_up = if width(knot) > 0.0 { 1.0 - near / width(knot) } else { 0.0 };
        let wider = 1.0 + FEW_STRETCHES * built_up * knot.0 / room.max(1) as f64;
        (knot.1, knot.2) = (knot.1 * wider, knot.2 * wider);
    }
    knots
}

/// Between knots in a straight line, beyond the outer ones as they are.
fn offsets(knots: &[(f64, f64, f64)], step: f64) -> (f64, f64) {
    let after = knots.partition_point(|k| k.0 < step);
    match (after.checked_sub(1).and_then(|i| knots.get(i)), knots.get(after)) {
        (Some(a), Some(b)) => {
            let part = (step - a.0) / (b.0 - a.0);
            (a.1 + (b.1 - a.1) * part, a.2 + (b.2 - a.2) * part)
        }
        (Some(only), None) | (None, Some(only)) => (only.1, only.2),
        (None, None) => (0.0, 0.0),
    }
}
