//! Who this collector is and in which life of its spool: kept in one small file, replaced as a whole.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

const FILE: &str = "identity.json";

/// Who sends, and how the last life of the program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The collector's id.
    pub collector: Arc<str>,
    /// Milliseconds when the spool's memory of sequences began.
    pub epoch: u64,
    /// The machine's boot the spool was last opened in; empty where unknown.
    pub boot: Arc<str>,
    /// Whether everything was synced to disk when the program ended.
    pub clean: bool,
}

impl Identity {
    /// Reads it; `None` if it is not there or not readable as what it is.
    pub fn read(directory: &Path) -> io::Result<Option<Identity>> {
        match std::fs::read(directory.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Replaces it: written beside, synced, renamed, directory synced.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let beside = directory.join("identity.json.new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, directory.join(FILE))?;
        File::open(directory)?.sync_all()
    }
}
