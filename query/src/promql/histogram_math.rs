//! Arithmetic on native histograms: addition, subtraction, scaling, reset detection. Layouts are reconciled to the coarser
//! of both: schema, zero threshold, custom bounds.

use std::sync::Arc;

use super::histogram::{Histogram, ResetHint};

/// Exponential and custom buckets cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncompatibleSchema;

/// What happened on the way to a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// One side was a counter reset, the other surely not.
    pub reset_collision: bool,
    /// Custom bounds differed.
    pub bounds: bool,
}

impl Histogram {
    /// Adds `other`.
    pub fn add(&mut self, other: &Histogram) -> Result<Reconciled, IncompatibleSchema> {
        self.combine(other, 1.0)
    }

    /// Subtracts `other`.
    pub fn subtract(&mut self, other: &Histogram) -> Result<Reconciled, IncompatibleSchema> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Histogram, sign: f64) -> Result<Reconciled, IncompatibleSchema> {
        let mut reconciled = Reconciled::default();
        let other = self.align(other, &mut reconciled)?;
        reconciled.reset_collision = self.join_hint(other.hint);
        self.zero_count += sign * other.zero_count;
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        self.positive = merged(&self.positive, &other.positive, sign);
        self.negative = merged(&self.negative, &other.negative, sign);
        Ok(reconciled)
    }

    /// Brings self and a copy of `other` to a common layout.
    pub(super) fn align(
        &mut self,
        other: &Histogram,
        reconciled: &mut Reconciled,
    ) -> Result<Histogram, IncompatibleSchema> {
        if self.is_custom() != other.is_custom() {
            return Err(IncompatibleSchema);
        }
        if self.is_custom() {
            if self.bounds == other.bounds {
                return Ok(other.clone());
            }
            reconciled.bounds = true;
            let common = common_bounds(&self.bounds, &other.bounds);
            *self = self.at_bounds(&common);
            return Ok(other.at_bounds(&common));
        }
        let mut other = other.clone();
        while self.zero_threshold != other.zero_threshold {
            if self.zero_threshold > other.zero_threshold {
                other.widen_zero(self.zero_threshold);
            } else {
                self.widen_zero(other.zero_threshold);
            }
        }
        let schema = self.schema.min(other.schema);
        *self = self.at_schema(schema);
        Ok(other.at_schema(schema))
    }

    fn join_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        let (joined, collision) = match (self.hint, other) {
            (a, b) if a == b => (a, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.hint = joined;
        collision
    }

    /// Widens the zero bucket to at least `threshold`, and further to the edge of a populated bucket it would cut.
    pub(super) fn widen_zero(&mut self, threshold: f64) {
        let mut threshold = threshold;
        loop {
            // The first populated bucket that reaches inside but ends outside moves the edge; then look again.
            let cut = self.positive.iter().chain(&self.negative).filter(|(_, c)| *c != 0.0).find_map(|(i, _)| {
                let (lower, upper) = (self.upper_bound(i - 1), self.upper_bound(*i));
                (lower < threshold && upper > threshold).then_some(upper)
            });
            match cut {
                Some(edge) => threshold = edge,
                None => break,
            }
        }
        let (schema, mut zero) = (self.schema, self.zero_count);
        for side in [&mut self.positive, &mut self.negative] {
            side.retain(|(i, c)| {
                let inside = super::histogram::exponential_bound(i - 1, schema) < threshold;
                if inside {
                    zero += c;
                }
                !inside
            });
        }
        (self.zero_count, self.zero_threshold) = (zero, threshold);
    }

    /// Multiplies all counts and the sum. A negative factor makes it a gauge.
    pub fn scale(&mut self, factor: f64) {
        self.map(|v| v * factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum; by zero, buckets are dropped.
    pub fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        self.map(|v| v / divisor);
        if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    fn map(&mut self, f: impl Fn(f64) -> f64) {
        for v in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *v = f(*v);
        }
        for (_, c) in self.positive.iter_mut().chain(&mut self.negative) {
            *c = f(*c);
        }
    }

    /// Whether the counter was reset between `previous` and this sample.
    pub fn is_reset_after(&self, previous: &Histogram) -> bool {
        match self.hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count || self.is_custom() != previous.is_custom() {
            return true;
        }
        if self.is_custom() {
            if self.bounds == previous.bounds {
                return shrank(&self.positive, &previous.positive);
            }
            let common = common_bounds(&self.bounds, &previous.bounds);
            return shrank(&self.at_bounds(&common).positive, &previous.at_bounds(&common).positive);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let mut previous = previous.clone();
        if previous.zero_threshold != self.zero_threshold {
            previous.widen_zero(self.zero_threshold);
            if previous.zero_threshold != self.zero_threshold {
                return true;
            }
        }
        let previous = previous.at_schema(self.schema);
        self.zero_count < previous.zero_count
            || shrank(&self.positive, &previous.positive)
            || shrank(&self.negative, &previous.negative)
    }
}

/// The bounds both have.
pub(super) fn common_bounds(a: &Arc<[f64]>, b: &Arc<[f64]>) -> Arc<[f64]> {
    a.iter().copied().filter(|bound| b.contains(bound)).collect()
}

/// Whether any bucket of `previous` has more observations than now.
fn shrank(now: &[(i32, f64)], previous: &[(i32, f64)]) -> bool {
    let mut now = now.iter().peekable();
    previous.iter().any(|(index, count)| {
        while now.next_if(|(i, _)| i < index).is_some() {}
        let current = now.peek().filter(|(i, _)| i == index).map_or(0.0, |(_, c)| *c);
        current < *count
    })
}

fn merged(a: &[(i32, f64)], b: &[(i32, f64)], sign: f64) -> Vec<(i32, f64)> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let (mut i, mut j) = (0, 0);
    loop {
        match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) if x.0 == y.0 => {
                out.push((x.0, x.1 + sign * y.1));
                (i, j) = (i + 1, j + 1);
            }
            (Some(x), y) if y.is_none_or(|y| x.0 < y.0) => {
                out.push(*x);
                i += 1;
            }
            (_, Some(y)) => {
                out.push((y.0, sign * y.1));
                j += 1;
            }
            (_, None) => return out,
        }
    }
}
