//! Samples as they travel: distinct series once, then one row per sample that points at its series.

use std::collections::HashMap;

use crate::Labels;

/// Samples of many series. `series`, `timestamps_ms` and `values` have one entry per sample.
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
    /// What metrics are, for those whose kind is known.
    pub families: Vec<Family>,
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
    /// How many samples.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
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
        let next = self.samples.labels.len() as u32;
        let series = *self.index.entry(labels.clone()).or_insert_with(|| {
            self.samples.labels.push(labels.clone());
            next
        });
        self.samples.series.push(series);
        self.samples.timestamps_ms.push(timestamp_ms);
        self.samples.values.push(value);
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
