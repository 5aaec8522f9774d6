//! What an operator may set, in checked form.

use std::{collections::BTreeMap, path::PathBuf};

use proto::Table;

use crate::{OpenError, exemplars};

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
    /// Most memory the head may hold, bytes: flushed when rows hold half of what the series leave of it, full at all of it.
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
    /// Exemplars kept, of all series together, in memory and in the log. 0: none, at most [`exemplars::EXEMPLARS_MAX`].
    pub exemplars_max: usize,
    /// Whether an object store that is another server's becomes this one's.
    pub take_over: bool,
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
            exemplars_max: exemplars::EXEMPLARS_DEFAULT,
            take_over: false,
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
        if self.exemplars_max > exemplars::EXEMPLARS_MAX {
            return refuse("exemplars_max", format!("{} is over {}", self.exemplars_max, exemplars::EXEMPLARS_MAX));
        }
        if let ObjectStoreConfig::S3(s3) = &self.object_store {
            s3.check().or_else(|(field, message)| refuse(field, message))?;
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

impl std::fmt::Display for ObjectStoreConfig {
    /// Where it is, without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ObjectStoreConfig::Local => f.write_str("local"),
            ObjectStoreConfig::S3(s3) => write!(f, "{}, cache {} bytes", crate::remote::place(s3), s3.cache_bytes_max),
        }
    }
}

/// How to reach an S3-compatible store.
#[derive(Clone, PartialEq)]
pub struct S3Config {
    /// Bucket.
    pub bucket: String,
    /// Everything is below this prefix; may be empty.
    pub prefix: String,
    /// Region; empty: from the environment, else `us-east-1`.
    pub region: String,
    /// `http://127.0.0.1:9000` and the like; empty: from the environment, else Amazon's.
    pub endpoint: String,
    /// Key id; empty: key and secret from the environment, else the instance's role.
    pub access_key_id: String,
    /// Secret of `access_key_id`.
    pub secret_access_key: String,
    /// Most bytes of parts that are kept on the local disk; 0: none.
    pub cache_bytes_max: u64,
    /// How long one request may take, milliseconds.
    pub timeout_ms: u64,
    /// How long a request that fails is tried again, milliseconds, at most [`RETRY_MS_MAX`].
    pub retry_ms: u64,
}

impl Default for S3Config {
    fn default() -> S3Config {
        S3Config {
            bucket: String::new(),
            prefix: String::new(),
            region: String::new(),
            endpoint: String::new(),
            access_key_id: String::new(),
            secret_access_key: String::new(),
            cache_bytes_max: 10 << 30,
            timeout_ms: 30_000,
            retry_ms: 20_000,
        }
    }
}

/// Longest time that a request to an object store is tried again, milliseconds: its signature is good for little longer.
pub const RETRY_MS_MAX: u64 = 240_000;

impl S3Config {
    /// The field that can't be used, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let refuse = |field, message: &str| Err((field, message.to_owned()));
        let in_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(in_name) {
            let allowed = "a bucket's name: 3 to 63 lower-case letters, digits, - and .";
            return Err(("object_store.bucket", format!("{:?} is not allowed; allowed: {allowed}", self.bucket)));
        }
        let in_prefix = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        if !self.prefix.bytes().all(in_prefix) || self.prefix.split('/').any(|part| part == "." || part == "..") {
            return refuse("object_store.prefix", "allowed: letters, digits, -, _, . and / between them");
        }
        if !self.endpoint.is_empty() {
            let host = self.endpoint.strip_prefix("https://").or_else(|| self.endpoint.strip_prefix("http://"));
            let host = host.map(|host| host.trim_end_matches('/'));
            // whoever writes a key into the URL would find it again in messages
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '@', '?', '#', ' '])) {
                let allowed = "https://HOST, http://HOST:PORT and the like, without path and password";
                return refuse("object_store.endpoint", &format!("allowed: {allowed}"));
            }
        }
        if self.access_key_id.is_empty() != self.secret_access_key.is_empty() {
            let message = "access_key_id and secret_access_key_file belong together: give both, or neither to take \
                           AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the instance's role";
            return refuse("object_store.access_key_id", message);
        }
        if self.timeout_ms == 0 {
            return refuse("object_store.timeout", "must be positive");
        }
        if self.retry_ms > RETRY_MS_MAX {
            return refuse("object_store.retry_for", &format!("allowed: at most {RETRY_MS_MAX} ms"));
        }
        Ok(())
    }
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
