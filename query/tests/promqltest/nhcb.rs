//! `load_with_nhcb`: classic histogram series turned into native histograms with custom buckets.

use std::collections::BTreeMap;

use proto::Labels;
use proto::labels::METRIC_NAME;
use query::promql::Point;
use query::promql::histogram::{Histogram, SCHEMA_CUSTOM};
use query::promql::notation::Written;

/// One classic histogram at one time.
#[derive(Default)]
struct Step {
    /// Cumulative counts by upper bound.
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

/// Classic histograms by the labels of the native ones they become.
#[derive(Default)]
pub struct Classic {
    series: BTreeMap<Labels, BTreeMap<usize, Step>>,
}

impl Classic {
    /// Takes note of a series if its name has a classic histogram's suffix.
    pub fn note(&mut self, labels: &Labels, points: &[Written]) {
        let name = labels.metric_name();
        let found = ["_bucket", "_sum", "_count"].into_iter().find_map(|s| name.strip_suffix(s).map(|base| (base, s)));
        let Some((base, suffix)) = found else { return };
        let bound = labels.get("le").and_then(|le| le.parse::<f64>().ok());
        if suffix == "_bucket" && bound.is_none() {
            return;
        }
        let native = labels.to_builder().set(METRIC_NAME, base).remove("le").build();
        for (i, written) in points.iter().enumerate() {
            let Some(Point::Float(v)) = written.point else { continue };
            let step = self.series.entry(native.clone()).or_default().entry(i).or_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => step.buckets.push((bound, v)),
                ("_sum", _) => step.sum = Some(v),
                _ => step.count = Some(v),
            }
        }
    }

    /// Hands on every native histogram with its place in the series.
    pub fn convert(self, mut insert: impl FnMut(&Labels, usize, Histogram)) {
        for (labels, steps) in self.series {
            for (i, step) in steps {
                if let Some(h) = step.histogram() {
                    insert(&labels, i, h);
                }
            }
        }
    }
}

impl Step {
    fn histogram(mut self) -> Option<Histogram> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|a, b| a.0 == b.0);
        let largest = self.buckets.iter().map(|(_, c)| *c).fold(f64::NEG_INFINITY, f64::max);
        let count = self.count.or((!self.buckets.is_empty()).then_some(largest))?;
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let counts = self.buckets.iter().map(|(_, c)| {
            let own = c - below;
            below = *c;
            own
        });
        let positive = (0..).zip(counts).filter(|(_, c)| *c != 0.0).collect();
        let bounds = self.buckets.iter().map(|(b, _)| *b).filter(|b| b.is_finite()).collect();
        Some(Histogram {
            schema: SCHEMA_CUSTOM,
            count,
            sum: self.sum.unwrap_or(0.0),
            positive,
            bounds,
            ..Histogram::default()
        })
    }
}
