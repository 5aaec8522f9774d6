//! Follows the files of one pattern: through growth, rotation by rename, truncation, and restarts of the collector.
//!
//! Nothing is kept in memory between polls but positions: each poll reads from the last byte whose record is in the spool. Rows
//! and the new position are one record of the spool, so after kill -9 both are there or neither.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use proto::{Events, EventsBuilder, Table};

use super::{execution, slow_log};
use super::{
    position::{FileId, Position},
    row::{self, Origin},
    stitch::Stitch,
};
use crate::{
    config::{LogConfig, LogRows, LogStart, name_matches},
    spool::{Mark, SpoolError},
};

/// Most bytes of one file read in one turn.
pub const TURN_BYTES_MAX: usize = 1 << 20;
/// Most files followed for one pattern; of more, the newest.
pub const FILES_MAX: usize = 128;
/// A file that is no longer under its pattern and has been quiet for so many polls is let go.
const QUIET_POLLS_MAX: u32 = 10;

const _: () = assert!(TURN_BYTES_MAX > 3 * super::stitch::RECORD_BYTES_MAX);

/// Takes rows and marks: both or neither.
pub type Emit<'a> = &'a mut dyn FnMut(Events, Vec<Mark>) -> Result<(), SpoolError>;

/// Why a poll did not get through.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// A file or its directory.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The spool took nothing; the same rows come again at the next poll.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Follows the files of one pattern.
#[derive(Debug)]
pub struct Tailer {
    config: LogConfig,
    pattern: String,
    files: BTreeMap<FileId, Followed>,
    known: BTreeMap<FileId, Position>,
    is_first_poll: bool,
}

#[derive(Debug)]
struct Followed {
    file: File,
    stitch: Stitch,
    origin: Origin,
    position: Position,
    last_length: u64,
    listed: bool,
    quiet_polls: u32,
}

impl Tailer {
    /// Begins where the marks say that the last life ended.
    pub fn new(config: LogConfig, marks: &[Mark]) -> Tailer {
        let pattern = config.path.display().to_string();
        let positions = marks.iter().filter_map(|m| Some((FileId::from_key(&m.key)?, Position::from_value(&m.value)?)));
        let known: BTreeMap<FileId, Position> = positions.filter(|(_, p)| p.pattern == pattern).collect();
        Tailer { config, pattern, files: BTreeMap::new(), known, is_first_poll: true }
    }

    /// What it follows.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Reads what is new in every file. Returns whether more can be read at once.
    pub fn poll(&mut self, now_ms: i64, emit: Emit<'_>) -> Result<bool, PollError> {
        self.list(now_ms, emit)?;
        let mut more = false;
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        for id in ids {
            more |= self.read(id, now_ms, emit)?;
        }
        self.let_go(emit)?;
        Ok(more)
    }

    /// Where its rows go.
    fn table(&self) -> Table {
        match self.config.rows {
            LogRows::Records => Table::Logs,
            LogRows::Executions => Table::StatementSamples,
        }
    }

    fn io(&self, source: io::Error) -> PollError {
        PollError::Io { path: self.config.path.clone(), source }
    }

    /// Finds the files under the pattern, and at the first poll also those that left it while nobody looked.
    fn list(&mut self, now_ms: i64, emit: Emit<'_>) -> Result<(), PollError> {
        let first = std::mem::take(&mut self.is_first_poll);
        let never_read = self.known.is_empty();
        self.files.values_mut().for_each(|f| f.listed = false);
        let entries = match list_files(&self.config.path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => {
                self.is_first_poll = first;
                return Err(self.io(e));
            }
        };
        let mut begun = Vec::new();
        for entry in &entries {
            if let Some(followed) = self.files.get_mut(&entry.id) {
                followed.listed |= entry.matches;
                continue;
            }
            let known = self.known.contains_key(&entry.id);
            if !(entry.matches || first && known) {
                continue;
            }
            let from_end = first && never_read && self.config.start == LogStart::End;
            match self.follow(entry, from_end) {
                Ok(()) if !known => begun.push(entry.id),
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    self.is_first_poll = first;
                    return Err(PollError::Io { path: entry.path.clone(), source: e });
                }
            }
        }
        // a file's first position is kept before any row of it: else a restart would take it for new
        if !begun.is_empty() {
            let marks = begun.iter().filter_map(|id| Some(mark(*id, &self.files.get(id)?.position))).collect();
            if let Err(e) = emit(Events::new(self.table()), marks) {
                begun.iter().for_each(|id| drop(self.files.remove(id)));
                self.is_first_poll = first;
                return Err(e.into());
            }
        }
        if first {
            self.tell_vanished(now_ms, emit)?;
        }
        Ok(())
    }

    fn follow(&mut self, entry: &Entry, from_end: bool) -> io::Result<()> {
        let file = File::open(&entry.path)?;
        let metadata = file.metadata()?;
        if FileId::of(&metadata) != entry.id {
            return Err(io::Error::from(io::ErrorKind::NotFound)); // replaced between listing and opening; next poll
        }
        let position = match self.known.get(&entry.id) {
            Some(position) if position.still_fits(&file, metadata.len())? => position.clone(),
            Some(_) => Position::at(&file, &self.pattern, 0)?,
            None if from_end => Position::at(&file, &self.pattern, end_of_last_line(&file, metadata.len())?)?,
            None => Position::at(&file, &self.pattern, 0)?,
        };
        let name = entry.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let origin = Origin {
            instance: self.config.instance.clone(),
            engine: self.config.engine,
            stream: Arc::from(entry.path.display().to_string()),
            unmasked: self.config.unmasked,
        };
        let followed = Followed {
            file,
            stitch: Stitch::of(&self.config, &name),
            origin,
            position,
            last_length: u64::MAX,
            listed: entry.matches,
            quiet_polls: 0,
        };
        self.files.insert(entry.id, followed);
        Ok(())
    }

    /// Files that were read before and are nowhere to be found: what came after their position, if anything did, is lost.
    fn tell_vanished(&mut self, now_ms: i64, emit: Emit<'_>) -> Result<(), PollError> {
        let vanished: Vec<FileId> = self.known.keys().filter(|id| !self.files.contains_key(id)).copied().collect();
        self.known.clear();
        if vanished.is_empty() {
            return Ok(());
        }
        tracing::warn!(pattern = self.pattern, files = vanished.len(), now_ms, "log files vanished while not watched");
        let marks = vanished.into_iter().map(|id| Mark { key: id.key(), value: String::new() }).collect();
        Ok(emit(Events::new(self.table()), marks)?)
    }

    /// Reads a turn of one file; true if there is more.
    fn read(&mut self, id: FileId, now_ms: i64, emit: Emit<'_>) -> Result<bool, PollError> {
        let (path, table) = (self.config.path.clone(), self.table());
        let failed = |source| PollError::Io { path: path.clone(), source };
        let Some(followed) = self.files.get_mut(&id) else { return Ok(false) };
        let length = followed.file.metadata().map_err(failed)?.len();
        if !followed.position.still_fits(&followed.file, length).map_err(failed)? {
            tracing::info!(file = %followed.origin.stream, "log file was truncated, reading it from its beginning");
            followed.position = Position::at(&followed.file, &self.pattern, 0).map_err(failed)?;
            followed.last_length = u64::MAX;
        }
        let is_quiet = length == followed.last_length;
        followed.last_length = length;
        followed.quiet_polls = if is_quiet { followed.quiet_polls.saturating_add(1) } else { 0 };
        let offset = followed.position.offset;
        if offset == length {
            return Ok(false);
        }
        let want = (length - offset).min(TURN_BYTES_MAX as u64) as usize;
        let mut bytes = vec![0; want];
        followed.file.read_exact_at(&mut bytes, offset).map_err(failed)?;
        let reaches_end = offset + want as u64 == length;
        let is_final = reaches_end && !followed.listed && followed.quiet_polls + 1 >= QUIET_POLLS_MAX;
        let records = followed.stitch.records(&bytes, reaches_end && is_quiet, is_final);
        let Some(last) = records.last() else { return Ok(false) };
        let end = offset + last.end as u64;
        let mut builder = EventsBuilder::new(table);
        for range in records {
            let raw = String::from_utf8_lossy(&bytes[range]);
            match (table, &followed.stitch) {
                _ if raw.trim().is_empty() => {}
                (Table::StatementSamples, stitch) => {
                    if let Some(execution) = execution_of(stitch, &raw) {
                        execution::add(&mut builder, &followed.origin, &execution, now_ms);
                    }
                }
                (_, stitch) => row::add(&mut builder, &followed.origin, &row::read(stitch, &raw), now_ms),
            }
        }
        let position = Position::at(&followed.file, &self.pattern, end).map_err(failed)?;
        emit(builder.build(), vec![mark(id, &position)])?;
        followed.position = position;
        Ok(!reaches_end)
    }

    /// Lets go of files that left the pattern and have been quiet.
    fn let_go(&mut self, emit: Emit<'_>) -> Result<(), PollError> {
        let is_over =
            |f: &Followed| !f.listed && f.quiet_polls >= QUIET_POLLS_MAX && f.position.offset == f.last_length;
        let over: Vec<FileId> = self.files.iter().filter(|(_, f)| is_over(f)).map(|(id, _)| *id).collect();
        if over.is_empty() {
            return Ok(());
        }
        let marks = over.iter().map(|id| Mark { key: id.key(), value: String::new() }).collect();
        emit(Events::new(self.table()), marks)?;
        over.iter().for_each(|id| drop(self.files.remove(id)));
        Ok(())
    }
}

/// The execution a raw record tells of.
fn execution_of(stitch: &Stitch, raw: &str) -> Option<execution::Execution> {
    match stitch {
        Stitch::SlowLog => slow_log::parse(raw),
        // Most records tell of none: they are not taken apart.
        _ if raw.contains("duration: ") => execution::of_record(&row::read(stitch, raw)),
        _ => None,
    }
}

fn mark(id: FileId, position: &Position) -> Mark {
    Mark { key: id.key(), value: position.to_value() }
}

/// A file in the pattern's directory.
struct Entry {
    path: PathBuf,
    id: FileId,
    matches: bool,
}

/// Every plain file of the directory: those under the pattern, the newest if there are too many, and the others.
fn list_files(pattern: &Path) -> io::Result<Vec<Entry>> {
    let directory = pattern.parent().unwrap_or(Path::new("/"));
    let name_pattern = pattern.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue }; // gone, or a dangling link
        if metadata.is_file() {
            let matches = name_matches(&name_pattern, &entry.file_name().to_string_lossy());
            let modified = metadata.modified().ok();
            entries.push((modified, Entry { path: entry.path(), id: FileId::of(&metadata), matches }));
        }
    }
    entries.sort_by(|a, b| (b.1.matches, b.0, &b.1.path).cmp(&(a.1.matches, a.0, &a.1.path)));
    let mut seen = std::collections::BTreeSet::new();
    let mut matching = 0;
    let mut kept: Vec<Entry> = Vec::new();
    for (_, entry) in entries {
        matching += usize::from(entry.matches);
        if seen.insert(entry.id) && (!entry.matches || matching <= FILES_MAX) {
            kept.push(entry);
        }
    }
    kept.reverse(); // oldest first
    Ok(kept)
}

/// The files a pattern names now, oldest first.
pub fn matching_files(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(list_files(pattern)?.into_iter().filter(|e| e.matches).map(|e| e.path).collect())
}

/// Where to begin at the end of a file: behind its last whole line.
fn end_of_last_line(file: &File, length: u64) -> io::Result<u64> {
    let want = length.min(64 << 10);
    let mut tail = vec![0; want as usize];
    file.read_exact_at(&mut tail, length - want)?;
    Ok(tail.iter().rposition(|b| *b == b'\n').map_or(length - want, |at| length - want + at as u64 + 1))
}

#[cfg(test)]
#[path = "tailer_tests.rs"]
mod tests;
