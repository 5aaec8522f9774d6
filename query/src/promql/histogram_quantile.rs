//! Quantiles, fractions and variance of native histograms, with the interpolation Prometheus' specification prescribes:
//! exponential inside exponential buckets, linear inside custom and zero buckets.

use super::histogram::{Bucket, Histogram};
use super::kahan::Sum;

/// What the result has to be taken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NanNote {
    /// Nothing.
    None,
    /// NaN observations lie above all buckets, and so does the quantile.
    Result,
    /// NaN observations push the quantile up.
    Skewed,
}

impl Histogram {
    /// The zero bucket without the half that can hold nothing, if the other half's neighbours do.
    fn narrowed_zero(&self, mut bucket: Bucket) -> Bucket {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
        bucket
    }

    /// The `q`-quantile.
    pub(super) fn quantile(&self, q: f64) -> (f64, NanNote) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, NanNote::None);
        }
        if q > 1.0 {
            return (f64::INFINITY, NanNote::None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, NanNote::None);
        }
        // Counting from the nearer end keeps rounding small; with NaN observations only the lower end is known.
        let has_nan = self.sum.is_nan();
        let forward = has_nan || q < 0.5;
        let mut rank = if forward { q * self.count } else { (1.0 - q) * self.count };
        let (mut count, mut found) = (0.0, None);
        let mut visit = |b: Bucket| {
            if b.count != 0.0 {
                count += b.count;
                found = Some(b);
            }
            b.count != 0.0 && count >= rank
        };
        if forward {
            self.buckets().any(&mut visit);
        } else {
            self.buckets().rev().any(&mut visit);
        }
        let Some(mut bucket) = found else {
            return (f64::NAN, if has_nan { NanNote::Result } else { NanNote::None });
        };
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, NanNote::None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, NanNote::None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            bucket = self.narrowed_zero(bucket);
        }
        let count = count.min(self.count);
        if count < rank {
            return if has_nan { (f64::NAN, NanNote::Result) } else { (bucket.upper, NanNote::None) };
        }
        rank = if forward { rank - (count - bucket.count) } else { count - rank };
        let fraction = rank / bucket.count;
        let note = if has_nan { NanNote::Skewed } else { NanNote::None };
        if self.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return (bucket.lower + (bucket.upper - bucket.lower) * fraction, note);
        }
        let (log_lower, log_upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        let value = if bucket.lower > 0.0 {
            (log_lower + (log_upper - log_lower) * fraction).exp2()
        } else {
            -(log_upper + (log_lower - log_upper) * (1.0 - fraction)).exp2()
        };
        (value, note)
    }

    /// The fraction of observations between `lower` and `upper`; NaN observations lie in no range.
    pub(super) fn fraction(&self, lower: f64, upper: f64) -> f64 {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        (self.rank_of(upper) - self.rank_of(lower)) / self.count
    }

    /// How many observations lie below `v`.
    fn rank_of(&self, v: f64) -> f64 {
        let mut rank = 0.0;
        for bucket in self.buckets() {
            let mut b = bucket;
            let is_zero = !self.is_custom() && b.lower <= 0.0 && b.upper >= 0.0;
            if is_zero {
                b = self.narrowed_zero(b);
            } else if self.is_custom() && b.lower == f64::NEG_INFINITY && b.upper > 0.0 {
                b.lower = 0.0;
            }
            if b.lower >= v {
                break;
            }
            if b.upper > v {
                return rank + share_below(&b, v, self.is_custom() || is_zero);
            }
            rank += b.count;
        }
        rank.min(self.count)
    }

    /// Variance of the observations, each taken for the middle of its bucket.
    pub(super) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut total = Sum::default();
        for b in self.buckets().filter(|b| b.count != 0.0) {
            let value = if self.is_custom() {
                f64::midpoint(b.lower, b.upper)
            } else if b.lower <= 0.0 && b.upper >= 0.0 {
                0.0
            } else {
                (b.upper * b.lower).sqrt() * if b.upper < 0.0 { -1.0 } else { 1.0 }
            };
            let delta = value - mean;
            total.add(b.count * delta * delta);
        }
        total.value() / self.count
    }
}

/// How many of a bucket's observations lie below `v`, which lies inside.
fn share_below(b: &Bucket, v: f64, linear: bool) -> f64 {
    if b.upper == f64::INFINITY {
        return 0.0;
    }
    if b.lower == f64::NEG_INFINITY {
        return b.count;
    }
    if linear {
        return b.count * (v - b.lower) / (b.upper - b.lower);
    }
    let (log_lower, log_upper, log_v) = (b.lower.abs().log2(), b.upper.abs().log2(), v.abs().log2());
    let fraction = if v > 0.0 {
        (log_v - log_lower) / (log_upper - log_lower)
    } else {
        1.0 - (log_v - log_upper) / (log_lower - log_upper)
    };
    b.count * fraction
}
