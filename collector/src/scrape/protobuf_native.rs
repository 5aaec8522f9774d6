//! The native part of a histogram of a page in protobuf: checked, made ours, as Prometheus' scrape understands it. A function of
//! values. Nothing is known of counter resets, unless the family is a gauge. The format has no bounds of custom buckets.

use std::sync::Arc;

use proto::histogram::{self, Counts, HistogramError, Layout, ResetHint, SCHEMA_CUSTOM, Shape, Span};

use super::protobuf::{BucketSpan, Histogram, plain_nan};

/// Whether there is a native part. Clients write an empty span for one that has observed nothing.
pub(super) fn is_native(message: &Histogram) -> bool {
    !message.positive_span.is_empty()
        || !message.negative_span.is_empty()
        || message.zero_threshold > 0.0
        || message.zero_count > 0
}

/// Reads it, or says which rule it breaks.
pub(super) fn native(message: &Histogram, is_gauge: bool) -> Result<histogram::Histogram, String> {
    if message.schema == SCHEMA_CUSTOM {
        return Err(format!("its schema is {SCHEMA_CUSTOM}, whose bounds this format does not carry"));
    }
    checked(message, is_gauge).map_err(|e| e.to_string())
}

fn checked(message: &Histogram, is_gauge: bool) -> Result<histogram::Histogram, HistogramError> {
    let layout = Layout::new(Shape {
        hint: if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown },
        schema: message.schema,
        zero_threshold: message.zero_threshold,
        positive: spans(&message.positive_span),
        negative: spans(&message.negative_span),
        bounds: Vec::new(),
    })?;
    let is_float = message.sample_count_float > 0.0 || message.zero_count_float > 0.0;
    let positive = layout.positive_buckets();
    let negative = layout.columns() - histogram::TOTALS - positive;
    for (side, needed, floats, deltas) in [
        ("positive", positive, &message.positive_count, &message.positive_delta),
        ("negative", negative, &message.negative_count, &message.negative_delta),
    ] {
        let found = if is_float { floats.len() } else { deltas.len() };
        if found != needed {
            return Err(HistogramError::Buckets { side, needed, found });
        }
    }
    let counts = if is_float {
        let totals = [message.sample_count_float, message.zero_count_float].into_iter();
        Counts::Floats(totals.chain(message.positive_count.iter().chain(&message.negative_count).copied()).collect())
    } else {
        let sides = [&message.positive_delta[..], &message.negative_delta];
        Counts::from_differences(message.sample_count, message.zero_count, sides)?
    };
    histogram::Histogram::new(Arc::new(layout), plain_nan(message.sample_sum), counts)
}

fn spans(message: &[BucketSpan]) -> Vec<Span> {
    message.iter().map(|span| Span { offset: span.offset, length: span.length }).collect()
}
