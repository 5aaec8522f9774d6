//! Before evaluation: which selectors a query has, what time each needs, and the samples for all of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{At, DurationExpr, Edges, Expr, Selector};
use super::budget::Budget;
use super::digest::Digested;
use super::durations::QueryTimes;
use super::histogram::ResetHint;
use super::source::{Selection, SeriesSamples, Source, SourceError};
use super::value::{STALE_NAN_BITS, Steps, Tally};
use super::{Options, QueryError};

/// The samples of every selector, found by where the selector begins in the text.
#[derive(Default)]
pub(super) struct SelectedData {
    by_start: HashMap<usize, Arc<Vec<SeriesSamples>>>,
    /// Where the selectors begin that found no living series.
    pub(super) unmatched: Vec<usize>,
    /// About how many samples and points evaluation will look at.
    pub(super) looks: usize,
}

impl SelectedData {
    pub(super) fn of(&self, selector: &Selector) -> Arc<Vec<SeriesSamples>> {
        self.by_start.get(&selector.span.start).cloned().unwrap_or_default()
    }
}

/// One selector's need.
struct Need {
    /// Where the selector begins in the text.
    key: usize,
    selection: Selection,
    /// Whether only count and sum matter, see [`detect_resets`].
    stats_only: bool,
    /// Evaluation times, and in how many of their windows a sample lies.
    steps: usize,
    windows: usize,
}

/// What the walk finds.
#[derive(Default)]
struct Found {
    needs: Vec<Need>,
    /// Values that the expressions have at all their evaluation times, one a time where it is not known how many series.
    points: usize,
}

/// The walk's state on the way down.
#[derive(Clone, Copy)]
struct Context {
    /// First and last evaluation time at this level.
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
    /// Evaluation times at this level, those of a subquery once for each of its windows.
    steps: usize,
    /// Whether there is one evaluation time, so that a window is looked at once.
    is_one_step: bool,
    function: &'static str,
    stats_only: bool,
}

/// Where `at` puts the evaluation time; `None` leaves it.
pub(super) fn at_time(at: Option<At>, times: &QueryTimes) -> Option<i64> {
    at.map(|at| match at {
        At::Time(ms) => ms,
        At::Start => times.start_ms,
        At::End => times.end_ms,
    })
}

pub(super) fn offset_ms(offset: Option<&DurationExpr>, times: &QueryTimes) -> Result<i64, QueryError> {
    Ok(offset.map_or(Ok(0), |o| o.to_ms(times))?)
}

/// The steps of a subquery whose windows end at `first_end..=last_end`: multiples of its step, left-open.
pub(super) fn subquery_steps(
    first_end: i64,
    last_end: i64,
    range_ms: i64,
    step_ms: i64,
    budget: &Budget<'_>,
) -> Result<Steps, QueryError> {
    let open = first_end.saturating_sub(range_ms);
    let start = open.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
    let count = if last_end < start { 0 } else { (last_end - start) / step_ms + 1 };
    Ok(Steps { start_ms: start, step_ms, count: budget.check_steps(count)?, tally: Tally::Nothing })
}

/// Evaluation times from `start_ms` to `end_ms`.
fn steps_between(start_ms: i64, end_ms: i64, step_ms: i64) -> usize {
    usize::try_from(end_ms.saturating_sub(start_ms) / step_ms.max(1)).unwrap_or(0).saturating_add(1)
}

/// Loads what `expr` needs.
pub(super) async fn load(
    source: &dyn Source,
    expr: &Expr,
    times: &QueryTimes,
    options: &Options,
    budget: &Budget<'_>,
) -> Result<SelectedData, QueryError> {
    let mut found = Found::default();
    let root = Context {
        start_ms: times.start_ms,
        end_ms: times.end_ms,
        step_ms: times.step_ms,
        steps: steps_between(times.start_ms, times.end_ms, times.step_ms),
        is_one_step: times.start_ms == times.end_ms && !options.per_step_stats,
        function: "",
        stats_only: false,
    };
    gather(expr, root, times, options, budget, &mut found)?;
    let mut data = SelectedData { looks: found.points, ..SelectedData::default() };
    let mut done: Vec<(Selection, Arc<Vec<SeriesSamples>>)> = Vec::new();
    for need in found.needs {
        budget.check_stop()?;
        let mut selection = need.selection;
        let range_ms = selection.range_ms;
        let same = done.iter().find(|(s, _)| {
            let is_same_time = s.start_ms == selection.start_ms && s.end_ms == selection.end_ms;
            s.matchers == selection.matchers && is_same_time && s.digested == selection.digested
        });
        let series = match same {
            Some((_, series)) => series.clone(),
            None => {
                (selection.series_max, selection.samples_max) = (budget.series_left(), budget.samples_left());
                let series = source.select(&selection).await.map_err(|e| match e {
                    SourceError::Stopped => budget.check_stop().err().unwrap_or(QueryError::Source(e)),
                    SourceError::TooManySamples => QueryError::TooManySamples,
                    SourceError::TooManySeries(most) => QueryError::TooManySeries(most),
                    e @ SourceError::Failed(_) => QueryError::Source(e),
                })?;
                budget.loaded(series.len(), series.iter().map(SeriesSamples::len).sum())?;
                let series = Arc::new(series);
                done.push((selection, series.clone()));
                series
            }
        };
        let samples: usize = series.iter().map(SeriesSamples::len).sum();
        let looks = samples.saturating_mul(need.windows).saturating_add(series.len().saturating_mul(need.steps));
        data.looks = data.looks.saturating_add(looks);
        if !series.iter().any(|s| is_living(s, range_ms)) {
            data.unmatched.push(need.key);
        }
        let has_histograms = series.iter().any(|s| !s.histograms.is_empty());
        let series = if need.stats_only && has_histograms { Arc::new(detect_resets(&series)) } else { series };
        data.by_start.insert(need.key, series);
    }
    Ok(data)
}

/// Whether a selection holds a sample that counts: an instant selector sees no series that ended with a staleness marker.
fn is_living(series: &SeriesSamples, range_ms: i64) -> bool {
    let counts = |value: &f64| value.to_bits() != STALE_NAN_BITS;
    let mut values = series.values.iter();
    let floats = if range_ms == 0 { values.next_back().is_some_and(counts) } else { values.any(counts) };
    floats || series.digest.is_some() || series.histograms.iter().any(|(_, h)| !h.is_stale())
}

fn gather(
    expr: &Expr,
    context: Context,
    times: &QueryTimes,
    options: &Options,
    budget: &Budget<'_>,
    found: &mut Found,
) -> Result<(), QueryError> {
    found.points = found.points.saturating_add(context.steps);
    let lookback = options.lookback_ms;
    let mut push = |selector: &Selector, range_ms: i64| -> Result<(), QueryError> {
        let offset = offset_ms(selector.offset.as_ref(), times)?;
        let fixed = at_time(selector.at, times);
        let (start, end) = (fixed.unwrap_or(context.start_ms) - offset, fixed.unwrap_or(context.end_ms) - offset);
        let before = if range_ms == 0 { lookback } else { range_ms };
        let (mut left, mut right) = (before, 0);
        match selector.edges {
            Edges::Inside => {}
            Edges::Anchored => left += lookback,
            Edges::Smoothed => (left, right) = (if range_ms == 0 { lookback } else { range_ms + lookback }, lookback),
        }
        let is_one_window = range_ms > 0 && start == end && selector.edges == Edges::Inside;
        let digested = Digested::of(context.function).filter(|_| is_one_window && context.is_one_step);
        let selection = Selection {
            matchers: selector.matchers.clone(),
            start_ms: start.saturating_sub(left).saturating_add(1),
            end_ms: end.saturating_add(right),
            step_ms: context.step_ms,
            range_ms,
            function: context.function,
            digested,
            series_max: 0,
            samples_max: 0,
        };
        let windows = if range_ms == 0 { 1 } else { steps_between(0, range_ms, context.step_ms).min(context.steps) };
        found.needs.push(Need {
            key: selector.span.start,
            selection,
            stats_only: context.stats_only,
            steps: context.steps,
            windows,
        });
        Ok(())
    };
    match expr {
        Expr::Selector(selector) => push(selector, 0),
        Expr::Matrix(matrix) => push(&matrix.selector, matrix.range.to_positive_ms(times)?),
        Expr::Subquery(sub) => {
            let fixed = at_time(sub.at, times);
            let offset = offset_ms(sub.offset.as_ref(), times)?;
            let range = sub.range.to_positive_ms(times)?;
            let step = sub.step.as_ref().map_or(Ok(options.subquery_step_ms), |s| s.to_positive_ms(times))?;
            let (first, last) = (fixed.unwrap_or(context.start_ms) - offset, fixed.unwrap_or(context.end_ms) - offset);
            let steps = subquery_steps(first, last, range, step, budget)?;
            if steps.count == 0 {
                return Ok(());
            }
            let inner = Context {
                start_ms: steps.start_ms,
                end_ms: steps.end_ms(),
                step_ms: step,
                steps: steps.count.saturating_mul(steps_between(0, range, context.step_ms).min(context.steps)),
                is_one_step: steps.count == 1 && !options.per_step_stats,
                stats_only: false,
                ..context
            };
            gather(&sub.expr, inner, times, options, budget, found)
        }
        Expr::Call(call) => {
            let stats_only = match call.function.name {
                "histogram_count" | "histogram_sum" | "histogram_avg" => true,
                "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => false,
                "histogram_stddev" | "histogram_stdvar" => false,
                _ => context.stats_only,
            };
            let inner = Context { function: call.function.name, stats_only, ..context };
            if call.function.name == "info" {
                // The second argument is no vector: it says which info series to load.
                push(&super::info::data_selector(call), 0)?;
                return gather(&call.args[0], inner, times, options, budget, found);
            }
            call.args.iter().try_for_each(|arg| gather(arg, inner, times, options, budget, found))
        }
        other => {
            let stats_only = context.stats_only && !matches!(other, Expr::Binary(_));
            let inner = Context { stats_only, ..context };
            other.children().into_iter().try_for_each(|child| gather(child, inner, times, options, budget, found))
        }
    }
}

/// Where only count and sum of histograms are asked for, Prometheus finds counter resets while it reads, and so knows of
/// resets it otherwise would not; results carry the same knowledge here.
fn detect_resets(series: &[SeriesSamples]) -> Vec<SeriesSamples> {
    let known = |series: &SeriesSamples| {
        let mut out = series.clone();
        for i in 1..out.histograms.len() {
            let (now, before) = (&series.histograms[i].1, &series.histograms[i - 1].1);
            if now.hint == ResetHint::Unknown && !now.is_stale() && !before.is_stale() {
                let hint = if now.is_reset_after(before) { ResetHint::Reset } else { ResetHint::NotReset };
                out.histograms[i].1 = Arc::new((**now).clone().with_hint(hint));
            }
        }
        out
    };
    series.iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::super::value::Point;
    use super::super::{Engine, MemorySource, never_stop};
    use super::*;

    struct Told(MemorySource, AtomicUsize);

    #[async_trait::async_trait]
    impl Source for Told {
        async fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
            self.0.find(selection)
        }

        async fn before_evaluation(&self, looks: usize) {
            self.1.store(looks, Relaxed);
        }
    }

    #[tokio::test]
    async fn what_is_much_is_told_before_it_is_done_samples_or_not() {
        let mut memory = MemorySource::new();
        let labels = proto::Labels::from_pairs([("__name__", "m")]);
        (0..100).for_each(|i| memory.insert(&labels, i * 1000, Point::Float(i as f64), 0));
        let source = Told(memory, AtomicUsize::default());
        for (query, least, most) in [
            ("1", 11, 11),
            ("m", 22, 200),
            ("sum_over_time(m[1m])", 600, 2_000),
            ("sum_over_time(vector(1)[1h:1s])", 20_000, 200_000),
            ("1 + 1 + 1 + 1", 11 * 7, 11 * 7),
        ] {
            let range = (0, 100_000, 10_000);
            Engine::default().evaluate_range(&source, query, range, &never_stop).await.unwrap();
            let looks = source.1.load(Relaxed);
            assert!((least..=most).contains(&looks), "{query}: {looks}");
        }
    }
}
