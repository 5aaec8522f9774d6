//! Which periods a series repeats at: a day and a week where its steps divide them, and what the periodogram and the distances
//! between jumps suggest; each must show in the autocorrelation of the series without its trend.

use augurs::seasons::{Detector, PeriodogramDetector};

use super::line::Line;
use super::order::{median, spread};

/// A season must be seen this many times.
pub const CYCLES_MIN: usize = 3;
/// Shortest season, steps.
const PERIOD_MIN: usize = 4;
/// Least correlation of a season with itself.
const CORRELATION_MIN: f64 = 0.3;
/// It must exceed the correlation half a period away by this much: a slow wander correlates with itself, but ever less.
const CONTRAST_MIN: f64 = 0.2;
/// A second, longer season must correlate by this much better than the first.
const SECOND_GAIN_MIN: f64 = 0.05;
/// A multiple of a season may correlate by this much better without being taken for it.
const MULTIPLE_LOSS_MAX: f64 = 0.1;
/// The second season is at least this many times as long.
const SECOND_RATIO_MIN: usize = 2;
/// Values farther from the middle than this many standard deviations are pulled in before correlating.
const CLIP: f64 = 4.0;
const DAY_MS: i64 = 86_400_000;

/// The seasons of a series, in steps, shortest first; at most two. `jumps`: positions at which it jumps.
pub fn seasons(values: &[f64], step_ms: i64, jumps: &[usize]) -> Vec<usize> {
    let n = values.len();
    let longest = n / CYCLES_MIN;
    if longest < PERIOD_MIN {
        return Vec::new();
    }
    let flat = clipped(Line::through(values).residuals(values));
    let mut candidates: Vec<usize> = Vec::new();
    for span_ms in [DAY_MS, 7 * DAY_MS] {
        if span_ms % step_ms == 0 {
            candidates.push((span_ms / step_ms) as usize);
        }
    }
    if n >= 4 * PERIOD_MIN {
        let builder = PeriodogramDetector::builder().min_period(PERIOD_MIN as u32).max_period(longest as u32 + 1);
        let found = builder.threshold(0.5).build().detect(&flat);
        candidates.extend(found.iter().rev().take(4).map(|p| nearest_peak(&flat, *p as usize)));
    }
    let between: Vec<f64> = jumps.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
    if between.len() >= CYCLES_MIN - 1 {
        candidates.push(nearest_peak(&flat, median(&between).round() as usize));
    }
    candidates.retain(|p| (PERIOD_MIN..=longest).contains(p));
    candidates.sort_unstable();
    candidates.dedup();
    let mut found: Vec<(usize, f64)> =
        candidates.into_iter().filter_map(|p| strength(&flat, p).map(|r| (p, r))).collect();
    let Some(best) = found.iter().map(|(_, r)| *r).reduce(f64::max) else { return Vec::new() };
    // of periods about as good the shortest is the season, the others its multiples; of its neighbours the best
    let short = found.iter().find(|(_, r)| *r >= best - MULTIPLE_LOSS_MAX).map_or(0, |(p, _)| *p);
    let neighbours = found.iter().filter(|(p, _)| p.abs_diff(short) * 4 <= short);
    let Some((period, r)) = neighbours.copied().max_by(|a, b| a.1.total_cmp(&b.1)) else { return Vec::new() };
    found.retain(|(p, other)| *p >= SECOND_RATIO_MIN * period && *other >= r + SECOND_GAIN_MIN);
    let second = found.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    std::iter::once(period).chain(second.map(|(p, _)| p)).collect()
}

/// How strongly a series repeats at a period, if it does.
fn strength(flat: &[f64], period: usize) -> Option<f64> {
    let r = correlation(flat, period);
    let half = correlation(flat, period / 2);
    let twice = if period * 2 + period / 2 <= flat.len() { correlation(flat, period * 2) } else { r };
    (r >= CORRELATION_MIN && r >= half + CONTRAST_MIN && twice >= CORRELATION_MIN / 2.0).then_some(r)
}

/// The autocorrelation at a lag, by the mean of products over the pairs there are.
fn correlation(flat: &[f64], lag: usize) -> f64 {
    let n = flat.len();
    if lag == 0 || lag >= n {
        return 0.0;
    }
    let power: f64 = flat.iter().map(|v| v * v).sum::<f64>() / n as f64;
    if power <= 0.0 {
        return 0.0;
    }
    flat[lag..].iter().zip(flat).map(|(a, b)| a * b).sum::<f64>() / (n - lag) as f64 / power
}

/// The best correlated lag within a tenth of `period`: the periodogram's bins are coarse where periods are long.
fn nearest_peak(flat: &[f64], period: usize) -> usize {
    let reach = (period / 8).max(1);
    let lags = period.saturating_sub(reach).max(2)..=period + reach;
    lags.map(|lag| (lag, correlation(flat, lag))).max_by(|a, b| a.1.total_cmp(&b.1)).map_or(period, |(lag, _)| lag)
}

fn clipped(mut flat: Vec<f64>) -> Vec<f64> {
    let (middle, bound) = (median(&flat), CLIP * spread(&flat));
    for value in &mut flat {
        *value -= middle;
        if bound > 0.0 {
            *value = value.clamp(-bound, bound);
        }
    }
    let mean = flat.iter().sum::<f64>() / flat.len().max(1) as f64;
    flat.iter_mut().for_each(|v| *v -= mean);
    flat
}
