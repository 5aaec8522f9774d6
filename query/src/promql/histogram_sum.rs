//! Sums and means over many histograms, with compensated summation in every bucket.

use std::sync::Arc;

use super::histogram::{Histogram, ResetHint, coarser};
use super::histogram_math::{IncompatibleSchema, Reconciled};

/// Means are summed at this scale, so that the sum of up to 2^40 histograms cannot overflow. A power of two loses no digit.
const MEAN_SCALE: f64 = 1.0 / (1u64 << 40) as f64;

/// A sum or mean being built.
#[derive(Clone, Debug)]
pub(super) struct HistogramSum {
    /// Layout, plain counts of what was summed, and hint; compensation runs beside it.
    total: Histogram,
    lost: Histogram,
    scale: f64,
    samples: f64,
    reset_seen: bool,
    not_reset_seen: bool,
    pub(super) bounds_reconciled: bool,
}

impl HistogramSum {
    pub(super) fn new(first: &Histogram, is_mean: bool) -> HistogramSum {
        let scale = if is_mean { MEAN_SCALE } else { 1.0 };
        let mut total = first.clone();
        let hint = total.hint;
        total.scale(scale);
        total.hint = hint;
        let lost = Histogram {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            bounds: first.bounds.clone(),
            ..Histogram::default()
        };
        let mut sum = HistogramSum {
            total,
            lost,
            scale,
            samples: 1.0,
            reset_seen: false,
            not_reset_seen: false,
            bounds_reconciled: false,
        };
        sum.note(first.hint);
        sum
    }

    fn note(&mut self, hint: ResetHint) {
        self.reset_seen |= hint == ResetHint::Reset;
        self.not_reset_seen |= hint == ResetHint::NotReset;
    }

    /// Whether samples with and without a counter reset were mixed.
    pub(super) fn reset_collision(&self) -> bool {
        self.reset_seen && self.not_reset_seen
    }

    pub(super) fn add(&mut self, other: &Histogram) -> Result<(), IncompatibleSchema> {
        let mut reconciled = Reconciled::default();
        let other = self.total.align(other, &mut reconciled)?;
        self.bounds_reconciled |= reconciled.bounds;
        self.follow_layout();
        self.note(other.hint);
        self.total.hint = match (self.total.hint, other.hint) {
            (a, b) if a == b => a,
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        };
        self.samples += 1.0;
        let scale = self.scale;
        let (t, l) = (&mut self.total, &mut self.lost);
        for (total, lost, x) in [
            (&mut t.zero_count, &mut l.zero_count, other.zero_count),
            (&mut t.count, &mut l.count, other.count),
            (&mut t.sum, &mut l.sum, other.sum),
        ] {
            (*total, *lost) = super::kahan::add(x * scale, *total, *lost);
        }
        add_buckets(&mut t.positive, &mut l.positive, &other.positive, scale);
        add_buckets(&mut t.negative, &mut l.negative, &other.negative, scale);
        Ok(())
    }

    /// Brings the compensation to the layout the total has now.
    fn follow_layout(&mut self) {
        if self.lost.bounds != self.total.bounds {
            self.lost = self.lost.at_bounds(&Arc::clone(&self.total.bounds));
        }
        if self.lost.zero_threshold != self.total.zero_threshold {
            let (schema, edge, mut zero) = (self.lost.schema, self.total.zero_threshold, self.lost.zero_count);
            for side in [&mut self.lost.positive, &mut self.lost.negative] {
                side.retain(|(i, c)| {
                    let inside = super::histogram::exponential_bound(i - 1, schema) < edge;
                    zero += if inside { *c } else { 0.0 };
                    !inside
                });
            }
            (self.lost.zero_count, self.lost.zero_threshold) = (zero, edge);
        }
        if self.lost.schema > self.total.schema {
            let shift = (self.lost.schema - self.total.schema) as u32;
            for side in [&mut self.lost.positive, &mut self.lost.negative] {
                *side = coarser(side, |i| ((i - 1) >> shift) + 1);
            }
            self.lost.schema = self.total.schema;
        }
    }

    /// The sum, or the mean.
    pub(super) fn finish(&self) -> Histogram {
        let divisor = if self.scale == 1.0 { 1.0 } else { self.samples };
        let value = |total: f64, lost: f64| {
            let sum = if total.is_infinite() { total } else { total / divisor + lost / divisor };
            sum / self.scale
        };
        let mut out = self.total.clone();
        out.zero_count = value(out.zero_count, self.lost.zero_count);
        out.count = value(out.count, self.lost.count);
        out.sum = value(out.sum, self.lost.sum);
        for (side, lost) in [(&mut out.positive, &self.lost.positive), (&mut out.negative, &self.lost.negative)] {
            let mut lost = lost.iter().peekable();
            for (index, count) in side.iter_mut() {
                while lost.next_if(|(i, _)| i < index).is_some() {}
                let compensation = lost.peek().filter(|(i, _)| i == index).map_or(0.0, |(_, c)| *c);
                *count = value(*count, compensation);
            }
        }
        out.compact()
    }
}

/// Adds `others` bucket by bucket; `lost` always has a subset of the indices of `totals`.
fn add_buckets(totals: &mut Vec<(i32, f64)>, lost: &mut Vec<(i32, f64)>, others: &[(i32, f64)], scale: f64) {
    for (index, x) in others {
        let x = x * scale;
        match totals.binary_search_by_key(index, |(i, _)| *i) {
            Err(at) => totals.insert(at, (*index, x)),
            Ok(at) => {
                let slot = match lost.binary_search_by_key(index, |(i, _)| *i) {
                    Ok(slot) => slot,
                    Err(slot) => {
                        lost.insert(slot, (*index, 0.0));
                        slot
                    }
                };
                (totals[at].1, lost[slot].1) = super::kahan::add(x, totals[at].1, lost[slot].1);
            }
        }
    }
}
