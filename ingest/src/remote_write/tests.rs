//! Write requests made by prost from the specification's messages, read by ours.
#![allow(clippy::unwrap_used)]
use super::*;
use prost::Message;
use proto::Labels;

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<Series>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Metadata>,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "4")]
    help: String,
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    Series {
        labels: labels.iter().map(|(n, v)| Label { name: (*n).into(), value: (*v).into() }).collect(),
        samples: samples.iter().map(|&(timestamp, value)| Sample { value, timestamp }).collect(),
    }
}

fn read(timeseries: Vec<Series>) -> Result<WriteRequest, WriteRequestError> {
    let mut request = WriteRequest::default();
    request.read(&Request { timeseries, metadata: vec![] }.encode_to_vec())?;
    Ok(request)
}

#[test]
fn samples_and_labels_arrive_as_sent() {
    let stale = f64::from_bits(proto::samples::STALE_MARKER_BITS);
    let long = "v".repeat(300);
    let request = read(vec![
        series(&[("__name__", "up"), ("instance", "a")], &[(1_000, 1.0), (-5, stale)]),
        series(&[("z", "last"), ("__name__", "x"), ("empty", ""), ("long", &long)], &[(2_000, f64::NEG_INFINITY)]),
    ])
    .unwrap();
    let labels = request.labels();
    let sets: Vec<Labels> = labels.iter().map(|b| Labels::from_bytes(b).unwrap()).collect();
    assert_eq!(sets[0], Labels::from_pairs([("__name__", "up"), ("instance", "a")]));
    assert_eq!(sets[1], Labels::from_pairs([("__name__", "x"), ("long", &long), ("z", "last")]));
    let rows = request.rows(&labels);
    assert_eq!(rows.series, [0, 0, 1]);
    assert_eq!(rows.timestamps_ms, [1_000, -5, 2_000]);
    let bits: Vec<u64> = rows.values.iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, [1.0f64.to_bits(), stale.to_bits(), f64::NEG_INFINITY.to_bits()]);
}

/// A field of bytes shorter than 128.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

#[test]
fn labels_of_every_shape_are_read_alike() {
    let pair = |name: &[u8], value: &[u8]| bytes_field(1, &[bytes_field(1, name), bytes_field(2, value)].concat());
    let (a, b) = (pair(b"__name__", b"up"), pair(b"z", "ü".as_bytes()));
    let turned = bytes_field(1, &[bytes_field(2, b"up"), bytes_field(1, b"__name__")].concat());
    let twice = bytes_field(1, &[bytes_field(1, b"x"), bytes_field(1, b"__name__"), bytes_field(2, b"up")].concat());
    let row = bytes_field(2, &[0x10, 7]);
    let none = bytes_field(1, &bytes_field(1, b"empty"));
    let expected = Labels::from_pairs([("__name__", "up"), ("z", "ü")]);
    for (shape, parts) in [
        ("plain", vec![&a, &b, &row]),
        ("not in order", vec![&b, &row, &a]),
        ("row first", vec![&row, &a, &b]),
        ("row between", vec![&a, &row, &b]),
        ("value first", vec![&turned, &b, &row]),
        ("name twice", vec![&twice, &b, &row]),
        ("without a value", vec![&a, &none, &b, &row]),
    ] {
        let series = bytes_field(1, &parts.into_iter().flatten().copied().collect::<Vec<u8>>());
        let mut request = WriteRequest::default();
        request.read(&[series.clone(), series].concat()).unwrap_or_else(|e| panic!("{shape}: {e}"));
        let sets: Vec<Labels> = request.labels().iter().map(|b| Labels::from_bytes(b).unwrap()).collect();
        assert_eq!(sets, [expected.clone(), expected.clone()], "{shape}");
        assert_eq!((&request.series[..], &request.timestamps_ms[..]), (&[0, 1][..], &[7, 7][..]), "{shape}");
    }
    let cut = pair(b"__name__", &"ü".as_bytes()[..1]);
    let split = pair("ü".as_bytes(), b"v");
    for (shape, parts) in [
        ("half a character", vec![&cut, &row]),
        ("half a character, then more", vec![&cut, &b, &row]),
        ("a name twice", vec![&a, &a, &row]),
        ("a field cut off", vec![&a, &row, &none[..1].to_vec()]),
        ("no labels", vec![&row]),
    ] {
        let series = bytes_field(1, &parts.into_iter().flatten().copied().collect::<Vec<u8>>());
        assert!(WriteRequest::default().read(&series).is_err(), "{shape}");
    }
    let mut request = WriteRequest::default();
    request.read(&bytes_field(1, &[split, row].concat())).unwrap();
    assert_eq!(Labels::from_bytes(request.labels()[0]).unwrap(), Labels::from_pairs([("ü", "v")]));
}

#[test]
fn metadata_names_kinds() {
    let metadata = vec![
        Metadata { kind: 1, name: "a_total".into(), help: "counts".into() },
        Metadata { kind: 77, name: "b".into(), help: String::new() },
        Metadata { kind: 2, name: String::new(), help: "nameless".into() },
    ];
    let mut request = WriteRequest::default();
    request.read(&Request { timeseries: vec![], metadata }.encode_to_vec()).unwrap();
    let families: Vec<_> = request.families.iter().map(|f| (f.name.as_str(), f.kind.as_str())).collect();
    assert_eq!(families, [("a_total", "counter"), ("b", "unknown")]);
}

#[test]
fn rules_are_errors_with_their_series() {
    let good = series(&[("__name__", "up")], &[(1, 1.0)]);
    let label = |rule| WriteRequestError::Label { series: 1, rule };
    for (bad, expected) in [
        (series(&[("a", "1"), ("a", "2")], &[]), label("a label is there twice")),
        (series(&[("", "1")], &[]), label("a label has no name")),
        (series(&[], &[(1, 1.0)]), label("it has no labels")),
        (series(&[("a", "")], &[(1, 1.0)]), label("it has no labels")),
    ] {
        assert_eq!(read(vec![good.clone(), bad]).err(), Some(expected));
    }
    let many: Vec<(String, String)> = (0..=LABELS_MAX).map(|i| (format!("l{i:03}"), "v".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let expected = WriteRequestError::TooMany { what: "labels of one series", max: LABELS_MAX };
    assert_eq!(read(vec![series(&many, &[])]).err(), Some(expected));
}

#[test]
fn every_cut_of_a_request_is_an_error_or_a_shorter_request() {
    let whole = Request {
        timeseries: vec![
            series(&[("__name__", "up"), ("instance", "a")], &[(1_000, 1.0), (2_000, 0.5)]),
            series(&[("__name__", "down")], &[(1_000, 2.0)]),
        ],
        metadata: vec![],
    }
    .encode_to_vec();
    let mut request = WriteRequest::default();
    let mut errors = 0;
    for cut in 0..whole.len() {
        match request.read(&whole[..cut]) {
            Ok(()) => assert!(request.len() < 3),
            Err(WriteRequestError::Damaged(at)) => {
                assert!(at < cut);
                errors += 1;
            }
            Err(other) => panic!("cut {cut}: {other}"),
        }
    }
    assert!(errors > whole.len() / 2);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = WriteRequest::default().read(&bytes);
    }
}
