//! One reading's samples: every one with the host's instance and job, all at one time.

use std::collections::BTreeSet;

use proto::{
    LabelsBuilder,
    samples::{Family, SamplesBuilder},
};

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until its source restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Not said.
    Unknown,
}

/// Collects the samples of one reading.
pub struct Page<'a> {
    instance: &'a str,
    ts_ms: i64,
    with_families: bool,
    builder: SamplesBuilder,
    families: BTreeSet<String>,
}

impl<'a> Page<'a> {
    /// An empty page.
    pub fn new(instance: &'a str, ts_ms: i64, with_families: bool) -> Page<'a> {
        Page { instance, ts_ms, with_families, builder: SamplesBuilder::default(), families: BTreeSet::new() }
    }

    /// When it is read, milliseconds.
    pub fn ts_ms(&self) -> i64 {
        self.ts_ms
    }

    /// Adds one sample.
    pub fn add(&mut self, kind: Kind, name: &str, labels: &[(&str, &str)], value: f64) {
        if self.with_families && !self.families.contains(name) {
            let word = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Unknown => "unknown",
            };
            let (name, kind) = (name.to_owned(), word.to_owned());
            self.families.insert(name.clone());
            self.builder.family(Family { name, kind, help: String::new(), unit: String::new() });
        }
        let mut builder = LabelsBuilder::default();
        builder.set("__name__", name).set("instance", self.instance).set("job", "node");
        for (name, value) in labels {
            builder.set(name, value);
        }
        self.builder.push(&builder.build(), self.ts_ms, value);
    }

    /// Adds what was read elsewhere in the same reading.
    pub fn take(&mut self, samples: proto::Samples) {
        for family in samples.families {
            self.builder.family(family);
        }
        for ((&series, &ts_ms), &value) in samples.series.iter().zip(&samples.timestamps_ms).zip(&samples.values) {
            self.builder.push(&samples.labels[series as usize], ts_ms, value);
        }
    }

    /// The samples.
    pub fn into_samples(self) -> SamplesBuilder {
        self.builder
    }
}
