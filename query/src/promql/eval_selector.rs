//! Instant selectors: for each step the latest sample within the lookback, or none if the series had ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::QueryError;
use super::ast::{Edges, Selector};
use super::eval::{Evaluator, Sink};
use super::position::Span;
use super::selection::{at_time, offset_ms};
use super::source::SeriesSamples;
use super::value::{ABSENT, Series, Steps, is_absent};
use super::window_plan::{ByTimes, Plan};

/// What to take from the sample that is found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// Its value.
    Value,
    /// Its time, in seconds.
    Time,
}

impl Evaluator<'_> {
    pub(super) fn stream_selector(&self, selector: &Selector, steps: &Steps, sink: Sink<'_>) -> Result<(), QueryError> {
        self.stream_samples(selector, steps, Take::Value, sink)
    }

    /// The series of a selector; with [`Take::Time`] their values are the samples' times.
    pub(super) fn stream_samples(
        &self,
        selector: &Selector,
        steps: &Steps,
        take: Take,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let offset = offset_ms(selector.offset.as_ref(), &self.times)?;
        let fixed = at_time(selector.at, &self.times);
        let data = self.data.of(selector);
        let lookback = self.options.lookback_ms;
        let at = |i: usize| fixed.unwrap_or_else(|| steps.time(i)) - offset;
        let plans = ByTimes::default();
        self.over_series(
            &data,
            steps,
            |samples| {
                if selector.edges == Edges::Smoothed {
                    return Ok(self.smoothed(samples, steps.count, at, selector.span));
                }
                let found = if samples.histograms.is_empty() {
                    let times = &samples.timestamps;
                    let plan = plans.of(times, || Latest::find(times, steps.count, at, lookback));
                    plan.series(samples, take)
                } else {
                    latest(samples, steps.count, at, lookback, take)
                };
                found.iter().for_each(|series| self.budget.look_at_points(steps, series));
                Ok(found)
            },
            sink,
        )
    }

    /// Interpolated values; a window of both floats and histograms has none.
    fn smoothed(&self, samples: &SeriesSamples, steps: usize, at: impl Fn(usize) -> i64, span: Span) -> Option<Series> {
        let lookback = self.options.lookback_ms;
        let context = super::range::RangeContext {
            notes: self.notes,
            options: self.options,
            metric: samples.labels.metric_name(),
            span,
            range_ms: 0,
            edges: Edges::Smoothed,
            scalars: &[],
            step: 0,
        };
        let clean = super::window::Samples::new(samples, false);
        let mut slider = super::window::Slider::new(&clean);
        let mut out = Series::absent(samples.labels.clone(), steps);
        let mut any = false;
        for i in 0..steps {
            let t = at(i);
            let window = slider.window(t - lookback, t + lookback, t);
            if !window.histograms.is_empty() {
                if !window.times.is_empty() {
                    let mixed = super::annotations::Warning::MixedFloatsHistograms(context.metric);
                    self.notes.warn(&mixed, span);
                } else if let Some(h) = super::edges_histogram::smoothed_value(&context, window.histograms, t) {
                    out.set_histogram(i, h);
                    any = true;
                }
                continue;
            }
            if let Some(v) = super::edges::smoothed_value(window.times, window.values, t) {
                out.floats[i] = v;
                any = true;
            }
        }
        any.then_some(out)
    }

    /// Evaluates `one` for every series, on all cores where it pays, and hands the results on in order.
    pub(super) fn over_series(
        &self,
        data: &[SeriesSamples],
        steps: &Steps,
        one: impl Fn(&SeriesSamples) -> Result<Option<Series>, QueryError> + Sync,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        /// Fewest points (series times steps, and samples) a further thread is worth.
        const POINTS_PER_THREAD: usize = 1 << 15;
        let points = data.len().saturating_mul(steps.count) + data.iter().map(SeriesSamples::len).sum::<usize>();
        let threads = (points / POINTS_PER_THREAD).min(self.options.threads_max).max(1);
        if threads == 1 {
            for series in data {
                self.budget.tick()?;
                if let Some(out) = one(series)? {
                    sink(out)?;
                }
            }
            return Ok(());
        }
        self.over_series_on(threads, data, one, sink)
    }

    /// Shares of the series go to this thread and others, whichever is free; this one hands on in order what all make of them.
    fn over_series_on(
        &self,
        threads: usize,
        data: &[SeriesSamples],
        one: impl Fn(&SeriesSamples) -> Result<Option<Series>, QueryError> + Sync,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        /// Series a thread takes at a time.
        const SERIES_PER_SHARE: usize = 64;
        /// Shares of each thread that wait to be handed on.
        const SHARES_AHEAD: usize = 8;
        let shares: Vec<&[SeriesSamples]> = data.chunks(SERIES_PER_SHARE).collect();
        let next = AtomicUsize::new(0);
        let take = || {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let share = shares.get(at)?;
            Some((at, share.iter().filter_map(|s| one(s).transpose()).collect::<Result<Vec<Series>, _>>()))
        };
        std::thread::scope(|scope| {
            let (made, results) = mpsc::sync_channel(SHARES_AHEAD * threads);
            for _ in 1..threads {
                let (made, take) = (made.clone(), &take);
                scope.spawn(move || {
                    while let Some(result) = take() {
                        if made.send(result).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(made);
            let (mut early, mut due) = (BTreeMap::new(), 0);
            while due < shares.len() {
                early.extend(results.try_iter());
                let own = if early.len() < SHARES_AHEAD { take() } else { None };
                match own {
                    Some((at, result)) => _ = early.insert(at, result),
                    None if early.contains_key(&due) => {}
                    None => {
                        let failed = || QueryError::Execution("evaluation threads failed".into());
                        early.extend([results.recv().map_err(|_| failed())?]);
                    }
                }
                while let Some(result) = early.remove(&due) {
                    self.budget.check_stop()?;
                    result?.into_iter().try_for_each(&mut *sink)?;
                    due += 1;
                }
            }
            Ok(())
        })
    }
}

/// Which sample is the latest at each step, or none.
struct Latest(Vec<u32>);

/// No sample.
const NONE: u32 = u32::MAX;

impl Plan for Latest {
    fn bytes(&self) -> usize {
        size_of_val(&self.0[..])
    }
}

impl Latest {
    fn find(times: &[i64], steps: usize, at: impl Fn(usize) -> i64, lookback: i64) -> Latest {
        let mut next = 0;
        let latest = (0..steps).map(|i| {
            let t = at(i);
            while next < times.len() && times[next] <= t {
                next += 1;
            }
            let is_living = |latest: &usize| times[*latest] > t - lookback;
            next.checked_sub(1).filter(is_living).map_or(NONE, |latest| latest as u32)
        });
        Latest(latest.collect())
    }

    /// A series of floats at each step.
    fn series(&self, samples: &SeriesSamples, take: Take) -> Option<Series> {
        let value = |latest: &u32| samples.values.get(*latest as usize).copied().unwrap_or(ABSENT);
        // the marker of a series' end is absence already
        let mut floats: Vec<f64> = self.0.iter().map(value).collect();
        if floats.iter().all(|v| is_absent(*v)) {
            return None;
        }
        if take == Take::Time {
            for (v, latest) in floats.iter_mut().zip(&self.0).filter(|(v, _)| !is_absent(**v)) {
                *v = samples.timestamps[*latest as usize] as f64 / 1000.0;
            }
        }
        Some(super::eval::constant_series(samples.labels.clone(), floats))
    }
}

/// The latest sample at each step, of a series with histograms.
fn latest(
    samples: &SeriesSamples,
    steps: usize,
    at: impl Fn(usize) -> i64,
    lookback: i64,
    take: Take,
) -> Option<Series> {
    let (times, values, histograms) = (&samples.timestamps, &samples.values, &samples.histograms);
    let mut out = Series::absent(samples.labels.clone(), steps);
    let (mut f, mut h, mut any) = (0, 0, false);
    for i in 0..steps {
        let t = at(i);
        let oldest = t - lookback;
        while f < times.len() && times[f] <= t {
            f += 1;
        }
        while h < histograms.len() && histograms[h].0 <= t {
            h += 1;
        }
        let float = f.checked_sub(1).map(|f| times[f]).filter(|t| *t > oldest);
        let histogram = h.checked_sub(1).map(|h| histograms[h].0).filter(|t| *t > oldest);
        if histogram.is_some() && histogram > float {
            let (time, value) = &histograms[h - 1];
            if !value.is_stale() {
                any = true;
                match take {
                    Take::Value => out.set_histogram(i, value.clone()),
                    Take::Time => out.floats[i] = *time as f64 / 1000.0,
                }
            }
        } else if let Some(time) = float {
            let value = values[f - 1];
            if !is_absent(value) {
                any = true;
                out.floats[i] = if take == Take::Time { time as f64 / 1000.0 } else { value };
            }
        } else {
            out.floats[i] = ABSENT;
        }
    }
    any.then_some(out)
}
