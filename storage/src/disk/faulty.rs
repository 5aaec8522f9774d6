//! A disk that fails on command and, at a crash, forgets what was not synced: real files in a temporary directory, with a
//! record beside them of what a power cut would have left.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Disk, DiskFile, Files};

/// What happens to the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, a write after half of its bytes.
    Eio,
    /// This and the next few fail for want of room, a write after half of its bytes.
    Full,
    /// The power goes: it is half done, and nothing works any more.
    Crash,
}

/// How many operations a full disk fails before there is room again.
const FULL_OPERATIONS: u64 = 3;
/// What a disk writes at once.
const BLOCK: usize = 512;

#[derive(Default)]
struct State {
    operations: u64,
    fault: Option<(u64, Fault)>,
    is_down: bool,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    synced: BTreeMap<u64, Vec<u8>>,
}

/// See the module. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

enum Verdict {
    Go,
    /// Fail; a write does half of it first.
    Half(io::Error),
}

impl FaultyDisk {
    /// The operation with this number (from 0) meets this fault.
    pub(crate) fn with_fault(at: u64, fault: Fault) -> FaultyDisk {
        let disk = FaultyDisk::default();
        disk.0.lock().fault = Some((at, fault));
        disk
    }

    /// Operations so far that change something.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    fn next(&self) -> Verdict {
        let mut state = self.0.lock();
        let n = state.operations;
        state.operations += 1;
        if state.is_down {
            return Verdict::Half(io::Error::other("the power is off"));
        }
        match state.fault {
            Some((at, Fault::Eio)) if n == at => Verdict::Half(io::Error::other("injected")),
            Some((at, Fault::Full)) if (at..at + FULL_OPERATIONS).contains(&n) => {
                Verdict::Half(io::ErrorKind::StorageFull.into())
            }
            Some((at, Fault::Crash)) if n == at => {
                state.is_down = true;
                Verdict::Half(io::Error::other("the power is off"))
            }
            _ => Verdict::Go,
        }
    }

    fn gate(&self) -> io::Result<()> {
        match self.next() {
            Verdict::Go => Ok(()),
            Verdict::Half(e) => Err(e),
        }
    }

    /// Leaves below `root` what a power cut might: synced bytes and names, and of the rest some of this and some of that.
    pub(crate) fn crash(&self, root: &Path, random: &mut fastrand::Rng) -> io::Result<()> {
        let mut state = self.0.lock();
        state.is_down = true;
        let mut present = BTreeSet::new();
        list_files(root, &mut present)?;
        for path in &present {
            if !state.names.contains_key(path) {
                let file = state.next_file;
                state.next_file += 1;
                state.names.insert(path.clone(), file);
            }
        }
        let all: BTreeSet<PathBuf> = state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        let mut left = Vec::new();
        for path in all {
            let (now, durable) = (state.names.get(&path).copied(), state.durable_names.get(&path).copied());
            let chosen = if random.bool() { now } else { durable };
            let Some(file) = (if now == durable { now } else { chosen }) else { continue };
            let old = state.synced.get(&file).cloned().unwrap_or_default();
            let new =
                state.names.iter().find(|(p, f)| **f == file && present.contains(*p)).map(|(p, _)| std::fs::read(p));
            let bytes = match new {
                Some(new) => mix(&old, &new?, random),
                None => old,
            };
            left.push((path, bytes));
        }
        for path in present {
            std::fs::remove_file(path)?;
        }
        for (path, bytes) in left {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            std::fs::write(path, bytes)?;
        }
        Ok(())
    }
}

/// Blocks that differ are the old, the new, or zeros; the length is the old or the new.
fn mix(old: &[u8], new: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    if old == new {
        return old.to_vec();
    }
    let len = if random.bool() { new.len() } else { old.len() };
    let mut out = vec![0; len];
    for at in (0..len).step_by(BLOCK) {
        let end = (at + BLOCK).min(len);
        let of = |bytes: &[u8]| {
            let mut block = bytes.get(at..end.min(bytes.len()).max(at)).unwrap_or(&[]).to_vec();
            block.resize(end - at, 0);
            block
        };
        let (was, is) = (of(old), of(new));
        let block = match random.u8(0..4) {
            _ if was == is => was,
            0 => was,
            1 if at >= old.len() => vec![0; end - at],
            _ => is,
        };
        out[at..end].copy_from_slice(&block);
    }
    out
}

fn list_files(dir: &Path, out: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => list_files(&entry.path(), out)?,
            false => {
                out.insert(entry.path());
            }
        }
    }
    Ok(())
}

impl State {
    fn file(&mut self, path: &Path) -> u64 {
        if let Some(file) = self.names.get(path) {
            return *file;
        }
        let file = self.next_file;
        self.next_file += 1;
        self.names.insert(path.to_owned(), file);
        file
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        Files.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Files.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Files.read(path)
    }

    fn create(&self, path: &Path, room_bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        self.gate()?;
        let file = {
            let mut state = self.0.lock();
            state.names.remove(path);
            state.file(path)
        };
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            file,
            path: path.to_owned(),
            inner: Files.create(path, room_bytes)?,
        }))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.gate()?;
        Files.truncate(path, len)?;
        let mut state = self.0.lock();
        let file = state.file(path);
        state.synced.insert(file, std::fs::read(path)?);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.gate()?;
        Files.rename(from, to)?;
        let mut state = self.0.lock();
        let file = state.file(from);
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.gate()?;
        Files.remove(path)?;
        self.0.lock().names.remove(path);
        Ok(())
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.gate()?;
        let bytes = std::fs::read(path)?;
        let mut state = self.0.lock();
        let file = state.file(path);
        state.synced.insert(file, bytes);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.gate()?;
        let mut present = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                present.push(entry.path());
            }
        }
        let mut state = self.0.lock();
        state.durable_names.retain(|path, _| path.parent() != Some(dir));
        for path in present {
            let file = state.file(&path);
            state.durable_names.insert(path, file);
        }
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    file: u64,
    path: PathBuf,
    inner: Box<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.disk.next() {
            Verdict::Go => self.inner.write_at(offset, bytes),
            Verdict::Half(e) => {
                self.inner.write_at(offset, &bytes[..bytes.len() / 2])?;
                Err(e)
            }
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.disk.gate()?;
        self.inner.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.gate()?;
        // by its present name, if it still has one: a removed file needs no sync
        if let Ok(bytes) = std::fs::read(&self.path) {
            self.disk.0.lock().synced.insert(self.file, bytes);
        }
        Ok(())
    }
}
