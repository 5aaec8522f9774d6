//! Results as the HTTP API writes them, byte for byte as Prometheus does: numbers in strings, times in seconds.

use std::fmt::Write;

use proto::Labels;

use super::engine::{AnswerValue, MatrixSeries};
use super::histogram::Histogram;
use super::number::format_json;
use super::value::Point;

/// Appends `{"resultType":…,"result":…}`.
pub fn write_value(out: &mut String, value: &AnswerValue) {
    out.push_str("{\"resultType\":\"");
    out.push_str(value.api_type());
    out.push_str("\",\"result\":");
    match value {
        AnswerValue::Scalar(time, v) => float_pair(out, *time, *v),
        AnswerValue::String(time, text) => {
            out.push('[');
            write_time(out, *time);
            out.push(',');
            write_string(out, text);
            out.push(']');
        }
        AnswerValue::Vector(samples) => list(out, samples, |out, s| {
            out.push_str("{\"metric\":");
            write_labels(out, &s.labels);
            match &s.value {
                Point::Float(v) => {
                    out.push_str(",\"value\":");
                    float_pair(out, s.time_ms, *v);
                }
                Point::Histogram(h) => {
                    out.push_str(",\"histogram\":");
                    histogram_pair(out, s.time_ms, h);
                }
            }
            out.push('}');
        }),
        AnswerValue::Matrix(series) => list(out, series, write_series),
    }
    out.push('}');
}

/// Appends one series of a range result.
pub fn write_series(out: &mut String, series: &MatrixSeries) {
    out.push_str("{\"metric\":");
    write_labels(out, &series.labels);
    if !series.floats.is_empty() {
        out.push_str(",\"values\":");
        list(out, &series.floats, |out, (t, v)| float_pair(out, *t, *v));
    }
    if !series.histograms.is_empty() {
        out.push_str(",\"histograms\":");
        list(out, &series.histograms, |out, (t, h)| histogram_pair(out, *t, h));
    }
    out.push('}');
}

fn list<T>(out: &mut String, items: &[T], mut each: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

/// Appends labels as an object, names ascending.
pub fn write_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(out, name);
        out.push(':');
        write_string(out, value);
    }
    out.push('}');
}

/// Appends a time in seconds: `1435781430.781`, no fraction if it is zero.
pub fn write_time(out: &mut String, time_ms: i64) {
    if time_ms < 0 {
        out.push('-');
    }
    let ms = time_ms.unsigned_abs();
    let _ = write!(out, "{}", ms / 1000);
    if !ms.is_multiple_of(1000) {
        let _ = write!(out, ".{:03}", ms % 1000);
    }
}

fn quoted_float(out: &mut String, v: f64) {
    out.push('"');
    out.push_str(&format_json(v));
    out.push('"');
}

fn float_pair(out: &mut String, time_ms: i64, v: f64) {
    out.push('[');
    write_time(out, time_ms);
    out.push(',');
    quoted_float(out, v);
    out.push(']');
}

fn histogram_pair(out: &mut String, time_ms: i64, h: &Histogram) {
    out.push('[');
    write_time(out, time_ms);
    out.push_str(",{\"count\":");
    quoted_float(out, h.count);
    out.push_str(",\"sum\":");
    quoted_float(out, h.sum);
    let buckets: Vec<_> = h.buckets().filter(|b| b.count != 0.0).collect();
    if !buckets.is_empty() {
        out.push_str(",\"buckets\":");
        list(out, &buckets, |out, b| {
            // Which ends belong to the bucket: upper, lower, none, both.
            let ends = match (b.lower_inclusive, b.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            let _ = write!(out, "[{ends},");
            quoted_float(out, b.lower);
            out.push(',');
            quoted_float(out, b.upper);
            out.push(',');
            quoted_float(out, b.count);
            out.push(']');
        });
    }
    out.push_str("}]");
}

/// Appends a JSON string.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
