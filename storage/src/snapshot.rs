//! Reads: what one tenant's data was at one moment.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::{StreamExt, stream::BoxStream};
use proto::{Labels, Table, samples::Family};

use crate::{
    Matcher, Need, ReadError, SeriesQuery, SeriesSamples, WholeChunks,
    events::{
        EventHead,
        read::{EventParts, Scan},
    },
    manifest::FamilyEntry,
    metrics::{HeadEpoch, MetricsView, PlannedRead},
    part::Part,
};

/// Parts of an event table that one scan reads at the same time.
const SCAN_PARTS_AT_ONCE: usize = 2;

/// Which rows and columns of an event table.
#[derive(Clone, Debug, PartialEq)]
pub struct EventQuery {
    /// Only these instances; `None`: all.
    pub instances: Option<Vec<String>>,
    /// Oldest timestamp, inclusive, milliseconds.
    pub min_ms: i64,
    /// Newest timestamp, inclusive, milliseconds.
    pub max_ms: i64,
    /// Only these columns, by index into [`Table::columns`], in this order; `None`: all.
    pub columns: Option<Vec<usize>>,
    /// What rows of interest have in their texts: rows that do not have it may be left out, and may be given.
    pub need: Need,
}

impl Default for EventQuery {
    /// Everything.
    fn default() -> EventQuery {
        EventQuery { instances: None, min_ms: i64::MIN, max_ms: i64::MAX, columns: None, need: Need::default() }
    }
}

/// One tenant's data at one moment; cheap to clone. Parts it names are not deleted while it, or a stream from it, lives.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

struct Inner {
    tenant: String,
    event_parts: EventParts,
    parts: Arc<Vec<Arc<Part>>>,
    epochs: Vec<Arc<HeadEpoch>>,
    events: Vec<(Table, Arc<EventHead>, usize)>,
    families: Arc<std::collections::BTreeMap<String, FamilyEntry>>,
}

impl Snapshot {
    /// `epochs` oldest first. Of each event head, the rows that are there now.
    pub(crate) fn new(
        tenant: &str,
        event_parts: EventParts,
        parts: Arc<Vec<Arc<Part>>>,
        epochs: Vec<Arc<HeadEpoch>>,
        events: Vec<(Table, Arc<EventHead>)>,
        families: Arc<std::collections::BTreeMap<String, FamilyEntry>>,
    ) -> Snapshot {
        let events = events
            .into_iter()
            .map(|(table, head)| {
                let rows = head.rows();
                (table, head, rows)
            })
            .collect();
        Snapshot(Arc::new(Inner { tenant: tenant.to_owned(), event_parts, parts, epochs, events, families }))
    }

    fn metrics(&self, min_ms: i64, max_ms: i64) -> MetricsView {
        let wanted = |part: &&Arc<Part>| {
            part.entry.tenant == self.0.tenant && part.entry.min_ts_ms <= max_ms && part.entry.max_ts_ms >= min_ms
        };
        let parts = self.0.parts.iter().filter(wanted).filter_map(|p| p.metrics.clone()).collect();
        MetricsView { epochs: self.0.epochs.clone(), parts }
    }

    /// Samples of the matching series within the range, sorted by labels, timestamps ascending, duplicates resolved (the
    /// last appended wins); series without any are left out.
    pub async fn select(&self, query: &SeriesQuery<'_>) -> Result<Vec<SeriesSamples>, ReadError> {
        self.metrics(query.min_ms, query.max_ms).select(query).await
    }

    /// The first half of that: what there is to read, before it is read. With `whole`, chunks whose statistics say enough are not
    /// decoded, for those who want to know of a whole range.
    pub async fn plan(&self, query: &SeriesQuery<'_>, whole: Option<WholeChunks>) -> Result<PlannedRead, ReadError> {
        self.metrics(query.min_ms, query.max_ms).plan(query, whole).await
    }

    /// Matching series that may have samples in the range, sorted, at most `limit`.
    pub async fn series(
        &self,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        limit: usize,
    ) -> Result<Vec<Labels>, ReadError> {
        self.metrics(min_ms, max_ms).series(matchers, min_ms, max_ms, limit).await
    }

    /// Label names of those series, sorted, at most `limit`.
    pub async fn label_names(
        &self,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.metrics(min_ms, max_ms).label_names(matchers, min_ms, max_ms, limit).await
    }

    /// Values of one label of those series, sorted, at most `limit`.
    pub async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.metrics(min_ms, max_ms).label_values(name, matchers, min_ms, max_ms, limit).await
    }

    /// The metrics table flat, for SQL: batches of (metric Utf8, labels Utf8 JSON, ts Timestamp(ms, UTC), value Float64, histogram Utf8
    /// JSON), of which one of the last two is null;
    /// more series than `series_max` are an error.
    pub async fn scan_metrics(
        &self,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        series_max: usize,
    ) -> Result<BoxStream<'static, Result<RecordBatch, ReadError>>, ReadError> {
        let stream = self.metrics(min_ms, max_ms).scan_flat(matchers, min_ms, max_ms, series_max).await?;
        Ok(self.pinning(stream))
    }

    /// Rows of an event table, in no order across batches, with the columns asked for (types: [`crate::event_schema`]).
    pub async fn scan(
        &self,
        table: Table,
        query: &EventQuery,
    ) -> Result<BoxStream<'static, Result<RecordBatch, ReadError>>, ReadError> {
        let scan = Scan::new(table, query)?;
        let mut recent = Vec::new();
        for (_, head, rows) in self.0.events.iter().filter(|(t, _, _)| *t == table) {
            for batch in head.first(*rows) {
                if let Some(batch) = scan.apply(&batch)? {
                    recent.push(Ok(batch));
                }
            }
        }
        let wanted = |part: &&Arc<Part>| {
            part.entry.tenant == self.0.tenant
                && part.entry.table == table.name()
                && scan.overlaps(part.entry.min_ts_ms, part.entry.max_ts_ms)
        };
        let open =
            |part: &Arc<Part>| scan.clone().part(self.0.event_parts.clone(), part.entry.path.clone(), part.entry.bytes);
        let parts: Vec<_> = self.0.parts.iter().filter(wanted).map(open).collect();
        let parts = futures::stream::iter(parts).flatten_unordered(SCAN_PARTS_AT_ONCE);
        Ok(self.pinning(futures::stream::iter(recent).chain(parts).boxed()))
    }

    /// Keeps the snapshot's parts for as long as the stream.
    fn pinning<T: Send + 'static>(&self, stream: BoxStream<'static, T>) -> BoxStream<'static, T> {
        let pinned = self.clone();
        stream
            .map(move |item| {
                let _ = &pinned;
                item
            })
            .boxed()
    }

    /// What metrics are, by name.
    pub fn families(&self) -> Vec<Family> {
        let family = |(name, e): (&String, &FamilyEntry)| Family {
            name: name.clone(),
            kind: e.kind.clone(),
            help: e.help.clone(),
            unit: e.unit.clone(),
        };
        self.0.families.iter().map(family).collect()
    }
}
