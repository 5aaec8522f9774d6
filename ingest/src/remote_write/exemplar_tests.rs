//! Exemplars made by prost from Prometheus' `prompb/types.proto`, and by hand where prost would not write them; read by ours.
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
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Sent>,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
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
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(name, value)| Label { name: (*name).into(), value: (*value).into() }).collect()
}

fn sent(pairs: &[(&str, &str)], value: f64, timestamp: i64) -> Sent {
    Sent { labels: labels(pairs), value, timestamp }
}

fn request(name: &str, exemplars: Vec<Sent>) -> Vec<u8> {
    let down = TimeSeries { labels: labels(&[("__name__", "down")]), ..TimeSeries::default() };
    let of = TimeSeries { labels: labels(&[("__name__", name)]), exemplars, ..TimeSeries::default() };
    Request { timeseries: vec![down, of] }.encode_to_vec()
}

fn rows(read: &WriteRequest) -> Vec<ExemplarRow<'_>> {
    read.exemplars(&read.labels()).1
}

/// A field of bytes shorter than 128.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

#[test]
fn exemplars_arrive_as_sent() {
    let mut read = WriteRequest::default();
    for name in ["up", "a name with a value of another shape"] {
        // the second has labels that are not plain: the series is read in two attempts
        let long = "v".repeat(200);
        let mut series = Request::decode(&request(name, vec![])[..]).unwrap();
        let further = [("long", long.as_str())];
        series.timeseries[1].labels.extend(labels(if name == "up" { &[] } else { &further }));
        series.timeseries[1].exemplars =
            vec![sent(&[("trace_id", "ab"), ("empty", ""), ("span", "ü")], 0.5, 7), sent(&[], f64::NEG_INFINITY, -7)];
        read.read(&series.encode_to_vec()).unwrap();
        let labels = read.labels();
        let (series, rows) = read.exemplars(&labels);
        assert_eq!(series.len(), 1, "a series without samples and exemplars is none");
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row.series, row.timestamp_ms, row.value, Labels::from_bytes(row.labels.unwrap()).unwrap()))
            .collect();
        let expected = [
            (0, 7, 0.5, Labels::from_pairs([("span", "ü"), ("trace_id", "ab")])),
            (0, -7, f64::NEG_INFINITY, Labels::empty()),
        ];
        assert_eq!(found, expected);
        assert!(read.is_empty() && labels.is_empty(), "exemplars are no samples");
    }
    read.read(&request("up", vec![])).unwrap();
    assert_eq!(rows(&read), []);
}

#[test]
fn they_point_to_their_series_with_samples_and_without() {
    let of = |name: &str, has_samples: bool, times: &[i64]| TimeSeries {
        labels: labels(&[("__name__", name)]),
        samples: if has_samples { vec![Sample::default()] } else { vec![] },
        exemplars: times.iter().map(|time| sent(&[], 0.0, *time)).collect(),
    };
    let timeseries = vec![
        of("a", false, &[1]),
        of("b", true, &[2]),
        of("c", false, &[]),
        of("d", false, &[3, 4]),
        of("e", true, &[]),
        of("b", true, &[5]),
    ];
    let mut read = WriteRequest::default();
    read.read(&Request { timeseries }.encode_to_vec()).unwrap();
    let labels = read.labels();
    let names = |of: &[&[u8]]| {
        of.iter().map(|bytes| Labels::from_bytes(bytes).unwrap().metric_name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&labels), ["b", "e", "b"]);
    assert_eq!(read.rows(&labels).series, [0, 1, 2]);
    let (series, rows) = read.exemplars(&labels);
    let series = names(&series);
    let found: Vec<_> = rows.iter().map(|row| (series[row.series as usize].as_str(), row.timestamp_ms)).collect();
    assert_eq!(found, [("a", 1), ("b", 2), ("d", 3), ("d", 4), ("b", 5)]);
}

/// Labels that are none cost their exemplar alone; what is no protobuf costs the request.
#[test]
fn what_is_wrong_with_labels_stays_with_their_exemplar() {
    let many: Vec<(String, &str)> = (0..=LABELS_MAX).map(|i| (format!("l{i}"), "v")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    for (pairs, expected) in [
        (&[("a", "1"), ("a", "2")][..], NotKept::BadLabels),
        (&[("", "1")], NotKept::BadLabels),
        (&many, NotKept::LabelsTooLong),
    ] {
        let mut read = WriteRequest::default();
        read.read(&request("up", vec![sent(pairs, 1.0, 1), sent(&[("a", "1")], 2.0, 2)])).unwrap();
        let rows = rows(&read);
        assert_eq!(rows[0].labels, Err(expected));
        assert_eq!(rows[1].labels, Ok(&b"\x01a\x011"[..]));
    }
    let name = bytes_field(1, &[bytes_field(1, b"__name__"), bytes_field(2, b"up")].concat());
    let with = |exemplar: &[u8]| bytes_field(1, &[name.clone(), bytes_field(3, exemplar)].concat());
    let mut read = WriteRequest::default();
    let latin1 = bytes_field(1, &[bytes_field(1, b"a"), bytes_field(2, b"\xfc")].concat());
    read.read(&with(&latin1)).unwrap();
    assert_eq!(rows(&read)[0].labels, Err(NotKept::BadLabels));
    for damaged in [
        &[0x0a, 5][..],
        &[0x11, 0, 0],
        &[0x18],
        &[0x18, 0xff],
        &[0x0b],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(read.read(&with(damaged)), Err(WriteRequestError::Damaged(0)), "{damaged:?}");
    }
    // fields of another type, and unknown ones, are passed over
    read.read(&with(&[0x10, 3, 0x1a, 1, 0, 0x20, 9, 0x18, 4])).unwrap();
    assert_eq!((rows(&read)[0].value, rows(&read)[0].timestamp_ms), (0.0, 4));
}

#[test]
fn every_cut_is_an_error_or_has_fewer() {
    let whole = request("up", vec![sent(&[("trace_id", "ab")], 0.5, 7), sent(&[("trace_id", "cd")], 1.5, 8)]);
    let mut read = WriteRequest::default();
    let mut errors = 0;
    for cut in 0..whole.len() {
        match read.read(&whole[..cut]) {
            Ok(()) => assert_eq!(rows(&read).len(), 0),
            Err(WriteRequestError::Damaged(at)) => {
                assert!(at < cut);
                errors += 1;
            }
            Err(other) => panic!("cut {cut}: {other}"),
        }
    }
    assert!(errors > whole.len() / 2);
}

#[test]
fn they_are_bounded() {
    let empty = [0x1a, 0].repeat(EXEMPLARS_MAX);
    let name = bytes_field(1, &[bytes_field(1, b"__name__"), bytes_field(2, b"up")].concat());
    let series = |more: &[u8]| {
        let body = [&name[..], &empty, more].concat();
        let (low, middle, high) = ((body.len() & 0x7f) | 0x80, ((body.len() >> 7) & 0x7f) | 0x80, body.len() >> 14);
        [&[0x0a, low as u8, middle as u8, high as u8][..], &body].concat()
    };
    let mut read = WriteRequest::default();
    read.read(&series(&[])).unwrap();
    assert_eq!(rows(&read).len(), EXEMPLARS_MAX);
    let expected = WriteRequestError::TooMany { what: "exemplars of one request", max: EXEMPLARS_MAX };
    assert_eq!(read.read(&series(&[0x1a, 0])), Err(expected));
}
