//! A source that holds its series in memory: for test scripts, rule tests and backtests.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use proto::Labels;

use super::histogram::{Histogram, ResetHint};
use super::source::{Selection, SeriesSamples, Source, SourceError};
use super::value::Point;

/// One sample with what is known about it.
#[derive(Clone, Debug)]
struct Stored {
    point: Point,
    start_ms: i64,
}

/// Series by their labels, samples by their times.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, BTreeMap<i64, Stored>>,
}

impl MemorySource {
    /// A source without series.
    pub fn new() -> MemorySource {
        MemorySource::default()
    }

    /// Adds a sample, in place of one at the same time. `start_ms` is when its counter began, 0 if unknown.
    pub fn insert(&mut self, labels: &Labels, time_ms: i64, point: Point, start_ms: i64) {
        let samples = self.series.entry(labels.clone()).or_default();
        samples.insert(time_ms, Stored { point, start_ms });
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// The hint a store gives a histogram that follows `before`: it knows that there was no reset where it wrote both into one
/// chunk, and begins a new chunk, of which it knows nothing, at each reset and change of kind.
fn stored_hint(before: Option<&Histogram>, now: &Histogram) -> ResetHint {
    match (before, now.hint) {
        (_, ResetHint::Gauge) => ResetHint::Gauge,
        (Some(before), hint) if before.hint != ResetHint::Gauge && hint != ResetHint::Reset && !before.is_stale() => {
            let unknown = now.clone().with_hint(ResetHint::Unknown);
            let layout_grew = before.is_custom() != now.is_custom() || before.bounds != now.bounds;
            if layout_grew || before.schema != now.schema || before.zero_threshold != now.zero_threshold {
                return ResetHint::Unknown;
            }
            if unknown.is_reset_after(before) { ResetHint::Unknown } else { ResetHint::NotReset }
        }
        _ => ResetHint::Unknown,
    }
}

impl MemorySource {
    /// As [`Source::select`], at once.
    pub fn find(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let mut out = Vec::new();
        let mut samples_left = selection.samples_max;
        for (labels, samples) in &self.series {
            if !selection.matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or(""))) {
                continue;
            }
            let mut series = SeriesSamples::floats(labels.clone(), Vec::new(), Vec::new());
            let mut before: Option<&Histogram> = None;
            let in_range = |t: i64| t >= selection.start_ms && t <= selection.end_ms;
            for (time, stored) in samples.range(..=selection.end_ms) {
                match &stored.point {
                    Point::Float(v) => {
                        before = None;
                        if in_range(*time) {
                            series.timestamps.push(*time);
                            series.values.push(*v);
                            series.start_timestamps.push(stored.start_ms);
                        }
                    }
                    Point::Histogram(h) => {
                        if in_range(*time) {
                            let hint = if h.is_stale() { h.hint } else { stored_hint(before, h) };
                            series.histograms.push((*time, Arc::new((**h).clone().with_hint(hint))));
                            series.histogram_start_timestamps.push(stored.start_ms);
                        }
                        before = Some(h);
                    }
                }
            }
            for starts in [&mut series.start_timestamps, &mut series.histogram_start_timestamps] {
                if starts.iter().all(|t| *t == 0) {
                    starts.clear();
                }
            }
            if series.is_empty() {
                continue;
            }
            samples_left = samples_left.checked_sub(series.len()).ok_or(SourceError::TooManySamples)?;
            out.push(series);
            if out.len() > selection.series_max {
                return Err(SourceError::TooManySeries(selection.series_max));
            }
        }
        Ok(out)
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        self.find(selection)
    }
}
