//! Quantiles: of plain values, and of classic histograms' cumulative buckets.

/// The `q`-quantile of `values`, which get sorted; NaN counts as smallest.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    of_sorted(q, values.len(), |i| values[i])
}

/// The `q`-quantile of so many values, `at` gives them in order.
pub(super) fn of_sorted(q: f64, count: usize, at: impl Fn(usize) -> f64) -> f64 {
    if count == 0 || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = count - 1;
    let rank = q * last as f64;
    let lower = rank.floor();
    let weight = rank - lower;
    let (lower, upper) = (lower as usize, (lower as usize + 1).min(last));
    at(lower) * (1.0 - weight) + at(upper) * weight
}

/// A number that stands among others as `v` does among values, with all its bits but for those of NaN, which is smallest.
pub(super) fn key_of(v: f64) -> i64 {
    let bits = v.to_bits() as i64;
    if v.is_nan() { i64::MIN } else { bits ^ ((bits >> 63) as u64 >> 1) as i64 }
}

/// The value of a key.
pub(super) fn value_of(key: i64) -> f64 {
    if key == i64::MIN { f64::NAN } else { f64::from_bits((key ^ ((key >> 63) as u64 >> 1) as i64) as u64) }
}

/// One bucket of a classic histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ClassicBucket {
    pub(super) upper: f64,
    /// Observations up to `upper`.
    pub(super) count: f64,
}

/// Relative difference between neighbouring buckets that is taken for rounding.
const SMALL_DELTA: f64 = 1e-12;

/// Sorts buckets, joins those with the same bound, makes counts monotonic. Returns whether counts had to be raised.
fn normalize(buckets: &mut Vec<ClassicBucket>) -> bool {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    let (mut forced, mut previous) = (false, buckets.first().map_or(0.0, |b| b.count));
    for bucket in buckets.iter_mut().skip(1) {
        if bucket.count == previous {
        } else if almost_equal(previous, bucket.count) {
            bucket.count = previous;
        } else if bucket.count < previous {
            bucket.count = previous;
            forced = true;
        } else {
            previous = bucket.count;
        }
    }
    forced
}

fn almost_equal(a: f64, b: f64) -> bool {
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

fn is_complete(buckets: &[ClassicBucket]) -> bool {
    buckets.iter().any(|b| b.upper == f64::INFINITY)
}

/// The `q`-quantile of a classic histogram, and whether its counts had to be made monotonic.
pub(super) fn of_buckets(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    if !is_complete(buckets) {
        return (f64::NAN, false);
    }
    let forced = normalize(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 || observations.is_nan() {
        return (f64::NAN, forced);
    }
    let rank = q * observations;
    let at = buckets[..last].partition_point(|b| b.count < rank);
    let value = if at == last {
        buckets[last - 1].upper
    } else if at == 0 && buckets[0].upper <= 0.0 {
        buckets[0].upper
    } else {
        let (start, below) = if at == 0 { (0.0, 0.0) } else { (buckets[at - 1].upper, buckets[at - 1].count) };
        start + (buckets[at].upper - start) * ((rank - below) / (buckets[at].count - below))
    };
    (value, forced)
}

/// The fraction of a classic histogram's observations between `lower` and `upper`, and whether counts were raised.
pub(super) fn fraction_of_buckets(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, bool) {
    if !is_complete(buckets) {
        return (f64::NAN, false);
    }
    let forced = normalize(buckets);
    let count = buckets.last().map_or(0.0, |b| b.count);
    if count == 0.0 || count.is_nan() || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, forced);
    }
    if lower >= upper {
        return (0.0, forced);
    }
    ((rank_of(upper, buckets) - rank_of(lower, buckets)) / count, forced)
}

/// How many observations lie below `v`.
fn rank_of(v: f64, buckets: &[ClassicBucket]) -> f64 {
    let mut below = 0.0;
    for (i, bucket) in buckets.iter().enumerate() {
        let start = match i {
            0 if bucket.upper > 0.0 => 0.0,
            0 => f64::NEG_INFINITY,
            i => buckets[i - 1].upper,
        };
        if start >= v {
            return below;
        }
        if v < bucket.upper {
            // Nothing can be said about the inside of a bucket without an end.
            if start == f64::NEG_INFINITY {
                return bucket.count;
            }
            if bucket.upper == f64::INFINITY {
                return below;
            }
            return below + (bucket.count - below) * (v - start) / (bucket.upper - start);
        }
        below = bucket.count;
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_as_values_do() {
        let ordered = [f64::NAN, f64::NEG_INFINITY, -1e300, -1.0, -0.0, 0.0, 5e-324, 1.0, f64::MAX, f64::INFINITY];
        assert!(ordered.map(key_of).is_sorted_by(|a, b| a < b));
        assert!(ordered[1..].iter().all(|v| value_of(key_of(*v)).to_bits() == v.to_bits()));
        assert!(value_of(key_of(f64::NAN)).is_nan());
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(0.5, &mut [1.0, 0.0]), 0.5);
        assert_eq!(quantile(0.8, &mut [0.0, 1.0, f64::NAN]), 0.6000000000000001);
        let mut buckets: Vec<ClassicBucket> =
            [(1.0, 1.0), (2.0, 3.0), (f64::INFINITY, 4.0)].map(|(upper, count)| ClassicBucket { upper, count }).into();
        assert_eq!(of_buckets(0.5, &mut buckets), (1.5, false));
        assert_eq!(fraction_of_buckets(0.0, 2.0, &mut buckets), (0.75, false));
    }
}
