//! A small journal: records as lines of JSON, each after a checksum; appended and synced before the caller is told, so what
//! was promised survives kill -9. A torn last line is cut; damage before it is an error. Rewritten when mostly history.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fingerprint::Fnv;
use crate::outbox::replace_file;

/// The first line: what this is, and the version of `docs/formats/journal.md`.
const HEAD: &[u8] = b"tidewatch-journal 1\n";
/// Lines beyond twice the living records before a journal is rewritten.
const SPARE_LINES: usize = 1_000;
/// Bytes of the checksum (16 hex digits) and the space after it.
const PREFIX_BYTES: usize = 17;

/// An open journal.
#[derive(Debug, Default)]
pub struct Journal {
    path: PathBuf,
    lines: usize,
}

impl Journal {
    /// Opens a journal and reads its records, oldest first; there are none without a file.
    pub fn open<T: DeserializeOwned>(path: &Path) -> io::Result<(Journal, Vec<T>)> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let mut records = Vec::new();
        if !bytes.starts_with(HEAD) && !HEAD.starts_with(&bytes) {
            let text = format!("{}: the first line must be tidewatch-journal 1", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut good = if bytes.starts_with(HEAD) { HEAD.len() } else { 0 };
        for line in bytes[good..].split_inclusive(|b| *b == b'\n') {
            let Some(record) = record(line) else { break };
            records.push(record);
            good += line.len();
        }
        if good < bytes.len() {
            if bytes[good..].iter().position(|b| *b == b'\n').is_some_and(|at| good + at + 1 < bytes.len()) {
                let text = format!("{}: damaged at byte {good}", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            File::options().write(true).open(path)?.set_len(good as u64)?;
        }
        Ok((Journal { path: path.into(), lines: records.len() }, records))
    }

    /// Appends records; they are on disk when this returns.
    pub fn append<T: Serialize>(&mut self, records: &[T]) -> io::Result<()> {
        let is_new = !self.path.exists();
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        let before = file.metadata()?.len();
        let mut bytes = if before == 0 { HEAD.to_vec() } else { Vec::new() };
        bytes.extend(lines(records)?);
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        if let Err(e) = written {
            let _ = file.set_len(before); // half a line must not stand before the next
            return Err(e);
        }
        if is_new && let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.lines += records.len();
        Ok(())
    }

    /// Replaces the journal by its living records when it is mostly history.
    pub fn tidy<T: Serialize>(&mut self, living: &[T]) -> io::Result<()> {
        if self.lines > living.len() * 2 + SPARE_LINES {
            replace_file(&self.path, &[HEAD, &lines(living)?].concat())?;
            self.lines = living.len();
        }
        Ok(())
    }
}

fn lines<T: Serialize>(records: &[T]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for record in records {
        let json = serde_json::to_vec(record)?;
        out.extend_from_slice(format!("{:016x} ", checksum(&json)).as_bytes());
        out.extend_from_slice(&json);
        out.push(b'\n');
    }
    Ok(out)
}

fn record<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let line = line.strip_suffix(b"\n")?;
    let (prefix, json) = line.split_at_checked(PREFIX_BYTES)?;
    let sum = std::str::from_utf8(&prefix[..PREFIX_BYTES - 1]).ok()?;
    (u64::from_str_radix(sum, 16).ok()? == checksum(json)).then(|| serde_json::from_slice(json).ok())?
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = Fnv::default();
    hash.write(bytes);
    hash.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_a_torn_end_and_nothing_else_is_forgiven() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("j");
        let (mut journal, none) = Journal::open::<u32>(&path).expect("no file yet");
        assert!(none.is_empty());
        journal.append(&[1, 2]).expect("append");
        journal.append(&[3]).expect("append");
        let whole = fs::read(&path).expect("read");
        fs::write(&path, &whole[..whole.len() - 3]).expect("tear");
        let (mut journal, records) = Journal::open::<u32>(&path).expect("torn");
        assert_eq!(records, [1, 2]);
        journal.append(&[4]).expect("append");
        assert_eq!(Journal::open::<u32>(&path).expect("open").1, [1, 2, 4]);
        let mut bytes = fs::read(&path).expect("read");
        bytes[HEAD.len() + 3] ^= 1;
        fs::write(&path, &bytes).expect("damage");
        let error = Journal::open::<u32>(&path).expect_err("damage before the end").to_string();
        assert!(error.contains("damaged at byte 20"), "{error}");
        fs::write(&path, "1 2 3\n").expect("another file");
        let error = Journal::open::<u32>(&path).expect_err("no journal").to_string();
        assert!(error.contains("first line"), "{error}");
    }

    #[test]
    fn the_bytes_are_those_of_version_1() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("j");
        let (mut journal, _) = Journal::open::<String>(&path).expect("no file yet");
        journal.append(&["a"]).expect("append");
        // FNV-1a of `"a"`, quotes included
        let golden = "tidewatch-journal 1\nd4272417d7c77eea \"a\"\n";
        assert_eq!(fs::read_to_string(&path).expect("read"), golden);
        fs::write(&path, golden).expect("write");
        assert_eq!(Journal::open::<String>(&path).expect("open").1, ["a"]);
    }

    #[test]
    fn history_is_dropped_when_there_is_much_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("j");
        let (mut journal, _) = Journal::open::<u32>(&path).expect("no file yet");
        journal.append(&vec![7; SPARE_LINES + 3]).expect("append");
        journal.tidy(&[7]).expect("tidy");
        assert_eq!(Journal::open::<u32>(&path).expect("open").1, [7]);
    }
}
