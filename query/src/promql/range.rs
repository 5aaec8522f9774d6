//! Functions of range vectors: windows slide over each series once, for all steps. The list of all of them is here, their
//! formulas in `function_rate`, `function_over_time` and `function_trend`.

use std::sync::{Arc, OnceLock};

use super::annotations::{Annotations, Info};
use super::ast::{Call, Edges, Expr, Selector, Subquery};
use super::eval::{Evaluator, Sink};
use super::histogram::ResetHint;
use super::position::Span;
use super::selection::{at_time, offset_ms, subquery_steps};
use super::source::SeriesSamples;
use super::value::{Point, Series, Steps, Tally, is_absent};
use super::window::{Samples, Slider, Window};
use super::{
    Options, QueryError, columns, edges, edges_histogram, function_over_time as over_time, function_rate as rate,
    function_trend as trend,
};

/// What a range function knows besides its window.
pub(super) struct RangeContext<'a> {
    pub(super) notes: &'a Annotations,
    pub(super) options: &'a Options,
    /// The metric's name, for annotations.
    pub(super) metric: &'a str,
    /// Where the range vector stands.
    pub(super) span: Span,
    /// The window's length.
    pub(super) range_ms: i64,
    pub(super) edges: Edges,
    /// The function's scalar arguments, in order, one value a step.
    pub(super) scalars: &'a [Vec<f64>],
    /// The present step.
    pub(super) step: usize,
}

/// What a function makes of one window.
pub(super) type RangeFunction = fn(&RangeContext<'_>, &Window<'_>) -> Option<Point>;

/// Every function of one range vector.
static RANGE_FUNCTIONS: &[(&str, RangeFunction)] = &[
    ("avg_over_time", over_time::avg),
    ("changes", trend::changes),
    ("count_over_time", over_time::count),
    ("delta", rate::delta),
    ("deriv", trend::deriv),
    ("double_exponential_smoothing", trend::double_exponential_smoothing),
    ("first_over_time", over_time::first),
    ("idelta", rate::idelta),
    ("increase", rate::increase),
    ("irate", rate::irate),
    ("last_over_time", over_time::last),
    ("mad_over_time", over_time::mad),
    ("max_over_time", over_time::max),
    ("min_over_time", over_time::min),
    ("predict_linear", trend::predict_linear),
    ("present_over_time", over_time::present),
    ("quantile_over_time", over_time::quantile),
    ("rate", rate::rate),
    ("resets", trend::resets),
    ("stddev_over_time", over_time::stddev),
    ("stdvar_over_time", over_time::stdvar),
    ("sum_over_time", over_time::sum),
    ("ts_of_first_over_time", over_time::ts_of_first),
    ("ts_of_last_over_time", over_time::ts_of_last),
    ("ts_of_max_over_time", over_time::ts_of_max),
    ("ts_of_min_over_time", over_time::ts_of_min),
];

fn find(name: &str) -> Option<RangeFunction> {
    RANGE_FUNCTIONS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
}

pub(super) fn is_range_function(name: &str) -> bool {
    find(name).is_some()
}

/// What windows are looked at for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// A function that wants to know where counters were reset.
    Counter,
    /// Any other function.
    Plain,
    /// They are the query's result.
    Result,
}

/// Where windows lie: their ends follow the steps, or stand still under `@`.
#[derive(Clone, Copy)]
pub(super) struct Placement {
    pub(super) range_ms: i64,
    offset_ms: i64,
    fixed_ms: Option<i64>,
}

impl Placement {
    /// Where the window of a step ends.
    pub(super) fn end(&self, eval_ms: i64) -> i64 {
        self.fixed_ms.unwrap_or(eval_ms) - self.offset_ms
    }
}

impl Evaluator<'_> {
    pub(super) fn stream_range_function(&self, call: &Call, steps: &Steps, sink: Sink<'_>) -> Result<(), QueryError> {
        let name = call.function.name;
        let function = find(name).ok_or_else(|| super::eval::internal("a range function"))?;
        let is_range = |e: &&Expr| matches!(e.unparen(), Expr::Matrix(_) | Expr::Subquery(_));
        let arg = call.args.iter().find(is_range).ok_or_else(|| super::eval::internal("a range vector"))?;
        let scalars = call.args.iter().filter(|a| !is_range(a));
        let scalars: Vec<Vec<f64>> = scalars.map(|a| self.scalar(a, steps)).collect::<Result<_, _>>()?;
        over_time::check_parameters(self.notes, call, &scalars, steps)?;
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let counts = matches!(name, "rate" | "increase");
        let span = arg.span();
        let column = OnceLock::new();
        self.with_windows(
            arg,
            steps,
            if counts { Use::Counter } else { Use::Plain },
            |samples, placement, edges, labels, dropped| {
                let mut context = RangeContext {
                    notes: self.notes,
                    options: self.options,
                    metric: labels.metric_name(),
                    span,
                    range_ms: placement.range_ms,
                    edges,
                    scalars: &scalars,
                    step: 0,
                };
                let mut out = Series::absent(labels.clone(), steps.count);
                if let Some(digest) = samples.digest {
                    let end = placement.end(steps.start_ms);
                    self.budget.look_at(steps, 0, digest.count());
                    if counts {
                        note_non_counter(&context, labels);
                    }
                    let Some(value) = digest.value(name, (end - placement.range_ms, end)) else { return Ok(None) };
                    out.floats[0] = value;
                    out.drop_name = dropped;
                    return Ok(Some(if keeps_name { out } else { self.drop_name(out) }));
                }
                let is_plain = edges == Edges::Inside && samples.are_floats(self.options.use_start_timestamps);
                if is_plain
                    && !self.options.per_step_stats
                    && let Some(column) = column.get_or_init(|| columns::find(name, steps, &placement, &scalars))
                {
                    let looked_at = column.fill(samples, &mut out.floats);
                    self.budget.look_at(steps, 0, looked_at);
                    if counts && looked_at > 0 {
                        note_non_counter(&context, labels);
                    }
                    if out.is_empty() {
                        return Ok(None);
                    }
                    out.drop_name = dropped;
                    return Ok(Some(if keeps_name { out } else { self.drop_name(out) }));
                }
                let mut slider = Slider::new(samples);
                let (mut any, mut saw_floats) = (false, false);
                let mut looked_at = 0;
                let lookback = self.options.lookback_ms;
                let (before, after) = match edges {
                    Edges::Inside => (0, 0),
                    Edges::Anchored => (lookback, 0),
                    Edges::Smoothed => (lookback, lookback),
                };
                for step in 0..steps.count {
                    let eval_ms = steps.time(step);
                    let end = placement.end(eval_ms);
                    let start = end - placement.range_ms;
                    let mut window = slider.window(start - before, end + after, eval_ms);
                    if window.is_empty() {
                        continue;
                    }
                    self.budget.look_at_window(steps, step, &window, &mut looked_at);
                    (window.start_ms, window.end_ms, context.step) = (start, end, step);
                    saw_floats |= !window.values.is_empty();
                    if let Some(point) = function(&context, &window) {
                        any = true;
                        out.set(step, point);
                    }
                }
                self.budget.look_at(steps, 0, looked_at);
                if counts && saw_floats {
                    note_non_counter(&context, labels);
                }
                if !any {
                    return Ok(None);
                }
                out.drop_name = dropped;
                Ok(Some(if keeps_name { out } else { self.drop_name(out) }))
            },
            sink,
        )
    }

    /// Runs `one` for every series below a range vector expression.
    fn with_windows(
        &self,
        arg: &Expr,
        steps: &Steps,
        use_of: Use,
        one: impl Fn(&Samples<'_>, Placement, Edges, &proto::Labels, bool) -> Result<Option<Series>, QueryError> + Sync,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        match arg.unparen() {
            Expr::Matrix(matrix) => {
                let placement = self.placement(&matrix.selector, matrix.range.to_positive_ms(&self.times)?)?;
                let data = self.data.of(&matrix.selector);
                let edges = matrix.selector.edges;
                self.over_series(
                    &data,
                    steps,
                    |series| {
                        one(&Samples::new(series, use_of == Use::Counter), placement, edges, &series.labels, false)
                    },
                    sink,
                )
            }
            Expr::Subquery(sub) => {
                let (inner, placement) = self.subquery(sub, steps, use_of == Use::Result)?;
                for (series, dropped) in inner {
                    self.budget.tick()?;
                    let samples = Samples::new(&series, use_of == Use::Counter);
                    if let Some(out) = one(&samples, placement, Edges::Inside, &series.labels, dropped)? {
                        sink(out)?;
                    }
                }
                Ok(())
            }
            _ => Err(super::eval::internal("a range vector")),
        }
    }

    fn placement(&self, selector: &Selector, range_ms: i64) -> Result<Placement, QueryError> {
        let offset_ms = offset_ms(selector.offset.as_ref(), &self.times)?;
        Ok(Placement { range_ms, offset_ms, fixed_ms: at_time(selector.at, &self.times) })
    }

    /// Evaluates a subquery's inside and turns the columns into samples.
    fn subquery(
        &self,
        sub: &Subquery,
        steps: &Steps,
        is_result: bool,
    ) -> Result<(Vec<(SeriesSamples, bool)>, Placement), QueryError> {
        let range_ms = sub.range.to_positive_ms(&self.times)?;
        let offset_ms = offset_ms(sub.offset.as_ref(), &self.times)?;
        let placement = Placement { range_ms, offset_ms, fixed_ms: at_time(sub.at, &self.times) };
        let step = sub.step.as_ref().map_or(Ok(self.options.subquery_step_ms), |s| s.to_positive_ms(&self.times))?;
        let (first, last) = (placement.end(steps.start_ms), placement.end(steps.end_ms()));
        let inner_steps = subquery_steps(first, last, range_ms, step, self.budget)?;
        if inner_steps.count == 0 {
            return Ok((Vec::new(), placement));
        }
        let inner_steps = if is_result { Steps { tally: Tally::First, ..inner_steps } } else { inner_steps };
        let series = self.vector(&sub.expr, &inner_steps)?;
        Ok((series.into_iter().map(|s| to_samples(s, &inner_steps)).collect(), placement))
    }

    /// The samples a range vector expression has at the only step, as a query's result.
    pub(super) fn range_result(&self, arg: &Expr, steps: &Steps) -> Result<Vec<SeriesSamples>, QueryError> {
        let collected = std::sync::Mutex::new(Vec::new());
        let lookback = self.options.lookback_ms;
        // what the inside of a subquery looked at is counted there
        let is_subquery = matches!(arg.unparen(), Expr::Subquery(_));
        self.with_windows(
            arg,
            steps,
            Use::Result,
            |samples, placement, edges, labels, dropped| {
                let end = placement.end(steps.start_ms);
                let start = end - placement.range_ms;
                let (before, after) = match edges {
                    Edges::Inside => (0, 0),
                    Edges::Anchored => (lookback, 0),
                    Edges::Smoothed => (lookback, lookback),
                };
                let mut slider = Slider::new(samples);
                let window = slider.window(start - before, end + after, end);
                if !is_subquery {
                    let mut looked_at = 0;
                    self.budget.look_at_window(steps, 0, &window, &mut looked_at);
                    self.budget.look_at(steps, 0, looked_at);
                }
                let (mut times, mut values) = (window.times.to_vec(), window.values.to_vec());
                let mut histograms = window.histograms.to_vec();
                if edges != Edges::Inside {
                    let smoothed = edges == Edges::Smoothed;
                    (times, values) =
                        edges::extended(window.times, window.values, start, end, smoothed).unwrap_or_default();
                    let context = RangeContext {
                        notes: self.notes,
                        options: self.options,
                        metric: labels.metric_name(),
                        span: arg.span(),
                        range_ms: placement.range_ms,
                        edges,
                        scalars: &[],
                        step: 0,
                    };
                    let extended = edges_histogram::extended(&context, window.histograms, (start, end), smoothed);
                    histograms = extended.unwrap_or_default();
                }
                let labels = if dropped { super::value::without_name(labels) } else { labels.clone() };
                let out = SeriesSamples { histograms, ..SeriesSamples::floats(labels, times, values) };
                if !out.is_empty() {
                    collected.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(out);
                }
                Ok(None)
            },
            &mut |_| Ok(()),
        )?;
        Ok(collected.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// For each step, whether any series of a range vector has a sample in its window.
    pub(super) fn windows_with_samples(&self, arg: &Expr, steps: &Steps) -> Result<Vec<bool>, QueryError> {
        let mut found = vec![false; steps.count];
        self.with_windows(
            arg,
            steps,
            Use::Plain,
            |samples, placement, _, labels, _| {
                let mut slider = Slider::new(samples);
                let mut out = Series::absent(labels.clone(), steps.count);
                let mut looked_at = 0;
                for step in 0..steps.count {
                    let end = placement.end(steps.time(step));
                    let window = slider.window(end - placement.range_ms, end, end);
                    self.budget.look_at_window(steps, step, &window, &mut looked_at);
                    if !window.is_empty() {
                        out.floats[step] = 1.0;
                    }
                }
                self.budget.look_at(steps, 0, looked_at);
                Ok(Some(out))
            },
            &mut |series| {
                found.iter_mut().zip(&series.floats).for_each(|(f, v)| *f |= !is_absent(*v));
                Ok(())
            },
        )?;
        Ok(found)
    }
}

/// A series of results as samples for a window; what was known about resets no longer holds between them.
fn to_samples(series: Series, steps: &Steps) -> (SeriesSamples, bool) {
    let mut out = SeriesSamples::floats(series.labels.clone(), Vec::new(), Vec::new());
    for (i, t) in steps.times().enumerate() {
        if let Some(h) = series.histogram(i) {
            let known = matches!(h.hint, ResetHint::Reset | ResetHint::NotReset);
            let h = if known { Arc::new((**h).clone().with_hint(ResetHint::Unknown)) } else { h.clone() };
            out.histograms.push((t, h));
        } else if !is_absent(series.floats[i]) {
            out.timestamps.push(t);
            out.values.push(series.floats[i]);
        }
    }
    (out, series.drop_name)
}

fn note_non_counter(context: &RangeContext<'_>, labels: &proto::Labels) {
    let name = context.metric;
    if name.is_empty() {
        return;
    }
    if context.options.type_and_unit_labels {
        let kind = labels.get("__type__").unwrap_or("");
        if kind != "counter" && kind != "histogram" {
            context.notes.info(&Info::PossibleNonCounterLabel(name, kind), context.span);
        }
    } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
        context.notes.info(&Info::PossibleNonCounter(name), context.span);
    }
}
