//! What one query may cost. What goes over it is an answered error, never an exhausted server.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::QueryError;
use super::value::{Series, Steps, Tally, is_absent};
use super::window::Window;

/// Why a query is to stop; asked for through [`StopCheck`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The client left or an operator ended the query.
    Cancelled,
    /// Its time is over.
    TimedOut,
}

/// Asked now and then while a query runs; it owns the clock and the client's connection.
pub type StopCheck<'a> = &'a (dyn Fn() -> Option<Stop> + Send + Sync);

/// Never stops a query.
pub fn never_stop() -> Option<Stop> {
    None
}

/// Upper bounds for one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples loaded from the source.
    pub samples_max: usize,
    /// Series loaded from the source.
    pub series_max: usize,
    /// Bytes of intermediate and final results.
    pub bytes_max: usize,
    /// Steps of a range query or of a subquery.
    pub steps_max: usize,
}

impl Default for Limits {
    /// 50 million samples (Prometheus' default), 1 million series, 2 GiB, 5 million steps.
    fn default() -> Limits {
        Limits { samples_max: 50_000_000, series_max: 1_000_000, bytes_max: 2 << 30, steps_max: 5_000_000 }
    }
}

/// The running account of one query.
pub(super) struct Budget<'a> {
    limits: Limits,
    stop: StopCheck<'a>,
    samples: AtomicUsize,
    series: AtomicUsize,
    bytes: AtomicUsize,
    bytes_peak: AtomicUsize,
    ticks: AtomicUsize,
    steps: usize,
    queried: AtomicU64,
    queried_per_step: Vec<AtomicU64>,
}

/// How many calls of [`Budget::tick`] pass between two looks at the stop check.
const TICKS_PER_CHECK: usize = 64;

impl<'a> Budget<'a> {
    pub(super) fn new(limits: Limits, stop: StopCheck<'a>) -> Budget<'a> {
        let zero = || AtomicUsize::new(0);
        let (samples, series, bytes, bytes_peak, ticks) = (zero(), zero(), zero(), zero(), zero());
        let (queried, queried_per_step) = (AtomicU64::new(0), Vec::new());
        Budget { limits, stop, samples, series, bytes, bytes_peak, ticks, steps: 0, queried, queried_per_step }
    }

    /// How many steps the query has, and whether samples are counted by step.
    pub(super) fn count_steps(&mut self, steps: usize, each: bool) {
        self.steps = steps;
        self.queried_per_step = (0..if each { steps } else { 0 }).map(|_| AtomicU64::new(0)).collect();
    }

    /// Counts the points of a selector's series.
    pub(super) fn look_at_points(&self, steps: &Steps, series: &Series) {
        if steps.tally == Tally::Nothing {
            return;
        }
        let histogram = |i: usize| series.histogram(i).map_or(0, |h| h.samples());
        if self.queried_per_step.is_empty() {
            let floats = series.floats.iter().filter(|v| !is_absent(**v)).count() as u64;
            let histograms = series.histograms.iter().flatten().flatten().map(|h| h.samples()).sum::<u64>();
            return self.look_at(steps, 0, floats + histograms);
        }
        for (i, v) in series.floats.iter().enumerate() {
            self.look_at(steps, i, u64::from(!is_absent(*v)) + histogram(i));
        }
    }

    /// Counts the samples of a window at step `i` into `sum`, and by step if that is asked for.
    pub(super) fn look_at_window(&self, steps: &Steps, i: usize, window: &Window<'_>, sum: &mut u64) {
        let count = window.times.len() as u64 + window.histograms.iter().map(|(_, h)| h.samples()).sum::<u64>();
        if self.queried_per_step.is_empty() { *sum += count } else { self.look_at(steps, i, count) }
    }

    /// Counts `count` samples looked at for step `i`; without counts by step, sums over steps go to any of them.
    pub(super) fn look_at(&self, steps: &Steps, i: usize, count: u64) {
        if count == 0 {
            return;
        }
        let at = match steps.tally {
            Tally::Nothing => return,
            Tally::Each => i..i + 1,
            Tally::First => 0..1,
            Tally::All => 0..self.steps,
        };
        self.queried.fetch_add(count * at.len() as u64, Relaxed);
        self.queried_per_step.get(at).into_iter().flatten().for_each(|n| {
            n.fetch_add(count, Relaxed);
        });
    }

    pub(super) fn queried(&self) -> u64 {
        self.queried.load(Relaxed)
    }

    pub(super) fn queried_per_step(&self) -> impl Iterator<Item = u64> + '_ {
        self.queried_per_step.iter().map(|n| n.load(Relaxed))
    }

    pub(super) fn check_stop(&self) -> Result<(), QueryError> {
        match (self.stop)() {
            None => Ok(()),
            Some(stop) => Err(QueryError::Stopped(stop)),
        }
    }

    /// To be called once a series; looks at the stop check now and then.
    pub(super) fn tick(&self) -> Result<(), QueryError> {
        if self.ticks.fetch_add(1, Relaxed).is_multiple_of(TICKS_PER_CHECK) { self.check_stop() } else { Ok(()) }
    }

    pub(super) fn loaded(&self, series: usize, samples: usize) -> Result<(), QueryError> {
        let samples = self.samples.fetch_add(samples, Relaxed) + samples;
        let series = self.series.fetch_add(series, Relaxed) + series;
        if samples > self.limits.samples_max {
            return Err(QueryError::TooManySamples);
        }
        if series > self.limits.series_max {
            return Err(QueryError::TooManySeries(self.limits.series_max));
        }
        Ok(())
    }

    pub(super) fn samples_left(&self) -> usize {
        self.limits.samples_max.saturating_sub(self.samples.load(Relaxed))
    }

    pub(super) fn series_left(&self) -> usize {
        self.limits.series_max.saturating_sub(self.series.load(Relaxed))
    }

    pub(super) fn samples(&self) -> usize {
        self.samples.load(Relaxed)
    }

    pub(super) fn series(&self) -> usize {
        self.series.load(Relaxed)
    }

    pub(super) fn bytes_peak(&self) -> usize {
        self.bytes_peak.load(Relaxed)
    }

    /// Takes `bytes` until the next [`Budget::settle`].
    pub(super) fn take(&self, bytes: usize) -> Result<(), QueryError> {
        let now = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        self.bytes_peak.fetch_max(now, Relaxed);
        if now > self.limits.bytes_max { Err(QueryError::TooManyBytes(self.limits.bytes_max)) } else { Ok(()) }
    }

    /// Bytes taken at this moment.
    pub(super) fn taken(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Sets the account back to `before` plus what a finished result keeps.
    pub(super) fn settle(&self, before: usize, result_bytes: usize) -> Result<(), QueryError> {
        self.bytes.store(before, Relaxed);
        self.take(result_bytes)
    }

    pub(super) fn check_steps(&self, steps: i64) -> Result<usize, QueryError> {
        match usize::try_from(steps) {
            Ok(steps) if steps <= self.limits.steps_max => Ok(steps),
            _ => Err(QueryError::TooManySteps(self.limits.steps_max)),
        }
    }
}
