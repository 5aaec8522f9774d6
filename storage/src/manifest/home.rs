//! Where the manifest is kept: beside the log if parts are local, else in the object store.
//!
//! Local, a lock of the data directory keeps a second server away. Remote, each replacement has a condition: the manifest is
//! still the one that was last read or written here. If it isn't, it may be one of our own whose answer got lost; anything
//! else is another server's, and then this one has lost the store and must say so.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, UpdateVersion, path::Path,
};
use parking_lot::Mutex;

use super::{Manifest, ManifestError, NAME, VERSION};
use crate::{
    MaintainError, OpenError,
    disk::{self, Disk},
};

/// Manifests whose replacement may yet have happened that are remembered; after more, one of them is taken for another's.
const UNRESOLVED_MAX: usize = 64;
/// How often a replacement is tried again after one of our own was found in its place.
const ATTEMPTS: usize = 3;

/// See the module.
#[derive(Clone)]
pub(crate) enum ManifestHome {
    Local { disk: Arc<dyn Disk>, path: PathBuf },
    Remote(Arc<RemoteManifest>),
}

/// The manifest in an object store.
pub(crate) struct RemoteManifest {
    objects: Arc<dyn ObjectStore>,
    /// For messages.
    place: String,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    /// Of the manifest last read or written; `None`: there is none.
    version: Option<UpdateVersion>,
    /// CRC-32C and length of those that were sent and not answered.
    unresolved: Vec<(u32, usize)>,
}

impl Last {
    fn remember(&mut self, sent: &[u8]) {
        if self.unresolved.len() == UNRESOLVED_MAX {
            self.unresolved.remove(0);
        }
        self.unresolved.push(identify(sent));
    }
}

fn identify(bytes: &[u8]) -> (u32, usize) {
    (crc32c::crc32c(bytes), bytes.len())
}

impl ManifestHome {
    /// In an object store; `place` is its name in messages.
    pub(crate) fn remote(objects: Arc<dyn ObjectStore>, place: String) -> ManifestHome {
        ManifestHome::Remote(Arc::new(RemoteManifest { objects, place, last: Mutex::default() }))
    }

    /// The manifest; `None` if there never was one.
    pub(crate) async fn load(&self) -> Result<Option<Manifest>, OpenError> {
        let (file, bytes) = match self {
            ManifestHome::Local { disk, path } => {
                let file = path.display().to_string();
                match disk.read(path) {
                    Ok(bytes) => (file, bytes),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(source) => return Err(OpenError::Io { what: format!("reading {file}"), source }),
                }
            }
            ManifestHome::Remote(remote) => {
                let file = format!("{NAME} in {}", remote.place);
                let failed = |source| OpenError::ObjectStore { what: format!("reading {file}"), source };
                let Some((bytes, version)) = remote.read().await.map_err(failed)? else { return Ok(None) };
                remote.last.lock().version = Some(version);
                (file, bytes.to_vec())
            }
        };
        match Manifest::decode(&bytes) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(ManifestError::Version(found)) => Err(OpenError::Version { file, found, known: VERSION }),
            Err(ManifestError::Damaged(what)) => Err(OpenError::Damaged { file, offset: 0, what }),
        }
    }

    /// Replaces the manifest. After an error it is unknown which one is there: the old or the new.
    pub(crate) async fn save(&self, manifest: &Manifest) -> Result<(), MaintainError> {
        let bytes = manifest.encode();
        match self {
            ManifestHome::Local { disk, path } => {
                let (disk, path) = (disk.clone(), path.clone());
                let what = format!("replacing {}", path.display());
                let done = tokio::task::spawn_blocking(move || disk::replace(&*disk, &path, &bytes)).await;
                let done = done.unwrap_or_else(|e| Err(std::io::Error::other(e)));
                done.map_err(|source| MaintainError::Io { what, source })
            }
            ManifestHome::Remote(remote) => remote.replace(bytes.into()).await,
        }
    }

    /// Whether the manifest can be reached and is still ours: asked before work whose end would be a replacement.
    pub(crate) async fn check(&self) -> Result<(), MaintainError> {
        match self {
            ManifestHome::Local { .. } => Ok(()),
            ManifestHome::Remote(remote) => remote.check().await,
        }
    }
}

impl RemoteManifest {
    async fn read(&self) -> object_store::Result<Option<(Bytes, UpdateVersion)>> {
        match self.objects.get(&Path::from(NAME)).await {
            Ok(found) => {
                let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                Ok(Some((found.bytes().await?, version)))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn replace(&self, bytes: Bytes) -> Result<(), MaintainError> {
        let failed = |source| {
            let what = format!("replacing {NAME} in {}", self.place);
            MaintainError::ObjectStore { what, source }
        };
        for _ in 0..ATTEMPTS {
            let mode = self.last.lock().version.clone().map_or(PutMode::Create, PutMode::Update);
            let options = PutOptions { mode, ..PutOptions::default() };
            match self.objects.put_opts(&Path::from(NAME), PutPayload::from(bytes.clone()), options).await {
                Ok(PutResult { e_tag, version, .. }) => {
                    *self.last.lock() =
                        Last { version: Some(UpdateVersion { e_tag, version }), unresolved: Vec::new() };
                    return Ok(());
                }
                Err(Error::Precondition { .. } | Error::AlreadyExists { .. }) => {}
                Err(e) => {
                    self.last.lock().remember(&bytes);
                    return Err(failed(e));
                }
            }
            let found = self.read().await.map_err(|e| {
                self.last.lock().remember(&bytes);
                failed(e)
            })?;
            let Some((found, version)) = found else { return Err(self.lost()) };
            let mut last = self.last.lock();
            if found == bytes {
                *last = Last { version: Some(version), unresolved: Vec::new() };
                return Ok(());
            }
            if !last.unresolved.contains(&identify(&found)) {
                return Err(self.lost());
            }
            last.version = Some(version);
        }
        Err(self.lost())
    }

    async fn check(&self) -> Result<(), MaintainError> {
        let found = match self.objects.head(&Path::from(NAME)).await {
            Ok(found) => found.e_tag,
            Err(Error::NotFound { .. }) => None,
            Err(source) => {
                let what = format!("reaching {}", self.place);
                return Err(MaintainError::ObjectStore { what, source });
            }
        };
        let last = self.last.lock();
        let known = last.version.as_ref().and_then(|v| v.e_tag.clone());
        // what is unresolved is found out by the replacement itself
        if found == known || !last.unresolved.is_empty() { Ok(()) } else { Err(self.lost()) }
    }

    fn lost(&self) -> MaintainError {
        MaintainError::Lost { place: self.place.clone() }
    }
}
