//! `*_over_time`: one series aggregated over a window.

use std::sync::Arc;

use super::QueryError;
use super::annotations::{Annotations, Info, Warning};
use super::ast::Call;
use super::histogram_sum::HistogramSum;
use super::quantile::quantile as quantile_of;
use super::range::RangeContext;
use super::running::{self, Average, Deviation, Sum, Variance};
use super::value::{Point, Steps};
use super::window::Window;

/// Complains about scalar arguments a function cannot work with.
pub(super) fn check_parameters(
    notes: &Annotations,
    call: &Call,
    scalars: &[Vec<f64>],
    steps: &Steps,
) -> Result<(), QueryError> {
    match call.function.name {
        "quantile_over_time" => {
            for q in scalars[0].iter().take(steps.count).filter(|q| !(0.0..=1.0).contains(*q)) {
                notes.warn(&Warning::InvalidQuantile(*q), call.args[0].span());
            }
            Ok(())
        }
        "double_exponential_smoothing" => {
            for (factors, what) in scalars.iter().zip(["smoothing", "trend"]) {
                if let Some(bad) = factors.iter().find(|f| !(**f > 0.0 && **f < 1.0)) {
                    let short = &what[..1];
                    let message = format!("invalid {what} factor. Expected: 0 < {short}f < 1, got: {bad:.6}");
                    return Err(QueryError::Execution(message));
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// Sum and mean take either kind, but not both.
fn is_mixed(context: &RangeContext<'_>, window: &Window<'_>) -> bool {
    let mixed = !window.values.is_empty() && !window.histograms.is_empty();
    if mixed {
        context.notes.warn(&Warning::MixedFloatsHistograms(context.metric), context.span);
    }
    mixed
}

/// The floats of a window; histograms beside them are ignored, with a note.
pub(super) fn floats_only<'a>(context: &RangeContext<'_>, window: &Window<'a>) -> Option<&'a [f64]> {
    if window.values.is_empty() {
        return None;
    }
    if !window.histograms.is_empty() {
        context.notes.info(&Info::IgnoredInMixedRange(context.metric), context.span);
    }
    Some(window.values)
}

fn histogram_total(context: &RangeContext<'_>, window: &Window<'_>, is_mean: bool) -> Option<Point> {
    let mut total = HistogramSum::new(&window.histograms[0].1, is_mean);
    for (_, h) in &window.histograms[1..] {
        if total.add(h).is_err() {
            context.notes.warn(&Warning::MixedSchemas(context.metric), context.span);
            return None;
        }
    }
    if total.reset_collision() {
        context.notes.warn(&Warning::ResetCollision("aggregation"), context.span);
    }
    if total.bounds_reconciled {
        context.notes.info(&Info::BoundsReconciled("aggregation"), context.span);
    }
    Some(Point::Histogram(Arc::new(total.finish())))
}

pub(super) fn sum(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    if is_mixed(context, window) {
        return None;
    }
    if window.values.is_empty() {
        return histogram_total(context, window, false);
    }
    Some(Point::Float(running::over::<Sum>(window.values)))
}

pub(super) fn avg(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    if is_mixed(context, window) {
        return None;
    }
    if window.values.is_empty() {
        return histogram_total(context, window, true);
    }
    Some(Point::Float(running::over::<Average>(window.values)))
}

pub(super) fn count(_: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    Some(Point::Float(window.len() as f64))
}

pub(super) fn present(_: &RangeContext<'_>, _: &Window<'_>) -> Option<Point> {
    Some(Point::Float(1.0))
}

/// The smaller one, the first of equal ones; NaN only beside NaN.
pub(super) fn smaller(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// The larger one, the first of equal ones; NaN only beside NaN.
pub(super) fn larger(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

pub(super) fn min(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    floats_only(context, window)?.iter().copied().reduce(smaller).map(Point::Float)
}

pub(super) fn max(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    floats_only(context, window)?.iter().copied().reduce(larger).map(Point::Float)
}

/// The time of the last sample for which no other `beats` it.
fn ts_of(context: &RangeContext<'_>, window: &Window<'_>, at_least: fn(f64, f64) -> bool) -> Option<Point> {
    let values = floats_only(context, window)?;
    let mut best = 0;
    for (i, v) in values.iter().enumerate().skip(1) {
        if at_least(*v, values[best]) || values[best].is_nan() {
            best = i;
        }
    }
    Some(Point::Float(seconds(window.times[best])))
}

pub(super) fn ts_of_min(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    ts_of(context, window, |v, best| v <= best)
}

pub(super) fn ts_of_max(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    ts_of(context, window, |v, best| v >= best)
}

pub(super) fn ts_of_first(_: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let times = window.times.first().into_iter().chain(window.histograms.first().map(|(t, _)| t));
    times.min().map(|t| Point::Float(seconds(*t)))
}

pub(super) fn ts_of_last(_: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let times = window.times.last().into_iter().chain(window.histograms.last().map(|(t, _)| t));
    times.max().map(|t| Point::Float(seconds(*t)))
}

pub(super) fn first(_: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    match (window.times.first(), window.histograms.first()) {
        (Some(f), Some((h, value))) if h < f => Some(Point::Histogram(value.clone())),
        (None, Some((_, value))) => Some(Point::Histogram(value.clone())),
        _ => window.values.first().map(|v| Point::Float(*v)),
    }
}

pub(super) fn last(_: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    match (window.times.last(), window.histograms.last()) {
        (Some(f), Some((h, value))) if h > f => Some(Point::Histogram(value.clone())),
        (None, Some((_, value))) => Some(Point::Histogram(value.clone())),
        _ => window.values.last().map(|v| Point::Float(*v)),
    }
}

pub(super) fn stddev(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    floats_only(context, window).map(|v| Point::Float(running::over::<Deviation>(v)))
}

pub(super) fn stdvar(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    floats_only(context, window).map(|v| Point::Float(running::over::<Variance>(v)))
}

pub(super) fn quantile(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let values = floats_only(context, window)?;
    Some(Point::Float(quantile_of(context.scalars[0][context.step], &mut values.to_vec())))
}

/// The median of the distances from the median.
pub(super) fn mad(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let values = floats_only(context, window)?;
    if values.iter().any(|v| v.is_nan()) {
        return Some(Point::Float(f64::NAN));
    }
    let mut sorted = values.to_vec();
    let median = quantile_of(0.5, &mut sorted);
    sorted.iter_mut().for_each(|v| *v = (*v - median).abs());
    Some(Point::Float(quantile_of(0.5, &mut sorted)))
}
