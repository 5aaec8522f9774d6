//! The trim operators `h </ x` (keep what is below) and `h >/ x` (keep what is above). Cut buckets are interpolated; the
//! sum of what remains is estimated from the middle of each bucket's remaining part.

use super::histogram::{Bucket, Histogram};

/// What is left of one bucket: how much, and the value its observations are taken for.
struct Rest {
    count: f64,
    value: f64,
    cut: bool,
}

impl Histogram {
    /// The histogram without what lies above (`keep_below`) or below `cutoff`; as it was if nothing is cut.
    pub fn trimmed(&self, cutoff: f64, keep_below: bool) -> Histogram {
        let mut out = self.clone();
        let (mut count, mut sum, mut any_cut) = (0.0, 0.0, false);
        let mut keep = |rest: Rest| {
            any_cut |= rest.cut;
            count += rest.count;
            if rest.count != 0.0 {
                sum += rest.count * rest.value;
            }
            rest.count
        };
        if self.is_custom() {
            for (slot, bucket) in out.positive.iter_mut().zip(&self.positive) {
                slot.1 = keep(rest_of_custom(&self.positive_bucket(*bucket), cutoff, keep_below));
            }
        } else {
            for (slot, bucket) in out.negative.iter_mut().zip(&self.negative) {
                slot.1 = keep(rest_of_exponential(&self.negative_bucket(*bucket), cutoff, keep_below));
            }
            if self.zero_count != 0.0 {
                let mut zero = self.zero_bucket();
                match (self.negative.is_empty(), self.positive.is_empty()) {
                    (true, false) => zero.lower = 0.0,
                    (false, true) => zero.upper = 0.0,
                    _ => {}
                }
                out.zero_count = keep(rest_of_linear(&zero, cutoff, keep_below));
            }
            for (slot, bucket) in out.positive.iter_mut().zip(&self.positive) {
                slot.1 = keep(rest_of_exponential(&self.positive_bucket(*bucket), cutoff, keep_below));
            }
        }
        if !any_cut {
            return self.clone();
        }
        (out.count, out.sum) = (count, sum);
        out.compact()
    }
}

fn whole(bucket: &Bucket, value: f64) -> Rest {
    Rest { count: bucket.count, value, cut: false }
}

fn nothing(bucket: &Bucket) -> Rest {
    Rest { count: 0.0, value: 0.0, cut: bucket.count != 0.0 }
}

/// Evenly spread observations.
fn rest_of_linear(bucket: &Bucket, cutoff: f64, keep_below: bool) -> Rest {
    let Bucket { lower, upper, count, .. } = *bucket;
    let middle = f64::midpoint(lower, upper);
    if keep_below {
        match cutoff {
            c if c >= upper => whole(bucket, middle),
            c if c <= lower => nothing(bucket),
            c => Rest { count: count * (c - lower) / (upper - lower), value: f64::midpoint(lower, c), cut: true },
        }
    } else {
        match cutoff {
            c if c <= lower => whole(bucket, middle),
            c if c >= upper => nothing(bucket),
            c => Rest { count: count * (upper - c) / (upper - lower), value: f64::midpoint(c, upper), cut: true },
        }
    }
}

/// Observations spread evenly over the logarithm.
fn rest_of_exponential(bucket: &Bucket, cutoff: f64, keep_below: bool) -> Rest {
    let Bucket { lower, upper, count, .. } = *bucket;
    let sign = if upper <= 0.0 && lower < 0.0 { -1.0 } else { 1.0 };
    let middle = |a: f64, b: f64| sign * (a.abs().sqrt() * b.abs().sqrt());
    let (all, none) = if keep_below { (cutoff >= upper, cutoff <= lower) } else { (cutoff <= lower, cutoff >= upper) };
    if all {
        return whole(bucket, middle(lower, upper));
    }
    if none {
        return nothing(bucket);
    }
    let log = |v: f64| v.abs().log2();
    // How far the cutoff lies from the lower bound towards the upper.
    let share = (log(cutoff) - log(lower)) / (log(upper) - log(lower));
    if keep_below {
        Rest { count: count * share, value: middle(lower, cutoff), cut: true }
    } else {
        Rest { count: count * (1.0 - share), value: middle(cutoff, upper), cut: true }
    }
}

/// Custom buckets are linear, but for the two without an end.
fn rest_of_custom(bucket: &Bucket, cutoff: f64, keep_below: bool) -> Rest {
    let mut bucket = *bucket;
    let keeps_all = if keep_below { cutoff == f64::INFINITY } else { cutoff == f64::NEG_INFINITY };
    if keeps_all {
        return whole(&bucket, 0.0);
    }
    if cutoff.is_infinite() {
        return nothing(&bucket);
    }
    match (bucket.lower.is_infinite(), bucket.upper.is_infinite()) {
        (true, true) => nothing(&bucket),
        (false, true) if keep_below => nothing(&bucket),
        (false, true) => Rest { count: bucket.count, value: bucket.lower.max(cutoff), cut: cutoff > bucket.lower },
        (true, false) if bucket.upper > 0.0 && (keep_below || cutoff >= 0.0) => {
            // Positive observations are assumed to begin at zero.
            bucket.lower = 0.0;
            rest_of_linear(&bucket, cutoff, keep_below)
        }
        (true, false) if keep_below => {
            Rest { count: bucket.count, value: bucket.upper.min(cutoff), cut: cutoff < bucket.upper }
        }
        (true, false) => nothing(&bucket),
        (false, false) => rest_of_linear(&bucket, cutoff, keep_below),
    }
}
