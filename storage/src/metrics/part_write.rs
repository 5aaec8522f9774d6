//! From a sealed epoch, or from several parts, to parts.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;

use super::{HeadEpoch, MetricsPart, ReadError};

/// A finished part in memory, one UTC day of one tenant.
#[derive(Debug)]
pub struct EncodedPart {
    /// Days since 1970-01-01 UTC.
    pub day: i64,
    /// Oldest timestamp, milliseconds.
    pub min_ts_ms: i64,
    /// Newest timestamp, milliseconds.
    pub max_ts_ms: i64,
    /// Samples, after duplicates were resolved.
    pub samples: u64,
    /// Series.
    pub series: u64,
    /// Rows of the file (chunks).
    pub chunks: u64,
    /// The file.
    pub bytes: Bytes,
}

/// A part that a merge has written to the object store.
#[derive(Clone, Debug)]
pub struct MergedPart {
    /// Oldest timestamp, milliseconds.
    pub min_ts_ms: i64,
    /// Newest timestamp, milliseconds.
    pub max_ts_ms: i64,
    /// Samples, after duplicates were resolved.
    pub samples: u64,
    /// Series.
    pub series: u64,
    /// Rows of the file (chunks).
    pub chunks: u64,
    /// Size of the file, bytes.
    pub size_bytes: u64,
    /// Highest sequence of the inputs.
    pub sequence: u64,
}

/// Why a part could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// An input could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The Parquet writer or the object store under it refused.
    #[error("part could not be written: {0}")]
    Write(#[from] parquet::errors::ParquetError),
}

/// Encodes a sealed epoch: one file for each UTC day that has samples, ascending by day. CPU-bound: call it off the runtime.
pub fn write_parts(_epoch: &HeadEpoch) -> Result<Vec<EncodedPart>, PartError> {
    todo!()
}

/// Merges parts of one tenant and day into a new file at `output`, in bounded memory. The inputs must be neighbours in
/// the order of `sequence` (no part of that tenant and day between them may be left out), else duplicates between them
/// and it would resolve differently afterwards. Writes to the object store the inputs are in.
pub async fn merge_parts(_inputs: &[Arc<MetricsPart>], _output: &Path) -> Result<MergedPart, PartError> {
    todo!()
}
