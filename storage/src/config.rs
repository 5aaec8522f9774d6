//! What an operator may set, in checked form.

use std::{collections::BTreeMap, path::PathBuf};

use proto::Table;

use crate::OpenError;

/// Longest time between the arrival of rows and the sync that makes them durable, milliseconds.
pub const FSYNC_INTERVAL_MS_MAX: u64 = 100;
/// Smallest log segment, bytes.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// One day, milliseconds.
pub const DAY_MS: i64 = 86_400_000;

/// Everything a store needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// Where log, manifest (and parts, unless elsewhere) live.
    pub data_dir: PathBuf,
    /// Where parts live.
    pub object_store: ObjectStoreConfig,
    /// What is admitted.
    pub limits: Limits,
    /// What is kept.
    pub retention: Retention,
    /// Most memory the head may hold, bytes: flushed at half of it, full at all of it.
    pub head_bytes_max: u64,
    /// Flush when the log has grown to this, bytes: bounds replay.
    pub flush_log_bytes: u64,
    /// Flush when the oldest row in the head has been there for this long, milliseconds.
    pub flush_age_ms: i64,
    /// Pause between two syncs of the log, milliseconds, at most [`FSYNC_INTERVAL_MS_MAX`]; rows that arrive meanwhile share one.
    pub fsync_interval_ms: u64,
    /// Size of a log segment, bytes, preallocated.
    pub segment_bytes: u64,
    /// Largest part compaction makes, bytes.
    pub part_bytes_max: u64,
    /// What to do at start about damage to promised data.
    pub on_damage: OnDamage,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            data_dir: PathBuf::from("data"),
            object_store: ObjectStoreConfig::Local,
            limits: Limits::default(),
            retention: Retention::default(),
            head_bytes_max: 1 << 30,
            flush_log_bytes: 512 << 20,
            flush_age_ms: 2 * 3_600_000,
            fsync_interval_ms: 10,
            segment_bytes: 32 << 20,
            part_bytes_max: 256 << 20,
            on_damage: OnDamage::Stop,
        }
    }
}

impl StoreConfig {
    /// Defaults with a directory.
    pub fn at(data_dir: impl Into<PathBuf>) -> StoreConfig {
        StoreConfig { data_dir: data_dir.into(), ..StoreConfig::default() }
    }

    /// Refuses what can't work, before anything is opened.
    pub fn check(&self) -> Result<(), OpenError> {
        let refuse = |field, message: String| Err(OpenError::Config { field, message });
        if self.fsync_interval_ms > FSYNC_INTERVAL_MS_MAX {
            return refuse("fsync_interval_ms", format!("{} is over {FSYNC_INTERVAL_MS_MAX}", self.fsync_interval_ms));
        }
        if self.segment_bytes < SEGMENT_BYTES_MIN || self.segment_bytes > 1 << 30 {
            return refuse("segment_bytes", format!("{} is not in {SEGMENT_BYTES_MIN}..=1 GiB", self.segment_bytes));
        }
        if self.flush_log_bytes < self.segment_bytes {
            return refuse("flush_log_bytes", format!("{} is below segment_bytes", self.flush_log_bytes));
        }
        if self.flush_age_ms <= 0 {
            return refuse("flush_age_ms", "must be positive".into());
        }
        if let ObjectStoreConfig::S3(s3) = &self.object_store
            && s3.bucket.is_empty()
        {
            return refuse("object_store.bucket", "must not be empty".into());
        }
        Ok(())
    }
}

/// Where parts live.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ObjectStoreConfig {
    /// Files below `data_dir/parts`.
    #[default]
    Local,
    /// An S3-compatible store; the manifest lives there too.
    S3(S3Config),
}

/// How to reach an S3-compatible store.
#[derive(Clone, Default, PartialEq)]
pub struct S3Config {
    /// Bucket.
    pub bucket: String,
    /// Everything is below this prefix; may be empty.
    pub prefix: String,
    /// Region; empty: `us-east-1`.
    pub region: String,
    /// `http://127.0.0.1:9000` and the like; empty: Amazon's.
    pub endpoint: String,
    /// Key id; empty: from the environment.
    pub access_key_id: String,
    /// Secret; empty: from the environment.
    pub secret_access_key: String,
}

impl std::fmt::Debug for S3Config {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Config")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// What is admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Most active series in all.
    pub series_max: usize,
    /// Most active series first seen from one source.
    pub series_per_source_max: usize,
    /// Most labels on a series.
    pub labels_per_series_max: usize,
    /// Longest label name, bytes.
    pub label_name_bytes_max: usize,
    /// Longest label value, bytes.
    pub label_value_bytes_max: usize,
    /// Oldest row taken, milliseconds before now.
    pub age_ms_max: i64,
    /// Newest row taken, milliseconds after now.
    pub future_ms_max: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            series_max: 2_000_000,
            series_per_source_max: 500_000,
            labels_per_series_max: 64,
            label_name_bytes_max: 256,
            label_value_bytes_max: 4096,
            age_ms_max: 30 * DAY_MS,
            future_ms_max: 10 * 60_000,
        }
    }
}

/// How long and how much of one table is kept; `None`: without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Age, milliseconds.
    pub age_ms: Option<i64>,
    /// Bytes of parts.
    pub bytes: Option<u64>,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    /// The metrics table.
    pub metrics: Keep,
    /// Event tables not named below.
    pub events: Keep,
    /// Single event tables.
    pub tables: BTreeMap<Table, Keep>,
}

impl Default for Retention {
    fn default() -> Retention {
        let keep = |days| Keep { age_ms: Some(days * DAY_MS), bytes: None };
        Retention {
            metrics: keep(90),
            events: keep(30),
            tables: BTreeMap::from([
                (Table::AlertEvents, keep(400)),
                (Table::Statements, keep(400)),
                (Table::Plans, keep(400)),
            ]),
        }
    }
}

impl Retention {
    /// What is kept of a table; `None` is the metrics table.
    pub fn of(&self, table: Option<Table>) -> Keep {
        match table {
            None => self.metrics,
            Some(table) => self.tables.get(&table).copied().unwrap_or(self.events),
        }
    }
}

/// What to do at start about damage to data that was promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Don't start; say where.
    #[default]
    Stop,
    /// Lose what is damaged, say how much, go on.
    Skip,
}
