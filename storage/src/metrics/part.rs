//! One immutable Parquet file of chunks.

use std::sync::Arc;

use object_store::{ObjectStore, path::Path};

/// What the manifest knows of a part.
#[derive(Clone, Debug)]
pub struct PartInfo {
    /// Where it is in the object store.
    pub path: Path,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// Its place in the order of appending: higher is later. A merged part has the highest of its inputs.
    pub sequence: u64,
    /// Oldest timestamp, milliseconds.
    pub min_ts_ms: i64,
    /// Newest timestamp, milliseconds.
    pub max_ts_ms: i64,
}

/// Footers and row group indexes of parts, bounded in bytes, shared by all parts of a store.
pub struct MetricsCache;

impl MetricsCache {
    /// A cache that holds at most `bytes_max`.
    pub fn new(_bytes_max: usize) -> Arc<MetricsCache> {
        todo!()
    }
}

/// A part that can be read. Opening costs nothing; its footer is read when first needed.
pub struct MetricsPart;

impl MetricsPart {
    /// Names a part.
    pub fn open(_store: Arc<dyn ObjectStore>, _info: PartInfo, _cache: Arc<MetricsCache>) -> MetricsPart {
        todo!()
    }

    /// What the manifest knows of it.
    pub fn info(&self) -> &PartInfo {
        todo!()
    }
}
