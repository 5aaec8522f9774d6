//! Results as the HTTP API writes them, byte for byte as Prometheus does: numbers in strings, times in seconds.

use std::fmt::Write;

use proto::Labels;

use super::engine::{AnswerValue, MatrixSeries, VectorSample};
use super::histogram::Histogram;
use super::number::put_json;
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
        AnswerValue::Vector(samples) => list(out, samples, write_sample),
        AnswerValue::Matrix(series) => list(out, series, write_series),
    }
    out.push('}');
}

/// What [`write_value`] appends but for the last `}`, in pieces of about `bytes` that are made as they are asked for: each
/// series is gone once it is written.
pub fn pieces(value: AnswerValue, bytes: usize) -> Box<dyn Iterator<Item = String> + Send> {
    let head = format!("{{\"resultType\":\"{}\",\"result\":[", value.api_type());
    match value {
        AnswerValue::Vector(samples) => Box::new(items(head, samples, bytes, write_sample)),
        AnswerValue::Matrix(series) => Box::new(items(head, series, bytes, write_series)),
        short => {
            let mut out = String::new();
            write_value(&mut out, &short);
            out.pop();
            Box::new(std::iter::once(out))
        }
    }
}

/// A list that `head` opened, closed by the last piece.
fn items<T>(head: String, items: Vec<T>, bytes: usize, write: fn(&mut String, &T)) -> impl Iterator<Item = String> {
    let (mut items, mut next, mut is_first) = (items.into_iter(), Some(head), true);
    std::iter::from_fn(move || {
        let mut out = next.take()?;
        for item in items.by_ref() {
            if !std::mem::take(&mut is_first) {
                out.push(',');
            }
            write(&mut out, &item);
            if out.len() >= bytes {
                next = Some(String::with_capacity(out.len()));
                return Some(out);
            }
        }
        out.push(']');
        Some(out)
    })
}

fn write_sample(out: &mut String, sample: &VectorSample) {
    out.push_str("{\"metric\":");
    write_labels(out, &sample.labels);
    match &sample.value {
        Point::Float(v) => {
            out.push_str(",\"value\":");
            float_pair(out, sample.time_ms, *v);
        }
        Point::Histogram(h) => {
            out.push_str(",\"histogram\":");
            histogram_pair(out, sample.time_ms, h);
        }
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
    let mut digits = itoa::Buffer::new();
    out.push_str(digits.format(ms / 1000));
    if !ms.is_multiple_of(1000) {
        // behind the leading one stand three digits
        out.push('.');
        out.push_str(&digits.format(1000 + ms % 1000)[1..]);
    }
}

fn quoted_float(out: &mut String, v: f64) {
    out.push('"');
    put_json(out, v);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole() {
        let sample = |i: i64| VectorSample {
            labels: Labels::from_pairs([("i", i.to_string().as_str())]),
            time_ms: 1_500,
            value: Point::Float(i as f64),
        };
        let series = |i: i64| MatrixSeries {
            labels: Labels::from_pairs([("i", i.to_string().as_str())]),
            floats: (0..i).map(|t| (t * 1000, 0.5)).collect(),
            histograms: Vec::new(),
        };
        let values = [
            AnswerValue::Scalar(0, f64::NAN),
            AnswerValue::String(0, "a\"b".into()),
            AnswerValue::Vector(Vec::new()),
            AnswerValue::Vector((0..9).map(sample).collect()),
            AnswerValue::Matrix((1..9).map(series).collect()),
        ];
        for value in values {
            let mut whole = String::new();
            write_value(&mut whole, &value);
            for bytes in [1, 100, 1 << 20] {
                let parts: Vec<String> = pieces(value.clone(), bytes).collect();
                assert_eq!(parts.concat() + "}", whole, "{bytes}");
                assert!(bytes < 1 << 20 || parts.len() == 1, "{bytes}");
            }
        }
    }
}
