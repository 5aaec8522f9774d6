//! `rate`, `increase`, `delta`, `irate`, `idelta`: differences over a window, extrapolated to its edges.

use std::sync::Arc;

use super::annotations::{Info, Warning};
use super::ast::Edges;
use super::histogram::{Histogram, ResetHint};
use super::histogram_math::{IncompatibleSchema, Reconciled};
use super::range::RangeContext;
use super::value::Point;
use super::window::Window;
use super::{edges, edges_histogram};

pub(super) fn rate(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    extrapolated(context, window, true, true)
}

pub(super) fn increase(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    extrapolated(context, window, true, false)
}

pub(super) fn delta(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    extrapolated(context, window, false, false)
}

/// How far a window's samples reach, and how far they are taken to reach beyond; seconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Reach {
    pub(super) sampled: f64,
    pub(super) to_start: f64,
    to_end: f64,
}

impl Reach {
    /// Of `samples` between `first_ms` and `last_ms` in a window; `began`: when the counter did, inside of it.
    pub(super) fn of(
        (first_ms, last_ms): (i64, i64),
        samples: usize,
        (start_ms, end_ms): (i64, i64),
        began: Option<i64>,
    ) -> Reach {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let average = if samples > 1 { seconds(last_ms - first_ms) / (samples - 1) as f64 } else { 0.0 };
        let up_to = |edge: f64| if edge >= average * 1.1 { average / 2.0 } else { edge };
        Reach {
            sampled: seconds(last_ms - began.unwrap_or(first_ms)),
            to_start: if began.is_some() { 0.0 } else { up_to(seconds(first_ms - start_ms)) },
            to_end: up_to(seconds(end_ms - last_ms)),
        }
    }

    /// What the difference is stretched by. `to_zero`: after which part of the samples' reach before them the counter was zero.
    pub(super) fn factor(&self, to_zero: Option<f64>) -> f64 {
        let to_start = to_zero.map_or(self.to_start, |to_zero| self.to_start.min(self.sampled * to_zero));
        (self.sampled + to_start + self.to_end) / self.sampled
    }
}

/// The difference between first and last sample, counter resets undone, stretched to the window's edges: fully where
/// samples lie about where one would expect them, else by half the usual distance, and never below a counter's zero. A
/// counter that began inside the window was zero then, which replaces the guess about its beginning and makes one sample enough.
fn extrapolated(context: &RangeContext<'_>, window: &Window<'_>, is_counter: bool, is_rate: bool) -> Option<Point> {
    if !window.values.is_empty() && !window.histograms.is_empty() {
        context.notes.warn(&Warning::MixedFloatsHistograms(context.metric), context.span);
        return None;
    }
    if context.edges != Edges::Inside {
        return between_edges(context, window, is_counter, is_rate);
    }
    let len = window.len();
    let (first_ms, last_ms, starts) = match (window.times, window.histograms) {
        ([first, ..], []) => (*first, *window.times.last()?, window.start_times),
        (_, [first, ..]) => (first.0, window.histograms.last()?.0, window.histogram_starts),
        _ => return None,
    };
    let starts = if is_counter && context.options.use_start_timestamps { starts } else { &[] };
    let began = starts.first().copied().filter(|start| *start != 0 && *start > window.start_ms && *start < first_ms);
    if len < 2 && began.is_none() {
        return None;
    }
    let reach = Reach::of((first_ms, last_ms), len, (window.start_ms, window.end_ms), began);
    let factor = |to_zero: Option<f64>| {
        let factor = reach.factor(to_zero);
        if is_rate { factor / (context.range_ms as f64 / 1000.0) } else { factor }
    };
    if let Some((_, first)) = window.histograms.first() {
        let mut result = match len {
            1 => (**first).clone(),
            _ => histogram_difference(context, window, is_counter)?,
        };
        if len > 1 && began.is_some() {
            let added = result.add(first);
            noted(context, added, "addition").then_some(())?;
        }
        let to_zero = (is_counter && result.count > 0.0 && first.count >= 0.0).then(|| first.count / result.count);
        result.scale(factor(to_zero));
        return Some(Point::Histogram(Arc::new(result)));
    }
    let (first, last) = (window.values[0], window.values[len - 1]);
    let mut result = last - first;
    if !starts.is_empty() {
        warn_of_overlap(context, starts, |i| window.times[i]);
        for i in 1..len {
            if window.values[i] < window.values[i - 1] || was_restarted(window, i) {
                result += window.values[i - 1];
            }
        }
    } else if is_counter {
        for drop in window.drops {
            result += window.values[drop - window.first - 1];
        }
    }
    if began.is_some() {
        result += first;
    }
    let to_zero = (is_counter && result > 0.0 && first >= 0.0).then(|| first / result);
    Some(Point::Float(result * factor(to_zero)))
}

/// The same over anchored and smoothed windows: the exact difference between their edges.
fn between_edges(context: &RangeContext<'_>, window: &Window<'_>, is_counter: bool, is_rate: bool) -> Option<Point> {
    let (smoothed, times) = (context.edges == Edges::Smoothed, (window.start_ms, window.end_ms));
    let range_seconds = context.range_ms as f64 / 1000.0;
    if !window.histograms.is_empty() {
        let mut h = edges_histogram::difference(context, window.histograms, times, smoothed, is_counter)?;
        if is_rate {
            h.divide(range_seconds);
        }
        return Some(Point::Histogram(Arc::new(h)));
    }
    let v = edges::difference(window.times, window.values, times.0, times.1, smoothed, is_counter)?;
    Some(Point::Float(if is_rate { v / range_seconds } else { v }))
}

/// Says what is to be said about a combination of histograms; whether there is a result.
pub(super) fn noted(context: &RangeContext<'_>, outcome: Result<Reconciled, IncompatibleSchema>, what: &str) -> bool {
    match outcome {
        Ok(reconciled) => {
            if reconciled.bounds {
                context.notes.info(&Info::BoundsReconciled(what), context.span);
            }
            true
        }
        Err(IncompatibleSchema) => {
            context.notes.warn(&Warning::MixedSchemas(context.metric), context.span);
            false
        }
    }
}

/// Warns if a counter claims to have begun before the sample before, and not when that one did.
fn warn_of_overlap(context: &RangeContext<'_>, starts: &[i64], time: impl Fn(usize) -> i64) {
    let overlaps = |i: &usize| starts[*i] != 0 && starts[*i] < time(i - 1) && starts[*i] != starts[i - 1];
    if (1..starts.len()).any(|i| overlaps(&i)) {
        context.notes.warn(&Warning::StartOverlap(context.metric), context.span);
    }
}

/// Whether the counter's own start says that it was reset between samples `i - 1` and `i`.
pub(super) fn was_restarted(window: &Window<'_>, i: usize) -> bool {
    restarted(window.start_times, i, (window.times[i - 1], window.times[i]))
}

/// The same for histograms.
pub(super) fn was_histogram_restarted(window: &Window<'_>, i: usize) -> bool {
    restarted(window.histogram_starts, i, (window.histograms[i - 1].0, window.histograms[i].0))
}

fn restarted(starts: &[i64], i: usize, (previous, time): (i64, i64)) -> bool {
    let (Some(before), Some(now)) = (starts.get(i - 1), starts.get(i)) else { return false };
    // A start exactly at the sample before is that of a delta, whose own start is known, or of a counter that knows none.
    *now != 0 && *now < time && (*now > previous || *now == previous && *before != 0 && *before < previous)
}

fn histogram_difference(context: &RangeContext<'_>, window: &Window<'_>, is_counter: bool) -> Option<Histogram> {
    let points = window.histograms;
    let use_starts = context.options.use_start_timestamps;
    let (notes, span, metric) = (context.notes, context.span, context.metric);
    let last = &*points[points.len() - 1].1;
    let mut first: Arc<Histogram> = points[0].1.clone();
    let is_gauge = |h: &Histogram| h.hint == ResetHint::Gauge;
    if is_counter && points.iter().any(|(_, h)| is_gauge(h)) {
        notes.warn(&Warning::NotCounter(metric), span);
    }
    // After a reset between the first two, the layout of the first does not matter.
    if is_counter && (points[1].1.is_reset_after(&first) || use_starts && was_histogram_restarted(window, 1)) {
        let second = &points[1].1;
        first = Arc::new(Histogram {
            schema: second.schema,
            bounds: second.bounds.clone(),
            zero_threshold: second.zero_threshold,
            ..Histogram::default()
        });
    }
    let custom = first.is_custom();
    let middle = if is_counter { &points[1..points.len() - 1] } else { &[] };
    if last.is_custom() != custom || middle.iter().any(|(_, h)| h.is_custom() != custom) {
        notes.warn(&Warning::MixedSchemas(metric), span);
        return None;
    }
    let schema = middle.iter().map(|(_, h)| h.schema).chain([first.schema, last.schema]).min().unwrap_or(0);
    let mut result = last.at_schema(schema);
    if !noted(context, result.subtract(&first), "subtraction") {
        return None;
    }
    if is_counter {
        if use_starts && !window.histogram_starts.is_empty() {
            warn_of_overlap(context, window.histogram_starts, |i| points[i].0);
        }
        let mut previous = &*first;
        for (i, (_, now)) in points.iter().enumerate().skip(1) {
            let is_reset = now.is_reset_after(previous) || use_starts && was_histogram_restarted(window, i);
            if is_reset && !noted(context, result.add(previous), "addition") {
                return None;
            }
            previous = now;
        }
    } else if !is_gauge(&points[0].1) || !is_gauge(last) {
        notes.warn(&Warning::NotGauge(metric), span);
    }
    Some(result.with_hint(ResetHint::Gauge).compact())
}

pub(super) fn irate(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    instant(context, window, true)
}

pub(super) fn idelta(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    instant(context, window, false)
}

/// The difference of the last two samples.
fn instant(context: &RangeContext<'_>, window: &Window<'_>, is_rate: bool) -> Option<Point> {
    let (f, h) = (window.times.len(), window.histograms.len());
    // The two latest of each kind, then the two latest of these.
    let floats = (f.saturating_sub(2)..f).map(|i| (window.times[i], Err(i)));
    let histograms = (h.saturating_sub(2)..h).map(|i| (window.histograms[i].0, Ok(&window.histograms[i].1)));
    let mut latest: Vec<(i64, Result<&Arc<Histogram>, usize>)> = floats.chain(histograms).collect();
    latest.sort_by_key(|(t, _)| *t);
    let [.., before, now] = latest[..] else { return None };
    let seconds = (now.0 - before.0) as f64 / 1000.0;
    if seconds == 0.0 {
        return None;
    }
    match (before.1, now.1) {
        (Err(before), Err(now)) => {
            let sample = |i: usize| (window.times[i], window.values[i]);
            let restarted = context.options.use_start_timestamps && was_restarted(window, now);
            Some(Point::Float(instant_difference(sample(before), sample(now), is_rate, restarted)))
        }
        (Ok(before), Ok(now)) => {
            let restarted = context.options.use_start_timestamps && h > 1 && was_histogram_restarted(window, h - 1);
            instant_histogram(context, (before, now), seconds, is_rate, restarted)
        }
        _ => {
            context.notes.warn(&Warning::MixedFloatsHistograms(context.metric), context.span);
            None
        }
    }
}

/// The difference of two samples at different times (milliseconds): of a counter by the second, of a gauge as it is.
pub(super) fn instant_difference((t0, a): (i64, f64), (t1, b): (i64, f64), is_rate: bool, restarted: bool) -> f64 {
    let v = if is_rate && (b < a || restarted) { b } else { b - a };
    if is_rate { v / ((t1 - t0) as f64 / 1000.0) } else { v }
}

fn instant_histogram(
    context: &RangeContext<'_>,
    (before, now): (&Histogram, &Histogram),
    seconds: f64,
    is_rate: bool,
    restarted: bool,
) -> Option<Point> {
    let (notes, span) = (context.notes, context.span);
    let gauges = [before, now].map(|h| h.hint == ResetHint::Gauge);
    if is_rate && gauges.contains(&true) {
        notes.warn(&Warning::NotCounter(context.metric), span);
    }
    if !is_rate && gauges.contains(&false) {
        notes.warn(&Warning::NotGauge(context.metric), span);
    }
    let mut result = now.clone();
    if !is_rate || !(restarted || now.is_reset_after(before)) {
        match result.subtract(before) {
            Ok(reconciled) if reconciled.bounds => notes.info(&Info::BoundsReconciled("subtraction"), span),
            Ok(_) => {}
            Err(_) => {
                notes.warn(&Warning::MixedSchemas(context.metric), span);
                return None;
            }
        }
    }
    if is_rate {
        result.divide(seconds);
    }
    Some(Point::Histogram(Arc::new(result.with_hint(ResetHint::Gauge).compact())))
}
