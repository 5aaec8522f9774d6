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
use storage::{MatchOp, Matcher, ReadError, SeriesQuery, Snapshot};

use crate::histogram;
use crate::promql::{
    MemorySource, Stop,
    matcher::MatchOp as AskedOp,
    source::{Selection, SeriesSamples, Source, SourceError},
};

/// How often a read that is under way asks whether it is to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Asked whether to stop, from any thread.
type SharedStop = Arc<dyn Fn() -> Option<Stop> + Send + Sync>;

/// One tenant's data at one moment, as PromQL reads it.
pub(crate) struct StoreSource {
    snapshot: Snapshot,
    /// Series read beside it.
    beside: Option<Arc<RwLock<MemorySource>>>,
    stop: SharedStop,
    reading_ns: AtomicU64,
}

impl StoreSource {
    /// Reads `snapshot` and `beside` until `stop` says so.
    pub(crate) fn new(snapshot: Snapshot, beside: Option<Arc<RwLock<MemorySource>>>, stop: SharedStop) -> StoreSource {
        StoreSource { snapshot, beside, stop, reading_ns: AtomicU64::new(0) }
    }

    /// How long reads took until now.
    pub(crate) fn reading(&self) -> Duration {
        Duration::from_nanos(self.reading_ns.load(Relaxed))
    }

    /// The answer of a read, unless it is to stop before. The store yields between pieces of its work, and is then left.
    async fn unless_stopped<T>(&self, read: impl Future<Output = Result<T, ReadError>>) -> Result<T, SourceError> {
        let mut read = pin!(read);
        let mut pause = pin!(tokio::time::sleep(STOP_CHECK_INTERVAL));
        let read = poll_fn(|context| {
            // asked first: once a runtime goes down, its requests have left and its clock is gone
            if (self.stop)().is_some() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(answer) = read.as_mut().poll(context) {
                return Poll::Ready(Some(answer));
            }
            if (self.stop)().is_some() {
                return Poll::Ready(None);
            }
            while pause.as_mut().poll(context).is_ready() {
                pause.set(tokio::time::sleep(STOP_CHECK_INTERVAL));
            }
            Poll::Pending
        });
        let Some(answer) = read.await else { return Err(SourceError::Stopped) };
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
        let series = self.unless_stopped(self.snapshot.select(&query)).await?;
        self.reading_ns.fetch_add((crate::querier::now() - began).as_nanos() as u64, Relaxed);
        let computed = |s: storage::SeriesSamples| SeriesSamples {
            histograms: histogram::computed(s.histograms),
            ..SeriesSamples::floats(s.labels, s.timestamps_ms, s.values)
        };
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
