//! Order statistics: medians, quantiles and robust spread. Input is finite; NaN never gets here.

/// MAD of a normal distribution times this is its standard deviation.
const NORMAL_MAD: f64 = 1.4826;

/// Sorts a copy.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The median; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    quantile_of_sorted(&sorted(values), 0.5)
}

/// The quantile `q` (0 to 1) of sorted values, linear between neighbours; 0 of nothing.
pub fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

/// Standard deviation as the median absolute deviation tells it: half the values may be anything.
pub fn spread(values: &[f64]) -> f64 {
    let middle = median(values);
    let away: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    NORMAL_MAD * median(&away)
}

/// Largest minus smallest; 0 of nothing.
pub fn range(values: &[f64]) -> f64 {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high >= low { high - low } else { 0.0 }
}
