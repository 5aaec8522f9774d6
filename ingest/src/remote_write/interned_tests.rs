//! Requests of 2.0 made by prost from `prompb/io/prometheus/write/v2/types.proto`, and by hand where prost would not write them;
//! read by ours.
#![allow(clippy::unwrap_used)]

use prost::Message as _;
use proto::{Labels, batch::ROWS_MAX, histogram::Counts};

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries>,
}
#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeries {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<Exemplar>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata>,
    #[prost(int64, tag = "6")]
    created_timestamp: i64,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(int64, tag = "17")]
    start_timestamp: i64,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}
#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

/// As a sender makes it: a table of symbols that grows with the series.
struct Sender(Request);

impl Sender {
    fn new() -> Sender {
        Sender(Request { symbols: vec![String::new()], timeseries: vec![] })
    }

    fn symbol(&mut self, text: &str) -> u32 {
        let symbols = &mut self.0.symbols;
        let at = symbols.iter().position(|known| known == text).unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        });
        at as u32
    }

    fn labels(&mut self, pairs: &[(&str, &str)]) -> Vec<u32> {
        pairs.iter().flat_map(|(name, value)| [*name, *value]).map(|text| self.symbol(text)).collect()
    }

    fn add(&mut self, pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> &mut TimeSeries {
        let labels_refs = self.labels(pairs);
        let sample =
            |(timestamp, value): &(i64, f64)| Sample { value: *value, timestamp: *timestamp, start_timestamp: 7 };
        let samples = samples.iter().map(sample).collect();
        self.0.timeseries.push(TimeSeries { labels_refs, samples, ..TimeSeries::default() });
        self.0.timeseries.last_mut().unwrap()
    }

    fn read(&self) -> Read<WriteRequest> {
        read(&self.0.encode_to_vec())
    }
}

fn read(bytes: &[u8]) -> Read<WriteRequest> {
    let mut request = WriteRequest::default();
    request.read_interned(bytes)?;
    Ok(request)
}

/// Series with samples, a histogram, exemplars and metadata of every kind.
fn shop() -> Sender {
    let mut sender = Sender::new();
    let (help, unit) = (sender.symbol("Orders."), sender.symbol("orders"));
    let trace = sender.labels(&[("trace_id", "ab")]);
    let orders =
        sender.add(&[("__name__", "orders_total"), ("shop", "北京")], &[(1_000, 1.0), (-5, f64::NEG_INFINITY)]);
    orders.metadata = Some(Metadata { kind: 1, help_ref: help, unit_ref: unit });
    orders.exemplars = vec![Exemplar { labels_refs: trace, value: 0.5, timestamp: 7 }, Exemplar::default()];
    let seconds = sender.add(&[("__name__", "seconds"), ("shop", "x")], &[]);
    seconds.metadata = Some(Metadata { kind: 3, ..Metadata::default() });
    seconds.created_timestamp = 5;
    seconds.histograms = vec![Histogram {
        count: 3,
        sum: 4.5,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive_deltas: vec![1, 1],
        timestamp: 9,
        start_timestamp: 3,
    }];
    sender
}

#[test]
fn everything_arrives_as_sent() {
    let request = shop().read().unwrap();
    let labels = request.labels();
    let sets: Vec<Labels> = labels.iter().map(|bytes| Labels::from_bytes(bytes).unwrap()).collect();
    let orders = Labels::from_pairs([("__name__", "orders_total"), ("shop", "北京")]);
    assert_eq!(sets, [orders, Labels::from_pairs([("__name__", "seconds"), ("shop", "x")])]);
    let rows = request.rows(&labels);
    assert_eq!(
        (rows.series, rows.timestamps_ms, rows.values),
        (&[0, 0][..], &[1_000, -5][..], &[1.0, f64::NEG_INFINITY][..])
    );
    let [histogram] = rows.histograms else { panic!("{} histograms", rows.histograms.len()) };
    assert_eq!((histogram.series, histogram.timestamp_ms, histogram.histogram.sum()), (1, 9, 4.5));
    let Counts::Integers(counts) = histogram.histogram.counts() else { panic!("it counts") };
    assert_eq!(counts[..], [3, 0, 1, 2]);
    let family = |name: &str, kind: &str, help: &str, unit: &str| Family {
        name: name.into(),
        kind: kind.into(),
        help: help.into(),
        unit: unit.into(),
    };
    let expected = [family("orders_total", "counter", "Orders.", "orders"), family("seconds", "histogram", "", "")];
    assert_eq!(rows.families, expected);
    let (series, exemplars) = request.exemplars(&labels);
    assert_eq!(series, labels);
    let found: Vec<_> = exemplars.iter().map(|e| (e.series, e.timestamp_ms, e.value, e.labels.unwrap())).collect();
    assert_eq!(found, [(0, 7, 0.5, &b"\x08trace_id\x02ab"[..]), (0, 0, 0.0, b"")]);
}

/// The bytes of a request as the specification has them; a change here breaks senders.
#[test]
fn golden_bytes_are_read() {
    let golden = include_bytes!("../../testdata/remote-write-2.0.bin");
    assert_eq!(shop().0.encode_to_vec(), golden);
    let (golden, sent) = (read(golden).unwrap(), shop().read().unwrap());
    let (labels, of_sent) = (golden.labels(), sent.labels());
    assert_eq!((&labels, golden.len()), (&of_sent, 3));
    assert_eq!(golden.exemplars(&labels), sent.exemplars(&of_sent));
}

/// A field of bytes shorter than 128.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

#[test]
fn messages_of_every_shape_are_read_alike() {
    let symbols: Vec<u8> =
        ["", "__name__", "up", "z", "ü", "empty"].iter().flat_map(|s| bytes_field(4, s.as_bytes())).collect();
    let row = bytes_field(2, &[0x10, 7]);
    let expected = Labels::from_pairs([("__name__", "up"), ("z", "ü")]);
    for (shape, parts) in [
        ("packed", vec![bytes_field(1, &[1, 2, 3, 4]), row.clone()]),
        ("one by one", vec![vec![8, 1, 8, 2, 8, 3, 8, 4], row.clone()]),
        ("in pieces, around a row", vec![bytes_field(1, &[1]), vec![8, 2], row.clone(), bytes_field(1, &[3, 4])]),
        ("not in order", vec![bytes_field(1, &[3, 4, 1, 2]), row.clone()]),
        ("an empty value", vec![bytes_field(1, &[1, 2, 5, 0, 3, 4]), row.clone()]),
        ("numbers longer than they need be", vec![bytes_field(1, &[0x81, 0, 2, 3, 0x84, 0x80, 0]), row.clone()]),
    ] {
        let series = bytes_field(5, &parts.concat());
        for (place, whole) in
            [("before", [&symbols[..], &series].concat()), ("behind", [&series[..], &symbols].concat())]
        {
            let request = read(&whole).unwrap_or_else(|e| panic!("{shape}, symbols {place}: {e}"));
            let sets: Vec<Labels> = request.labels().iter().map(|bytes| Labels::from_bytes(bytes).unwrap()).collect();
            assert_eq!(sets, std::slice::from_ref(&expected), "{shape}, symbols {place}");
            assert_eq!(request.rows(&request.labels()).timestamps_ms, [7], "{shape}");
        }
    }
}

/// What is wrong, and the words that say which series and field it is in.
#[test]
fn what_is_wrong_is_said_with_its_place() {
    let mut good = Sender::new();
    good.add(&[("__name__", "up"), ("a", "1")], &[(1, 1.0)]);
    let with = |change: &dyn Fn(&mut Request)| {
        let mut sender = Sender(good.0.clone());
        sender.add(&[("__name__", "up"), ("a", "1")], &[(1, 1.0)]);
        change(&mut sender.0);
        sender.read().err().map(|e| e.to_string())
    };
    let second = |change: &dyn Fn(&mut TimeSeries)| with(&|request| change(&mut request.timeseries[1]));
    assert_eq!(second(&|_| ()), None);
    let refs = |refs: &[u32]| second(&|series| series.labels_refs = refs.to_vec());
    let exemplar = |refs: &[u32]| {
        second(&|series| series.exemplars = vec![Exemplar { labels_refs: refs.to_vec(), ..Exemplar::default() }])
    };
    let metadata =
        |help_ref, unit_ref| second(&|series| series.metadata = Some(Metadata { kind: 1, help_ref, unit_ref }));
    for (found, expected) in [
        (refs(&[1, 5]), "series 1: labels_refs: 5 is past the 5 symbols"),
        (refs(&[u32::MAX, 2]), "series 1: labels_refs: 4294967295 is past the 5 symbols"),
        (refs(&[1, 2, 3]), "series 1: labels_refs: 3 references are no pairs"),
        (refs(&[]), "series 1: it has no labels"),
        (refs(&[1, 0]), "series 1: it has no labels"),
        (refs(&[1, 2, 0, 4]), "series 1: a label has no name"),
        (refs(&[1, 2, 3, 4, 3, 4]), "series 1: a label is there twice"),
        (refs(&[1; 2 * LABELS_MAX + 1]), "labels of one series: more than 128"),
        (exemplar(&[9, 9]), "series 1: exemplars.labels_refs: 9 is past the 5 symbols"),
        (exemplar(&[1]), "series 1: exemplars.labels_refs: 1 references are no pairs"),
        (exemplar(&[1; 2 * LABELS_MAX + 1]), "labels of one exemplar: more than 128"),
        (metadata(5, 0), "series 1: metadata.help_ref: 5 is past the 5 symbols"),
        (metadata(0, 77), "series 1: metadata.unit_ref: 77 is past the 5 symbols"),
        (
            with(&|request| request.symbols[0].push('x')),
            "symbols: 0: the first must be empty: it is what references mean that are not set",
        ),
        (with(&|request| request.symbols.clear()), "symbols: 0: there are none"),
        (
            read(&[&good.0.encode_to_vec()[..], &bytes_field(4, b"\xff")].concat()).err().map(|e| e.to_string()),
            "symbols: 5: it is not UTF-8",
        ),
        (read(b"").err().map(|e| e.to_string()), "symbols: 0: there are none"),
    ] {
        assert_eq!(found.as_deref(), Some(expected));
    }
    // labels that break a rule of exemplars cost their exemplar alone
    let mut sender = shop();
    let twice = sender.labels(&[("a", "1"), ("a", "2")]);
    sender.0.timeseries[0].exemplars[0].labels_refs = twice;
    let request = sender.read().unwrap();
    let kept: Vec<_> = request.exemplars(&request.labels()).1.iter().map(|row| row.labels.is_ok()).collect();
    assert_eq!(kept, [false, true]);
}

#[test]
fn metadata_has_the_names_that_1_0_gives_it() {
    for (series, kind, expected) in [
        ("a_total", 1, Some(("a_total", "counter"))),
        ("a_seconds_bucket", 3, Some(("a_seconds", "histogram"))),
        ("a_seconds_count", 3, Some(("a_seconds", "histogram"))),
        ("a_seconds_sum", 3, Some(("a_seconds", "histogram"))),
        ("a_seconds", 3, Some(("a_seconds", "histogram"))),
        ("a_gsum", 4, Some(("a", "gaugehistogram"))),
        ("a_sum", 5, Some(("a", "summary"))),
        ("a_bucket", 5, Some(("a_bucket", "summary"))),
        ("a_count", 2, Some(("a_count", "gauge"))),
        ("a_info", 6, Some(("a_info", "info"))),
        ("a", 7, Some(("a", "stateset"))),
        ("a", 0, None),
        ("_sum", 5, None),
    ] {
        let mut sender = Sender::new();
        sender.add(&[("__name__", series)], &[(1, 1.0)]).metadata = Some(Metadata { kind, ..Metadata::default() });
        let request = sender.read().unwrap();
        let found = request.families.first().map(|family| (family.name.as_str(), family.kind.as_str()));
        assert_eq!(found, expected, "{series} {kind}");
    }
    // the first word about a metric counts; help alone says something too
    let mut sender = Sender::new();
    let help = [sender.symbol("one"), sender.symbol("two")];
    for (shop, help_ref) in [("x", help[0]), ("y", help[1])] {
        let metadata = Metadata { kind: 99, help_ref, unit_ref: 0 };
        sender.add(&[("__name__", "a"), ("shop", shop)], &[(1, 1.0)]).metadata = Some(metadata);
    }
    let request = sender.read().unwrap();
    let found: Vec<_> = request.families.iter().map(|f| (f.name.as_str(), f.kind.as_str(), f.help.as_str())).collect();
    assert_eq!(found, [("a", "unknown", "one")]);
}

#[test]
fn what_references_stand_for_is_bounded() {
    let mut sender = Sender::new();
    sender.add(&[("__name__", &"x".repeat(1 << 20))], &[(1, 1.0)]);
    let one = sender.0.timeseries[0].clone();
    sender.0.timeseries = vec![one.clone(); (EXPANDED_BYTES_MAX >> 20) - 1];
    assert!(sender.read().is_ok());
    sender.0.timeseries.push(one);
    let too_many = WriteRequestError::TooMany {
        what: "bytes of labels and metadata of one request, references replaced",
        max: EXPANDED_BYTES_MAX,
    };
    assert_eq!(sender.read().err(), Some(too_many));
    let symbols = bytes_field(4, b"").repeat(SYMBOLS_MAX);
    assert!(read(&symbols).is_ok());
    let too_many = WriteRequestError::TooMany { what: "symbols of one request", max: SYMBOLS_MAX };
    assert_eq!(read(&[&symbols[..], &bytes_field(4, b"")].concat()).err(), Some(too_many));
    let series = bytes_field(5, &[&[8, 1, 8, 1][..], &[0x12, 0].repeat(50)].concat());
    let many = [&bytes_field(4, b"")[..], &bytes_field(4, b"a"), &series.repeat(ROWS_MAX / 50 + 1)].concat();
    let too_many = WriteRequestError::TooMany { what: "samples of one request", max: ROWS_MAX };
    assert_eq!(read(&many).err(), Some(too_many));
}

#[test]
fn every_cut_of_a_request_is_an_error_or_a_shorter_request() {
    let whole = shop().0.encode_to_vec();
    let mut errors = 0;
    for cut in 0..whole.len() {
        match read(&whole[..cut]) {
            Ok(request) => assert!(request.len() < 3, "cut {cut}"),
            Err(WriteRequestError::Damaged(at)) => {
                assert!(at < cut);
                errors += 1;
            }
            Err(WriteRequestError::Symbol { .. }) => assert_eq!(cut, 0),
            Err(other) => panic!("cut {cut}: {other}"),
        }
    }
    assert!(errors > whole.len() / 2);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = read(&[&b"\x22\x00\x22\x01a"[..], &bytes].concat());
    }
}
