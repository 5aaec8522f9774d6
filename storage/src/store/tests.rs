//! The store as a whole: against a model, against a failing disk, and case by case.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use futures::TryStreamExt;
use proto::{
    Batch, Class, Events, EventsBuilder, Histogram, Labels, Payload, Table, Value,
    batch::Source,
    histogram::{Counts, Layout, SCHEMA_CUSTOM, Shape, Span},
    refusal::Refusal,
    samples::Family,
};

use crate::{
    Append, AppendError, Consumed, EventQuery, HistogramRow, Keep, Limits, MatchOp, Matcher, OpenError, Origin,
    Outcome, Retention, Rows, SampleRows, SeriesQuery, Store, StoreConfig, events::write::timestamps,
};

#[path = "cases_tests.rs"]
mod cases;
#[path = "churn_tests.rs"]
mod churn;
#[path = "faults_tests.rs"]
mod faults;
#[path = "model_tests.rs"]
mod model;
#[path = "offsets_tests.rs"]
mod offsets;
#[path = "operations_tests.rs"]
mod operations;
#[path = "places_tests.rs"]
mod places;
#[path = "remote_tests.rs"]
mod remote;

pub(super) const DAY_MS: i64 = 86_400_000;
/// 2026-11-22 00:00 UTC.
pub(super) const T0: i64 = 1_795_305_600_000;

pub(super) fn config(dir: &Path) -> StoreConfig {
    StoreConfig { segment_bytes: 8 << 10, flush_log_bytes: 64 << 10, fsync_interval_ms: 0, ..StoreConfig::at(dir) }
}

/// A directory in memory where there is one: the tests sync thousands of times.
pub(super) fn directory() -> tempfile::TempDir {
    match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm").unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// Samples and what they belong to, as a test writes them.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) tenant: &'static str,
    pub(super) collector: String,
    pub(super) sequence: u64,
    pub(super) rows: SentRows,
}

#[derive(Clone, Debug)]
pub(super) enum SentRows {
    Samples(Vec<(u32, i64, u64)>),
    Logs(Vec<(u32, i64, i64)>),
}

pub(super) fn series_labels(n: u32) -> Labels {
    Labels::from_pairs([("__name__", format!("metric_{}", n % 5)), ("instance", format!("db{}", n / 5))])
}

/// Series from this on have histograms, and a float now and then.
pub(super) const HISTOGRAM_SERIES: u32 = 20;

fn mixed(bits: u64) -> u64 {
    bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

fn is_histogram(series: u32, bits: u64) -> bool {
    series >= HISTOGRAM_SERIES && !mixed(bits).is_multiple_of(8)
}

/// The histogram whose sum has these bits: they decide its layout, its counts, and whether these are integers.
pub(super) fn histogram_of(bits: u64) -> Histogram {
    let mixed = mixed(bits);
    let span = |offset, length| Span { offset, length };
    let shape = match mixed % 5 {
        0 => Shape { schema: SCHEMA_CUSTOM, positive: vec![span(1, 2)], bounds: vec![0.1, 0.5], ..Shape::default() },
        1 => {
            Shape { schema: 1, positive: vec![span(-3, 2), span(1, 3)], negative: vec![span(0, 1)], ..Shape::default() }
        }
        _ => Shape { schema: 1, zero_threshold: 0.001, positive: vec![span(-3, 2), span(1, 2)], ..Shape::default() },
    };
    let layout = Arc::new(Layout::new(shape).unwrap());
    let mut counts: Vec<u64> = (0..layout.columns()).map(|at| mixed >> (at * 5) & 0xff).collect();
    counts[1] = if layout.is_custom() { 0 } else { counts[1] };
    counts[0] = counts[1..].iter().sum();
    let counts = match mixed & 16 {
        0 => Counts::Integers(counts),
        _ => Counts::Floats(counts.iter().map(|n| *n as f64 / 4.0).collect()),
    };
    Histogram::new(layout, f64::from_bits(bits), counts).unwrap()
}

/// A sample into a model: of two of one time the later is the answer, of a float and a histogram the histogram.
pub(super) fn put(samples: &mut BTreeMap<i64, u64>, series: u32, ts: i64, bits: u64) {
    let stays = samples.get(&ts).is_some_and(|known| is_histogram(series, *known) && !is_histogram(series, bits));
    if !stays {
        samples.insert(ts, bits);
    }
}

impl Sent {
    pub(super) async fn send(&self, store: &Store, now_ms: i64) -> Result<Outcome, AppendError> {
        self.send_read_at(store, now_ms, None).await
    }

    fn encoded(&self, events: &Events) -> Vec<u8> {
        let source = Source { collector: self.collector.as_str().into(), epoch: 1 };
        let (payload, resource) = (Payload::Events(events.clone()), Labels::empty());
        Batch { source, sequence: self.sequence, tenant: self.tenant.into(), sent_at_ms: 0, resource, payload }.encode()
    }

    /// As if it had been read at a place of a stream.
    pub(super) async fn send_read_at(
        &self,
        store: &Store,
        now_ms: i64,
        place: Option<Consumed<'_>>,
    ) -> Result<Outcome, AppendError> {
        let class = match &self.rows {
            SentRows::Samples(_) => Class::Samples,
            SentRows::Logs(_) => Class::Logs,
        };
        let origin = Origin { collector: &self.collector, epoch: 1, class, sequence: self.sequence };
        let append = |rows: Rows<'_>| {
            let append = Append { tenant: self.tenant, origin: Some(origin), rows, now_ms };
            match place {
                None => store.append(append),
                Some(place) => store.append_consumed(append, place),
            }
        };
        let pending = match &self.rows {
            SentRows::Samples(rows) => {
                let labels: Vec<Labels> = rows.iter().map(|r| series_labels(r.0)).collect();
                let bytes: Vec<&[u8]> = labels.iter().map(Labels::as_bytes).collect();
                let (mut histograms, mut series, mut timestamps_ms, mut values) = (vec![], vec![], vec![], vec![]);
                for (at, (number, ts, bits)) in rows.iter().enumerate() {
                    let row = at as u32;
                    if is_histogram(*number, *bits) {
                        let histogram = histogram_of(*bits);
                        histograms.push(HistogramRow { series: row, timestamp_ms: *ts, histogram });
                        continue;
                    }
                    series.push(row);
                    timestamps_ms.push(*ts);
                    values.push(f64::from_bits(*bits));
                }
                append(Rows::Samples(SampleRows {
                    labels: &bytes,
                    series: &series,
                    timestamps_ms: &timestamps_ms,
                    values: &values,
                    histograms: &histograms,
                    families: &[],
                }))?
            }
            SentRows::Logs(rows) => {
                let mut builder = EventsBuilder::new(Table::Logs);
                for (instance, ts, pid) in rows {
                    builder.row(&format!("db{instance}"), *ts, [("pid", Value::Int(*pid))]);
                }
                let events = builder.build();
                // every other one as it travels
                match self.sequence % 2 {
                    0 => append(Rows::Events(&events))?,
                    _ => append(Rows::Batch(&events, &self.encoded(&events)))?,
                }
            }
        };
        pending.await
    }
}

/// A float's bits, or those of a histogram's sum, which tell all of it.
pub(super) type Metrics = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// All samples of a tenant.
pub(super) async fn all_samples(store: &Store, tenant: &str) -> Metrics {
    let matchers = [Matcher::new("__name__", MatchOp::Regex, ".+").unwrap()];
    let query = SeriesQuery {
        matchers: &matchers,
        min_ms: i64::MIN,
        max_ms: i64::MAX,
        series_max: 1_000_000,
        samples_max: 100_000_000,
    };
    let found = store.snapshot(tenant).select(&query).await.unwrap();
    let mut out = Metrics::new();
    for series in found {
        assert!(series.timestamps_ms.windows(2).all(|w| w[0] < w[1]), "{:?}", series.timestamps_ms);
        let floats = series.timestamps_ms.iter().copied().zip(series.values.iter().map(|v| v.to_bits()));
        assert!(series.histograms.is_sorted_by(|a, b| a.0 < b.0), "{:?}", series.histograms);
        let histograms = series.histograms.iter().map(|(ts, histogram)| {
            let bits = histogram.sum().to_bits();
            assert_eq!(*histogram, histogram_of(bits));
            (*ts, bits)
        });
        let samples: BTreeMap<i64, u64> = floats.chain(histograms).collect();
        assert_eq!(samples.len(), series.values.len() + series.histograms.len(), "a float and a histogram at one time");
        assert!(out.insert(series.labels, samples).is_none(), "a series twice");
    }
    out
}

/// All (instance, ts, pid) of a tenant's logs, sorted.
pub(super) async fn all_logs(store: &Store, tenant: &str) -> Vec<(String, i64, i64)> {
    let pid = Table::Logs.column_index("pid").unwrap();
    let query = EventQuery { columns: Some(vec![0, 1, pid]), ..EventQuery::default() };
    let stream = store.snapshot(tenant).scan(Table::Logs, &query).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let of = |b: &RecordBatch| {
        let (instances, pids) =
            (b.column(0).as_string::<i32>().clone(), b.column(2).as_primitive::<Int64Type>().clone());
        let rows = timestamps(b).iter().enumerate();
        rows.map(|(i, ts)| (instances.value(i).to_owned(), *ts, pids.value(i))).collect::<Vec<_>>()
    };
    let mut out: Vec<_> = batches.iter().flat_map(of).collect();
    out.sort();
    out
}

pub(super) async fn stored(store: &Store, sent: &Sent) {
    match sent.send(store, T0 + DAY_MS).await.unwrap() {
        Outcome::Stored { refused, .. } => assert!(refused.is_empty(), "{refused:?}"),
        Outcome::Duplicate => panic!("{sent:?} is no duplicate"),
    }
}
