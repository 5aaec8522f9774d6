//! What each receiver was last told of each group: the memory behind dedup. One small file, replaced atomically.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dispatch::FlushKey;
use crate::level::Level;
use crate::message::AlertNote;
use crate::outbox::replace_file;

/// How long it is remembered, milliseconds (as Alertmanager's data retention).
const AGE_MS_MAX: i64 = 120 * 3_600_000;

/// What was last told of one group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToldEntry {
    /// When, milliseconds.
    pub at_ms: i64,
    /// What was said to fire, and at which level.
    pub firing: BTreeMap<String, Level>,
    /// What was said to have ended.
    #[serde(default)]
    pub resolved: BTreeSet<String>,
    /// Whether it was told in a storm's message.
    #[serde(default)]
    pub storm: bool,
}

impl ToldEntry {
    /// What a message with these alerts tells.
    pub fn of(alerts: &[AlertNote], at_ms: i64) -> ToldEntry {
        let firing = alerts.iter().filter(|a| a.is_firing()).map(|a| (a.fingerprint.clone(), a.level)).collect();
        let resolved = alerts.iter().filter(|a| !a.is_firing()).map(|a| a.fingerprint.clone()).collect();
        ToldEntry { at_ms, firing, resolved, storm: false }
    }
}

/// Everything told.
#[derive(Debug, Default)]
pub struct Told {
    path: PathBuf,
    entries: BTreeMap<FlushKey, ToldEntry>,
}

impl Told {
    /// Reads what was told in earlier lives; nothing if there is no file. A damaged file is an error: forgetting it would
    /// tell everything again.
    pub fn open(path: &Path) -> io::Result<Told> {
        let entries = match std::fs::read(path) {
            Ok(bytes) => {
                let pairs: Vec<(FlushKey, ToldEntry)> = serde_json::from_slice(&bytes)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display())))?;
                pairs.into_iter().collect()
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(e),
        };
        Ok(Told { path: path.into(), entries })
    }

    /// What was last told.
    pub fn get(&self, key: &FlushKey) -> Option<&ToldEntry> {
        self.entries.get(key)
    }

    /// Fingerprints of all that somebody was told fires, and not yet that it ended.
    pub fn firing(&self) -> BTreeSet<&str> {
        self.entries.values().flat_map(|e| e.firing.keys()).map(String::as_str).collect()
    }

    /// Remembers newer entries; call [`Told::save`] after.
    pub fn set(&mut self, key: FlushKey, entry: ToldEntry) {
        match self.entries.get(&key) {
            Some(known) if known.at_ms > entry.at_ms => {}
            _ => {
                self.entries.insert(key, entry);
            }
        }
    }

    /// Forgets that an alert of a group was said to fire: it ended and the end is not told. Gives whether it was.
    pub fn forget(&mut self, key: &FlushKey, fingerprint: &str) -> bool {
        self.entries.get_mut(key).is_some_and(|entry| entry.firing.remove(fingerprint).is_some())
    }

    /// Writes it down, forgetting what is too old.
    pub fn save(&mut self, now_ms: i64) -> io::Result<()> {
        self.entries.retain(|_, e| now_ms - e.at_ms < AGE_MS_MAX);
        let pairs: Vec<_> = self.entries.iter().collect();
        replace_file(&self.path, &serde_json::to_vec(&pairs)?)
    }
}
