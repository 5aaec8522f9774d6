//! A part as the store holds it, and the object store that parts are in.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use object_store::{
    ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, local::LocalFileSystem, path, prefix::PrefixStore,
};
use proto::Table;
use serde::{Deserialize, Serialize};

use crate::{
    MaintainError, ObjectStoreConfig, OpenError,
    config::DAY_MS,
    disk::Disk,
    metrics::{MetricsCache, MetricsPart, PartInfo},
};

/// Name of the metrics table in paths, manifest and statistics.
pub(crate) const METRICS: &str = "metrics";

/// What the manifest says of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartEntry {
    /// Distinct among all parts ever.
    pub(crate) id: u64,
    /// Place in the order of appending: higher is later; a merged part has the highest of its inputs.
    pub(crate) sequence: u64,
    pub(crate) tenant: String,
    /// `metrics` or an event table's name.
    pub(crate) table: String,
    /// Days since 1970-01-01 UTC.
    pub(crate) day: i64,
    pub(crate) min_ts_ms: i64,
    pub(crate) max_ts_ms: i64,
    /// Rows of the file: chunks, for metrics.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// How many merges deep: 0 came from the head.
    pub(crate) level: u32,
    pub(crate) path: String,
}

/// The event table of a table name; `None` for the metrics table.
pub(crate) fn event_table(name: &str) -> Option<Table> {
    Table::from_name(name)
}

/// Where a part with this identity lives.
pub(crate) fn part_path(tenant: &str, table: &str, day: i64, id: u64) -> String {
    let date = chrono::DateTime::from_timestamp_millis(day.saturating_mul(DAY_MS))
        .map_or_else(|| format!("day{day}"), |t| t.format("%Y-%m-%d").to_string());
    format!("v1/{tenant}/{table}/{date}/{id:016x}.parquet")
}

/// A part in use: as long as someone holds it, its file stays.
pub(crate) struct Part {
    pub(crate) entry: PartEntry,
    /// For the metrics table.
    pub(crate) metrics: Option<Arc<MetricsPart>>,
}

/// The object store that parts are in, and how their bytes become durable there.
#[derive(Clone)]
pub(crate) struct PartStore {
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// If parts are local files: where, and through what they are synced.
    local: Option<(PathBuf, Arc<dyn Disk>)>,
    cache: Arc<MetricsCache>,
}

/// Memory for footers and indexes of metrics parts, bytes.
const CACHE_BYTES_MAX: usize = 256 << 20;

impl PartStore {
    /// As configured.
    pub(crate) fn open(config: &ObjectStoreConfig, dir: &Path, disk: Arc<dyn Disk>) -> Result<PartStore, OpenError> {
        let failed = |source| OpenError::ObjectStore { what: "opening the object store".into(), source };
        let cache = MetricsCache::new(CACHE_BYTES_MAX);
        match config {
            ObjectStoreConfig::Local => {
                let root = dir.join("parts");
                disk.create_dir(&root)
                    .map_err(|source| OpenError::Io { what: format!("creating {}", root.display()), source })?;
                let objects = Arc::new(LocalFileSystem::new_with_prefix(&root).map_err(failed)?);
                Ok(PartStore { objects, local: Some((root, disk)), cache })
            }
            ObjectStoreConfig::S3(s3) => {
                let mut builder = AmazonS3Builder::from_env().with_bucket_name(&s3.bucket);
                builder = builder.with_region(if s3.region.is_empty() { "us-east-1" } else { &s3.region });
                if !s3.endpoint.is_empty() {
                    builder = builder.with_endpoint(&s3.endpoint).with_allow_http(s3.endpoint.starts_with("http://"));
                }
                if !s3.access_key_id.is_empty() {
                    builder =
                        builder.with_access_key_id(&s3.access_key_id).with_secret_access_key(&s3.secret_access_key);
                }
                let bucket = builder.build().map_err(failed)?;
                let objects = Arc::new(PrefixStore::new(bucket, s3.prefix.as_str()));
                Ok(PartStore { objects, local: None, cache })
            }
        }
    }

    /// An object store given from outside, for tests.
    #[cfg(test)]
    pub(crate) fn of(objects: Arc<dyn ObjectStore>) -> PartStore {
        PartStore { objects, local: None, cache: MetricsCache::new(CACHE_BYTES_MAX) }
    }

    /// Whether parts (and the manifest) are local files.
    pub(crate) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// A part ready to be read.
    pub(crate) fn part(&self, entry: PartEntry) -> Arc<Part> {
        let metrics = (entry.table == METRICS).then(|| {
            let info = PartInfo {
                path: path::Path::from(entry.path.as_str()),
                size_bytes: entry.bytes,
                sequence: entry.sequence,
                min_ts_ms: entry.min_ts_ms,
                max_ts_ms: entry.max_ts_ms,
            };
            Arc::new(MetricsPart::open(self.objects.clone(), info, self.cache.clone()))
        });
        Arc::new(Part { entry, metrics })
    }

    /// Writes a part's file, durably.
    pub(crate) async fn put(&self, path: &str, bytes: Bytes) -> Result<(), MaintainError> {
        self.objects
            .put(&path::Path::from(path), bytes.into())
            .await
            .map_err(|source| MaintainError::ObjectStore { what: format!("writing {path}"), source })?;
        self.make_durable(path).await
    }

    /// Syncs a part's file and the directories that name it, where parts are local files.
    pub(crate) async fn make_durable(&self, path: &str) -> Result<(), MaintainError> {
        let Some((root, disk)) = self.local.clone() else { return Ok(()) };
        let what = format!("syncing {path}");
        let file = root.join(path);
        let done = tokio::task::spawn_blocking(move || {
            disk.sync_file(&file)?;
            // a directory may be new at any level
            for dir in file.ancestors().skip(1).take_while(|dir| dir.starts_with(&root)) {
                disk.sync_dir(dir)?;
            }
            Ok(())
        });
        let done = done.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        done.map_err(|source| MaintainError::Io { what, source })
    }

    /// Removes a part's file; one that is gone already is no error.
    pub(crate) async fn remove(&self, path: &str) -> Result<(), MaintainError> {
        match self.objects.delete(&path::Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(MaintainError::ObjectStore { what: format!("removing {path}"), source }),
        }
    }
}
