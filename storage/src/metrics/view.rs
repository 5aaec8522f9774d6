//! Reads over epochs of the head and parts together.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::BoxStream;
use proto::Labels;

use super::{HeadEpoch, MetricsPart, ReadError, SeriesQuery, SeriesSamples};
use crate::matcher::Matcher;

/// What one tenant's metrics were at one moment: sealed epochs that are not in parts yet, the present epoch, and parts.
#[derive(Clone)]
pub struct MetricsView {
    /// Oldest first; the present epoch last.
    pub epochs: Vec<Arc<HeadEpoch>>,
    /// In any order (they know their `sequence`).
    pub parts: Vec<Arc<MetricsPart>>,
}

impl MetricsView {
    /// Samples of the matching series within the range; series without any are left out. Sorted by labels.
    pub async fn select(&self, _query: &SeriesQuery<'_>) -> Result<Vec<SeriesSamples>, ReadError> {
        todo!()
    }

    /// Matching series with a chunk or a head buffer that overlaps the range, sorted, at most `limit`.
    pub async fn series(
        &self,
        _matchers: &[Matcher],
        _min_ms: i64,
        _max_ms: i64,
        _limit: usize,
    ) -> Result<Vec<Labels>, ReadError> {
        todo!()
    }

    /// Names of labels of those series, sorted, at most `limit`.
    pub async fn label_names(
        &self,
        _matchers: &[Matcher],
        _min_ms: i64,
        _max_ms: i64,
        _limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        todo!()
    }

    /// Values of the label `name` of those series, sorted, at most `limit`.
    pub async fn label_values(
        &self,
        _name: &str,
        _matchers: &[Matcher],
        _min_ms: i64,
        _max_ms: i64,
        _limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        todo!()
    }

    /// The flat SQL view: batches of (metric Utf8, labels Utf8 JSON, ts Timestamp(ms, UTC), value Float64), sorted by
    /// metric, labels, ts. Samples are read a few series at a time. `series_max` bounds the plan.
    pub async fn scan_flat(
        &self,
        _matchers: &[Matcher],
        _min_ms: i64,
        _max_ms: i64,
        _series_max: usize,
    ) -> Result<BoxStream<'static, Result<RecordBatch, ReadError>>, ReadError> {
        todo!()
    }
}
