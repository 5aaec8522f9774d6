//! Reads a page in protobuf: `io.prometheus.client.MetricFamily` messages, each after its length (encoding `delimited`), as
//! prometheus/client_model's `metrics.proto` numbers their fields. A function of values.
//!
//! Samples get the names and labels that the same page has as OpenMetrics text. Families are taken apart field by field and
//! metrics decoded one at a time, so that memory follows what a page holds, not what it claims. Of a native histogram only
//! its count and sum are taken; how many were left out is told.

use std::collections::BTreeMap;

use prost::{
    Message,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};
use proto::samples::Family;

use super::exposition::{Page, Sample};

/// Largest metric, bytes: a histogram of some ten thousand buckets.
pub const METRIC_BYTES_MAX: usize = 1 << 20;
/// Most samples of a page before any rule.
pub const SAMPLES_MAX: usize = 2_000_000;

/// Why a page can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metric family {family} ({name}): {what}")]
pub struct ProtobufError {
    /// From 1.
    pub family: usize,
    /// Its name as far as it is known.
    pub name: String,
    /// What is wrong.
    pub what: String,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Counter, gauge and untyped alike.
#[derive(Clone, PartialEq, Message)]
struct Plain {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Quantile {
    #[prost(double, tag = "1")]
    quantile: f64,
    #[prost(double, tag = "2")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    quantile: Vec<Quantile>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
    #[prost(double, optional, tag = "4")]
    cumulative_count_float: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(double, optional, tag = "4")]
    sample_count_float: Option<f64>,
    /// The fields by which a native histogram is known; spans are only counted.
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(bytes = "vec", repeated, tag = "9")]
    negative_span: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "12")]
    positive_span: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Plain>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Plain>,
    #[prost(message, optional, tag = "4")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Plain>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

/// `MetricType`, by its number.
const KINDS: [&str; 6] = ["counter", "gauge", "summary", "unknown", "histogram", "histogram"];

/// A family's own fields, and where its metrics stand.
#[derive(Default)]
struct Head<'a> {
    name: String,
    help: String,
    unit: String,
    kind: usize,
    metrics: Vec<&'a [u8]>,
}

/// Reads a page.
pub fn read(body: &[u8]) -> Result<Page, ProtobufError> {
    let (mut page, mut rest, mut number) = (Page::default(), body, 0);
    while !rest.is_empty() {
        number += 1;
        let wrong = |name: &str, what: String| ProtobufError { family: number, name: name.into(), what };
        let family = delimited(&mut rest).map_err(|what| wrong("its length", what))?;
        let head = head(family).map_err(|what| wrong("its fields", what))?;
        for metric in &head.metrics {
            take(&head, metric, &mut page).map_err(|what| wrong(&head.name, what))?;
        }
        page.families.push(Family { name: head.name, kind: KINDS[head.kind].into(), help: head.help, unit: head.unit });
    }
    Ok(page)
}

/// What follows a length, and no more.
fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = decode_varint(rest).map_err(|e| e.to_string())?;
    let length = usize::try_from(length).ok().filter(|n| *n <= rest.len());
    let Some(length) = length else { return Err("the page was cut: fewer bytes are there than announced".into()) };
    let (taken, after) = rest.split_at(length);
    *rest = after;
    Ok(taken)
}

fn head(mut rest: &[u8]) -> Result<Head<'_>, String> {
    let mut head = Head::default();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned());
    while !rest.is_empty() {
        let (tag, wire) = decode_key(&mut rest).map_err(|e| e.to_string())?;
        match (tag, wire) {
            (1, WireType::LengthDelimited) => head.name = text(delimited(&mut rest)?)?,
            (2, WireType::LengthDelimited) => head.help = text(delimited(&mut rest)?)?,
            (5, WireType::LengthDelimited) => head.unit = text(delimited(&mut rest)?)?,
            (3, WireType::Varint) => {
                let kind = decode_varint(&mut rest).map_err(|e| e.to_string())?;
                let known = usize::try_from(kind).ok().filter(|k| *k < KINDS.len());
                head.kind =
                    known.ok_or_else(|| format!("type {kind} is not known; known are 0 to {}", KINDS.len() - 1))?;
            }
            (4, WireType::LengthDelimited) => head.metrics.push(delimited(&mut rest)?),
            (_, WireType::LengthDelimited) => {
                delimited(&mut rest)?;
            }
            (_, WireType::Varint) => {
                decode_varint(&mut rest).map_err(|e| e.to_string())?;
            }
            (_, WireType::SixtyFourBit) if rest.len() >= 8 => rest.advance(8),
            (_, WireType::ThirtyTwoBit) if rest.len() >= 4 => rest.advance(4),
            _ => return Err("a field is of no allowed wire type, or cut".into()),
        }
    }
    let begins = head.name.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':'));
    if !begins || !head.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')) {
        return Err(format!("{:?} is no metric name", head.name));
    }
    Ok(head)
}

/// Adds the samples of one metric.
fn take(head: &Head<'_>, bytes: &[u8], page: &mut Page) -> Result<(), String> {
    if bytes.len() > METRIC_BYTES_MAX {
        return Err(format!("a metric has {} bytes; at most {METRIC_BYTES_MAX} are read", bytes.len()));
    }
    let metric = Metric::decode(bytes).map_err(|e| e.to_string())?;
    let mut labels = BTreeMap::new();
    for pair in metric.label {
        if !super::relabel::is_label_name(&pair.name) {
            return Err(format!("{:?} is no label name", pair.name));
        }
        if let Some(twice) = labels.insert(pair.name, pair.value) {
            return Err(format!("a label is given twice, once as {twice:?}"));
        }
    }
    let missing = || format!("a metric has no {}", KINDS[head.kind]);
    let ts_ms = metric.timestamp_ms;
    let mut add = |ending: &str, more: Option<(&str, String)>, value: f64| {
        let mut labels = labels.clone();
        labels.extend(more.map(|(name, value)| (name.to_owned(), value)));
        // as text has it: the bits of a page's NaN must not be those that mark the end of a series
        let value = if value.is_nan() { f64::NAN } else { value };
        page.samples.push(Sample { labels, name: format!("{}{ending}", head.name), value, ts_ms });
    };
    match head.kind {
        0 => add("", None, metric.counter.ok_or_else(missing)?.value),
        1 => add("", None, metric.gauge.ok_or_else(missing)?.value),
        2 => {
            let summary = metric.summary.ok_or_else(missing)?;
            for q in &summary.quantile {
                add("", Some(("quantile", bound_text(q.quantile))), q.value);
            }
            add("_sum", None, summary.sample_sum);
            add("_count", None, summary.sample_count as f64);
        }
        3 => add("", None, metric.untyped.ok_or_else(missing)?.value),
        _ => {
            let histogram = metric.histogram.ok_or_else(missing)?;
            let count = histogram.sample_count_float.unwrap_or(histogram.sample_count as f64);
            for bucket in &histogram.bucket {
                let value = bucket.cumulative_count_float.unwrap_or(bucket.cumulative_count as f64);
                add("_bucket", Some(("le", bound_text(bucket.upper_bound))), value);
            }
            if histogram.bucket.last().is_none_or(|b| b.upper_bound != f64::INFINITY) {
                add("_bucket", Some(("le", bound_text(f64::INFINITY))), count);
            }
            add("_sum", None, histogram.sample_sum);
            add("_count", None, count);
            let spans = histogram.positive_span.len() + histogram.negative_span.len();
            let native = spans > 0 || histogram.zero_count > 0 || histogram.zero_threshold > 0.0;
            page.native_left_out += usize::from(native);
        }
    }
    match page.samples.len() {
        0..=SAMPLES_MAX => Ok(()),
        found => Err(format!("the page has {found} samples and more; at most {SAMPLES_MAX} are read")),
    }
}

/// A bound or quantile as OpenMetrics writes it: shortest digits, with a point or an exponent.
fn bound_text(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "NaN".into() } else { format!("{}Inf", if value > 0.0 { '+' } else { '-' }) };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // as Go writes `%g`: an exponent of two digits and more below 1e-4 and from 1e+06 on
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = value.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
#[path = "protobuf_tests.rs"]
mod tests;
