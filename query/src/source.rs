//! The store as PromQL's source of samples: matchers and series in the store's own form.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::RwLock;
use storage::{MatchOp, Matcher, ReadError, SeriesQuery, Snapshot, WholeChunk, WholeChunks};

use crate::histogram;
use crate::place::Place;
use crate::promql::{
    MemorySource,
    digest::{Digest, Digested, Run},
    matcher::MatchOp as AskedOp,
    source::{Selection, SeriesSamples, Source, SourceError},
};
use crate::querier::Ending;

/// Most samples that are read where a question is asked: some hundred microseconds' worth.
const SAMPLES_HERE_MAX: usize = 1 << 15;
/// Most samples that are looked at there, one in the windows of two steps counting twice, and points.
const LOOKS_HERE_MAX: usize = 1 << 18;

/// One tenant's data at one moment, as PromQL reads it.
pub(crate) struct StoreSource {
    snapshot: Snapshot,
    /// Series read beside it.
    beside: Option<Arc<RwLock<MemorySource>>>,
    ending: Ending,
    place: Place,
    reading_ns: AtomicU64,
}

impl StoreSource {
    /// Reads `snapshot` and `beside` at `place`, unless `ending` comes first.
    pub(crate) fn new(
        snapshot: Snapshot,
        beside: Option<Arc<RwLock<MemorySource>>>,
        ending: Ending,
        place: Place,
    ) -> StoreSource {
        StoreSource { snapshot, beside, ending, place, reading_ns: AtomicU64::new(0) }
    }

    /// How long reads took until now.
    pub(crate) fn reading(&self) -> Duration {
        Duration::from_nanos(self.reading_ns.load(Relaxed))
    }

    /// Series of which chunks are told by their statistics; `None` if one can't be put together from them: it has histograms beside
    /// them, or a sample came into a chunk meanwhile.
    async fn digests(
        &self,
        query: &SeriesQuery<'_>,
        digested: Digested,
    ) -> Result<Option<Vec<SeriesSamples>>, SourceError> {
        let whole = match digested {
            Digested::Extremes => WholeChunks::Any,
            Digested::Resets => WholeChunks::Rising,
        };
        let series = self.unless_stopped(self.read(query, Some(whole))).await?;
        Ok(series.into_iter().map(digest).collect())
    }

    async fn read(
        &self,
        query: &SeriesQuery<'_>,
        whole: Option<WholeChunks>,
    ) -> Result<Vec<storage::SeriesSamples>, ReadError> {
        let planned = self.snapshot.plan(query, whole).await?;
        if planned.samples_at_most() > SAMPLES_HERE_MAX {
            self.place.move_apart().await;
        }
        planned.read().await
    }

    /// The answer of a read, unless the question is to end before. The store yields between pieces of its work, and is then left.
    async fn unless_stopped<T>(&self, read: impl Future<Output = Result<T, ReadError>>) -> Result<T, SourceError> {
        let mut read = pin!(read);
        let answer = poll_fn(|context| match self.ending.check() {
            // asked first: once a runtime goes down, its requests have left and its clock is gone
            Some(_) => Poll::Ready(None),
            None => read.as_mut().poll(context).map(Some),
        });
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            () = self.ending.reached() => None,
        };
        let Some(answer) = answer else { return Err(SourceError::Stopped) };
        answer.map_err(|error| match error {
            ReadError::TooMuch { what: "series", allowed } => SourceError::TooManySeries(allowed),
            ReadError::TooMuch { .. } => SourceError::TooManySamples,
            other => SourceError::Failed(other.to_string()),
        })
    }
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
        let began = crate::querier::now();
        // what is read beside it is joined sample by sample
        let digests = match selection.digested.filter(|_| self.beside.is_none()) {
            Some(digested) => self.digests(&query, digested).await?,
            None => None,
        };
        if let Some(found) = digests {
            self.reading_ns.fetch_add((crate::querier::now() - began).as_nanos() as u64, Relaxed);
            return Ok(found);
        }
        let series = self.unless_stopped(self.read(&query, None)).await?;
        self.reading_ns.fetch_add((crate::querier::now() - began).as_nanos() as u64, Relaxed);
        let mut found: Vec<SeriesSamples> = series.into_iter().map(computed).collect();
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

    async fn before_evaluation(&self, looks: usize) {
        if looks > LOOKS_HERE_MAX {
            self.place.move_apart().await;
        }
    }
}

fn computed(series: storage::SeriesSamples) -> SeriesSamples {
    SeriesSamples {
        histograms: histogram::computed(series.histograms),
        ..SeriesSamples::floats(series.labels, series.timestamps_ms, series.values)
    }
}

/// The series as a digest if it has chunks that were not decoded, else as it is.
fn digest(series: storage::SeriesSamples) -> Option<SeriesSamples> {
    if series.whole.is_empty() {
        return Some(computed(series));
    }
    if !series.histograms.is_empty() {
        return None;
    }
    let run = |chunk: &WholeChunk| Run {
        first_ms: chunk.first_ms,
        last_ms: chunk.last_ms,
        count: u64::from(chunk.count),
        first: chunk.first,
        last: chunk.last,
        min: chunk.min,
        max: chunk.max,
    };
    let runs: Vec<Run> = series.whole.iter().map(run).collect();
    let digest = Digest::join(&runs, &series.timestamps_ms, &series.values)?;
    Some(SeriesSamples { digest: Some(digest), ..SeriesSamples::floats(series.labels, Vec::new(), Vec::new()) })
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
    match asked.regex() {
        Some(regex) => Ok(Matcher::compiled(asked.name(), op, &asked.rust_value(), regex.clone())),
        None => Matcher::new(asked.name(), op, asked.value()).map_err(|error| SourceError::Failed(error.to_string())),
    }
}
