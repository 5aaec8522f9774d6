//! Snapshots for backup, taken while the store runs, and restoring them.
//!
//! A snapshot is a directory that is a store by itself: `manifest` and `parts/`, and beside them copies of what the caller
//! keeps next to the store. It has no log: the head is flushed first, so all that was acknowledged before is in its parts.
//! Local parts are linked, not copied, where the file system can: they never change. The directory has its name only when
//! it is whole and synced.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::StreamExt;
use object_store::{ObjectStoreExt, path};

use crate::{
    MaintainError, ObjectStoreConfig, OpenError, Store, StoreConfig,
    disk::{self, DirLock, Disk, Files},
    manifest::{Manifest, ManifestHome, NAME},
    part::{Part, PartStore},
    remote::PARTS_PREFIX,
    store::Inner,
    upkeep::off_runtime,
    verify::verify,
};

/// What the directory of a snapshot that is not whole yet ends with.
const PARTIAL: &str = ".partial";

/// What a snapshot or a restore wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Parts.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files beside the store.
    pub files: u64,
}

/// Why there is no snapshot, or nothing was restored. What was begun is removed, or is not opened by anyone.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Files could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The head could not be flushed, or a part not be written.
    #[error(transparent)]
    Maintain(#[from] MaintainError),
    /// A store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The snapshot is damaged.
    #[error(
        "the snapshot is damaged, nothing was restored: {file}: {what} (in all {damages} damages; see `storage verify`)"
    )]
    Damaged {
        /// Where.
        file: String,
        /// What.
        what: String,
        /// How many.
        damages: u64,
    },
    /// A snapshot is being taken already.
    #[error("another snapshot is being taken; ask again when it is done")]
    Busy,
    /// It is no snapshot: rows stand in its log that no part has.
    #[error(
        "{place} is no snapshot but a store that was not flushed: start a server on a copy of it, or take a snapshot"
    )]
    NoSnapshot {
        /// Where.
        place: String,
    },
    /// There is a store already.
    #[error("{place} holds a store already; restore into an empty one")]
    NotEmpty {
        /// Where.
        place: String,
    },
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> BackupError {
    let what = what.into();
    move |source| BackupError::Io { what, source }
}

impl Store {
    /// Writes a snapshot to the directory `to`, which must not exist, with copies of the directories `beside` under their
    /// own names. Everything acknowledged before the call is in it. One is taken at a time; once begun it goes on to its end,
    /// whether or not the answer is waited for.
    pub async fn back_up(&self, to: &Path, beside: &[PathBuf]) -> Result<BackupReport, BackupError> {
        let (inner, to, beside) = (self.inner.clone(), to.to_owned(), beside.to_owned());
        let done = off_runtime(async move { inner.back_up(&to, &beside).await }).await;
        done.map_err(|e| failed("taking a snapshot")(io::Error::other(e)))?
    }
}

impl Inner {
    async fn back_up(&self, to: &Path, beside: &[PathBuf]) -> Result<BackupReport, BackupError> {
        let Ok(_alone) = self.backing_up.try_lock() else { return Err(BackupError::Busy) };
        if to.exists() {
            return Err(failed(format!("creating {}", to.display()))(io::ErrorKind::AlreadyExists.into()));
        }
        let (manifest, parts) = {
            let _alone = self.upkeep.lock().await;
            self.flush_all().await?;
            let state = self.state.lock();
            (state.manifest.clone(), state.parts.clone())
        };
        // from here on the parts are pinned: upkeep goes on, and removes none of them
        let mut partial = to.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let _ = fs::remove_dir_all(&partial); // of an attempt that was killed
        let written = self.parts.copy_out(&parts, &manifest, &partial, beside).await;
        let renamed = written.and_then(|report| {
            fs::rename(&partial, to).map_err(failed(format!("renaming {}", partial.display())))?;
            let above = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Files.sync_dir(above).map_err(failed(format!("syncing {}", above.display())))?;
            Ok(report)
        });
        match renamed {
            Ok(report) => {
                self.state.lock().counters.snapshots += 1;
                Ok(report)
            }
            Err(e) => {
                let _ = fs::remove_dir_all(&partial); // what is left is no snapshot: it has no such name
                Err(e)
            }
        }
    }
}

/// Removes what snapshots that a crash ended left in the directory that they are kept in: it would hold the disk space of
/// parts that are long gone. None may be being taken.
pub fn remove_unfinished(snapshots: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(snapshots) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name().to_string_lossy().ends_with(PARTIAL) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl PartStore {
    async fn copy_out(
        &self,
        parts: &[Arc<Part>],
        manifest: &Manifest,
        to: &Path,
        beside: &[PathBuf],
    ) -> Result<BackupReport, BackupError> {
        let mut report = BackupReport::default();
        let root = to.join("parts");
        make_dir(&root)?;
        let mut dirs = vec![to.to_owned(), root.clone()];
        for part in parts {
            let file = root.join(&part.entry.path);
            let dir = file.parent().unwrap_or(&root).to_owned();
            if !dirs.contains(&dir) {
                make_dir(&dir)?;
                dirs.extend(dir.ancestors().take_while(|d| *d != root).map(Path::to_owned));
            }
            self.copy_part(part, &file).await?;
            report.parts += 1;
            report.bytes += part.entry.bytes;
        }
        for from in beside.iter().filter(|dir| dir.is_dir()) {
            report.files += copy_dir(from, &to.join(from.file_name().unwrap_or_default()))?;
        }
        disk::replace(&Files, &to.join(NAME), &manifest.encode()).map_err(failed("writing the snapshot's manifest"))?;
        for dir in dirs {
            Files.sync_dir(&dir).map_err(failed(format!("syncing {}", dir.display())))?;
        }
        Ok(report)
    }

    async fn copy_part(&self, part: &Part, to: &Path) -> Result<(), BackupError> {
        if let Some(root) = self.local_root() {
            let from = root.join(&part.entry.path);
            return match fs::hard_link(&from, to) {
                Ok(()) => Ok(()),
                Err(_) => copy_file(&from, to), // another file system, or one without links
            };
        }
        let what = format!("copying {}", part.entry.path);
        let from = path::Path::from(part.entry.path.as_str());
        let unread = |source| MaintainError::ObjectStore { what: format!("reading {from}"), source };
        let mut stream = self.objects.get(&from).await.map_err(unread)?.into_stream();
        let mut file = fs::File::create(to).map_err(failed(what.clone()))?;
        while let Some(bytes) = stream.next().await {
            io::Write::write_all(&mut file, &bytes.map_err(unread)?).map_err(failed(what.clone()))?;
        }
        file.sync_all().map_err(failed(what))
    }
}

/// Makes a new store out of the snapshot `from`, after reading all of it: what is damaged is not restored. Those of the
/// directories `beside` (names) that it has are copied to `config.data_dir`, which must not hold a store, nor the object
/// store parts.
pub async fn restore(from: &Path, config: &StoreConfig, beside: &[&str]) -> Result<BackupReport, BackupError> {
    let source = StoreConfig { data_dir: from.to_owned(), object_store: ObjectStoreConfig::Local, ..config.clone() };
    let found = verify(&source).await?;
    if let Some(damage) = found.damages.first() {
        let damages = found.damages.len() as u64 + found.damages_untold;
        return Err(BackupError::Damaged { file: damage.file.clone(), what: damage.what.clone(), damages });
    }
    if found.log_records > found.log_exemplar_records {
        return Err(BackupError::NoSnapshot { place: from.display().to_string() });
    }
    let dir = &config.data_dir;
    make_dir(dir)?;
    let lock = dir.join("lock");
    let _lock = DirLock::take(&lock).map_err(failed(format!("locking {}", lock.display())))?;
    let disk: Arc<dyn Disk> = Arc::new(Files);
    let parts = PartStore::open(&config.object_store, dir, disk.clone())?;
    let home = match parts.remote_place() {
        None => ManifestHome::Local { disk: disk.clone(), path: dir.join(NAME) },
        Some(place) => ManifestHome::remote(parts.objects.clone(), place.to_owned()),
    };
    let mut present = parts.objects.list(Some(&path::Path::from(PARTS_PREFIX)));
    let logs = disk.list(&dir.join("log")).is_ok_and(|names| !names.is_empty());
    let others = beside.iter().any(|name| disk.list(&dir.join(name)).is_ok_and(|names| !names.is_empty()));
    if logs || others || home.load().await?.is_some() || present.next().await.is_some() {
        return Err(BackupError::NotEmpty { place: dir.display().to_string() });
    }
    let bytes = fs::read(from.join(NAME)).map_err(failed("reading the snapshot's manifest"))?;
    let manifest = Manifest::decode(&bytes).map_err(|e| OpenError::Damaged {
        file: NAME.into(),
        offset: 0,
        what: format!("{e:?}"),
    })?;
    let mut report = BackupReport::default();
    for entry in &manifest.parts {
        let file = from.join("parts").join(&entry.path);
        match parts.local_root() {
            Some(root) => {
                let to = root.join(&entry.path);
                make_dir(to.parent().unwrap_or(root))?;
                copy_file(&file, &to)?;
                parts.make_durable(&entry.path).await?;
            }
            None => {
                let bytes = fs::read(&file).map_err(failed(format!("reading {}", file.display())))?;
                parts.put(&entry.path, bytes.into()).await?;
            }
        }
        report.parts += 1;
        report.bytes += entry.bytes;
    }
    for name in beside {
        if from.join(name).is_dir() {
            report.files += copy_dir(&from.join(name), &dir.join(name))?;
        }
    }
    Files.sync_dir(dir).map_err(failed(format!("syncing {}", dir.display())))?;
    home.save(&manifest).await?;
    Ok(report)
}

fn make_dir(dir: &Path) -> Result<(), BackupError> {
    fs::create_dir_all(dir).map_err(failed(format!("creating {}", dir.display())))
}

fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let copy = || {
        fs::copy(from, to)?;
        Files.sync_file(to)
    };
    copy().map_err(failed(format!("copying {} to {}", from.display(), to.display())))
}

/// Copies a directory's files and directories, and what these hold; the answer is how many files. Links are left out: they
/// would lead elsewhere.
fn copy_dir(from: &Path, to: &Path) -> Result<u64, BackupError> {
    make_dir(to)?;
    let mut files = 0;
    for entry in fs::read_dir(from).map_err(failed(format!("listing {}", from.display())))? {
        let entry = entry.map_err(failed(format!("listing {}", from.display())))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed(format!("looking at {}", from.display())))?;
        if kind.is_dir() {
            files += copy_dir(&from, &to)?;
        } else if kind.is_file() {
            match copy_file(&from, &to) {
                Ok(()) => files += 1,
                // what its owner replaces or removes meanwhile is not part of this moment
                Err(BackupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    Files.sync_dir(to).map_err(failed(format!("syncing {}", to.display())))?;
    Ok(files)
}
