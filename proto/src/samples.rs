//! Samples as they travel: distinct series once, then one row per sample that points at its series.

use std::collections::HashMap;

use crate::{Histogram, Labels};

/// Samples of many series. `series`, `timestamps_ms` and `values` have one entry per float.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Distinct label sets.
    pub labels: Vec<Labels>,
    /// Per sample: index into `labels`.
    pub series: Vec<u32>,
    /// Per sample: milliseconds since 1970-01-01 UTC.
    pub timestamps_ms: Vec<i64>,
    /// Per sample; every bit pattern is kept, staleness markers included.
    pub values: Vec<f64>,
    /// Samples that are native histograms.
    pub histograms: Vec<HistogramRow>,
    /// What metrics are, for those whose kind is known.
    pub families: Vec<Family>,
}

/// A sample that is a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramRow {
    /// Index into the series it travels with.
    pub series: u32,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// The sample.
    pub histogram: Histogram,
}

/// What a metric is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Metric name.
    pub name: String,
    /// counter, gauge, histogram, summary or unknown.
    pub kind: String,
    /// One line of explanation.
    pub help: String,
    /// Base unit, empty if none.
    pub unit: String,
}

impl Samples {
    /// How many samples, floats and histograms.
    pub fn len(&self) -> usize {
        self.values.len() + self.histograms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Collects samples, giving each distinct label set one index.
#[derive(Default)]
pub struct SamplesBuilder {
    samples: Samples,
    index: HashMap<Labels, u32>,
}

impl SamplesBuilder {
    /// Adds one sample.
    pub fn push(&mut self, labels: &Labels, timestamp_ms: i64, value: f64) {
        let series = self.series(labels);
        self.samples.series.push(series);
        self.samples.timestamps_ms.push(timestamp_ms);
        self.samples.values.push(value);
    }

    /// Adds one sample that is a native histogram.
    pub fn push_histogram(&mut self, labels: &Labels, timestamp_ms: i64, histogram: Histogram) {
        let series = self.series(labels);
        self.samples.histograms.push(HistogramRow { series, timestamp_ms, histogram });
    }

    fn series(&mut self, labels: &Labels) -> u32 {
        let next = self.samples.labels.len() as u32;
        *self.index.entry(labels.clone()).or_insert_with(|| {
            self.samples.labels.push(labels.clone());
            next
        })
    }

    /// Says what a metric is.
    pub fn family(&mut self, family: Family) {
        self.samples.families.push(family);
    }

    /// How many samples so far.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The finished samples.
    pub fn build(self) -> Samples {
        self.samples
    }
}

/// Prometheus' staleness marker: the series has ended here.
pub const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether a value is the staleness marker.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_MARKER_BITS
}
