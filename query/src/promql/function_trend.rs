//! `deriv`, `predict_linear`, `double_exponential_smoothing`, `changes`, `resets`: how values move inside a window.

use super::ast::Edges;
use super::edges;
use super::function_over_time::floats_only;
use super::function_rate::{was_histogram_restarted, was_restarted};
use super::histogram::Histogram;
use super::kahan::Sum;
use super::range::RangeContext;
use super::value::Point;
use super::window::Window;

/// Slope (per second) and value at `intercept_ms` of the least-squares line.
fn linear_regression(times: &[i64], values: &[f64], intercept_ms: i64) -> (f64, f64) {
    let n = values.len() as f64;
    let (mut sum_x, mut sum_y, mut sum_xy, mut sum_x2) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (t, y) in times.iter().zip(values) {
        let x = (t - intercept_ms) as f64 / 1000.0;
        sum_x.add(x);
        sum_y.add(*y);
        sum_xy.add(x * y);
        sum_x2.add(x * x);
    }
    if values.iter().all(|v| *v == values[0]) {
        return if values[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, values[0]) };
    }
    let (sum_x, sum_y, sum_xy, sum_x2) = (sum_x.value(), sum_y.value(), sum_xy.value(), sum_x2.value());
    let covariance = sum_xy - sum_x * sum_y / n;
    let variance = sum_x2 - sum_x * sum_x / n;
    let slope = covariance / variance;
    (slope, sum_y / n - slope * sum_x / n)
}

pub(super) fn deriv(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let values = floats_only(context, window)?;
    // A time near the samples keeps the numbers small.
    (values.len() > 1).then(|| Point::Float(linear_regression(window.times, values, window.times[0]).0))
}

pub(super) fn predict_linear(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let values = floats_only(context, window)?;
    if values.len() < 2 {
        return None;
    }
    let (slope, intercept) = linear_regression(window.times, values, window.eval_ms);
    Some(Point::Float(slope * context.scalars[0][context.step] + intercept))
}

/// Holt's linear trend.
pub(super) fn double_exponential_smoothing(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let values = floats_only(context, window)?;
    let (smoothing, trend) = (context.scalars[0][context.step], context.scalars[1][context.step]);
    if values.len() < 2 {
        return None;
    }
    let (mut before, mut level, mut slope) = (0.0, values[0], values[1] - values[0]);
    for (i, v) in values.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        (before, level) = (level, smoothing * v + (1.0 - smoothing) * (level + slope));
    }
    Some(Point::Float(level))
}

/// One sample of either kind.
#[derive(Clone, Copy)]
enum Sample<'a> {
    Float(f64, usize),
    Histogram(&'a Histogram, usize),
}

/// All samples of a window in order of time.
fn in_order<'a>(window: &'a Window<'_>) -> Vec<(i64, Sample<'a>)> {
    let floats = window.times.iter().zip(window.values).enumerate().map(|(i, (t, v))| (*t, Sample::Float(*v, i)));
    let mut all: Vec<(i64, Sample<'a>)> = floats.collect();
    if !window.histograms.is_empty() {
        all.extend(window.histograms.iter().enumerate().map(|(i, (t, h))| (*t, Sample::Histogram(h, i))));
        all.sort_by_key(|(t, _)| *t);
    }
    all
}

/// How often `differ` holds between one sample and the next; anchored windows begin with the sample before them.
fn count_steps(
    context: &RangeContext<'_>,
    window: &Window<'_>,
    floats_differ: impl Fn(f64, f64, usize) -> bool,
    histograms_differ: impl Fn(&Histogram, &Histogram, usize) -> bool,
) -> Option<Point> {
    if window.histograms.is_empty() && context.edges == Edges::Inside {
        let count =
            (1..window.values.len()).filter(|i| floats_differ(window.values[i - 1], window.values[*i], *i)).count();
        return Some(Point::Float(count as f64));
    }
    let mut samples = in_order(window);
    if context.edges != Edges::Inside {
        // from the last sample before the window, or the first in it; without any in it there is nothing to count
        let (first, _) = edges::picks(samples.len(), |i| samples[i].0, window.start_ms, window.end_ms, false)?;
        samples.drain(..first);
    }
    let samples: Vec<Sample<'_>> = samples.into_iter().map(|(_, sample)| sample).collect();
    let differ = |pair: &&[Sample<'_>]| match (pair[0], pair[1]) {
        (Sample::Float(a, _), Sample::Float(b, i)) => floats_differ(a, b, i),
        (Sample::Histogram(a, _), Sample::Histogram(b, i)) => histograms_differ(a, b, i),
        _ => true,
    };
    Some(Point::Float(samples.windows(2).filter(differ).count() as f64))
}

pub(super) fn changes(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let floats_differ = |a: f64, b: f64, _| a != b && !(a.is_nan() && b.is_nan());
    count_steps(context, window, floats_differ, |a, b, _| a != b)
}

pub(super) fn resets(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let use_starts = context.options.use_start_timestamps && !window.start_times.is_empty();
    let floats_differ = |a: f64, b: f64, i: usize| b < a || (use_starts && i > 0 && was_restarted(window, i));
    let use_histogram_starts = context.options.use_start_timestamps && !window.histogram_starts.is_empty();
    let histograms_differ = |a: &Histogram, b: &Histogram, i: usize| {
        b.is_reset_after(a) || (use_histogram_starts && i > 0 && was_histogram_restarted(window, i))
    };
    count_steps(context, window, floats_differ, histograms_differ)
}
