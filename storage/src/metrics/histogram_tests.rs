//! Native histograms in the head, in chunks and in parts: what goes in comes out in every bit, and no bytes whatever make a
//! decoder panic or reserve more than they say.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use proptest::prelude::*;
use proto::{
    Histogram, Labels,
    histogram::{Counts, Layout, ResetHint, SCHEMA_CUSTOM, Shape, Span},
};

use super::{
    MetricsHead, MetricsPart, MetricsView, PartInfo, ReadError, SeriesQuery, SeriesSamples,
    chunk::{Chunk, ChunkDecoder},
    head_histograms::{self, HistogramStream},
    merge_parts, part_schema, values_histogram, write_parts,
};
use crate::ReadCache;

/// Less than two hours before a UTC day ends.
const T0: i64 = 1_700_000_000_000;
const STALE: f64 = f64::from_bits(proto::samples::STALE_MARKER_BITS);

fn layout(buckets: u32, hint: ResetHint) -> Arc<Layout> {
    let positive = vec![Span { offset: -3, length: buckets }, Span { offset: 2, length: 1 }];
    Arc::new(Layout::new(Shape { hint, schema: 4, zero_threshold: 1e-9, positive, ..Shape::default() }).unwrap())
}

fn custom() -> Arc<Layout> {
    let positive = vec![Span { offset: 0, length: 3 }];
    let shape = Shape { schema: SCHEMA_CUSTOM, positive, bounds: vec![0.005, 0.5], ..Shape::default() };
    Arc::new(Layout::new(shape).unwrap())
}

/// Integers that sum up, whatever the layout; `beyond` of them in no bucket, which makes the sum NaN.
fn integers(layout: &Arc<Layout>, counts: &[u64], sum: f64, beyond: u64) -> Histogram {
    let mut counts: Vec<u64> = (0..layout.columns()).map(|at| counts[at % counts.len()] >> (at % 7)).collect();
    counts[1] = if layout.is_custom() { 0 } else { counts[1] };
    counts[0] = counts[1..].iter().sum::<u64>() + beyond;
    let sum = if beyond > 0 { f64::NAN } else { sum };
    Histogram::new(layout.clone(), sum, Counts::Integers(counts)).unwrap()
}

fn floats(layout: &Arc<Layout>, counts: &[u64], sum: f64) -> Histogram {
    let mut counts: Vec<f64> = (0..layout.columns()).map(|at| counts[at % counts.len()] as f64 / 3.0).collect();
    counts[1] = if layout.is_custom() { 0.0 } else { counts[1] };
    Histogram::new(layout.clone(), sum, Counts::Floats(counts)).unwrap()
}

fn arbitrary() -> impl Strategy<Value = Histogram> {
    let counts = proptest::collection::vec(prop_oneof![3 => 0u64..50, 1 => 0u64..1 << 50], 1..9);
    let sum = prop_oneof![4 => (0u32..1000).prop_map(f64::from), 1 => any::<u64>().prop_map(f64::from_bits), 1 => Just(STALE)];
    (0u32..8, counts, sum, 0u64..10).prop_map(|(kind, counts, sum, beyond)| {
        let beyond = beyond.saturating_sub(8);
        match kind {
            0 => integers(&custom(), &counts, sum, beyond),
            1 => floats(&layout(2, ResetHint::Gauge), &counts, sum),
            2 => integers(&layout(20, ResetHint::Unknown), &counts, sum, beyond),
            3 => Histogram::new(Arc::new(Layout::new(Shape::default()).unwrap()), STALE, Counts::Integers(vec![0; 2]))
                .unwrap(),
            _ => integers(&layout(5, ResetHint::Reset), &counts, sum, beyond),
        }
    })
}

/// Samples with times that ascend; runs of one layout are made by repeating.
fn samples() -> impl Strategy<Value = Vec<(i64, Histogram)>> {
    proptest::collection::vec((arbitrary(), 1usize..40, 1i64..20_000), 1..8).prop_map(|pieces| {
        let mut ts = T0;
        let repeat = pieces.into_iter().flat_map(|(histogram, n, step)| std::iter::repeat_n((histogram, step), n));
        repeat
            .map(|(histogram, step)| {
                ts += step;
                (ts, histogram)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_chunk_gives_the_histograms_of_a_range(
        samples in samples(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
    ) {
        let chunk = Chunk::encode_histograms(&samples);
        let stale = samples.iter().filter(|(_, histogram)| histogram.is_stale()).count();
        prop_assert_eq!((chunk.stale as usize, chunk.samples()), (stale, samples.len()));
        let (from, to) = (samples[from.index(samples.len())].0, samples[to.index(samples.len())].0);
        for (from, to) in [(i64::MIN, i64::MAX), (from, to), (from + 1, to - 1)] {
            let mut out = Vec::new();
            ChunkDecoder::default().decode_histograms(chunk.body(), from, to, &mut out).unwrap();
            let expected: Vec<_> = samples.iter().filter(|s| s.0 >= from && s.0 <= to).cloned().collect();
            prop_assert_eq!(out, expected);
        }
        let (mut timestamps, mut values) = (vec![], vec![]);
        let as_floats = ChunkDecoder::default().decode(chunk.body(), i64::MIN, i64::MAX, &mut timestamps, &mut values);
        prop_assert!(as_floats.is_err());
    }

    #[test]
    fn damaged_histograms_are_an_error_or_histograms(
        samples in samples(), at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<prop::sample::Index>(),
        count in 0usize..1000,
    ) {
        let bytes = values_histogram::encode(&samples);
        let mut damaged = bytes.clone();
        damaged[at.index(bytes.len())] ^= flip;
        for (bytes, count) in [(&damaged[..], samples.len()), (&bytes[..cut.index(bytes.len())], samples.len()), (&bytes[..], count)] {
            if let Ok(found) = values_histogram::decode(bytes, count) {
                prop_assert_eq!(found.len(), count);
            }
        }
    }

    #[test]
    fn any_bytes_are_harmless(body in proptest::collection::vec(any::<u8>(), 0..80), count in 0usize..5000) {
        let bytes: Vec<u8> = [values_histogram::TAG].into_iter().chain(body).collect();
        let _ = values_histogram::decode(&bytes, count);
    }

    #[test]
    fn the_head_keeps_every_histogram_in_its_order(
        samples in proptest::collection::vec((prop_oneof![Just(1000i64), -5000..20_000i64], arbitrary()), 0..100),
        from in -100_000i64..100_000, to in -100_000i64..400_000,
    ) {
        let mut stream = HistogramStream::default();
        let (mut ts, mut expected) = (0i64, Vec::new());
        for (delta, histogram) in samples {
            ts += delta;
            stream.append(ts, histogram.clone());
            expected.push((ts, histogram));
        }
        prop_assert_eq!(stream.ascending(), expected.is_sorted_by(|a, b| a.0 < b.0));
        for (from, to) in [(i64::MIN, i64::MAX), (from, to)] {
            let mut got = Vec::new();
            stream.read(from, to, &mut got);
            prop_assert_eq!(got, expected.iter().filter(|s| (from..=to).contains(&s.0)).cloned().collect::<Vec<_>>());
        }
        let mut resolved = expected.clone();
        head_histograms::resolve(&mut resolved);
        let model: std::collections::BTreeMap<i64, Histogram> = expected.into_iter().collect();
        prop_assert_eq!(resolved, model.into_iter().collect::<Vec<_>>());
    }
}

/// What a service's latencies look like: 40 buckets that count up, a few of them at each scrape.
fn latencies(n: i64) -> Vec<(i64, Histogram)> {
    let layout = layout(39, ResetHint::Unknown);
    let mut counts = vec![0u64; layout.columns()];
    let mut sum = 0.0;
    (0..n)
        .map(|i| {
            for request in 0..i % 17 {
                let noise = (i * 31 + request).wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64) as u64 >> 33;
                let bucket = 2 + (noise % 8 + noise / 8 % 8 * 3) as usize;
                counts[bucket] += 1;
                sum += bucket as f64 / 1000.0;
            }
            counts[0] = counts[1..].iter().sum();
            (T0 + i * 15_000, Histogram::new(layout.clone(), sum, Counts::Integers(counts.clone())).unwrap())
        })
        .collect()
}

#[test]
fn a_layout_stands_once_and_counts_cost_little() {
    let samples = latencies(480);
    let chunk = Chunk::encode_histograms(&samples);
    let raw: usize = samples.iter().map(|(_, histogram)| histogram.counts().len() * 8).sum();
    assert!(chunk.bytes() * 7 < raw, "{} bytes of {raw}", chunk.bytes());
    let mut stream = HistogramStream::default();
    let memory: usize = samples.iter().map(|(ts, histogram)| stream.append(*ts, histogram.clone())).sum();
    assert!(memory * 3 < raw, "{memory} bytes of {raw}");
}

#[test]
fn chunks_are_cut_before_their_counts_are_too_many() {
    let wide = {
        let positive = vec![Span { offset: 0, length: 4000 }];
        Arc::new(Layout::new(Shape { positive, ..Shape::default() }).unwrap())
    };
    let samples: Vec<_> = (0..200).map(|i| (i, integers(&wide, &[i as u64, 1], 1.0, 0))).collect();
    let len = values_histogram::chunk_len(&samples, 8192);
    assert_eq!(len, values_histogram::CHUNK_CELLS_MAX / wide.columns());
    let chunk = Chunk::encode_histograms(&samples[..len]);
    assert_eq!(values_histogram::decode(chunk.values.as_ref().unwrap(), len).unwrap().len(), len);
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("instance", "db1")])
}

/// A part's bytes of series that have floats, histograms, or both.
fn part(histograms: &[(&str, Vec<(i64, Histogram)>)], floats: &[(&str, Vec<(i64, f64)>)]) -> bytes::Bytes {
    let head = MetricsHead::new();
    let mut writer = head.writer();
    for (name, samples) in histograms {
        let id = writer.create(labels(name));
        samples.iter().for_each(|(ts, histogram)| writer.append_histogram(id, *ts, histogram.clone()));
    }
    for (name, samples) in floats {
        let id = writer.create(labels(name));
        samples.iter().for_each(|(ts, value)| writer.append(id, *ts, *value));
    }
    drop(writer);
    write_parts(&head.seal()).unwrap().remove(0).bytes
}

async fn open(store: &Arc<dyn ObjectStore>, bytes: bytes::Bytes, sequence: u64) -> Arc<MetricsPart> {
    let (path, size_bytes) = (Path::from(format!("part-{sequence}")), bytes.len() as u64);
    store.put(&path, bytes.into()).await.unwrap();
    let info = PartInfo { path, size_bytes, sequence, min_ts_ms: i64::MIN, max_ts_ms: i64::MAX };
    Arc::new(MetricsPart::open(store.clone(), info, ReadCache::new(1 << 20)))
}

async fn select(parts: Vec<Arc<MetricsPart>>, samples_max: usize) -> Result<Vec<SeriesSamples>, ReadError> {
    let query = SeriesQuery { matchers: &[], min_ms: i64::MIN, max_ms: i64::MAX, series_max: 100, samples_max };
    MetricsView { epochs: vec![], parts }.select(&query).await
}

async fn format_of(part: &MetricsPart) -> String {
    let footer = part.footer().await.unwrap();
    super::metadata_value(footer.arrow.metadata(), super::FORMAT_KEY).unwrap().to_owned()
}

#[tokio::test]
async fn parts_merge_floats_beside_histograms() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let all = latencies(400);
    let late = integers(&custom(), &[7], 0.25, 0);
    let first = part(
        &[("both", all[..300].to_vec()), ("seconds", all[..200].to_vec())],
        &[("both", vec![(T0 - 10, 1.0), (T0 + 1, 2.0), (T0 + 15_000, 3.0)]), ("up", vec![(T0, 1.0)])],
    );
    let second = part(
        &[("both", all[250..].to_vec()), ("seconds", vec![(T0 + 15_000, late.clone())])],
        &[("both", vec![(T0 + 1, 4.0)])],
    );
    let third = part(&[], &[("up", vec![(T0 + 5, 1.0)])]);
    let parts = vec![open(&store, first, 1).await, open(&store, second, 2).await, open(&store, third, 3).await];
    assert_eq!(format_of(&parts[0]).await, part_schema::FORMAT);
    let before = select(parts.clone(), 1 << 20).await.unwrap();
    let merged = merge_parts(&parts, &Path::from("merged")).await.unwrap();
    let info = PartInfo {
        path: Path::from("merged"),
        size_bytes: merged.size_bytes,
        sequence: 3,
        min_ts_ms: merged.min_ts_ms,
        max_ts_ms: merged.max_ts_ms,
    };
    let merged = Arc::new(MetricsPart::open(store, info, ReadCache::new(0)));
    let mut damages = Vec::new();
    let facts = merged.check(&mut damages).await;
    assert_eq!(damages, Vec::<String>::new());
    assert_eq!(facts.codecs["histograms"].1, 400 + 200);
    let after = select(vec![merged.clone()], 1 << 20).await.unwrap();
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
    let both = &after[0];
    assert_eq!(
        (&both.timestamps_ms[..], &both.values[..]),
        (&[T0 - 10, T0 + 1][..], &[1.0, 4.0][..]),
        "a histogram wins"
    );
    assert_eq!(both.histograms, all);
    assert_eq!(after[1].histograms[1], (T0 + 15_000, late));
    // a histogram counts for what it weighs
    assert!(matches!(select(vec![merged], 10_000).await, Err(ReadError::TooMuch { what: "samples", .. })));
}

/// What the golden part holds.
fn golden() -> Vec<(&'static str, Vec<(i64, Histogram)>)> {
    let of = |make: &dyn Fn(u64) -> Histogram| (0..100).map(|i| (T0 + i as i64 * 10_000, make(i))).collect::<Vec<_>>();
    let wide = layout(20, ResetHint::Unknown);
    vec![
        ("latency", latencies(200)),
        ("custom", of(&|i| integers(&custom(), &[i * i, i], i as f64 / 8.0, 0))),
        ("steady", of(&|i| integers(&wide, &[i * 700], i as f64, 0))),
        ("computed", of(&|i| floats(&wide, &[i, 7 * i], (i as f64).sqrt()))),
        ("gauge", of(&|i| floats(&layout(3, ResetHint::Gauge), &[i % 3], 0.5))),
        (
            "changing",
            of(&|i| match i % 30 {
                29 => integers(&layout(1, ResetHint::Unknown), &[0], STALE, 0),
                10.. => integers(&layout(7, ResetHint::Unknown), &[i], 1.0, 0),
                _ => integers(&layout(6, ResetHint::Reset), &[i], f64::NAN, 1),
            }),
        ),
    ]
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/metrics-2.parquet");

#[tokio::test]
async fn the_golden_part_of_format_2_opens() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    if std::env::var_os("TIDEWATCH_WRITE_GOLDEN").is_some() {
        // only when a new format version begins, under a new name
        std::fs::write(GOLDEN, part(&golden(), &[("up", vec![(T0, 1.0)])])).unwrap();
    }
    let opened = open(&store, std::fs::read(GOLDEN).unwrap().into(), 1).await;
    let mut damages = Vec::new();
    opened.check(&mut damages).await;
    assert_eq!(damages, Vec::<String>::new());
    let found = select(vec![opened], 1 << 20).await.unwrap();
    for (name, samples) in golden() {
        let series = found.iter().find(|s| s.labels.metric_name() == name).unwrap();
        assert_eq!(series.histograms, samples, "{name}");
    }
    assert_eq!(found.len(), golden().len() + 1);
}
