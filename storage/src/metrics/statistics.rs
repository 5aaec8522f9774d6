//! The statistics of a chunk, as docs/formats/metrics-part.md defines them.

use proto::samples::is_stale;

/// Integers up to this magnitude are exact in a float, and so are their sums below it.
const EXACT_MAX: f64 = (1u64 << 53) as f64;

/// Statistics over the samples that are no staleness markers. All `None` for a constant chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Statistics {
    /// Smallest value that is not NaN; `None` if there is none.
    pub(crate) min: Option<f64>,
    /// Largest value that is not NaN; `None` if there is none.
    pub(crate) max: Option<f64>,
    /// Sum, only where it is exact: all values are integers and their magnitudes sum to at most 2^53.
    pub(crate) sum: Option<f64>,
    /// Earliest value.
    pub(crate) first: Option<f64>,
    /// Latest value.
    pub(crate) last: Option<f64>,
    /// `last − first`, plus, in order of time, each value that was followed by a smaller one (a counter's reset).
    pub(crate) increase: Option<f64>,
}

/// How many staleness markers there are.
pub(crate) fn stale(values: &[f64]) -> usize {
    values.iter().filter(|&&v| is_stale(v)).count()
}

/// Computes them.
pub(crate) fn of(values: &[f64]) -> Statistics {
    let mut statistics = Statistics::default();
    let (mut sum, mut magnitude, mut exact) = (0.0f64, 0.0f64, true);
    let (mut resets, mut last) = (Vec::new(), None);
    for &value in values.iter().filter(|v| !is_stale(**v)) {
        statistics.first.get_or_insert(value);
        if !value.is_nan() {
            statistics.min = Some(statistics.min.map_or(value, |min| if value < min { value } else { min }));
            statistics.max = Some(statistics.max.map_or(value, |max| if value > max { value } else { max }));
        }
        exact &= value.trunc() == value && value.abs() <= EXACT_MAX;
        sum += value;
        magnitude += value.abs();
        if let Some(before) = last.filter(|&before| value < before) {
            resets.push(before);
        }
        last = Some(value);
    }
    statistics.last = last;
    statistics.sum = (exact && magnitude <= EXACT_MAX && last.is_some()).then_some(sum);
    statistics.increase = statistics
        .first
        .zip(last)
        .map(|(first, last)| resets.iter().fold(last - first, |increase, before| increase + before));
    statistics
}
