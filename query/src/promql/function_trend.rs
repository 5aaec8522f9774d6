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

/// The half of a regression's sums that follows from times alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Abscissas {
    count: f64,
    x: f64,
    x2: f64,
}

impl Abscissas {
    /// Over samples at these places.
    pub(super) fn of(places: impl Iterator<Item = f64>) -> Abscissas {
        let (mut count, mut x, mut x2) = (0.0, Sum::default(), Sum::default());
        for place in places {
            count += 1.0;
            x.add(place);
            x2.add(place * place);
        }
        Abscissas { count, x: x.value(), x2: x2.value() }
    }
}

/// Slope and value at x = 0 of the least-squares line; `constant`: the one value of all samples, if they have one.
pub(super) fn line(places: &Abscissas, sum_y: f64, sum_xy: f64, constant: Option<f64>) -> (f64, f64) {
    if let Some(value) = constant {
        return if value.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, value) };
    }
    let Abscissas { count, x, x2 } = places;
    let covariance = sum_xy - x * sum_y / count;
    let variance = x2 - x * x / count;
    let slope = covariance / variance;
    (slope, sum_y / count - slope * x / count)
}

/// Slope (per second) and value at `intercept_ms` of the least-squares line.
fn linear_regression(times: &[i64], values: &[f64], intercept_ms: i64) -> (f64, f64) {
    let places = times.iter().map(|t| (t - intercept_ms) as f64 / 1000.0);
    let (mut sum_y, mut sum_xy) = (Sum::default(), Sum::default());
    for (x, y) in places.clone().zip(values) {
        sum_y.add(*y);
        sum_xy.add(x * y);
    }
    let constant = values.iter().all(|v| *v == values[0]).then_some(values[0]);
    line(&Abscissas::of(places), sum_y.value(), sum_xy.value(), constant)
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

/// Whether the value changed; from one NaN to another it did not.
pub(super) fn is_change(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}

/// Whether a counter was reset.
pub(super) fn is_reset(a: f64, b: f64) -> bool {
    b < a
}

pub(super) fn changes(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    count_steps(context, window, |a, b, _| is_change(a, b), |a, b, _| a != b)
}

pub(super) fn resets(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    let use_starts = context.options.use_start_timestamps && !window.start_times.is_empty();
    let floats_differ = |a: f64, b: f64, i: usize| is_reset(a, b) || (use_starts && i > 0 && was_restarted(window, i));
    let use_histogram_starts = context.options.use_start_timestamps && !window.histogram_starts.is_empty();
    let histograms_differ = |a: &Histogram, b: &Histogram, i: usize| {
        b.is_reset_after(a) || (use_histogram_starts && i > 0 && was_histogram_restarted(window, i))
    };
    count_steps(context, window, floats_differ, histograms_differ)
}
