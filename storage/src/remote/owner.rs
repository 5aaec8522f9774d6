//! Whose a remote store is: one data directory's at a time.
//!
//! The log of a store is local, its parts and manifest are remote, so a second server over the same parts would name parts
//! the first doesn't know of and remove those it has just written. The object `owner` names the data directory; it is
//! written only if it is not there, or, to take a store over, only if it is what was read. Whoever lost it learns so at its
//! next manifest, which is replaced under the same kind of condition. docs/formats/manifest.md.

use std::{path::Path, sync::Arc};

use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, path::Path as ObjectPath,
};
use serde::{Deserialize, Serialize};

use crate::{OpenError, disk, disk::Disk};

/// Name of the object, and of the file in the data directory.
pub(crate) const NAME: &str = "owner";
const VERSION: u32 = 1;
/// How often a claim starts over because somebody else claims at the same time.
const ATTEMPTS: usize = 3;

/// What a claim found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It was ours before.
    Ours,
    /// It was nobody's, or another's.
    New,
}

/// What the object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owner {
    pub(crate) version: u32,
    /// The data directory's own name, made when it was first used.
    pub(crate) id: String,
    /// The host that it was claimed on.
    pub(crate) host: String,
    pub(crate) since_ms: i64,
}

/// The data directory's name; makes one if it has none.
pub(crate) fn identity(disk: &dyn Disk, dir: &Path) -> Result<String, OpenError> {
    let path = dir.join(NAME);
    let failed = |what: &str| {
        let what = format!("{what} {}", path.display());
        move |source| OpenError::Io { what, source }
    };
    match disk.read(&path) {
        Ok(bytes) => match String::from_utf8(bytes).ok().filter(|id| uuid::Uuid::parse_str(id.trim()).is_ok()) {
            Some(id) => Ok(id.trim().to_owned()),
            None => Err(OpenError::Damaged {
                file: path.display().to_string(),
                offset: 0,
                what: "it is not the one line of a UUID that it was".into(),
            }),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let id = uuid::Uuid::new_v4().to_string();
            disk::replace(disk, &path, format!("{id}\n").as_bytes()).map_err(failed("writing"))?;
            Ok(id)
        }
        Err(e) => Err(failed("reading")(e)),
    }
}

/// Makes the store at `place` ours, or says whose it is. `take_over`: ours even if it is another's.
pub(crate) async fn claim(
    objects: &Arc<dyn ObjectStore>,
    place: &str,
    id: &str,
    take_over: bool,
    now_ms: i64,
) -> Result<Claim, OpenError> {
    let path = ObjectPath::from(NAME);
    let failed = |what: &str| {
        let what = format!("{what} {NAME} in {place}");
        move |source| OpenError::ObjectStore { what, source }
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let ours = Owner { version: VERSION, id: id.to_owned(), host, since_ms: now_ms };
    let bytes = serde_json::to_vec(&ours).unwrap_or_else(|e| unreachable!("plain data into memory: {e}"));
    let put = async |mode: PutMode| {
        let options = PutOptions { mode, ..PutOptions::default() };
        objects.put_opts(&path, PutPayload::from(bytes.clone()), options).await
    };
    for _ in 0..ATTEMPTS {
        match put(PutMode::Create).await {
            Ok(_) => {
                // a store that ignores conditions would let two servers write over each other without a word
                return match put(PutMode::Create).await {
                    Err(Error::AlreadyExists { .. }) => Ok(Claim::New),
                    Err(e) => Err(failed("writing")(e)),
                    Ok(_) => Err(OpenError::Unconditional { place: place.to_owned() }),
                };
            }
            Err(Error::AlreadyExists { .. }) => {}
            Err(e) => return Err(failed("writing")(e)),
        }
        let (found, version) = match objects.get(&path).await {
            Ok(found) => {
                let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                (found.bytes().await.map_err(failed("reading"))?, version)
            }
            Err(Error::NotFound { .. }) => continue,
            Err(e) => return Err(failed("reading")(e)),
        };
        let owner: Owner = serde_json::from_slice(&found).map_err(|e| OpenError::Damaged {
            file: format!("{NAME} in {place}"),
            offset: 0,
            what: e.to_string(),
        })?;
        if owner.id == id {
            return Ok(Claim::Ours);
        }
        if !take_over {
            return Err(OpenError::Owned { place: place.to_owned(), host: owner.host, since: date(owner.since_ms) });
        }
        match put(PutMode::Update(version)).await {
            Ok(_) => {
                tracing::warn!(place, from = owner.host, since = date(owner.since_ms), "took the store over");
                return Ok(Claim::New);
            }
            Err(Error::Precondition { .. }) => {}
            Err(e) => return Err(failed("writing")(e)),
        }
    }
    Err(OpenError::Owned { place: place.to_owned(), host: "another server".into(), since: date(now_ms) })
}

fn date(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |t| t.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}
