//! Messages as their bytes; how a real server's page reads is told by `tests/tests/collector_databases/scrape_peers.rs`.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

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
    let one = |s: Sample| {
        let labels: Vec<String> = s.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let at = s.ts_ms.map_or(String::new(), |t| format!(" @{t}"));
        format!("{}[{}] {}{at}", s.name, labels.join(","), s.value)
    };
    read(body).unwrap().samples.into_iter().map(one).collect()
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
        cumulative_count_float: None,
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
        assert_eq!(page.native_left_out, 0);
    }
}

#[test]
fn no_nan_of_a_page_ends_a_series() {
    let stale = f64::from_bits(proto::samples::STALE_MARKER_BITS);
    let page = read(&family("m", 1, &[Metric { gauge: plain(stale), ..Metric::default() }])).unwrap();
    assert_eq!(page.samples[0].value.to_bits(), f64::NAN.to_bits());
}

#[test]
fn a_native_histogram_is_left_out_and_counted() {
    let native = Histogram {
        sample_count: 5,
        sample_sum: 2.5,
        zero_threshold: 1e-128,
        positive_span: vec![vec![0x08, 0x02, 0x10, 0x01]],
        ..Histogram::default()
    };
    let metric = Metric { histogram: Some(native), ..Metric::default() };
    let body = family("m", 4, &[metric.clone(), labelled(metric)]);
    assert_eq!(read(&body).unwrap().native_left_out, 2);
    assert_eq!(lines(&body)[..3], ["m_bucket[le=+Inf] 5", "m_sum[] 2.5", "m_count[] 5"]);
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
    }
}
