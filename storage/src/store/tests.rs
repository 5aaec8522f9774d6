//! The store as a whole: against a model, against a failing disk, and case by case.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use futures::TryStreamExt;
use proto::{Class, EventsBuilder, Labels, Table, Value, refusal::Refusal, samples::Family};

use crate::{
    Append, AppendError, Consumed, EventQuery, Keep, Limits, MatchOp, Matcher, OpenError, Origin, Outcome, Retention,
    Rows, SampleRows, SeriesQuery, Store, StoreConfig, events::write::timestamps,
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

impl Sent {
    pub(super) async fn send(&self, store: &Store, now_ms: i64) -> Result<Outcome, AppendError> {
        self.send_read_at(store, now_ms, None).await
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
                append(Rows::Samples(SampleRows {
                    labels: &bytes,
                    series: &(0..rows.len() as u32).collect::<Vec<_>>(),
                    timestamps_ms: &rows.iter().map(|r| r.1).collect::<Vec<_>>(),
                    values: &rows.iter().map(|r| f64::from_bits(r.2)).collect::<Vec<_>>(),
                    families: &[],
                }))?
            }
            SentRows::Logs(rows) => {
                let mut builder = EventsBuilder::new(Table::Logs);
                for (instance, ts, pid) in rows {
                    builder.row(&format!("db{instance}"), *ts, [("pid", Value::Int(*pid))]);
                }
                append(Rows::Events(&builder.build()))?
            }
        };
        pending.await
    }
}

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
        let samples = series.timestamps_ms.iter().copied().zip(series.values.iter().map(|v| v.to_bits())).collect();
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
