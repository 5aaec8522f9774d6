//! Native histograms between the store and PromQL: stored ones become those that are computed with, and answers can be stored.

use std::sync::Arc;

use proto::histogram::{Counts, HistogramError, Layout, ResetHint, Shape, Span, TOTALS};

use crate::promql::Histogram;

/// Stored samples, in order of time, as PromQL computes with them. What their sender knew of resets since its sample before is
/// not believed where it says that there was none: that sample may have been lost, or another may have come between.
pub(crate) fn computed(stored: Vec<(i64, proto::Histogram)>) -> Vec<(i64, Arc<Histogram>)> {
    let mut bounds: Option<(Arc<Layout>, Arc<[f64]>)> = None;
    let mut out = Vec::with_capacity(stored.len());
    for (ts, histogram) in stored {
        let layout = histogram.layout();
        let of_layout = match &bounds {
            Some((of, bounds)) if Arc::ptr_eq(of, layout) => bounds.clone(),
            _ => {
                let new: Arc<[f64]> = layout.shape().bounds.as_slice().into();
                bounds = Some((layout.clone(), new.clone()));
                new
            }
        };
        out.push((ts, Arc::new(one(&histogram, of_layout))));
    }
    out
}

fn one(stored: &proto::Histogram, bounds: Arc<[f64]>) -> Histogram {
    let layout = stored.layout();
    let shape = layout.shape();
    let count = |at: usize| match stored.counts() {
        Counts::Integers(counts) => counts[at] as f64,
        Counts::Floats(counts) => counts[at],
    };
    let negative_at = TOTALS + layout.positive_buckets();
    Histogram {
        hint: without_not_reset(shape.hint),
        schema: shape.schema,
        zero_threshold: shape.zero_threshold,
        zero_count: count(1),
        count: count(0),
        sum: stored.sum(),
        positive: layout.positive_indices().enumerate().map(|(at, index)| (index, count(TOTALS + at))).collect(),
        negative: layout.negative_indices().enumerate().map(|(at, index)| (index, count(negative_at + at))).collect(),
        bounds,
    }
}

/// An answer as it is stored, counting in floats; an error if it is none that may be, such as one with negative counts.
pub fn storable(histogram: &Histogram) -> Result<proto::Histogram, HistogramError> {
    let shape = Shape {
        hint: without_not_reset(histogram.hint),
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        positive: spans(&histogram.positive),
        negative: spans(&histogram.negative),
        bounds: histogram.bounds.to_vec(),
    };
    let totals = [histogram.count, histogram.zero_count].into_iter();
    let buckets = histogram.positive.iter().chain(&histogram.negative).map(|(_, count)| *count);
    let counts = Counts::Floats(totals.chain(buckets).collect());
    proto::Histogram::new(Arc::new(Layout::new(shape)?), histogram.sum, counts)
}

/// That there was no reset holds between two samples only, which may be others by now.
fn without_not_reset(hint: ResetHint) -> ResetHint {
    if hint == ResetHint::NotReset { ResetHint::Unknown } else { hint }
}

/// The spans of buckets whose indices ascend.
fn spans(buckets: &[(i32, f64)]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0i32;
    for (index, _) in buckets {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(Span { offset: index.wrapping_sub(next), length: 1 }),
        }
        next = index.wrapping_add(1);
    }
    spans
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_that_is_stored_comes_back() {
        let exponential = Histogram {
            hint: ResetHint::Gauge,
            schema: 3,
            zero_threshold: 0.01,
            zero_count: 0.5,
            count: 7.25,
            sum: -3.5,
            positive: vec![(-4, 1.0), (-3, 0.25), (0, 2.0), (7, 0.0)],
            negative: vec![(0, 1.5), (1, 2.0)],
            bounds: Arc::from([]),
        };
        let custom = Histogram {
            schema: -53,
            count: 3.0,
            sum: 9.0,
            positive: vec![(0, 1.0), (2, 2.0)],
            bounds: Arc::from([0.5, 1.0]),
            ..Histogram::default()
        };
        for histogram in [exponential, custom, Histogram::default()] {
            let back = computed(vec![(5, storable(&histogram).unwrap())]);
            assert_eq!(format!("{back:?}"), format!("{:?}", [(5, Arc::new(histogram))]));
        }
        let negative = Histogram { count: -1.0, ..Histogram::default() };
        assert_eq!(storable(&negative).unwrap_err().to_string(), "its count is negative");
    }
}
