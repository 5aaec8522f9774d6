//! One group of an aggregation: a column of running values, one a step, for each operator that folds many into one.

use std::sync::Arc;

use proto::Labels;

use super::QueryError;
use super::annotations::{Annotations, Info, Warning};
use super::ast::AggregateOp;
use super::budget::Budget;
use super::histogram_sum::HistogramSum;
use super::kahan::{Mean, Sum};
use super::position::Span;
use super::quantile::quantile;
use super::value::{ABSENT, Series, is_absent};

/// What is kept of the samples of each step.
enum Columns {
    Sum(Vec<Sum>),
    Mean(Vec<Mean>),
    /// Smallest or largest value so far.
    Extreme(Vec<f64>, fn(f64, f64) -> bool),
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
    /// For `sum` and `avg`: whether any float came, per step.
    floats: Vec<bool>,
    histograms: Vec<Histograms>,
}

impl Fold {
    pub(super) fn new(op: AggregateOp, steps: usize) -> Fold {
        let columns = match op {
            AggregateOp::Sum => Columns::Sum(vec![Sum::default(); steps]),
            AggregateOp::Avg => Columns::Mean(vec![Mean::default(); steps]),
            AggregateOp::Min => Columns::Extreme(vec![ABSENT; steps], |v, best| v < best || best.is_nan()),
            AggregateOp::Max => Columns::Extreme(vec![ABSENT; steps], |v, best| v > best || best.is_nan()),
            AggregateOp::Stddev | AggregateOp::Stdvar => Columns::Spread(vec![(0.0, 0.0, 0.0); steps]),
            AggregateOp::Quantile => Columns::Values(vec![Vec::new(); steps]),
            _ => Columns::Count(vec![0.0; steps]),
        };
        let both = matches!(op, AggregateOp::Sum | AggregateOp::Avg);
        Fold { op, columns, floats: vec![false; if both { steps } else { 0 }], histograms: Vec::new() }
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
            Columns::Sum(sums) => {
                for (i, v) in steps {
                    sums[i].add(*v);
                    self.floats[i] = true;
                }
            }
            Columns::Mean(means) => {
                for (i, v) in steps {
                    means[i].add(*v);
                    self.floats[i] = true;
                }
            }
            Columns::Extreme(best, better) => {
                for (i, v) in steps {
                    if is_absent(best[i]) || better(*v, best[i]) {
                        best[i] = *v;
                    }
                }
            }
            Columns::Spread(spreads) => {
                for (i, v) in steps {
                    let (count, mean, squares) = &mut spreads[i];
                    *count += 1.0;
                    let delta = v - *mean;
                    *mean += delta / *count;
                    *squares += delta * (v - *mean);
                }
            }
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
        if self.floats.is_empty() {
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
    pub(super) fn finish(mut self, labels: Labels, params: Option<&[f64]>, notes: &Annotations, span: Span) -> Series {
        let present = std::mem::take(&mut self.floats);
        let either = |i: usize, v: f64| if present[i] { v } else { ABSENT };
        let floats: Vec<f64> = match self.columns {
            Columns::Sum(sums) => sums.iter().enumerate().map(|(i, s)| either(i, s.value())).collect(),
            Columns::Mean(means) => means.iter().enumerate().map(|(i, m)| either(i, m.value())).collect(),
            Columns::Extreme(best, _) => best,
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
            if present[i] {
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
