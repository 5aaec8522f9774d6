//! Recent samples of one tenant, in memory.
//!
//! The series table (labels, hash of their bytes, postings) lives across epochs; an epoch holds one token stream for each
//! series (`head_stream`), and one more for those that have native histograms (`head_histograms`). Sealing starts a new epoch and leaves the old one to whoever holds it, so that a snapshot taken
//! before reads the same samples afterwards, wherever they have gone meanwhile.

use std::{collections::BTreeMap, mem::size_of, sync::Arc};

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard, RwLock};
use proto::{Histogram, Labels};
use xxhash_rust::xxh3::xxh3_64;

use super::{head_histograms::HistogramStream, head_stream::Stream, index::LabelIndex};
use crate::matcher::Matcher;

/// A series within the head's present epoch; valid until the next seal.
pub type SeriesId = u32;

/// The table is rebuilt at a seal once more than this share (a fraction of one in …) of its series had no sample.
const IDLE_SERIES_SHARE: usize = 4;
/// Samples that a writer collects before it locks the epoch for all of them.
const WRITER_SAMPLES: usize = 4096;
/// Bytes of a series in the table beyond its labels and postings: handle, reference count, hash slot.
const SERIES_BYTES: usize = size_of::<Labels>() + 16 + 8;

/// The head of one tenant. All methods take `&self`: one writer at a time, readers wait only for its few microseconds.
#[derive(Default)]
pub struct MetricsHead {
    present: Mutex<Arc<HeadEpoch>>,
}

/// What was appended between two seals; append-only until sealed, then fixed. Reads hold it by its `Arc`.
#[derive(Default)]
pub struct HeadEpoch {
    table: Arc<RwLock<SeriesTable>>,
    state: RwLock<EpochState>,
}

#[derive(Default)]
struct SeriesTable {
    labels: Vec<Labels>,
    by_bytes: HashTable<SeriesId>,
    index: LabelIndex,
    label_bytes: usize,
}

#[derive(Default)]
struct EpochState {
    streams: Vec<Stream>,
    /// Of the few series that have any.
    histograms: BTreeMap<SeriesId, HistogramStream>,
    token_bytes: usize,
    samples: u64,
    range: Option<(i64, i64)>,
}

/// The exclusive right to append, held for one request. Samples can be read once it is dropped.
pub struct HeadWriter<'a> {
    epoch: MutexGuard<'a, Arc<HeadEpoch>>,
    pending: Vec<(SeriesId, i64, f64)>,
    histograms: Vec<(SeriesId, i64, Histogram)>,
}

impl MetricsHead {
    /// An empty head.
    pub fn new() -> MetricsHead {
        MetricsHead::default()
    }

    /// Locks the head for appending.
    pub fn writer(&self) -> HeadWriter<'_> {
        HeadWriter { epoch: self.present.lock(), pending: Vec::new(), histograms: Vec::new() }
    }

    /// The present epoch, for a snapshot: it sees everything appended before, and what is appended until the seal.
    pub fn epoch(&self) -> Arc<HeadEpoch> {
        self.present.lock().clone()
    }

    /// Ends the present epoch and begins the next; gives the ended one, which nobody can append to any more.
    /// Series that had no sample in it are forgotten once they are more than a quarter of all.
    pub fn seal(&self) -> Arc<HeadEpoch> {
        let mut present = self.present.lock();
        let next = HeadEpoch { table: present.table_of_the_next(), state: RwLock::default() };
        std::mem::replace(&mut *present, Arc::new(next))
    }

    /// Memory of the series table and of the present epoch's samples, estimated, bytes.
    pub fn bytes(&self) -> (usize, usize) {
        let epoch = self.present.lock();
        (epoch.table_bytes(), epoch.sample_bytes())
    }

    /// Series known to the head.
    pub fn series(&self) -> usize {
        self.present.lock().table.read().labels.len()
    }
}

impl HeadWriter<'_> {
    /// The id of the series with these canonical label bytes, without allocation.
    pub fn resolve(&self, labels: &[u8]) -> Option<SeriesId> {
        self.epoch.table.read().find(labels)
    }

    /// The id of the series with these labels, which is created if it is new.
    pub fn create(&mut self, labels: Labels) -> SeriesId {
        let mut table = self.epoch.table.write();
        table.find(labels.as_bytes()).unwrap_or_else(|| table.add(labels))
    }

    /// Adds a sample; late, early and duplicate ones are all kept (the last of a timestamp is the answer).
    /// An id that this epoch did not give is ignored.
    pub fn append(&mut self, id: SeriesId, timestamp_ms: i64, value: f64) {
        self.pending.push((id, timestamp_ms, value));
        if self.pending.len() >= WRITER_SAMPLES {
            self.apply();
        }
    }

    /// Adds a histogram, like [`HeadWriter::append`]. Of a float and a histogram of one series and timestamp the histogram is
    /// the answer.
    pub fn append_histogram(&mut self, id: SeriesId, timestamp_ms: i64, histogram: Histogram) {
        self.histograms.push((id, timestamp_ms, histogram));
    }

    /// Series known to the head.
    pub fn series(&self) -> usize {
        self.epoch.table.read().labels.len()
    }

    fn apply(&mut self) {
        if self.pending.is_empty() && self.histograms.is_empty() {
            return;
        }
        let series = self.series();
        let state = &mut *self.epoch.state.write();
        if state.streams.len() < series {
            state.streams.resize_with(series, Stream::default);
        }
        for (id, timestamp, value) in self.pending.drain(..) {
            let Some(stream) = state.streams.get_mut(id as usize) else { continue };
            state.token_bytes += stream.append(timestamp, value);
            state.samples += 1;
            let (min, max) = state.range.unwrap_or((timestamp, timestamp));
            state.range = Some((min.min(timestamp), max.max(timestamp)));
        }
        for (id, timestamp, histogram) in self.histograms.drain(..).filter(|(id, _, _)| (*id as usize) < series) {
            let stream = state.histograms.entry(id).or_default();
            state.token_bytes += stream.append(timestamp, histogram);
            state.samples += 1;
            let (min, max) = state.range.unwrap_or((timestamp, timestamp));
            state.range = Some((min.min(timestamp), max.max(timestamp)));
        }
    }
}

impl Drop for HeadWriter<'_> {
    fn drop(&mut self) {
        self.apply();
    }
}

impl SeriesTable {
    fn find(&self, labels: &[u8]) -> Option<SeriesId> {
        self.by_bytes.find(xxh3_64(labels), |&id| self.labels[id as usize].as_bytes() == labels).copied()
    }

    fn add(&mut self, labels: Labels) -> SeriesId {
        let id = self.labels.len() as SeriesId;
        let hash = labels.hash64();
        self.index.add(&labels);
        self.label_bytes += labels.as_bytes().len();
        self.labels.push(labels);
        let known = &self.labels;
        self.by_bytes.insert_unique(hash, id, |&id| known[id as usize].hash64());
        id
    }

    fn bytes(&self) -> usize {
        self.label_bytes + self.labels.len() * SERIES_BYTES + self.index.bytes()
    }
}

impl EpochState {
    fn is_live(&self, id: SeriesId, min_ts: i64, max_ts: i64) -> bool {
        self.streams.get(id as usize).is_some_and(|s| s.overlaps(min_ts, max_ts))
            || !self.histograms.is_empty() && self.histograms.get(&id).is_some_and(|s| s.overlaps(min_ts, max_ts))
    }

    fn cover(&self, id: SeriesId) -> Option<(i64, i64)> {
        let floats = self.streams.get(id as usize).and_then(Stream::cover);
        let histograms = self.histograms.get(&id).and_then(HistogramStream::cover);
        floats.into_iter().chain(histograms).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    fn count(&self, id: SeriesId) -> usize {
        self.streams.get(id as usize).map_or(0, Stream::count)
            + self.histograms.get(&id).map_or(0, HistogramStream::count)
    }

    fn bytes(&self) -> usize {
        let each = size_of::<SeriesId>() + size_of::<HistogramStream>();
        self.streams.len() * size_of::<Stream>() + self.histograms.len() * each + self.token_bytes
    }
}

impl HeadEpoch {
    /// Oldest and newest timestamp, if there is any sample.
    pub fn time_range_ms(&self) -> Option<(i64, i64)> {
        self.state.read().range
    }

    /// Samples appended, duplicates included.
    pub fn samples(&self) -> u64 {
        self.state.read().samples
    }

    /// Memory of the series table, which the next epoch may share, estimated, bytes.
    fn table_bytes(&self) -> usize {
        self.table.read().bytes()
    }

    /// Memory of the samples, estimated, bytes.
    fn sample_bytes(&self) -> usize {
        self.state.read().bytes()
    }

    /// Memory that goes with this epoch once `next` is there, estimated, bytes: a table that both use stays.
    pub(crate) fn bytes_beside(&self, next: &HeadEpoch) -> usize {
        let table_bytes = if Arc::ptr_eq(&self.table, &next.table) { 0 } else { self.table_bytes() };
        table_bytes + self.sample_bytes()
    }

    /// The matching series that have samples within the range's hull: id and labels.
    pub(crate) fn find(&self, matchers: &[Matcher], min_ts: i64, max_ts: i64) -> Vec<(SeriesId, Labels)> {
        if !self.overlaps(min_ts, max_ts) {
            return Vec::new();
        }
        let table = self.table.read();
        let ids = table.index.select(matchers, |id| &table.labels[id as usize]);
        let state = self.state.read();
        let live = |id: &SeriesId| state.is_live(*id, min_ts, max_ts);
        ids.into_iter().filter(live).map(|id| (id, table.labels[id as usize].clone())).collect()
    }

    /// The ids of those of `labels` that have samples within the range's hull, with their place in `labels`.
    pub(crate) fn find_exactly(&self, labels: &[Labels], min_ts: i64, max_ts: i64) -> Vec<(SeriesId, usize)> {
        if !self.overlaps(min_ts, max_ts) {
            return Vec::new();
        }
        let table = self.table.read();
        let state = self.state.read();
        let live = |id: &SeriesId| state.is_live(*id, min_ts, max_ts);
        let find = |(at, labels): (usize, &Labels)| table.find(labels.as_bytes()).filter(live).map(|id| (id, at));
        labels.iter().enumerate().filter_map(find).collect()
    }

    /// A copy of a series' stream: small, and it can be decoded without holding up the writer.
    pub(crate) fn stream(&self, id: SeriesId) -> Option<Stream> {
        self.state.read().streams.get(id as usize).cloned()
    }

    /// Copies of several streams under one lock; those of unknown ids are empty.
    pub(crate) fn streams(&self, ids: impl Iterator<Item = SeriesId>) -> Vec<Stream> {
        let state = self.state.read();
        ids.map(|id| state.streams.get(id as usize).cloned().unwrap_or_default()).collect()
    }

    /// Copies of the histograms of several series under one lock, each with its series' place among `ids`; most have none.
    pub(crate) fn histograms(&self, ids: impl Iterator<Item = SeriesId>) -> Vec<(usize, HistogramStream)> {
        let state = self.state.read();
        if state.histograms.is_empty() {
            return Vec::new();
        }
        ids.enumerate().filter_map(|(at, id)| Some((at, state.histograms.get(&id)?.clone()))).collect()
    }

    /// How many samples each of these series has.
    pub(crate) fn counts(&self, ids: impl Iterator<Item = SeriesId>) -> Vec<usize> {
        let state = self.state.read();
        ids.map(|id| state.count(id)).collect()
    }

    /// The hull of the times each of these series has, if any: of floats and histograms.
    pub(crate) fn covers(&self, ids: impl Iterator<Item = SeriesId>) -> Vec<Option<(i64, i64)>> {
        let state = self.state.read();
        ids.map(|id| state.cover(id)).collect()
    }

    /// Names of labels, or values of the label `name`, of all series with samples within the range's hull: from the
    /// postings, without looking at each series.
    pub(crate) fn label_texts(&self, name: Option<&str>, min_ts: i64, max_ts: i64) -> Vec<String> {
        let table = self.table.read();
        let state = self.state.read();
        let live = |id: &u32| state.is_live(*id, min_ts, max_ts);
        match name {
            Some(name) => {
                let values = table.index.values(name).filter(|(_, ids)| ids.iter().any(live));
                values.map(|(value, _)| value.to_owned()).collect()
            }
            None => {
                let any = |name: &&str| table.index.values(name).any(|(_, ids)| ids.iter().any(live));
                table.index.names().filter(any).map(str::to_owned).collect()
            }
        }
    }

    fn overlaps(&self, min_ts: i64, max_ts: i64) -> bool {
        self.time_range_ms().is_some_and(|(min, max)| min <= max_ts && max >= min_ts)
    }

    /// This epoch's table, or one of only the series that had samples if too many had none.
    fn table_of_the_next(&self) -> Arc<RwLock<SeriesTable>> {
        let table = self.table.read();
        let state = self.state.read();
        let has_samples = |id: usize| state.count(id as SeriesId) > 0;
        let idle = (0..table.labels.len()).filter(|&id| !has_samples(id)).count();
        if idle * IDLE_SERIES_SHARE <= table.labels.len() {
            return self.table.clone();
        }
        let mut next = SeriesTable::default();
        table.labels.iter().enumerate().filter(|(id, _)| has_samples(*id)).for_each(|(_, labels)| {
            next.add(labels.clone());
        });
        Arc::new(RwLock::new(next))
    }
}
