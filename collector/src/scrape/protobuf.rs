//! Reads a page in protobuf: `io.prometheus.client.MetricFamily` messages, each after its length (encoding `delimited`), as
//! prometheus/client_model's `metrics.proto` numbers their fields. A function of values.
//!
//! Samples get the names and labels that the same page has as OpenMetrics text. Families are taken apart field by field and
//! metrics decoded one at a time, so that memory follows what a page holds, not what it claims. A histogram has a classic part, a
//! native one (`protobuf_native`), or both; which are taken is the job's choice, and what is left out is told.

use std::collections::BTreeMap;

use prost::{
    Message,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};
use proto::samples::Family;

use super::{
    exposition::{Page, Sample},
    protobuf_native::{is_native, native},
};
use crate::config::HistogramParts;

/// Largest metric, bytes: a histogram of some ten thousand buckets.
pub const METRIC_BYTES_MAX: usize = 1 << 20;
/// Most samples of a page before any rule; a native histogram counts for as many as its memory holds.
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
    #[prost(double, tag = "4")]
    cumulative_count_float: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

/// Both parts in one message. A float that is more than 0 stands for the integer beside it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, tag = "1")]
    pub(super) sample_count: u64,
    #[prost(double, tag = "2")]
    pub(super) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(double, tag = "4")]
    pub(super) sample_count_float: f64,
    #[prost(sint32, tag = "5")]
    pub(super) schema: i32,
    #[prost(double, tag = "6")]
    pub(super) zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub(super) zero_count: u64,
    #[prost(double, tag = "8")]
    pub(super) zero_count_float: f64,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "10")]
    pub(super) negative_delta: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    pub(super) negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    pub(super) positive_delta: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    pub(super) positive_count: Vec<f64>,
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
const GAUGE_HISTOGRAM: usize = 5;

/// A family's own fields, and where its metrics stand.
#[derive(Default)]
struct Head<'a> {
    name: String,
    help: String,
    unit: String,
    kind: usize,
    metrics: Vec<&'a [u8]>,
}

/// A page so far.
struct Reading {
    parts: HistogramParts,
    page: Page,
    /// How many samples it holds, by their memory.
    held: usize,
}

/// Reads a page.
pub fn read(body: &[u8], parts: HistogramParts) -> Result<Page, ProtobufError> {
    let mut reading = Reading { parts, page: Page::default(), held: 0 };
    let (mut rest, mut number) = (body, 0);
    while !rest.is_empty() {
        number += 1;
        let wrong = |name: &str, what: String| ProtobufError { family: number, name: name.into(), what };
        let family = delimited(&mut rest).map_err(|what| wrong("its length", what))?;
        let head = head(family).map_err(|what| wrong("its fields", what))?;
        for metric in &head.metrics {
            reading.take(&head, metric).map_err(|what| wrong(&head.name, what))?;
        }
        reading.page.families.push(Family {
            name: head.name,
            kind: KINDS[head.kind].into(),
            help: head.help,
            unit: head.unit,
        });
    }
    Ok(reading.page)
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

/// What all samples of a metric share.
struct Common<'a> {
    name: &'a str,
    labels: BTreeMap<String, String>,
    ts_ms: Option<i64>,
}

impl Common<'_> {
    fn sample(&self, ending: &str, more: Option<(&str, String)>, value: f64) -> Sample {
        let mut labels = self.labels.clone();
        labels.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Sample { labels, name: format!("{}{ending}", self.name), value: plain_nan(value), ts_ms: self.ts_ms }
    }
}

impl Reading {
    /// Adds the samples of one metric.
    fn take(&mut self, head: &Head<'_>, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > METRIC_BYTES_MAX {
            return Err(format!("a metric has {} bytes; at most {METRIC_BYTES_MAX} are read", bytes.len()));
        }
        let metric = Metric::decode(bytes).map_err(|e| e.to_string())?;
        let missing = || format!("a metric has no {}", KINDS[head.kind]);
        let common = Common { name: &head.name, labels: labels(metric.label)?, ts_ms: metric.timestamp_ms };
        match head.kind {
            0 => self.add(common.sample("", None, metric.counter.ok_or_else(missing)?.value)),
            1 => self.add(common.sample("", None, metric.gauge.ok_or_else(missing)?.value)),
            2 => {
                let summary = metric.summary.ok_or_else(missing)?;
                for q in &summary.quantile {
                    self.add(common.sample("", Some(("quantile", bound_text(q.quantile))), q.value));
                }
                self.add(common.sample("_sum", None, summary.sample_sum));
                self.add(common.sample("_count", None, summary.sample_count as f64));
            }
            3 => self.add(common.sample("", None, metric.untyped.ok_or_else(missing)?.value)),
            kind => {
                let histogram = metric.histogram.ok_or_else(missing)?;
                let taken = self.take_native(&common, &histogram, kind == GAUGE_HISTOGRAM);
                if !taken || self.parts.classic_too && !histogram.bucket.is_empty() {
                    self.take_classic(&common, &histogram);
                }
            }
        }
        match self.held {
            0..=SAMPLES_MAX => Ok(()),
            found => Err(format!("the page has {found} samples and more; at most {SAMPLES_MAX} are read")),
        }
    }

    fn add(&mut self, sample: Sample) {
        self.held += 1;
        self.page.samples.push(sample);
    }

    /// Whether the native part is there, wanted and sound; one that is not is counted, and the classic part stands.
    fn take_native(&mut self, common: &Common<'_>, message: &Histogram, is_gauge: bool) -> bool {
        if !is_native(message) {
            return false;
        }
        let Page { histograms, left_out, .. } = &mut self.page;
        if !self.parts.native {
            left_out.not_asked_for += 1;
            return false;
        }
        let Common { name, labels, ts_ms } = common;
        match native(message, is_gauge) {
            Ok(value) => {
                self.held += value.weight();
                histograms.push(Sample { labels: labels.clone(), name: (*name).to_owned(), value, ts_ms: *ts_ms });
                true
            }
            Err(why) => {
                left_out.broken += 1;
                left_out.why.get_or_insert_with(|| format!("{name}{labels:?}: {why}"));
                false
            }
        }
    }

    fn take_classic(&mut self, common: &Common<'_>, histogram: &Histogram) {
        let either = |float: f64, integer: u64| if float > 0.0 { float } else { integer as f64 };
        let count = either(histogram.sample_count_float, histogram.sample_count);
        for bucket in &histogram.bucket {
            let value = either(bucket.cumulative_count_float, bucket.cumulative_count);
            self.add(common.sample("_bucket", Some(("le", bound_text(bucket.upper_bound))), value));
        }
        if histogram.bucket.last().is_none_or(|b| b.upper_bound != f64::INFINITY) {
            self.add(common.sample("_bucket", Some(("le", bound_text(f64::INFINITY))), count));
        }
        self.add(common.sample("_sum", None, histogram.sample_sum));
        self.add(common.sample("_count", None, count));
    }
}

/// As text has it: the bits of a page's NaN must not be those that mark the end of a series.
pub(super) fn plain_nan(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

fn labels(pairs: Vec<LabelPair>) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for pair in pairs {
        if !super::relabel::is_label_name(&pair.name) {
            return Err(format!("{:?} is no label name", pair.name));
        }
        if let Some(twice) = labels.insert(pair.name, pair.value) {
            return Err(format!("a label is given twice, once as {twice:?}"));
        }
    }
    Ok(labels)
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
