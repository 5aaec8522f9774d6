//! What a store says about itself: the source of its metrics and of the status page.

use std::collections::BTreeMap;

use proto::refusal::Refusal;

use crate::exemplars::ExemplarStats;
pub use crate::remote::{RemoteStats, blocks::CacheStats};

/// A moment's numbers; counters begin at open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreStats {
    /// Bytes of memory the head holds, those being flushed included.
    pub head_bytes: u64,
    /// Series in the head, those being flushed included.
    pub head_series: u64,
    /// Bytes the head may hold.
    pub head_bytes_max: u64,
    /// Series the head may hold.
    pub head_series_max: u64,
    /// Bytes of log since the last flush.
    pub log_bytes: u64,
    /// Log segments on disk.
    pub log_segments: u64,
    /// Syncs of the log.
    pub log_syncs: u64,
    /// Records replayed at open.
    pub replayed_records: u64,
    /// Bytes of damaged log that were skipped at open because the operator said so.
    pub skipped_bytes: u64,
    /// Per table (`metrics`, `logs` …): its parts.
    pub tables: BTreeMap<&'static str, TableStats>,
    /// Rows stored.
    pub rows: u64,
    /// Appends whose sequence had been stored before.
    pub duplicates: u64,
    /// Rows not taken, by reason; whole appends refused count their rows.
    pub refused: BTreeMap<Refusal, u64>,
    /// Flushes done.
    pub flushes: u64,
    /// Bytes of parts that flushes wrote.
    pub flushed_bytes: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Bytes of parts that compactions wrote.
    pub compacted_bytes: u64,
    /// Snapshots taken for backup.
    pub snapshots: u64,
    /// Deletions of series that found something.
    pub deletions: u64,
    /// Parts removed by retention.
    pub expired_parts: u64,
    /// Flushes, compactions and expiries that failed.
    pub maintain_errors: u64,
    /// Notices dropped because a subscriber was slow.
    pub notices_lost: u64,
    /// Whether the disk has no room for the log: appends are refused until it has.
    pub full: bool,
    /// Why the store takes no writes, if so.
    pub poisoned: Option<String>,
    /// What of parts is held in memory for questions.
    pub read_cache: ReadCacheStats,
    /// The object store that parts are in, if they are not local files.
    pub remote: Option<RemoteStats>,
    /// Exemplars in memory.
    pub exemplars: ExemplarStats,
}

/// Footers of parts, row group indexes and bodies of metrics parts in memory; counters begin at open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCacheStats {
    /// Bytes held, estimated.
    pub bytes: u64,
    /// Bytes that may be held.
    pub bytes_max: u64,
    /// Pieces asked for that were there.
    pub hits: u64,
    /// Pieces asked for that were not.
    pub misses: u64,
    /// Pieces removed for room.
    pub evicted: u64,
}

/// Parts of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// How many parts.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows (chunks, for metrics).
    pub rows: u64,
}

/// What one round of maintenance did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaintainReport {
    /// Why the head was flushed, if it was.
    pub flushed: Option<FlushReason>,
    /// Parts that one compaction step read.
    pub compacted_parts: usize,
    /// Parts that retention took out of the manifest.
    pub expired_parts: usize,
    /// Files removed.
    pub deleted_files: usize,
}

/// Why a flush was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushReason {
    /// The head held too many bytes.
    HeadBytes,
    /// The log since the last flush held too many bytes.
    LogBytes,
    /// The oldest row in the head was old enough.
    Age,
    /// A flush had failed before.
    Retry,
}

/// What a flush wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// How many parts.
    pub parts: usize,
    /// Their bytes.
    pub bytes: u64,
}
