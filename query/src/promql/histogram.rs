//! Native histograms: exponential buckets (schema -4..=8) or custom ones, all counts as floats.
//!
//! Bucket `i` of an exponential histogram holds `(2^((i-1)/2^schema), 2^(i/2^schema)]`, negative buckets mirror that, and
//! the zero bucket takes what is closer to zero than its threshold. Custom bucket `i` ends at `bounds[i]`, the last is open.
//! (Prometheus' native histogram specification.)

use std::fmt;
use std::sync::Arc;

pub use proto::histogram::{ResetHint, SCHEMA_CUSTOM};

use super::number::format_g;

/// One histogram sample.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Counter reset knowledge.
    pub hint: ResetHint,
    /// Resolution, or [`SCHEMA_CUSTOM`].
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Positive buckets: index and observations, indices ascending.
    pub positive: Vec<(i32, f64)>,
    /// Negative buckets: index and observations, indices ascending.
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds of custom buckets, ascending, without the infinite one.
    pub bounds: Arc<[f64]>,
}

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to it.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

impl Histogram {
    /// Whether the buckets are custom.
    pub fn is_custom(&self) -> bool {
        self.schema == SCHEMA_CUSTOM
    }

    /// The upper bound of positive bucket `index`.
    pub fn upper_bound(&self, index: i32) -> f64 {
        if self.is_custom() {
            return usize::try_from(index).ok().and_then(|i| self.bounds.get(i)).copied().unwrap_or(f64::INFINITY);
        }
        exponential_bound(index, self.schema)
    }

    fn lower_bound(&self, index: i32) -> f64 {
        if self.is_custom() && index <= 0 { f64::NEG_INFINITY } else { self.upper_bound(index - 1) }
    }

    /// Positive bucket with its bounds.
    pub(super) fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let lower_inclusive = self.is_custom() && index <= 0;
        let (lower, upper) = (self.lower_bound(index), self.upper_bound(index));
        Bucket { lower, upper, lower_inclusive, upper_inclusive: true, count }
    }

    pub(super) fn negative_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = (-self.upper_bound(index), -self.lower_bound(index));
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
    }

    pub(super) fn zero_bucket(&self) -> Bucket {
        let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: true, count: self.zero_count }
    }

    /// All buckets in ascending order of their bounds; the zero bucket only if it holds something. A bucket that reaches into the
    /// zero bucket ends at its threshold.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let zero = (self.zero_count > 0.0 && !self.is_custom()).then(|| self.zero_bucket());
        let negative = self.negative.iter().rev().map(|b| self.outside_zero(self.negative_bucket(*b)));
        let positive = self.positive.iter().map(|b| self.outside_zero(self.positive_bucket(*b)));
        negative.chain(zero).chain(positive)
    }

    fn outside_zero(&self, mut bucket: Bucket) -> Bucket {
        if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
            bucket.upper = -self.zero_threshold;
        } else if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
            bucket.lower = self.zero_threshold;
        }
        bucket
    }

    /// Removes empty buckets.
    pub fn compact(mut self) -> Histogram {
        self.positive.retain(|(_, c)| *c != 0.0);
        self.negative.retain(|(_, c)| *c != 0.0);
        self
    }

    /// The same with another hint.
    pub fn with_hint(mut self, hint: ResetHint) -> Histogram {
        self.hint = hint;
        self
    }

    /// Whether it stands for "the series ended here".
    pub fn is_stale(&self) -> bool {
        self.sum.to_bits() == super::value::STALE_NAN_BITS
    }

    /// Bytes it takes in memory, for budgets.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Histogram>() + 16 * (self.positive.len() + self.negative.len())
    }

    /// How many samples it counts for in statistics: one for each 16 bytes it takes in Prometheus' memory, where 8 bytes
    /// go to each bucket, bound and run of neighbouring buckets.
    pub(super) fn samples(&self) -> u64 {
        const FIXED_BYTES: usize = 168 + 8;
        let runs = |buckets: &[(i32, f64)]| {
            usize::from(!buckets.is_empty()) + buckets.windows(2).filter(|w| w[1].0 != w[0].0 + 1).count()
        };
        let lists = [&self.positive, &self.negative];
        let parts = lists.iter().map(|b| b.len() + runs(b)).sum::<usize>() + self.bounds.len();
        ((FIXED_BYTES + 8 * parts) / 16) as u64
    }

    /// The same observations at a coarser resolution; `schema` must not exceed the present one.
    pub(super) fn at_schema(&self, schema: i32) -> Histogram {
        let mut out = self.clone();
        if !self.is_custom() && schema < self.schema {
            let shift = (self.schema - schema) as u32;
            out.schema = schema;
            out.positive = coarser(&self.positive, |i| ((i - 1) >> shift) + 1);
            out.negative = coarser(&self.negative, |i| ((i - 1) >> shift) + 1);
        }
        out
    }

    /// Custom buckets merged so that only `bounds` (a subset of the present ones) remain.
    pub(super) fn at_bounds(&self, bounds: &Arc<[f64]>) -> Histogram {
        let mut out = self.clone();
        let own = &self.bounds;
        let target = |i: i32| match usize::try_from(i).ok().and_then(|i| own.get(i)) {
            Some(bound) => bounds.partition_point(|b| b < bound) as i32,
            None => bounds.len() as i32,
        };
        out.positive = coarser(&self.positive, target);
        out.bounds = bounds.clone();
        out
    }
}

/// Merges buckets whose indices map to the same one; the map must be monotonic.
pub(super) fn coarser(buckets: &[(i32, f64)], map: impl Fn(i32) -> i32) -> Vec<(i32, f64)> {
    let mut out: Vec<(i32, f64)> = Vec::with_capacity(buckets.len());
    for (index, count) in buckets {
        let to = map(*index);
        match out.last_mut() {
            Some((last, total)) if *last == to => *total += count,
            _ => out.push((to, *count)),
        }
    }
    out
}

/// The upper bound of bucket `index` at `schema`.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let (whole, fraction) = if schema <= 0 {
        (i64::from(index) << -schema, 0.0)
    } else {
        let per_octave = 1i32 << schema;
        (i64::from(index.div_euclid(per_octave)), f64::from(index.rem_euclid(per_octave)) / f64::from(per_octave))
    };
    match whole {
        1024 if fraction == 0.0 => f64::MAX,
        w if w > 1024 => f64::INFINITY,
        w if w < -1100 => 0.0,
        // In two factors, so that subnormal bounds are not rounded to zero early.
        w => fraction.exp2() * 2f64.powi((w / 2) as i32) * 2f64.powi((w - w / 2) as i32),
    }
}

fn same_buckets(a: &[(i32, f64)], b: &[(i32, f64)]) -> bool {
    let full = |x: &&(i32, f64)| x.1 != 0.0;
    a.iter().filter(full).eq(b.iter().filter(full))
}

impl PartialEq for Histogram {
    /// Same layout and counts; empty buckets and the hint do not matter, NaN equals NaN bit by bit.
    fn eq(&self, other: &Histogram) -> bool {
        let same = |a: f64, b: f64| a == b || a.to_bits() == b.to_bits();
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && (self.is_custom()
                || (self.zero_threshold == other.zero_threshold && same(self.zero_count, other.zero_count)))
            && self.bounds == other.bounds
            && same_buckets(&self.positive, &other.positive)
            && same_buckets(&self.negative, &other.negative)
    }
}

impl fmt::Display for Histogram {
    /// `{count:3, sum:2, (0.5,1]:3}`, as Prometheus writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_g(self.count), format_g(self.sum))?;
        for b in self.buckets().filter(|b| b.count != 0.0) {
            let (open, close) = (if b.lower_inclusive { '[' } else { '(' }, if b.upper_inclusive { ']' } else { ')' });
            write!(f, ", {open}{},{}{close}:{}", format_g(b.lower), format_g(b.upper), format_g(b.count))?;
        }
        f.write_str("}")
    }
}
