//! The store as PromQL's source of samples: matchers and series in the store's own form.

use async_trait::async_trait;
use storage::{MatchOp, Matcher, ReadError, SeriesQuery, Snapshot};

use crate::promql::{
    matcher::MatchOp as AskedOp,
    source::{Selection, SeriesSamples, Source, SourceError},
};

/// One tenant's data at one moment, as PromQL reads it.
pub(crate) struct StoreSource {
    pub snapshot: Snapshot,
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
        Ok(series.into_iter().map(|s| SeriesSamples::floats(s.labels, s.timestamps_ms, s.values)).collect())
    }
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
