//! `rate`, `increase`, `delta`, `irate`, `idelta`: differences over a window, extrapolated to its edges.

use std::sync::Arc;

use super::annotations::{Info, Warning};
use super::ast::Edges;
use super::edges;
use super::histogram::{Histogram, ResetHint};
use super::range::RangeContext;
use super::value::Point;
use super::window::Window;

pub(super) fn rate(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    extrapolated(context, window, true, true)
}

pub(super) fn increase(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    extrapolated(context, window, true, false)
}

pub(super) fn delta(context: &RangeContext<'_>, window: &Window<'_>) -> Option<Point> {
    extrapolated(context, window, false, false)
}

/// The difference between first and last sample, counter resets undone, stretched to the window's edges: fully where
/// samples lie about where one would expect them, else by half the usual distance, and never below a counter's zero.
fn extrapolated(context: &RangeContext<'_>, window: &Window<'_>, is_counter: bool, is_rate: bool) -> Option<Point> {
    let range_seconds = context.range_ms as f64 / 1000.0;
    if context.edges != Edges::Inside {
        let smoothed = context.edges == Edges::Smoothed;
        let v = edges::difference(window.times, window.values, window.start_ms, window.end_ms, smoothed, is_counter)?;
        return Some(Point::Float(if is_rate { v / range_seconds } else { v }));
    }
    if !window.values.is_empty() && !window.histograms.is_empty() {
        context.notes.warn(&Warning::MixedFloatsHistograms(context.metric), context.span);
        return None;
    }
    let len = window.len();
    if len < 2 {
        return None;
    }
    let factor = |first: i64, last: i64, to_zero: Option<f64>, starts_at_zero: bool| {
        let sampled = (last - first) as f64 / 1000.0;
        let average = sampled / (len - 1) as f64;
        let threshold = average * 1.1;
        let mut to_start = (first - window.start_ms) as f64 / 1000.0;
        let mut to_end = (window.end_ms - last) as f64 / 1000.0;
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if let Some(to_zero) = to_zero {
            to_start = to_start.min(sampled * to_zero);
        }
        if starts_at_zero {
            to_start = 0.0;
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let factor = (sampled + to_start + to_end) / sampled;
        if is_rate { factor / range_seconds } else { factor }
    };
    if window.values.is_empty() {
        let (first, last) = (&window.histograms[0], &window.histograms[len - 1]);
        let mut result = histogram_difference(context, window, is_counter)?;
        let mut first_time = first.0;
        let start = if is_counter { beginning(context, window, window.histogram_starts, first_time) } else { None };
        if let Some(start) = start
            && result.add(&first.1).is_ok()
        {
            (first_time, result.hint) = (start, ResetHint::Gauge);
        }
        let (count, lowest) = (result.count, first.1.count);
        let to_zero = (is_counter && count > 0.0 && lowest >= 0.0).then(|| lowest / count);
        result.scale(factor(first_time, last.0, to_zero, start.is_some()));
        return Some(Point::Histogram(Arc::new(result)));
    }
    let (first, last) = (window.values[0], window.values[len - 1]);
    let mut result = last - first;
    let mut first_time = window.times[0];
    let mut starts_at_zero = false;
    if is_counter {
        if context.options.use_start_timestamps && !window.start_times.is_empty() {
            for i in 1..len {
                if window.values[i] < window.values[i - 1] || was_restarted(window, i) {
                    result += window.values[i - 1];
                }
            }
            // A counter that began inside the window was zero then: that replaces the guess about its beginning.
            if let Some(start) = beginning(context, window, window.start_times, first_time) {
                (starts_at_zero, first_time) = (true, start);
                result += first;
            }
        } else {
            for drop in window.drops {
                result += window.values[drop - window.first - 1];
            }
        }
    }
    let to_zero = (is_counter && result > 0.0 && first >= 0.0).then(|| first / result);
    Some(Point::Float(result * factor(first_time, window.times[len - 1], to_zero, starts_at_zero)))
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
    *now != 0 && now != before && *now >= previous && *now <= time
}

/// When the counter of the first sample began, if that lies inside the window.
fn beginning(context: &RangeContext<'_>, window: &Window<'_>, starts: &[i64], first_ms: i64) -> Option<i64> {
    let start = *starts.first().filter(|_| context.options.use_start_timestamps)?;
    (start != 0 && start > window.start_ms && start <= first_ms).then_some(start)
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
    let note = |outcome: Result<super::histogram_math::Reconciled, _>, what: &str| match outcome {
        Ok(r) => {
            if r.bounds {
                notes.info(&Info::BoundsReconciled(what), span);
            }
            true
        }
        Err(super::histogram_math::IncompatibleSchema) => {
            notes.warn(&Warning::MixedSchemas(metric), span);
            false
        }
    };
    if !note(result.subtract(&first), "subtraction") {
        return None;
    }
    if is_counter {
        let mut previous = &*first;
        for (i, (_, now)) in points.iter().enumerate().skip(1) {
            let is_reset = now.is_reset_after(previous) || use_starts && was_histogram_restarted(window, i);
            if is_reset && !note(result.add(previous), "addition") {
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
            let (a, b) = (window.values[before], window.values[now]);
            let restarted = context.options.use_start_timestamps && was_restarted(window, now);
            let v = if is_rate && (b < a || restarted) { b } else { b - a };
            Some(Point::Float(if is_rate { v / seconds } else { v }))
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
