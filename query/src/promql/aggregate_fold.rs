//! One group of an aggregation: a column of running values, one a step, for each operator that folds many into one.

use std::sync::Arc;

use multiversion::multiversion;
use proto::Labels;

use super::QueryError;
use super::annotations::{Annotations, Info, Warning};
use super::ast::AggregateOp;
use super::budget::Budget;
use super::histogram_sum::HistogramSum;
use super::kahan::{self, Mean};
use super::position::Span;
use super::quantile::quantile;
use super::value::{ABSENT, Series, is_absent};

/// What is kept of the samples of each step.
enum Columns {
    /// Compensated sums, absent where nothing was added, and what they lost.
    Sum(Vec<f64>, Vec<f64>),
    Mean(Vec<Mean>),
    /// Smallest value so far.
    Min(Vec<f64>),
    /// Largest value so far.
    Max(Vec<f64>),
    /// Welford: count, mean, sum of squares.
    Spread(Vec<(f64, f64, f64)>),
    /// Count of samples, or just that there was one.
    Count(Vec<f64>),
    Values(Vec<Vec<f64>>),
}

/// What a step of `sum` or `avg` has seen of histograms.
#[derive(Clone, Default)]
struct Histograms {
    total: Option<HistogramSum>,
    incompatible: bool,
}

/// One group.
pub(super) struct Fold {
    op: AggregateOp,
    columns: Columns,
    histograms: Vec<Histograms>,
}

impl Fold {
    pub(super) fn new(op: AggregateOp, steps: usize) -> Fold {
        let columns = match op {
            AggregateOp::Sum => Columns::Sum(vec![ABSENT; steps], vec![0.0; steps]),
            AggregateOp::Avg => Columns::Mean(vec![Mean::default(); steps]),
            AggregateOp::Min => Columns::Min(vec![ABSENT; steps]),
            AggregateOp::Max => Columns::Max(vec![ABSENT; steps]),
            AggregateOp::Stddev | AggregateOp::Stdvar => Columns::Spread(vec![(0.0, 0.0, 0.0); steps]),
            AggregateOp::Quantile => Columns::Values(vec![Vec::new(); steps]),
            _ => Columns::Count(vec![0.0; steps]),
        };
        Fold { op, columns, histograms: Vec::new() }
    }

    /// Bytes a new group takes.
    pub(super) fn bytes(op: AggregateOp, steps: usize) -> usize {
        steps * if matches!(op, AggregateOp::Avg | AggregateOp::Quantile) { 40 } else { 24 }
    }

    /// Adds a series; histograms go where the operator has a meaning for them, else they are left out with a note.
    pub(super) fn add(
        &mut self,
        series: &Series,
        notes: &Annotations,
        span: Span,
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        let steps = series.floats.iter().enumerate().filter(|(_, v)| !is_absent(**v));
        match &mut self.columns {
            Columns::Sum(sums, lost) => add_each(&series.floats, sums, lost),
            Columns::Mean(means) => steps.for_each(|(i, v)| means[i].add(*v)),
            Columns::Min(best) => keep_each(&series.floats, best, |v, best| v < best),
            Columns::Max(best) => keep_each(&series.floats, best, |v, best| v > best),
            Columns::Spread(spreads) => {
                for (i, v) in steps {
                    let (count, mean, squares) = &mut spreads[i];
                    *count += 1.0;
                    let delta = v - *mean;
                    *mean += delta / *count;
                    *squares += delta * (v - *mean);
                }
            }
            Columns::Count(counts) if series.histograms.is_none() => count_each(&series.floats, counts),
            Columns::Count(counts) => {
                for (i, count) in counts.iter_mut().enumerate() {
                    *count += f64::from(u8::from(series.is_present(i)));
                }
            }
            Columns::Values(values) => {
                for (i, v) in steps {
                    values[i].push(*v);
                }
                budget.take(series.floats.len() * 8)?;
            }
        }
        if let Some(column) = &series.histograms
            && column.iter().any(Option::is_some)
        {
            self.add_histograms(column, series, notes, span);
        }
        Ok(())
    }

    fn add_histograms(
        &mut self,
        column: &[Option<Arc<super::histogram::Histogram>>],
        series: &Series,
        notes: &Annotations,
        span: Span,
    ) {
        if matches!(self.op, AggregateOp::Count | AggregateOp::Group) {
            return;
        }
        if !matches!(self.op, AggregateOp::Sum | AggregateOp::Avg) {
            notes.info(&Info::IgnoredInAggregation(self.op.name()), span);
            return;
        }
        if self.histograms.is_empty() {
            self.histograms = vec![Histograms::default(); column.len()];
        }
        for (i, h) in column.iter().enumerate() {
            let Some(h) = h else { continue };
            let slot = &mut self.histograms[i];
            match &mut slot.total {
                None => slot.total = Some(HistogramSum::new(h, self.op == AggregateOp::Avg)),
                Some(total) => {
                    if total.add(h).is_err() && !slot.incompatible {
                        slot.incompatible = true;
                        notes.warn(&Warning::MixedSchemas(series.labels.metric_name()), span);
                    }
                }
            }
        }
    }

    /// The group's series. `params` are the quantiles.
    pub(super) fn finish(self, labels: Labels, params: Option<&[f64]>, notes: &Annotations, span: Span) -> Series {
        let floats: Vec<f64> = match self.columns {
            Columns::Sum(sums, lost) => {
                let value = |(sum, lost): (f64, f64)| if is_absent(sum) { ABSENT } else { kahan::value(sum, lost) };
                sums.into_iter().zip(lost).map(value).collect()
            }
            Columns::Mean(means) => means.into_iter().map(|m| if m.is_empty() { ABSENT } else { m.value() }).collect(),
            Columns::Min(best) | Columns::Max(best) => best,
            Columns::Spread(spreads) => {
                let root = self.op == AggregateOp::Stddev;
                let value = |(count, _, squares): (f64, f64, f64)| match count {
                    0.0 => ABSENT,
                    count if root => (squares / count).sqrt(),
                    count => squares / count,
                };
                spreads.into_iter().map(value).collect()
            }
            Columns::Count(counts) => {
                let is_group = self.op == AggregateOp::Group;
                let value = |c: f64| {
                    if c == 0.0 {
                        ABSENT
                    } else if is_group {
                        1.0
                    } else {
                        c
                    }
                };
                counts.into_iter().map(value).collect()
            }
            Columns::Values(values) => {
                let q = |i: usize| params.map_or(f64::NAN, |p| p[i]);
                let value = |(i, mut v): (usize, Vec<f64>)| if v.is_empty() { ABSENT } else { quantile(q(i), &mut v) };
                values.into_iter().enumerate().map(value).collect()
            }
        };
        let mut out = Series { floats, ..Series::absent(labels, 0) };
        for (i, h) in self.histograms.into_iter().enumerate() {
            let Some(total) = h.total else { continue };
            if !is_absent(out.floats[i]) {
                notes.warn(&Warning::MixedFloatsHistogramsAggregation, span);
                out.floats[i] = ABSENT;
                continue;
            }
            if total.reset_collision() {
                notes.warn(&Warning::ResetCollision("aggregation"), span);
            }
            if h.incompatible {
                continue;
            }
            if total.bounds_reconciled {
                notes.info(&Info::BoundsReconciled("aggregation"), span);
            }
            out.set_histogram(i, Arc::new(total.finish()));
        }
        out
    }
}

/// Adds to the compensated sum of each step what is there.
#[multiversion(targets("x86_64+avx2"), dispatcher = "direct")]
fn add_each(values: &[f64], sums: &mut [f64], lost: &mut [f64]) {
    for ((v, sum), lost) in values.iter().zip(sums).zip(lost) {
        let before = if is_absent(*sum) { 0.0 } else { *sum };
        let (with, with_lost) = kahan::add(*v, before, *lost);
        let is_here = !is_absent(*v);
        *sum = if is_here { with } else { *sum };
        *lost = if is_here { with_lost } else { *lost };
    }
}

/// Keeps at each step the value that is better, or is there. What is absent is no number: it loses against any.
#[multiversion(targets("x86_64+avx2"), dispatcher = "direct")]
fn keep_each<F: Fn(f64, f64) -> bool>(values: &[f64], best: &mut [f64], is_better: F) {
    for (v, best) in values.iter().zip(best) {
        let wins = !is_absent(*v) && (is_better(*v, *best) || best.is_nan());
        *best = if wins { *v } else { *best };
    }
}

/// Counts at each step what is there.
#[multiversion(targets("x86_64+avx2"), dispatcher = "direct")]
fn count_each(values: &[f64], counts: &mut [f64]) {
    for (v, count) in values.iter().zip(counts) {
        *count += if is_absent(*v) { 0.0 } else { 1.0 };
    }
}
