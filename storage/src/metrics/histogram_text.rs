//! A native histogram as the text that SQL shows: a JSON object of numbers, buckets as pairs of index and count.

use std::fmt::Write as _;

use proto::histogram::{Counts, Histogram, TOTALS};

/// `{"count":3,"sum":0.5,"schema":3,"zero_threshold":0.001,"zero_count":1,"positive":[[-2,2]],"negative":[]}`, and `bounds` behind it
/// if the buckets have bounds of their own. What is no finite number is text: `"NaN"`, `"+Inf"`, `"-Inf"`.
pub(crate) fn write(histogram: &Histogram) -> String {
    let layout = histogram.layout();
    let count = |at: usize, out: &mut String| match histogram.counts() {
        Counts::Integers(counts) => {
            let _ = write!(out, "{}", counts[at]); // into memory: it can't fail
        }
        Counts::Floats(counts) => float(counts[at], out),
    };
    let mut out = String::from("{\"count\":");
    count(0, &mut out);
    out.push_str(",\"sum\":");
    float(histogram.sum(), &mut out);
    let _ = write!(out, ",\"schema\":{},\"zero_threshold\":", layout.shape().schema);
    float(layout.shape().zero_threshold, &mut out);
    out.push_str(",\"zero_count\":");
    count(1, &mut out);
    let mut buckets = |name: &str, indices: &mut dyn Iterator<Item = i32>, first: usize| {
        let _ = write!(out, ",\"{name}\":[");
        for (at, index) in indices.enumerate() {
            let _ = write!(out, "{}[{index},", if at > 0 { "," } else { "" });
            count(first + at, &mut out);
            out.push(']');
        }
        out.push(']');
    };
    buckets("positive", &mut layout.positive_indices(), TOTALS);
    buckets("negative", &mut layout.negative_indices(), TOTALS + layout.positive_buckets());
    if layout.is_custom() {
        out.push_str(",\"bounds\":[");
        for (at, bound) in layout.shape().bounds.iter().enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            float(*bound, &mut out);
        }
        out.push(']');
    }
    out.push('}');
    out
}

fn float(value: f64, out: &mut String) {
    let _ = match value {
        v if v.is_nan() => write!(out, "\"NaN\""),
        f64::INFINITY => write!(out, "\"+Inf\""),
        f64::NEG_INFINITY => write!(out, "\"-Inf\""),
        v => write!(out, "{v:?}"),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use proto::histogram::{Layout, SCHEMA_CUSTOM, Shape, Span};

    use super::*;

    #[test]
    fn every_part_is_told() {
        let span = |offset, length| Span { offset, length };
        let shape = Shape {
            schema: 3,
            zero_threshold: 0.001,
            positive: vec![span(-2, 1), span(3, 1)],
            negative: vec![span(0, 1)],
            ..Shape::default()
        };
        let build = |shape, sum, counts| Histogram::new(Arc::new(Layout::new(shape).unwrap()), sum, counts).unwrap();
        assert_eq!(
            write(&build(shape, f64::NAN, Counts::Integers(vec![11, 1, 2, 3, 4]))),
            "{\"count\":11,\"sum\":\"NaN\",\"schema\":3,\"zero_threshold\":0.001,\"zero_count\":1,\
             \"positive\":[[-2,2],[2,3]],\"negative\":[[0,4]]}"
        );
        let shape =
            Shape { schema: SCHEMA_CUSTOM, positive: vec![span(1, 1)], bounds: vec![-1.0, 0.5], ..Shape::default() };
        assert_eq!(
            write(&build(shape, 2.0, Counts::Floats(vec![1.5, 0.0, 1.5]))),
            "{\"count\":1.5,\"sum\":2.0,\"schema\":-53,\"zero_threshold\":0.0,\"zero_count\":0.0,\
             \"positive\":[[1,1.5]],\"negative\":[],\"bounds\":[-1.0,0.5]}"
        );
    }
}
