//! Recent samples of one tenant, in memory.

use std::sync::Arc;

use proto::Labels;

/// A series within the head's present epoch; valid until the next seal.
pub type SeriesId = u32;

/// The head of one tenant. All methods take `&self`; a writer is exclusive, readers wait only for its few microseconds.
pub struct MetricsHead;

/// What was appended between two seals; append-only until sealed, then fixed. Reads hold it by its `Arc`.
pub struct HeadEpoch;

/// The exclusive right to append, held for one request.
pub struct HeadWriter<'a> {
    _head: &'a MetricsHead,
}

impl MetricsHead {
    /// An empty head.
    pub fn new() -> MetricsHead {
        todo!()
    }

    /// Locks the head for appending.
    pub fn writer(&self) -> HeadWriter<'_> {
        todo!()
    }

    /// The present epoch, for a snapshot: it sees everything appended before, and what is appended until the seal.
    pub fn epoch(&self) -> Arc<HeadEpoch> {
        todo!()
    }

    /// Ends the present epoch and begins the next; gives the ended one, which nobody can append to any more.
    /// Series that had no sample in it are forgotten.
    pub fn seal(&self) -> Arc<HeadEpoch> {
        todo!()
    }

    /// Memory of the present epoch and the series table, estimated, bytes.
    pub fn bytes(&self) -> usize {
        todo!()
    }

    /// Series known to the head.
    pub fn series(&self) -> usize {
        todo!()
    }
}

impl HeadWriter<'_> {
    /// The id of the series with these canonical label bytes, without allocation.
    pub fn resolve(&self, _labels: &[u8]) -> Option<SeriesId> {
        todo!()
    }

    /// The id of the series with these labels, which is created if it is new.
    pub fn create(&mut self, _labels: Labels) -> SeriesId {
        todo!()
    }

    /// Adds a sample; late, early and duplicate ones are all kept (the last of a timestamp is the answer).
    pub fn append(&mut self, _id: SeriesId, _timestamp_ms: i64, _value: f64) {
        todo!()
    }

    /// Memory, as [`MetricsHead::bytes`].
    pub fn bytes(&self) -> usize {
        todo!()
    }

    /// Series known to the head.
    pub fn series(&self) -> usize {
        todo!()
    }
}

impl HeadEpoch {
    /// Oldest and newest timestamp, if there is any sample.
    pub fn time_range_ms(&self) -> Option<(i64, i64)> {
        todo!()
    }

    /// Samples appended, duplicates included.
    pub fn samples(&self) -> u64 {
        todo!()
    }

    /// Memory, estimated, bytes.
    pub fn bytes(&self) -> usize {
        todo!()
    }
}
