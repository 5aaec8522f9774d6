//! Head, parts, merge and reads together, against a map from series and time to the value appended last.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, TimestampMillisecondType};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use proptest::prelude::*;
use proto::{Labels, samples::is_stale};

use super::{
    DAY_MS, HeadEpoch, MetricsHead, MetricsPart, MetricsView, PartInfo, ReadError, SeriesQuery, labels_text,
    merge_parts, testdata::arbitrary_value, write_parts,
};
use crate::{
    ReadCache,
    matcher::{MatchOp, Matcher},
};

type Model = BTreeMap<Labels, BTreeMap<i64, u64>>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// One tenant's metrics as a store would keep them, and the model beside them.
struct Tenant {
    store: Arc<dyn ObjectStore>,
    cache: Arc<ReadCache>,
    head: MetricsHead,
    sealed: Vec<Arc<HeadEpoch>>,
    parts: Vec<(i64, Arc<MetricsPart>)>,
    next: u64,
    model: Model,
}

impl Tenant {
    fn new(cache_bytes: usize) -> Tenant {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let cache = ReadCache::new(cache_bytes);
        Tenant { store, cache, head: MetricsHead::new(), sealed: vec![], parts: vec![], next: 0, model: Model::new() }
    }

    fn append(&mut self, samples: &[(Labels, i64, f64)]) {
        let mut writer = self.head.writer();
        for (labels, ts, value) in samples {
            let id = writer.resolve(labels.as_bytes()).unwrap_or_else(|| writer.create(labels.clone()));
            assert_eq!(writer.resolve(labels.as_bytes()), Some(id));
            writer.append(id, *ts, *value);
            self.model.entry(labels.clone()).or_default().insert(*ts, value.to_bits());
        }
    }

    fn open(&self, path: Path, size_bytes: u64, sequence: u64, (min_ts_ms, max_ts_ms): (i64, i64)) -> Arc<MetricsPart> {
        let info = PartInfo { path, size_bytes, sequence, min_ts_ms, max_ts_ms };
        Arc::new(MetricsPart::open(self.store.clone(), info, self.cache.clone()))
    }

    async fn flush_oldest(&mut self) {
        if self.sealed.is_empty() {
            return;
        }
        for part in write_parts(&self.sealed.remove(0)).unwrap() {
            self.next += 1;
            let path = Path::from(format!("{}/{}", part.day, self.next));
            let size = part.bytes.len() as u64;
            self.store.put(&path, part.bytes.into()).await.unwrap();
            let opened = self.open(path, size, self.next, (part.min_ts_ms, part.max_ts_ms));
            self.parts.push((part.day, opened));
        }
    }

    /// Merges up to `n` neighbours of one day, from the `skip`th on.
    async fn merge(&mut self, day: i64, skip: usize, n: usize) {
        let mut inputs: Vec<Arc<MetricsPart>> = self.parts.iter().filter(|p| p.0 == day).map(|p| p.1.clone()).collect();
        inputs.sort_by_key(|part| part.info().sequence);
        let inputs: Vec<_> = inputs.into_iter().skip(skip).take(n).collect();
        if inputs.len() < 2 {
            return;
        }
        self.next += 1;
        let path = Path::from(format!("{day}/{}-merged", self.next));
        let merged = merge_parts(&inputs, &path).await.unwrap();
        assert_eq!(merged.size_bytes, self.store.head(&path).await.unwrap().size);
        let range = (merged.min_ts_ms, merged.max_ts_ms);
        let opened = self.open(path, merged.size_bytes, merged.sequence, range);
        self.parts.retain(|(_, part)| !inputs.iter().any(|input| Arc::ptr_eq(input, part)));
        self.parts.push((day, opened));
    }

    fn view(&self) -> MetricsView {
        let epochs = self.sealed.iter().cloned().chain([self.head.epoch()]).collect();
        MetricsView { epochs, parts: self.parts.iter().map(|p| p.1.clone()).collect() }
    }

    fn expected(&self, matchers: &[Matcher], min: i64, max: i64) -> Model {
        let fits = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
        let cut = |samples: &BTreeMap<i64, u64>| {
            if min > max { BTreeMap::new() } else { samples.range(min..=max).map(|(t, v)| (*t, *v)).collect() }
        };
        let series = self.model.iter().filter(|(labels, _)| fits(labels));
        series
            .map(|(labels, samples)| (labels.clone(), cut(samples)))
            .filter(|(_, samples)| !samples.is_empty())
            .collect()
    }

    /// Every kind of read gives what the model has.
    async fn check(&self, matchers: &[Matcher], min_ms: i64, max_ms: i64) {
        let expected = self.expected(matchers, min_ms, max_ms);
        let view = self.view();
        let query = SeriesQuery { matchers, min_ms, max_ms, series_max: 1000, samples_max: 1_000_000 };
        let got = view.select(&query).await.unwrap();
        assert!(got.is_sorted_by(|a, b| a.labels < b.labels), "series ascend");
        let as_model = |s: &super::SeriesSamples| {
            let bits = s.values.iter().map(|v| v.to_bits());
            (s.labels.clone(), s.timestamps_ms.iter().copied().zip(bits).collect::<BTreeMap<_, _>>())
        };
        assert!(got.iter().all(|s| s.timestamps_ms.is_sorted_by(|a, b| a < b)));
        assert_eq!(got.iter().map(as_model).collect::<Model>(), expected, "{matchers:?} {min_ms}..={max_ms}");

        let mut rows = Vec::new();
        let mut flat = view.scan_flat(matchers, min_ms, max_ms, 1000).await.unwrap();
        while let Some(batch) = flat.try_next().await.unwrap() {
            let (metric, labels) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
            let (ts, value) = (
                batch.column(2).as_primitive::<TimestampMillisecondType>(),
                batch.column(3).as_primitive::<Float64Type>(),
            );
            rows.extend((0..batch.num_rows()).map(|r| {
                (labels_text::read(metric.value(r), labels.value(r)).unwrap(), ts.value(r), value.value(r).to_bits())
            }));
        }
        let mut expected_rows: Vec<_> =
            expected.iter().flat_map(|(l, s)| s.iter().map(move |(t, v)| (l.clone(), *t, *v))).collect();
        expected_rows.sort_by(|a, b| labels_text::order(&a.0, &b.0).then(a.1.cmp(&b.1)));
        assert_eq!(rows, expected_rows);

        // series and labels may know a series by the hull of a chunk or buffer, but never miss one, nor invent one
        let series: BTreeSet<Labels> = view.series(matchers, min_ms, max_ms, 1000).await.unwrap().into_iter().collect();
        let all = self.expected(matchers, i64::MIN, i64::MAX);
        assert!(expected.keys().all(|l| series.contains(l)) && series.iter().all(|l| all.contains_key(l)));
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut values: BTreeSet<String> = BTreeSet::new();
        for labels in &series {
            names.extend(labels.iter().map(|(n, _)| n.to_owned()));
            values.extend(labels.get("i").map(str::to_owned));
        }
        assert_eq!(view.label_names(matchers, min_ms, max_ms, 1000).await.unwrap(), Vec::from_iter(names));
        assert_eq!(view.label_values("i", matchers, min_ms, max_ms, 1000).await.unwrap(), Vec::from_iter(values));
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<(usize, i64, f64)>),
    /// A run of one series: start, step, samples.
    Run(usize, i64, i64, usize),
    Seal,
    Flush,
    Merge(i64, usize, usize),
    Check(usize, i64, i64),
}

fn series(at: usize) -> Labels {
    let metric = ["up", "node_cpu", "node_load", ""][at % 4];
    let i = (at / 4).to_string();
    let upper = if at.is_multiple_of(3) { "x" } else { "" };
    Labels::from_pairs([("__name__", metric), ("i", if at / 4 == 4 { "" } else { &i }), ("A", upper)])
}

fn matchers(which: usize) -> Vec<Matcher> {
    let m = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
    match which % 9 {
        0 => vec![],
        1 => vec![m("__name__", MatchOp::Equal, "up")],
        2 => vec![m("__name__", MatchOp::Regex, "node_.*")],
        3 => vec![m("__name__", MatchOp::Regex, "node_cpu|up"), m("i", MatchOp::NotEqual, "1")],
        4 => vec![m("i", MatchOp::Equal, "")],
        5 => vec![m("i", MatchOp::Regex, "[12]"), m("A", MatchOp::Regex, "x?")],
        6 => vec![m("__name__", MatchOp::NotRegex, "node_.+"), m("A", MatchOp::Equal, "x")],
        7 => vec![m("__name__", MatchOp::Equal, ""), m("i", MatchOp::NotRegex, "0|3")],
        _ => vec![m("none", MatchOp::Equal, "x")],
    }
}

fn op() -> impl Strategy<Value = Op> {
    // around two midnights, with negative times beside 1970, so that days, signs and late samples all occur
    let ts = prop_oneof![DAY_MS - 5000..DAY_MS + 5000, 0i64..40, -30i64..30, 2 * DAY_MS - 3..2 * DAY_MS + 3];
    prop_oneof![
        5 => proptest::collection::vec((0usize..20, ts.clone(), arbitrary_value()), 1..40).prop_map(Op::Append),
        4 => (0usize..20, ts.clone(), 1i64..2000, 1usize..600).prop_map(|(s, t, d, n)| Op::Run(s, t, d, n)),
        2 => Just(Op::Seal),
        2 => Just(Op::Flush),
        2 => (-1i64..3, 0usize..2, 2usize..5).prop_map(|(d, s, n)| Op::Merge(d, s, n)),
        2 => (0usize..9, ts.clone(), ts).prop_map(|(m, a, b)| Op::Check(m, a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn reads_what_was_appended_last(ops in proptest::collection::vec(op(), 1..40), cache_bytes in prop_oneof![Just(0usize), Just(1 << 24)]) {
        runtime().block_on(async {
            let mut tenant = Tenant::new(cache_bytes);
            for op in ops {
                match op {
                    Op::Append(samples) => {
                        let samples: Vec<_> = samples.into_iter().map(|(s, t, v)| (series(s), t, v)).collect();
                        tenant.append(&samples);
                    }
                    Op::Run(at, start, step, n) => {
                        let run: Vec<_> = (0..n as i64).map(|i| (series(at), start + i * step, (i / 7) as f64)).collect();
                        tenant.append(&run);
                    }
                    Op::Seal => tenant.sealed.push(tenant.head.seal()),
                    Op::Flush => tenant.flush_oldest().await,
                    Op::Merge(day, skip, n) => tenant.merge(day, skip, n).await,
                    Op::Check(which, a, b) => tenant.check(&matchers(which), a, b).await,
                }
            }
            for which in 0..9 {
                tenant.check(&matchers(which), i64::MIN, i64::MAX).await;
            }
        });
    }
}

#[test]
fn a_snapshot_taken_before_a_seal_and_a_flush_still_reads_everything() {
    runtime().block_on(async {
        let mut tenant = Tenant::new(1 << 20);
        tenant.append(&[(series(0), 10, 1.0), (series(1), 20, 2.0)]);
        let before = tenant.view();
        tenant.sealed.push(tenant.head.seal());
        tenant.append(&[(series(0), 30, 3.0)]);
        tenant.flush_oldest().await;
        let query = SeriesQuery { matchers: &[], min_ms: 0, max_ms: 100, series_max: 10, samples_max: 10 };
        assert_eq!(before.select(&query).await.unwrap().iter().map(|s| s.values.len()).sum::<usize>(), 2);
        assert_eq!(tenant.view().select(&query).await.unwrap().iter().map(|s| s.values.len()).sum::<usize>(), 3);
    });
}

#[test]
fn too_large_a_question_is_an_answered_error() {
    runtime().block_on(async {
        let mut tenant = Tenant::new(1 << 20);
        for flush in [true, false] {
            let samples: Vec<_> =
                (0..20).flat_map(|s| (0..100).map(move |t| (series(s), t * 1000, t as f64))).collect();
            tenant.append(&samples);
            if flush {
                tenant.sealed.push(tenant.head.seal());
                tenant.flush_oldest().await;
            }
        }
        let ask = async |series_max, samples_max, max_ms| {
            let query = SeriesQuery { matchers: &[], min_ms: 0, max_ms, series_max, samples_max };
            tenant.view().select(&query).await.map(|s| s.len())
        };
        assert_eq!(ask(20, 4000, i64::MAX).await.unwrap(), 20);
        assert!(matches!(ask(19, 4000, i64::MAX).await, Err(ReadError::TooMuch { what: "series", allowed: 19 })));
        assert!(matches!(ask(20, 3999, i64::MAX).await, Err(ReadError::TooMuch { what: "samples", allowed: 3999 })));
        assert_eq!(ask(20, 400, 9_999).await.unwrap(), 20, "only what lies in the range counts");
        assert!(tenant.view().scan_flat(&[], 0, 100, 19).await.is_err());
    });
}

#[test]
fn idle_series_are_forgotten_at_a_seal_and_the_rest_is_found_again() {
    let head = MetricsHead::new();
    let fill = |n: usize| {
        let mut writer = head.writer();
        for at in 0..n {
            let id = writer.create(series(at));
            writer.append(id, at as i64, 1.0);
        }
    };
    fill(20);
    head.seal();
    assert_eq!(head.series(), 20);
    fill(18);
    head.seal();
    assert_eq!(head.series(), 20, "a tenth idle is not worth a new table");
    fill(10);
    head.seal();
    assert_eq!(head.series(), 10);
    let writer = head.writer();
    assert!((0..20).all(|at| writer.resolve(series(at).as_bytes()).is_some() == (at < 10)));
}

#[test]
fn a_series_costs_at_most_600_bytes_beyond_its_labels() {
    const SERIES: usize = 100_000;
    let head = MetricsHead::new();
    let mut label_bytes = 0;
    for at in 0..SERIES {
        let mut writer = head.writer();
        let (pod, instance, i) = (format!("pod-{at}"), format!("host-{}", at % 500), (at % 40).to_string());
        let labels =
            Labels::from_pairs([("__name__", "requests_total"), ("pod", &pod), ("instance", &instance), ("cpu", &i)]);
        label_bytes += labels.as_bytes().len();
        let id = writer.create(labels);
        // a tenth of an hour at 10 s, one series in five changing by odd amounts, timestamps with jitter
        for t in 0..36i64 {
            let value = if at % 5 == 0 { (t * t * 131 + at as i64) as f64 } else { 7.0 };
            writer.append(id, t * 10_000 + (t * 7919 + at as i64) % 5, value);
        }
    }
    let (series_bytes, sample_bytes) = head.bytes();
    let each = (series_bytes + sample_bytes - label_bytes) / SERIES;
    assert!(each <= 600, "{each} B a series");
}

#[test]
fn statistics_are_what_the_format_document_says() {
    let stale = f64::from_bits(proto::samples::STALE_MARKER_BITS);
    let cases: &[&[f64]] = &[
        &[1.0, 2.0, stale, 5.0, 3.0, 4.0],
        &[stale, 1.5, 2.5],
        &[0.1, 0.2, 0.3],
        &[f64::NAN, 1.0, 2.0],
        &[f64::INFINITY, 1.0],
        &[9e15, 1e15],
        &[1.0, stale],
        &[5.0, 1.0, 5.0, 1.0, 2.0],
        &[-0.0, 0.0],
    ];
    for values in cases {
        let got = super::statistics::of(values);
        let real: Vec<f64> = values.iter().copied().filter(|v| !is_stale(*v)).collect();
        let numbers: Vec<f64> = real.iter().copied().filter(|v| !v.is_nan()).collect();
        let exact =
            real.iter().all(|v| v.fract() == 0.0) && real.iter().map(|v| v.abs()).sum::<f64>() <= (1u64 << 53) as f64;
        let mut increase = real[real.len() - 1] - real[0];
        for pair in real.windows(2) {
            increase += if pair[1] < pair[0] { pair[0] } else { 0.0 };
        }
        let bits = |v: Option<f64>| v.map(|v| if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() });
        assert_eq!(got.min, numbers.iter().copied().reduce(f64::min), "{values:?}");
        assert_eq!(got.max, numbers.iter().copied().reduce(f64::max), "{values:?}");
        assert_eq!(got.sum, exact.then(|| real.iter().sum()), "{values:?}");
        assert_eq!(bits(got.first), bits(real.first().copied()), "{values:?}");
        assert_eq!(bits(got.last), bits(real.last().copied()), "{values:?}");
        assert_eq!(bits(got.increase), bits(Some(increase)), "{values:?}");
    }
}

#[test]
fn a_damaged_part_is_an_error_with_its_path() {
    runtime().block_on(async {
        let mut tenant = Tenant::new(0);
        let noise = |i: i64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64) >> 40) as f64;
        let samples: Vec<_> =
            (0..20).flat_map(|s| (0..300).map(move |t| (series(s), t * 1000, noise(t + s as i64)))).collect();
        tenant.append(&samples);
        let part = write_parts(&tenant.head.seal()).unwrap().remove(0);
        let query = SeriesQuery { matchers: &[], min_ms: 0, max_ms: i64::MAX, series_max: 1000, samples_max: 1 << 20 };
        let answer = async |path: &Path, bytes: Vec<u8>| {
            tenant.store.put(path, bytes.into()).await.unwrap();
            let opened = tenant.open(path.clone(), part.bytes.len() as u64, 1, (0, 300_000));
            let view = MetricsView { epochs: vec![], parts: vec![opened] };
            view.select(&query).await.map(|series| format!("{series:?}"))
        };
        let whole = answer(&Path::from("whole"), part.bytes.to_vec()).await.unwrap();
        let mut refused = 0;
        for at in (0..part.bytes.len()).step_by(97).chain(part.bytes.len() - 600..part.bytes.len()) {
            let mut bytes = part.bytes.to_vec();
            bytes[at] ^= 0x55;
            let path = Path::from(format!("p{at}"));
            match answer(&path, bytes).await {
                Ok(same) => assert_eq!(same, whole, "a wrong answer from damage at {at}"),
                Err(error) => {
                    assert!(error.to_string().contains(path.as_ref()), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 600, "{refused}");
        let missing = MetricsView { epochs: vec![], parts: vec![tenant.open(Path::from("gone"), 100, 1, (0, 10))] };
        assert!(matches!(missing.select(&query).await, Err(ReadError::Unreadable { .. })));
    });
}

/// What a golden part holds: one series for each codec that its format had first.
fn golden(file: &str) -> Vec<(Labels, i64, f64)> {
    let stale = f64::from_bits(proto::samples::STALE_MARKER_BITS);
    let noise = |i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64).wrapping_shr(44) & 0x3ff;
    type Kind = (&'static str, fn(i64, i64) -> f64);
    let any = |i: i64| fastrand::Rng::with_seed(i as u64).i64(0..1 << 30);
    let packed: [Kind; 3] = [
        ("noisy", |_, any| (any >> 14) as f64 / 100.0),
        ("noisy_total", |i, any| (i << 16 | any >> 14) as f64),
        ("measured", |_, any| (any + (1 << 30)) as f64 / 3e9),
    ];
    let kinds: [Kind; 7] = [
        ("constant", |_, _| 42.0),
        ("runs", |i, _| (i / 50) as f64),
        ("counter", |i, n| (i * 1000 + n) as f64),
        ("steady_total", |i, _| (i * 7) as f64),
        ("printed", |_, n| n as f64 / 100.0),
        ("quotient", |i, _| (i as f64 * 0.7).sin() / 3.0),
        ("odd", |i, _| [f64::NAN, -0.0, f64::INFINITY, 5e-324, f64::from_bits(0x7ff8_0000_0000_0123)][i as usize % 5]),
    ];
    let mut samples = Vec::new();
    let (kinds, noise): (&[Kind], &dyn Fn(i64) -> i64) =
        if file == GOLDEN[0] { (&kinds, &noise) } else { (&packed, &any) };
    for (name, value) in kinds {
        for (instance, jitter) in [("db \"1\"", 0), ("数据库", 13)] {
            let labels = Labels::from_pairs([("__name__", *name), ("instance", instance)]);
            let start = 1_700_000_000_000;
            samples.extend(
                (0..500i64).map(|i| (labels.clone(), start + i * 10_000 + noise(i) % (jitter + 1), value(i, noise(i)))),
            );
            samples.push((labels, start + 5_001_000, stale));
        }
    }
    samples
}

/// Formats 1 and 3, the present one last; format 2 is that of histograms.
const GOLDEN: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/metrics-1.parquet"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/metrics-3.parquet"),
];

#[test]
fn the_golden_parts_of_every_format_open() {
    runtime().block_on(async {
        for file in GOLDEN {
            let mut tenant = Tenant::new(1 << 20);
            tenant.append(&golden(file));
            let sealed = tenant.head.seal(); // only the model keeps them
            if file == GOLDEN[1] && std::env::var_os("TIDEWATCH_WRITE_GOLDEN").is_some() {
                // only when a new format version begins, under a new name
                std::fs::write(file, write_parts(&sealed).unwrap().remove(0).bytes).unwrap();
            }
            let bytes = std::fs::read(file).unwrap();
            let (path, size) = (Path::from("golden"), bytes.len() as u64);
            tenant.store.put(&path, bytes.into()).await.unwrap();
            let part = tenant.open(path, size, 1, (1_700_000_000_000, 1_700_005_001_000));
            tenant.parts.push((0, part));
            tenant.check(&[], i64::MIN, i64::MAX).await;
            tenant.check(&[Matcher::equal("instance", "数据库")], 1_700_000_100_000, 1_700_000_200_000).await;
        }
    });
}
