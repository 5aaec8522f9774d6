//! A part as the store holds it, and the object store that parts are in.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart, local::LocalFileSystem, path};
use proto::Table;
use serde::{Deserialize, Serialize};

use crate::{
    MaintainError, ObjectStoreConfig, OpenError,
    config::DAY_MS,
    disk::Disk,
    events::read::EventParts,
    metrics::{MetricsPart, PartInfo},
    read_cache::ReadCache,
    remote::{self, PARTS_PREFIX, RemoteStats, RemoteStore},
    stats::ReadCacheStats,
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

/// Where a part with this identity lives. In a remote store `session` tells the process that wrote it.
pub(crate) fn part_path(tenant: &str, table: &str, day: i64, id: u64, session: Option<u32>) -> String {
    let date = chrono::DateTime::from_timestamp_millis(day.saturating_mul(DAY_MS))
        .map_or_else(|| format!("day{day}"), |t| t.format("%Y-%m-%d").to_string());
    let session = session.map_or_else(String::new, |session| format!("-{session:08x}"));
    format!("{PARTS_PREFIX}/{tenant}/{table}/{date}/{id:016x}{session}.parquet")
}

/// Whether a part with an entry's identity may live where the entry says.
pub(crate) fn is_in_place(entry: &PartEntry) -> bool {
    let plain = part_path(&entry.tenant, &entry.table, entry.day, entry.id, None);
    let stem = plain.strip_suffix(".parquet").unwrap_or(&plain);
    let session = entry.path.strip_prefix(stem).and_then(|rest| rest.strip_suffix(".parquet"));
    let is_hex = |digits: &str| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    session.is_some_and(|s| s.is_empty() || s.strip_prefix('-').is_some_and(is_hex))
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
    home: PartsHome,
    cache: Arc<ReadCache>,
}

/// Where parts are.
#[derive(Clone)]
enum PartsHome {
    /// Files below a folder, and through what they are synced.
    Local { root: PathBuf, disk: Arc<dyn Disk> },
    /// Objects in a store whose name in messages is `place`.
    Remote { store: Arc<RemoteStore>, place: Arc<str>, session: u32 },
}

/// A remote part larger than this is sent in pieces of this size, bytes: no request takes long.
const PIECE_BYTES: usize = 8 << 20;
/// Pieces under way at the same time.
const PIECES_AT_ONCE: usize = 4;
/// Folder of the local copies of remote parts, in the data directory.
const CACHE_DIR: &str = "cache";

/// Memory for footers of parts, and for indexes and bodies of metrics parts, bytes.
const CACHE_BYTES_MAX: usize = 256 << 20;

impl PartStore {
    /// As configured.
    pub(crate) fn open(config: &ObjectStoreConfig, dir: &Path, disk: Arc<dyn Disk>) -> Result<PartStore, OpenError> {
        let failed = |source| OpenError::ObjectStore { what: "opening the object store".into(), source };
        let cache = ReadCache::new(CACHE_BYTES_MAX);
        match config {
            ObjectStoreConfig::Local => {
                let root = dir.join("parts");
                disk.create_dir(&root)
                    .map_err(|source| OpenError::Io { what: format!("creating {}", root.display()), source })?;
                let objects = Arc::new(LocalFileSystem::new_with_prefix(&root).map_err(failed)?);
                Ok(PartStore { objects, home: PartsHome::Local { root, disk }, cache })
            }
            ObjectStoreConfig::S3(s3) => {
                let store = RemoteStore::s3(s3, &dir.join(CACHE_DIR))?;
                Ok(PartStore::remote(store, remote::place(s3), cache))
            }
        }
    }

    fn remote(store: RemoteStore, place: String, cache: Arc<ReadCache>) -> PartStore {
        let store = Arc::new(store);
        // names of one process' parts are never another's, whatever it may still send when it is thought gone
        let session = uuid::Uuid::new_v4().as_fields().0;
        PartStore { objects: store.clone(), home: PartsHome::Remote { store, place: place.into(), session }, cache }
    }

    /// A remote store given from outside, for tests.
    #[cfg(test)]
    pub(crate) fn over(objects: Arc<dyn ObjectStore>, dir: &Path, cache_bytes_max: u64) -> PartStore {
        let store = RemoteStore::over(objects, &dir.join(CACHE_DIR), cache_bytes_max);
        let store = store.unwrap_or_else(|e| panic!("{e}"));
        PartStore::remote(store, "memory".into(), ReadCache::new(CACHE_BYTES_MAX))
    }

    /// Name of the remote store in messages; `None`: parts (and the manifest) are local files.
    pub(crate) fn remote_place(&self) -> Option<&str> {
        match &self.home {
            PartsHome::Local { .. } => None,
            PartsHome::Remote { place, .. } => Some(place),
        }
    }

    /// Event tables' parts as scans read them.
    pub(crate) fn event_parts(&self) -> EventParts {
        EventParts { objects: self.objects.clone(), cache: self.cache.clone() }
    }

    /// Numbers of what is held in memory for questions.
    pub(crate) fn read_cache_stats(&self) -> ReadCacheStats {
        self.cache.stats()
    }

    /// Numbers of the remote store, if it is one.
    pub(crate) fn remote_stats(&self) -> Option<RemoteStats> {
        match &self.home {
            PartsHome::Local { .. } => None,
            PartsHome::Remote { store, .. } => Some(store.stats()),
        }
    }

    /// Where a new part of this identity goes.
    pub(crate) fn path_of(&self, tenant: &str, table: &str, day: i64, id: u64) -> String {
        let session = match &self.home {
            PartsHome::Local { .. } => None,
            PartsHome::Remote { session, .. } => Some(*session),
        };
        part_path(tenant, table, day, id, session)
    }

    /// Lets go of local copies of parts that are not among these.
    pub(crate) fn cache_only(&self, named: &BTreeSet<&str>) {
        let PartsHome::Remote { store, .. } = &self.home else { return };
        store.keep_only(named);
    }

    /// Where parts are, if they are local files.
    pub(crate) fn local_root(&self) -> Option<&Path> {
        match &self.home {
            PartsHome::Local { root, .. } => Some(root),
            PartsHome::Remote { .. } => None,
        }
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
        let at = path::Path::from(path);
        let put = async {
            if self.remote_place().is_none() || bytes.len() <= PIECE_BYTES {
                return self.objects.put(&at, bytes.into()).await.map(|_| ());
            }
            let mut upload = WriteMultipart::new_with_chunk_size(self.objects.put_multipart(&at).await?, PIECE_BYTES);
            for start in (0..bytes.len()).step_by(PIECE_BYTES) {
                upload.wait_for_capacity(PIECES_AT_ONCE).await?;
                upload.put(bytes.slice(start..bytes.len().min(start + PIECE_BYTES)));
            }
            upload.finish().await.map(|_| ())
        };
        put.await.map_err(|source| MaintainError::ObjectStore { what: format!("writing {path}"), source })?;
        self.make_durable(path).await
    }

    /// Syncs a part's file and the directories that name it, where parts are local files.
    pub(crate) async fn make_durable(&self, path: &str) -> Result<(), MaintainError> {
        let PartsHome::Local { root, disk } = self.home.clone() else { return Ok(()) };
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
        self.cache.forget(&path::Path::from(path));
        match self.objects.delete(&path::Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(MaintainError::ObjectStore { what: format!("removing {path}"), source }),
        }
    }
}
