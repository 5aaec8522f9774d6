//! The store as PromQL's source of samples: matchers and series in the store's own form.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use storage::{MatchOp, Matcher, ReadError, SeriesQuery, Snapshot};

use crate::promql::{
    MemorySource,
    matcher::MatchOp as AskedOp,
    source::{Selection, SeriesSamples, Source, SourceError},
};

/// One tenant's data at one moment, as PromQL reads it.
pub(crate) struct StoreSource {
    pub snapshot: Snapshot,
    /// Series read beside it.
    pub beside: Option<Arc<RwLock<MemorySource>>>,
}

#[async_trait]
impl Source for StoreSource {
    async fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let matchers = selection.matchers.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        let query = SeriesQuery {
            matchers: &matchers,
            min_ms: selection.start_ms,
            max_ms: selection.end_ms,
            series_max: selection.series_max,
            samples_max: selection.samples_max,
        };
        let series = self.snapshot.select(&query).await.map_err(|error| match error {
            ReadError::TooMuch { what: "series", allowed } => SourceError::TooManySeries(allowed),
            ReadError::TooMuch { .. } => SourceError::TooManySamples,
            other => SourceError::Failed(other.to_string()),
        })?;
        let mut found: Vec<SeriesSamples> =
            series.into_iter().map(|s| SeriesSamples::floats(s.labels, s.timestamps_ms, s.values)).collect();
        if let Some(beside) = &self.beside {
            for more in beside.read().find(selection)? {
                match found.iter_mut().find(|s| s.labels == more.labels) {
                    Some(series) => join(series, more),
                    None => found.push(more),
                }
            }
        }
        Ok(found)
    }
}

/// Puts the samples of both into one series, in order of time.
fn join(series: &mut SeriesSamples, more: SeriesSamples) {
    let times = std::mem::take(&mut series.timestamps).into_iter().chain(more.timestamps);
    let values = std::mem::take(&mut series.values).into_iter().chain(more.values);
    let mut floats: Vec<(i64, f64)> = times.zip(values).collect();
    floats.sort_by_key(|(time, _)| *time);
    (series.timestamps, series.values) = floats.into_iter().unzip();
    series.histograms.extend(more.histograms);
    series.histograms.sort_by_key(|(time, _)| *time);
    series.start_timestamps.clear();
    series.histogram_start_timestamps.clear();
}

fn stored(asked: &crate::promql::matcher::Matcher) -> Result<Matcher, SourceError> {
    let op = match asked.op() {
        AskedOp::Eq => MatchOp::Equal,
        AskedOp::Ne => MatchOp::NotEqual,
        AskedOp::Re => MatchOp::Regex,
        AskedOp::Nre => MatchOp::NotRegex,
    };
    Matcher::new(asked.name(), op, &asked.rust_value()).map_err(|error| SourceError::Failed(error.to_string()))
}
