//! The store: log, head, parts and manifest together.

use std::sync::Arc;

use proto::Class;

use crate::{
    Append, AppendError, FlushReport, MaintainError, MaintainReport, OpenError, PendingAppend, Snapshot, StoreConfig,
    StoreStats,
};

/// Keeps what was admitted. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store {}

/// Something was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whose.
    pub tenant: Arc<str>,
    /// Of what class.
    pub class: Class,
    /// How many rows.
    pub rows: u64,
}

/// A bounded queue of notices: a slow reader loses the oldest, and learns how many.
pub struct Subscription {}

impl Subscription {
    /// The next notice; `None` when the store is closed.
    pub async fn next(&mut self) -> Option<Notice> {
        todo!()
    }

    /// How many notices this subscription has lost so far.
    pub fn lost(&self) -> u64 {
        todo!()
    }
}

impl Store {
    /// Opens or creates the store at `config.data_dir` and replays its log. `now_ms`: the time, milliseconds.
    pub async fn open(_config: StoreConfig, _now_ms: i64) -> Result<Store, OpenError> {
        todo!()
    }

    /// Puts rows into the log's buffer and the head, where they can be read at once. The answer resolves when they are
    /// synced: acknowledge only then.
    pub fn append(&self, _append: Append<'_>) -> Result<PendingAppend, AppendError> {
        todo!()
    }

    /// The highest sequence on disk of each class of a source.
    pub fn durable(&self, _collector: &str, _epoch: u64) -> Vec<(Class, u64)> {
        todo!()
    }

    /// A consistent view of one tenant's data.
    pub fn snapshot(&self, _tenant: &str) -> Snapshot {
        todo!()
    }

    /// Tenants that have data.
    pub fn tenants(&self) -> Vec<Arc<str>> {
        todo!()
    }

    /// Notices of what is appended from now on.
    pub fn subscribe(&self) -> Subscription {
        todo!()
    }

    /// Turns the head into parts and shortens the log.
    pub async fn flush(&self, _now_ms: i64) -> Result<FlushReport, MaintainError> {
        todo!()
    }

    /// One round of upkeep: a flush if one is due, one compaction step, retention, removal of files nobody reads.
    /// Call it every few seconds from one task.
    pub async fn maintain(&self, _now_ms: i64) -> Result<MaintainReport, MaintainError> {
        todo!()
    }

    /// The present numbers.
    pub fn stats(&self) -> StoreStats {
        todo!()
    }

    /// Syncs the log and stops its writer. Appends are refused from here on; snapshots stay readable.
    pub async fn close(self) {
        todo!()
    }
}
