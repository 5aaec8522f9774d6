//! Messages as their bytes; how a real server's page reads is told by `tests/tests/collector_databases/scrape_peers.rs`.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use proto::histogram::{Counts, Layout, ResetHint, Shape, Span};

use super::*;
use crate::scrape::exposition::LeftOut;

const CLASSIC: HistogramParts = HistogramParts { native: false, classic_too: false };
const NATIVE: HistogramParts = HistogramParts { native: true, classic_too: false };
const BOTH: HistogramParts = HistogramParts { native: true, classic_too: true };

fn read(body: &[u8]) -> Result<Page, ProtobufError> {
    super::read(body, CLASSIC)
}

fn labelled(metric: Metric) -> Metric {
    Metric { label: vec![LabelPair { name: "a".into(), value: "ü\"1".into() }], ..metric }
}

/// A family with its length before it; `kind` is the number of its type.
fn family(name: &str, kind: u8, metrics: &[Metric]) -> Vec<u8> {
    let mut fields = vec![0x0a, name.len() as u8];
    fields.extend_from_slice(name.as_bytes());
    fields.extend([0x12, 2, b'h', b'i', 0x18, kind]);
    for metric in metrics {
        fields.push(0x22);
        fields.extend(metric.encode_length_delimited_to_vec());
    }
    let mut out = Vec::new();
    prost::encoding::encode_varint(fields.len() as u64, &mut out);
    out.extend(fields);
    out
}

fn lines(body: &[u8]) -> Vec<String> {
    text(read(body).unwrap().samples)
}

fn text(samples: Vec<Sample>) -> Vec<String> {
    let one = |s: Sample| {
        let labels: Vec<String> = s.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let at = s.ts_ms.map_or(String::new(), |t| format!(" @{t}"));
        format!("{}[{}] {}{at}", s.name, labels.join(","), s.value)
    };
    samples.into_iter().map(one).collect()
}

fn plain(value: f64) -> Option<Plain> {
    Some(Plain { value })
}

#[test]
fn every_type_gives_what_its_text_gives() {
    let buckets = [(0.005, 1), (1.0, 3), (2_097_152.0, 4)];
    let bucket = |&(upper_bound, cumulative_count): &(f64, u64)| Bucket {
        upper_bound,
        cumulative_count,
        cumulative_count_float: 0.0,
    };
    let classic = Histogram {
        sample_count: 5,
        sample_sum: 2.5,
        bucket: buckets.iter().map(bucket).collect(),
        ..Histogram::default()
    };
    let summary = Summary {
        sample_count: 7,
        sample_sum: 1.5,
        quantile: vec![Quantile { quantile: 0.99, value: 3.0 }, Quantile { quantile: 1.0, value: f64::NAN }],
    };
    for (kind, metric, want) in [
        (0, Metric { counter: plain(3.0), ..Metric::default() }, vec!["m[a=ü\"1] 3"]),
        (1, Metric { gauge: plain(-0.5), timestamp_ms: Some(77), ..Metric::default() }, vec!["m[a=ü\"1] -0.5 @77"]),
        (3, Metric { untyped: plain(f64::INFINITY), ..Metric::default() }, vec!["m[a=ü\"1] inf"]),
        (
            2,
            Metric { summary: Some(summary), ..Metric::default() },
            vec!["m[a=ü\"1,quantile=0.99] 3", "m[a=ü\"1,quantile=1.0] NaN", "m_sum[a=ü\"1] 1.5", "m_count[a=ü\"1] 7"],
        ),
        (
            4,
            Metric { histogram: Some(classic), ..Metric::default() },
            vec![
                "m_bucket[a=ü\"1,le=0.005] 1",
                "m_bucket[a=ü\"1,le=1.0] 3",
                "m_bucket[a=ü\"1,le=2.097152e+06] 4",
                "m_bucket[a=ü\"1,le=+Inf] 5",
                "m_sum[a=ü\"1] 2.5",
                "m_count[a=ü\"1] 5",
            ],
        ),
    ] {
        let body = family("m", kind, &[labelled(metric)]);
        assert_eq!(lines(&body), want);
        let page = read(&body).unwrap();
        assert_eq!((&*page.families[0].kind, &*page.families[0].help), (KINDS[usize::from(kind)], "hi"));
        assert_eq!(page.left_out, LeftOut::default());
    }
}

#[test]
fn no_nan_of_a_page_ends_a_series() {
    let stale = f64::from_bits(proto::samples::STALE_MARKER_BITS);
    let page = read(&family("m", 1, &[Metric { gauge: plain(stale), ..Metric::default() }])).unwrap();
    assert_eq!(page.samples[0].value.to_bits(), f64::NAN.to_bits());
}

/// Tag and value of an unpacked double; a small number; bytes.
fn double(tag: u8, value: f64) -> Vec<u8> {
    [&[tag << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn small(tag: u8, value: u8) -> Vec<u8> {
    vec![tag << 3, value]
}

fn bytes(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2, value.len() as u8][..], value].concat()
}

/// A family of one metric whose histogram has these fields; `kind` is the number of its type.
fn histogram(kind: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let metric = bytes(4, &bytes(7, &fields.concat()));
    let body = [bytes(1, b"m"), small(3, kind), metric].concat();
    [&[body.len() as u8][..], &body].concat()
}

/// A histogram whose native part is sound: 9 observations with a sum of 2.5, of which 2 are in the zero bucket, 3, 1 and 2 in
/// buckets -1, 0 and 4, and 1 in the negative bucket 1; `spans` and what follows may stand for some of it.
fn sound() -> Vec<Vec<u8>> {
    vec![
        small(1, 9),
        double(2, 2.5),
        small(5, 6), // schema 3
        double(6, 0.001),
        small(7, 2),
        bytes(9, &[0x08, 2, 0x10, 1]),
        small(10, 2),
        bytes(12, &[0x08, 1, 0x10, 2]),
        bytes(12, &[0x08, 6, 0x10, 1]),
        small(13, 6),
        small(13, 3),
        small(13, 2),
    ]
}

/// The one native histogram of a page, as what it was made of.
fn native_of(body: &[u8]) -> proto::Histogram {
    let page = super::read(body, NATIVE).unwrap();
    assert_eq!((page.samples.len(), page.histograms.len(), &page.left_out), (0, 1, &LeftOut::default()), "{page:?}");
    assert_eq!(page.histograms[0].name, "m");
    page.histograms[0].value.clone()
}

#[test]
fn a_native_histogram_is_taken_as_its_bytes_say() {
    let span = |offset, length| Span { offset, length };
    let shape = |hint| Shape {
        hint,
        schema: 3,
        zero_threshold: 0.001,
        positive: vec![span(-1, 2), span(3, 1)],
        negative: vec![span(1, 1)],
        bounds: Vec::new(),
    };
    let made = |hint, counts| proto::Histogram::new(Arc::new(Layout::new(shape(hint)).unwrap()), 2.5, counts).unwrap();
    let integers = Counts::Integers(vec![9, 2, 3, 1, 2, 1]);
    assert_eq!(native_of(&histogram(4, &sound())), made(ResetHint::Unknown, integers.clone()));
    // a gauge is known by its family
    assert_eq!(native_of(&histogram(5, &sound())), made(ResetHint::Gauge, integers.clone()));
    // packed, as protobuf allows too
    let mut packed = sound();
    packed.truncate(9);
    packed.push(bytes(13, &[6, 3, 2]));
    assert_eq!(native_of(&histogram(4, &packed)), made(ResetHint::Unknown, integers));
    // floats: what counts in integers beside them is not looked at
    let mut floats = sound();
    floats.extend([double(4, 8.25), double(8, 0.5), double(11, 1.5)]);
    floats.extend([3.25, 1.0, 2.0].map(|count| double(14, count)));
    let counts = Counts::Floats(vec![8.25, 0.5, 3.25, 1.0, 2.0, 1.5]);
    assert_eq!(native_of(&histogram(4, &floats)), made(ResetHint::Unknown, counts));
    // one that has observed nothing is known by an empty span
    let unused = native_of(&histogram(4, &[bytes(12, &[])]));
    assert!(unused.counts().len() == 2 && !unused.is_stale(), "{unused:?}");
    // and no sum of a page ends a series
    let stale = f64::from_bits(proto::samples::STALE_MARKER_BITS);
    let nan = native_of(&histogram(4, &[small(1, 1), double(2, stale), bytes(12, &[])]));
    assert_eq!(nan.sum().to_bits(), f64::NAN.to_bits());
}

#[test]
fn the_job_chooses_the_parts_of_a_histogram() {
    let mut both = sound();
    both.push(bytes(3, &[small(1, 4), double(2, 0.5)].concat()));
    let classic = ["m_bucket[le=0.5] 4", "m_bucket[le=+Inf] 9", "m_sum[] 2.5", "m_count[] 9"];
    let found = |body: &[u8], parts| {
        let page = super::read(body, parts).unwrap();
        (text(page.samples), page.histograms.len(), page.left_out.not_asked_for)
    };
    let body = histogram(4, &both);
    assert_eq!(found(&body, CLASSIC), (classic.map(str::to_owned).to_vec(), 0, 1));
    assert_eq!(found(&body, NATIVE), (Vec::new(), 1, 0));
    assert_eq!(found(&body, BOTH), (classic.map(str::to_owned).to_vec(), 1, 0));
    // without classic buckets there is nothing to keep beside it, and little instead of it
    let alone = histogram(4, &sound());
    assert_eq!(found(&alone, BOTH), (Vec::new(), 1, 0));
    assert_eq!(found(&alone, CLASSIC), (classic[1..].iter().map(|l| (*l).to_owned()).collect(), 0, 1));
    // a histogram without a native part is what it is
    let plain = histogram(4, &[small(1, 9), double(2, 2.5)]);
    for parts in [CLASSIC, NATIVE, BOTH] {
        assert_eq!(found(&plain, parts), (classic[1..].iter().map(|l| (*l).to_owned()).collect(), 0, 0));
    }
}

#[test]
fn a_broken_native_histogram_is_left_out_with_its_reason() {
    let without = |tag: u8| sound().into_iter().filter(move |field| field[0] >> 3 != tag).collect::<Vec<_>>();
    let with = |field: Vec<u8>| {
        let mut fields = without(field[0] >> 3);
        fields.push(field);
        fields
    };
    let span = |offset, length| bytes(12, &[varint(1, offset), varint(2, length)].concat());
    let after = |more: Vec<u8>| [sound(), vec![more]].concat();
    for (fields, why) in [
        (with(small(5, 18)), "its schema is 9"),
        (with(small(5, 9)), "its schema is -5"),
        (with(small(5, 105)), "its schema is -53, whose bounds this format does not carry"),
        (with(double(6, -1.0)), "its zero threshold must be at least 0"),
        (with(double(6, f64::NAN)), "its zero threshold must be at least 0"),
        (with(small(1, 8)), "its buckets hold 9 observations, its count is 8"),
        (without(10), "negative spans need 1 buckets, there are 0"),
        (after(small(13, 0)), "positive spans need 3 buckets, there are 4"),
        (after(span(1, 1)), "positive span 3 has a negative offset"),
        (after(span(0, 4096)), "buckets: more than 4096"),
        (after(span(u64::from(u32::MAX) - 1, 1)), "reach beyond the last bucket"),
        (after(span(0, u64::from(u32::MAX))), "reach beyond the last bucket"),
        (without(12).into_iter().chain([span(0, 3)]).chain([small(13, 5)]).collect(), "need 3 buckets, there are 4"),
        (with(varint(13, 1)), "positive spans need 3"),
        ([without(13), [1, 0, 0].map(|n| small(13, n)).to_vec()].concat(), "a bucket's count is negative"),
        (
            [without(13), vec![varint(13, u64::MAX - 1), small(13, 2), small(13, 0)]].concat(),
            "a bucket's count is negative, or beyond 64 bits",
        ),
        (after(double(4, 3.0)), "positive spans need 3 buckets, there are 0"),
        (
            [after(double(4, 3.0)), [-1.0, 0.0, 0.0].map(|n| double(14, n)).to_vec(), vec![double(11, 0.0)]].concat(),
            "a bucket's count is negative",
        ),
    ] {
        let good = histogram(4, &sound());
        let page = super::read(&[good.clone(), histogram(4, &fields), good].concat(), NATIVE).unwrap();
        assert_eq!((page.left_out.broken, page.left_out.not_asked_for), (1, 0), "{why}: {page:?}");
        let said = page.left_out.why.unwrap();
        assert!(said.starts_with("m{}: ") && said.contains(why), "{said} instead of {why}");
        // its neighbours are taken, and so is what it has in common with a classic one
        assert_eq!(page.histograms.len(), 2);
        assert_eq!(page.samples.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["m_bucket", "m_sum", "m_count"]);
    }
}

#[test]
fn bytes_that_are_no_histogram_fail_the_page() {
    for (fields, want) in [
        (vec![bytes(12, &[0x08])], "varint"),
        (vec![bytes(12, &[0x08, 0xff])], "varint"),
        (vec![vec![12 << 3, 1]], "wire type"),
        (vec![vec![6 << 3 | 1, 0, 0]], "underflow"),
        (vec![bytes(14, &[0; 7])], "underflow"),
        (vec![bytes(13, &[0x80])], "varint"),
        (vec![vec![13 << 3 | 2, 9, 1]], "underflow"),
    ] {
        let error = super::read(&histogram(4, &fields), NATIVE).unwrap_err();
        assert!(error.what.contains(want), "{error}: {want}");
    }
}

#[test]
fn a_page_of_native_histograms_is_bounded_by_their_memory() {
    let fields = [varint(1, 4096), span_of(4096), packed_ones(4096)];
    let value: Vec<u8> = fields.concat();
    let metric = long(4, &long(7, &value));
    let metrics = SAMPLES_MAX / (4096 / 2) + 1;
    let body = [bytes(1, b"m"), small(3, 4), metric.repeat(metrics)].concat();
    let mut page = Vec::new();
    prost::encoding::encode_varint(body.len() as u64, &mut page);
    page.extend(&body);
    let error = super::read(&page, NATIVE).unwrap_err();
    assert!(error.what.contains("at most 2000000 are read"), "{error}");
    assert_eq!(super::read(&page, CLASSIC).unwrap().samples.len(), 3 * metrics);
}

fn varint(tag: u8, value: u64) -> Vec<u8> {
    let mut field = vec![tag << 3];
    prost::encoding::encode_varint(value, &mut field);
    field
}

/// Tag, length and bytes, however many.
fn long(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![tag << 3 | 2];
    prost::encoding::encode_varint(value.len() as u64, &mut field);
    field.extend(value);
    field
}

/// A positive span from bucket 0 on.
fn span_of(length: u64) -> Vec<u8> {
    bytes(12, &varint(2, length))
}

/// As many buckets of one observation each.
fn packed_ones(buckets: usize) -> Vec<u8> {
    let mut deltas = vec![0; buckets];
    deltas[0] = 2;
    long(13, &deltas)
}

/// What Prometheus' own client writes; see `record.go` beside the pages.
#[test]
fn a_recorded_page_is_read_with_both_parts() {
    let page = include_bytes!("../../testdata/native_histograms/page.pb");
    let count = |parts| {
        let page = super::read(page, parts).unwrap();
        let native: Vec<String> = page
            .histograms
            .iter()
            .map(|h| format!("{} {} {}", h.name, h.value.layout().columns(), h.value.is_float()))
            .collect();
        (page.samples.len(), native, page.left_out)
    };
    let (classic, none, left_out) = count(CLASSIC);
    assert_eq!((none.len(), left_out.not_asked_for, left_out.broken), (0, 5, 0));
    let (few, native, left_out) = count(NATIVE);
    assert_eq!((native.len(), left_out), (5, LeftOut::default()));
    assert!(native.contains(&"shop_weighted_seconds 7 true".to_owned()), "{native:?}");
    assert!(native.contains(&"shop_unused_seconds 2 false".to_owned()), "{native:?}");
    // a counter, and the histogram that is classic alone
    assert_eq!(few, 1 + 5);
    // of those that are both, each of two paths: three buckets and +Inf, sum, count
    assert_eq!(count(BOTH).0, few + 2 * 6);
    assert_eq!(classic, few + 2 * 6 + 3 * 3);
}

#[test]
fn what_is_wrong_is_said_with_its_family() {
    let good = family("m", 0, &[Metric { counter: plain(1.0), ..Metric::default() }]);
    let twice = LabelPair { name: "a".into(), value: "1".into() };
    let doubled = Metric { label: vec![twice.clone(), twice], counter: plain(1.0), ..Metric::default() };
    let unnamed = Metric { label: vec![LabelPair::default()], counter: plain(1.0), ..Metric::default() };
    let large = Metric {
        label: vec![LabelPair { name: "a".into(), value: "x".repeat(METRIC_BYTES_MAX) }],
        ..Metric::default()
    };
    for (bad, want) in [
        (family("m", 1, &[Metric { counter: plain(1.0), ..Metric::default() }]), "a metric has no gauge"),
        (family("1m", 0, &[]), "is no metric name"),
        (family("m", 9, &[]), "type 9 is not known"),
        (family("m", 0, &[doubled]), "given twice"),
        (family("m", 0, &[unnamed]), "no label name"),
        (family("m", 0, &[large]), "at most 1048576 are read"),
        (good[..good.len() - 1].to_vec(), "cut"),
        (vec![3, 0x0a, 9, b'm'], "cut"),
        (vec![0xff; 11], "varint"),
        (vec![1, 0x0b], "no allowed wire type"),
    ] {
        let error = read(&[good.clone(), bad].concat()).unwrap_err();
        assert!(error.family == 2 && error.what.contains(want), "{error}");
    }
    assert_eq!(lines(&[]), Vec::<String>::new());
}

#[test]
fn bounds_are_written_as_openmetrics_does() {
    for (value, want) in [
        (0.0, "0.0"),
        (1.0, "1.0"),
        (-1.0, "-1.0"),
        (0.25, "0.25"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (100_000.0, "100000.0"),
        (1_000_000.0, "1e+06"),
        (1.5e-9, "1.5e-09"),
        (1e300, "1e+300"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(bound_text(value), want);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..60_usize, byte: u8) {
        let _ = read(&bytes);
        let histogram = Histogram { sample_count: 5, bucket: vec![Bucket::default()], ..Histogram::default() };
        let mut page = family("m", 4, &[labelled(Metric { histogram: Some(histogram), ..Metric::default() })]);
        let at = at % page.len();
        page[at] = byte;
        let _ = read(&page);
        let mut page = self::histogram(4, &sound());
        let at = at % page.len();
        page[at] = byte;
        let _ = super::read(&page, BOTH);
    }
}
