//! Anchored and smoothed windows of native histograms: what they are worth exactly at the edges, as `edges` has it for floats.

use std::sync::Arc;

use super::annotations::Warning;
use super::edges::picks;
use super::function_rate::noted;
use super::histogram::{Histogram, ResetHint};
use super::histogram_math::IncompatibleSchema;
use super::range::RangeContext;

/// Histograms with their times, ascending.
type Samples<'a> = &'a [(i64, Arc<Histogram>)];

/// The histogram between two samples: as far on the way from the first to the second as `t` is. Over a reset, a counter
/// starts from zero.
fn interpolate(
    context: &RangeContext<'_>,
    [(t1, h1), (t2, h2)]: [&(i64, Arc<Histogram>); 2],
    t: i64,
    is_counter: bool,
) -> Option<Histogram> {
    let fraction = (t - t1) as f64 / (t2 - t1) as f64;
    let mut result = (**h2).clone();
    if is_counter && h2.is_reset_after(h1) {
        result.scale(fraction);
        return Some(result);
    }
    let subtracted = result.subtract(h1);
    noted(context, subtracted, "subtraction").then_some(())?;
    result.scale(fraction);
    let added = result.add(h1);
    noted(context, added, "addition").then_some(result)
}

/// The samples that matter for a window, and the histograms at both edges.
struct Ends {
    first: usize,
    last: usize,
    left: Histogram,
    right: Histogram,
}

fn ends(
    context: &RangeContext<'_>,
    samples: Samples<'_>,
    (start, end): (i64, i64),
    smoothed: bool,
    is_counter: bool,
) -> Option<Ends> {
    let (first, last) = picks(samples.len(), |i| samples[i].0, start, end, smoothed)?;
    let custom = samples[first].1.is_custom();
    if samples[first..=last.max(first)].iter().any(|(_, h)| h.is_custom() != custom) {
        noted(context, Err(IncompatibleSchema), "");
        return None;
    }
    let left = match samples.get(first + 1) {
        Some(next) if smoothed && samples[first].0 < start => {
            interpolate(context, [&samples[first], next], start, is_counter)?
        }
        _ => (*samples[first].1).clone(),
    };
    let right = if smoothed && last > 0 && samples[last].0 > end {
        interpolate(context, [&samples[last - 1], &samples[last]], end, is_counter)?
    } else {
        (*samples[last].1).clone()
    };
    Some(Ends { first, last, left, right })
}

/// The difference between both edges of `(start, end]`, counter resets undone.
pub(super) fn difference(
    context: &RangeContext<'_>,
    samples: Samples<'_>,
    (start, end): (i64, i64),
    smoothed: bool,
    is_counter: bool,
) -> Option<Histogram> {
    let Ends { first, last, left, right } = ends(context, samples, (start, end), smoothed, is_counter)?;
    let is_gauge = |h: &Histogram| h.hint == ResetHint::Gauge;
    if is_counter && samples[first..=last.max(first)].iter().any(|(_, h)| is_gauge(h)) {
        context.notes.warn(&Warning::NotCounter(context.metric), context.span);
    }
    if !(is_counter || is_gauge(&left) && is_gauge(&right)) {
        context.notes.warn(&Warning::NotGauge(context.metric), context.span);
    }
    let mut result = right.clone();
    let subtracted = result.subtract(&left);
    noted(context, subtracted, "subtraction").then_some(())?;
    if is_counter {
        for lost in lost_in_resets(samples, (first, last), (&left, &right), start, smoothed) {
            let added = result.add(lost);
            noted(context, added, "addition").then_some(())?;
        }
    }
    Some(result.with_hint(ResetHint::Gauge).compact())
}

/// What counters were worth before each reset between the edges. A reset that an edge was interpolated over is in that edge
/// already.
fn lost_in_resets<'a>(
    samples: &'a [(i64, Arc<Histogram>)],
    (first, last): (usize, usize),
    (left, right): (&'a Histogram, &'a Histogram),
    start: i64,
    smoothed: bool,
) -> Vec<&'a Histogram> {
    let (mut from, mut previous) = (first + 1, left);
    if let (true, Some((_, next))) = (smoothed && samples[first].0 < start, samples.get(first + 1))
        && next.is_reset_after(&samples[first].1)
    {
        (from, previous) = (first + 2, next);
    }
    if from > last {
        return Vec::new(); // both edges are, or were made of, the same samples
    }
    let mut lost = Vec::new();
    for now in samples[from..last].iter().map(|(_, h)| &**h).chain([right]) {
        if now.is_reset_after(previous) {
            lost.push(previous);
        }
        previous = now;
    }
    lost
}

/// The samples inside the window with one exactly at each edge.
pub(super) fn extended(
    context: &RangeContext<'_>,
    samples: Samples<'_>,
    (start, end): (i64, i64),
    smoothed: bool,
) -> Option<Vec<(i64, Arc<Histogram>)>> {
    let Ends { left, right, .. } = ends(context, samples, (start, end), smoothed, false)?;
    let inside = samples.iter().filter(|(t, _)| *t > start && *t < end).cloned();
    Some([(start, Arc::new(left))].into_iter().chain(inside).chain([(end, Arc::new(right))]).collect())
}

/// The histogram at one moment: between the samples around it, or the last one where none comes after.
pub(super) fn smoothed_value(context: &RangeContext<'_>, samples: Samples<'_>, t: i64) -> Option<Arc<Histogram>> {
    let after = samples.partition_point(|(time, _)| *time < t);
    match (after.checked_sub(1).and_then(|i| samples.get(i)), samples.get(after)) {
        (_, Some((time, h))) if *time == t => Some(h.clone()),
        (Some(before), Some(after)) => interpolate(context, [before, after], t, false).map(Arc::new),
        (Some((_, h)), None) => Some(h.clone()),
        (None, _) => None,
    }
}
