//! A small durable list: one JSON line an entry, synced before it counts, rewritten when most of it is stale.
//!
//! A last line that is cut short is what a crash leaves and is cut off; any other line that can't be read stops the start with
//! file and line, since to forget it would undo what an operator did.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use crate::outbox::replace_file;

/// The list is rewritten when it holds this many lines more than entries that count.
const STALE_LINES_MAX: usize = 1_000;
/// Largest file that is read, bytes.
const BYTES_MAX: u64 = 256 << 20;

/// The file behind a list.
#[derive(Debug)]
pub struct Journal<T> {
    path: PathBuf,
    file: File,
    lines: usize,
    /// Length of what is whole, bytes.
    bytes: u64,
    entries: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// Opens or makes the file and reads what it holds.
    pub fn open(path: &Path) -> io::Result<(Journal<T>, Vec<T>)> {
        let wrong =
            |message: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {message}", path.display()));
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        if bytes > BYTES_MAX {
            return Err(wrong(format!("{bytes} bytes; at most {BYTES_MAX} are read")));
        }
        let text = std::fs::read(path)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64)?;
            file.sync_all()?;
        }
        let mut entries = Vec::new();
        for (i, line) in text[..whole].split(|b| *b == b'\n').filter(|l| !l.is_empty()).enumerate() {
            entries.push(serde_json::from_slice(line).map_err(|e| wrong(format!("line {}: {e}", i + 1)))?);
        }
        let lines = entries.len();
        Ok((Journal { path: path.into(), file, lines, bytes: whole as u64, entries: PhantomData }, entries))
    }

    /// Adds an entry; it is on disk when this returns.
    pub fn append(&mut self, entry: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if let Err(e) = self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            // half a line must not stand before the next one
            self.file.set_len(self.bytes)?;
            return Err(e);
        }
        (self.lines, self.bytes) = (self.lines + 1, self.bytes + line.len() as u64);
        Ok(())
    }

    /// Rewrites the file if it has become much longer than the `entries` that count.
    pub fn tidy(&mut self, entries: impl ExactSizeIterator<Item = T>) -> io::Result<()> {
        if self.lines <= entries.len() + STALE_LINES_MAX {
            return Ok(());
        }
        let (mut text, count) = (Vec::new(), entries.len());
        for entry in entries {
            serde_json::to_writer(&mut text, &entry)?;
            text.push(b'\n');
        }
        replace_file(&self.path, &text)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        (self.lines, self.bytes) = (count, text.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn entries_outlive_a_torn_tail_and_a_rewrite() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.jsonl");
        let (mut journal, entries) = Journal::<String>::open(&path).unwrap();
        assert!(entries.is_empty());
        journal.append(&"one".into()).unwrap();
        journal.append(&"two".into()).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in 7..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, entries) = Journal::<String>::open(&path).unwrap();
            assert_eq!(entries, ["one"], "cut at {cut}");
            journal.append(&"three".into()).unwrap();
            assert_eq!(Journal::<String>::open(&path).unwrap().1, ["one", "three"]);
        }
        let (mut journal, _) = Journal::<String>::open(&path).unwrap();
        for _ in 0..STALE_LINES_MAX {
            journal.append(&"stale".into()).unwrap();
        }
        journal.tidy(vec!["kept".to_string()].into_iter()).unwrap();
        journal.append(&"after".into()).unwrap();
        assert_eq!(Journal::<String>::open(&path).unwrap().1, ["kept", "after"]);
    }

    #[test]
    fn damage_before_the_end_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.jsonl");
        std::fs::write(&path, "\"one\"\n{\n\"three\"\n").unwrap();
        let said = Journal::<String>::open(&path).unwrap_err().to_string();
        assert!(said.contains("list.jsonl: line 2:"), "{said}");
    }
}
