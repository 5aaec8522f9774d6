//! Histograms made by prost from Prometheus' `prompb/types.proto`, read by ours.
#![allow(clippy::unwrap_used)]

use prost::Message as _;
use proto::Labels;

use super::*;
use crate::remote_write::{WriteRequest, WriteRequestError};

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}
#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Sent>,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Sent {
    #[prost(oneof = "Count", tags = "1, 2")]
    count: Option<Count>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(oneof = "Zero", tags = "6, 7")]
    zero: Option<Zero>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<SentSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<SentSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
}
#[derive(Clone, PartialEq, prost::Oneof)]
enum Count {
    #[prost(uint64, tag = "1")]
    Int(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}
#[derive(Clone, PartialEq, prost::Oneof)]
enum Zero {
    #[prost(uint64, tag = "6")]
    Int(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}
#[derive(Clone, PartialEq, prost::Message)]
struct SentSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

fn span(offset: i32, length: u32) -> SentSpan {
    SentSpan { offset, length }
}

fn integers() -> Sent {
    Sent {
        count: Some(Count::Int(10)),
        sum: 2.5,
        schema: -1,
        zero_threshold: 0.01,
        zero: Some(Zero::Int(1)),
        negative_spans: vec![span(2, 1)],
        negative_deltas: vec![4],
        positive_spans: vec![span(-3, 2), span(1, 1)],
        positive_deltas: vec![2, -1, 1],
        timestamp: -7,
        ..Sent::default()
    }
}

fn read_all(histograms: Vec<Sent>) -> Result<WriteRequest, WriteRequestError> {
    let labels = vec![Label { name: "__name__".into(), value: "seconds".into() }];
    let mut request = WriteRequest::default();
    request.read(&Request { timeseries: vec![TimeSeries { labels, histograms }] }.encode_to_vec())?;
    Ok(request)
}

#[test]
fn histograms_arrive_as_sent() {
    let floats = Sent {
        count: Some(Count::Float(3.5)),
        zero: Some(Zero::Float(0.5)),
        negative_counts: vec![1.0],
        positive_counts: vec![0.25, 0.75, 1.0],
        reset_hint: 3,
        sum: f64::from_bits(proto::samples::STALE_MARKER_BITS),
        timestamp: 8,
        ..integers()
    };
    let custom = Sent {
        count: Some(Count::Int(3)),
        schema: -53,
        positive_spans: vec![span(1, 2)],
        positive_deltas: vec![1, 1],
        custom_values: vec![0.5, 1.0],
        timestamp: 9,
        ..Sent::default()
    };
    let request = read_all(vec![integers(), floats, custom]).unwrap();
    assert_eq!(request.bad_histograms(), None);
    let labels = request.labels();
    let rows = request.rows(&labels);
    assert_eq!(Labels::from_bytes(rows.labels[0]), Some(Labels::from_pairs([("__name__", "seconds")])));
    let own = |offset, length| Span { offset, length };
    let shape = Shape {
        schema: -1,
        zero_threshold: 0.01,
        positive: vec![own(-3, 2), own(1, 1)],
        negative: vec![own(2, 1)],
        ..Shape::default()
    };
    let gauge = Shape { hint: ResetHint::Gauge, ..shape.clone() };
    let custom = Shape { schema: -53, positive: vec![own(1, 2)], bounds: vec![0.5, 1.0], ..Shape::default() };
    let stale = f64::from_bits(proto::samples::STALE_MARKER_BITS);
    let expected = [
        (-7, shape, 2.5, Counts::Integers(vec![10, 1, 2, 1, 2, 4])),
        (8, gauge, stale, Counts::Floats(vec![3.5, 0.5, 0.25, 0.75, 1.0, 1.0])),
        (9, custom, 0.0, Counts::Integers(vec![3, 0, 1, 2])),
    ];
    assert_eq!(rows.histograms.len(), expected.len());
    for (row, (timestamp_ms, shape, sum, counts)) in rows.histograms.iter().zip(expected) {
        let histogram = Histogram::new(Arc::new(Layout::new(shape).unwrap()), sum, counts).unwrap();
        assert_eq!((row.series, row.timestamp_ms, &row.histogram), (0, timestamp_ms, &histogram));
    }
}

#[test]
fn lists_of_numbers_may_stand_one_by_one() {
    let unpacked = |number: u8, n: u8| [number << 3, n << 1].to_vec();
    let mut bytes = Sent { positive_deltas: vec![], ..integers() }.encode_to_vec();
    bytes.extend([unpacked(12, 2), vec![12 << 3, 1], unpacked(12, 1)].concat());
    assert_eq!(read(&bytes).unwrap().1, read(&integers().encode_to_vec()).unwrap().1);
}

#[test]
fn what_is_no_histogram_is_left_out_with_its_reason() {
    let cases = [
        (Sent { positive_deltas: vec![2, -1], ..integers() }, "positive spans need 3 buckets, there are 2"),
        (Sent { negative_deltas: vec![], ..integers() }, "negative spans need 1 buckets, there are 0"),
        (Sent { positive_deltas: vec![2, -3, 4], ..integers() }, "a bucket's count is negative, or beyond 64 bits"),
        (
            Sent { positive_deltas: vec![i64::MAX, 1, 0], ..integers() },
            "a bucket's count is negative, or beyond 64 bits",
        ),
        (Sent { count: Some(Count::Int(11)), ..integers() }, "its buckets hold 10 observations, its count is 11"),
        (Sent { count: Some(Count::Float(10.0)), ..integers() }, "positive spans need 3 buckets, there are 0"),
        (Sent { schema: 52, ..integers() }, "its schema is 52; -4 to 8 and -53 are taken"),
        (Sent { positive_spans: vec![span(0, 3), span(-1, 0)], ..integers() }, "positive span 2 has a negative offset"),
        (
            Sent { positive_spans: vec![span(0, u32::MAX); 3], ..integers() },
            "positive spans reach beyond the last bucket there can be",
        ),
        (Sent { positive_spans: vec![span(0, 0); 5000], ..integers() }, "spans: more than 4096"),
        (Sent { positive_deltas: vec![0; 5000], ..integers() }, "buckets: more than 4096"),
        (Sent { custom_values: vec![1.0], ..integers() }, "custom bounds belong to schema -53 alone"),
    ];
    for (sent, reason) in cases {
        let request = read_all(vec![sent, integers()]).unwrap();
        assert_eq!(request.bad_histograms(), Some((1, format!("{{__name__=\"seconds\"}}: {reason}"))));
        assert_eq!(request.len(), 1, "the other one is taken");
    }
    let mut damaged = integers().encode_to_vec();
    damaged.truncate(damaged.len() - 1);
    assert_eq!(read(&damaged), Err(NotTaken::Damaged));
    let too_many = read_all(vec![Sent::default(); 70_000]).err();
    assert_eq!(too_many, Some(WriteRequestError::TooMany { what: "native histograms of one request", max: 65_536 }));
}
