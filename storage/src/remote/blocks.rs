//! Blocks of remote parts on the local disk: bounded in bytes, the least recently used goes first.
//!
//! A block is up to 1 MiB of a part. Parts never change and their names are never used again, so a block needs no
//! refreshing; each is checked whenever it is read, and one that is damaged, cut or misplaced is removed and counts as
//! absent. The cache is only ever a copy: it may be deleted while the server is stopped. docs/formats/manifest.md.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use parking_lot::Mutex;

/// Bytes of a block, the last of a part excepted.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;
/// A checksum behind the block's bytes: CRC-32C of the part's path, the block's number (8 bytes, little-endian), and the bytes.
const SUM_BYTES: u64 = 4;

/// What the cache says about itself; counters begin at open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Bytes on disk now.
    pub bytes: u64,
    /// Most bytes there may be.
    pub bytes_max: u64,
    /// Blocks that were here when they were wanted.
    pub hits: u64,
    /// Blocks that had to be fetched.
    pub misses: u64,
    /// Blocks removed for room.
    pub evicted: u64,
    /// Blocks that were not what had been written; they were fetched again.
    pub damaged: u64,
    /// Blocks that the local disk would not take or give.
    pub errors: u64,
}

/// Which part, by its path in the object store, and which of its blocks.
type Key = (Arc<str>, u64);

struct Slot {
    /// On disk, checksum included.
    bytes: u64,
    used: u64,
}

#[derive(Default)]
struct Index {
    parts: HashMap<Arc<str>, BTreeMap<u64, Slot>>,
    by_use: BTreeMap<u64, Key>,
    clock: u64,
    stats: CacheStats,
}

/// See the module.
pub(crate) struct Blocks {
    dir: PathBuf,
    index: Mutex<Index>,
    /// Names what is being written: two readers may fetch the same block.
    writes: AtomicU64,
}

impl Blocks {
    /// Takes over what a former process left in `dir`, the least recently written first in line to go.
    pub(crate) fn open(dir: &Path, bytes_max: u64) -> io::Result<Blocks> {
        fs::create_dir_all(dir)?;
        let mut found = Vec::new();
        walk(dir, "", &mut found)?;
        found.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut index = Index::default();
        index.stats.bytes_max = bytes_max;
        for (_, key, bytes) in found {
            index.insert(key, bytes);
        }
        let blocks = Blocks { dir: dir.to_owned(), index: Mutex::new(index), writes: AtomicU64::new(0) };
        blocks.make_room();
        Ok(blocks)
    }

    /// Numbers of this moment.
    pub(crate) fn stats(&self) -> CacheStats {
        self.index.lock().stats
    }

    /// A block's bytes, if they are here and sound. Reads a file.
    pub(crate) fn get(&self, part: &str, block: u64) -> Option<Bytes> {
        let wanted = {
            let index = &mut *self.index.lock();
            let wanted = index.touch(part, block);
            index.stats.misses += u64::from(wanted.is_none());
            wanted?
        };
        let read = fs::read(self.file(part, block));
        let sound = read.ok().filter(|bytes| bytes.len() as u64 == wanted).and_then(|bytes| check(part, block, bytes));
        let mut index = self.index.lock();
        if sound.is_some() {
            index.stats.hits += 1;
            return sound;
        }
        index.stats.misses += 1;
        // one that was removed meanwhile for room is no damage
        if index.remove(part, block) {
            index.stats.damaged += 1;
            drop(index);
            tracing::warn!(part, block, "a cached block was damaged; it is fetched again");
            self.remove_files(std::iter::once((part.into(), block)));
        }
        None
    }

    /// Keeps a block, and lets others go for it. That the local disk refuses is counted, and no error.
    pub(crate) fn put(&self, part: &str, block: u64, bytes: &[u8]) {
        let size = bytes.len() as u64 + SUM_BYTES;
        if size > self.index.lock().stats.bytes_max {
            return;
        }
        let file = self.file(part, block);
        let unfinished = file.with_extension(format!("new{}", self.writes.fetch_add(1, Ordering::Relaxed)));
        if let Err(error) = write(&unfinished, &file, &seal(part, block, bytes)) {
            let index = &mut *self.index.lock();
            if index.stats.errors == 0 {
                tracing::warn!(file = %file.display(), %error, "the cache of remote parts could not be written");
            }
            index.stats.errors += 1;
            return;
        }
        self.index.lock().insert((part.into(), block), size);
        self.make_room();
    }

    /// Forgets a part that is gone.
    pub(crate) fn forget(&self, part: &str) {
        let blocks: Vec<u64> = {
            let index = &mut *self.index.lock();
            let blocks = index.parts.get(part).map(|blocks| blocks.keys().copied().collect()).unwrap_or_default();
            index.forget(part);
            blocks
        };
        self.remove_files(blocks.into_iter().map(|block| (part.into(), block)));
    }

    /// Forgets every part but these.
    pub(crate) fn keep_only(&self, parts: &BTreeSet<&str>) {
        let gone: Vec<Arc<str>> =
            self.index.lock().parts.keys().filter(|part| !parts.contains(&***part)).cloned().collect();
        gone.iter().for_each(|part| self.forget(part));
    }

    fn make_room(&self) {
        let gone = {
            let index = &mut *self.index.lock();
            let mut gone = Vec::new();
            while index.stats.bytes > index.stats.bytes_max {
                let Some((_, (part, block))) = index.by_use.first_key_value().map(|(u, k)| (*u, k.clone())) else {
                    break;
                };
                index.remove(&part, block);
                index.stats.evicted += 1;
                gone.push((part, block));
            }
            gone
        };
        self.remove_files(gone.into_iter());
    }

    fn remove_files(&self, keys: impl Iterator<Item = Key>) {
        for (part, block) in keys {
            let file = self.file(&part, block);
            // gone already is as good; what stays is found again at the next open
            let _ = fs::remove_file(&file);
            // folders that became empty, up to the cache's own
            for dir in file.ancestors().skip(1).take_while(|dir| *dir != self.dir) {
                if fs::remove_dir(dir).is_err() {
                    break;
                }
            }
        }
    }

    fn file(&self, part: &str, block: u64) -> PathBuf {
        self.dir.join(part).join(format!("{block:06x}"))
    }
}

impl Index {
    /// Notes a use; the size of the block's file.
    fn touch(&mut self, part: &str, block: u64) -> Option<u64> {
        self.clock += 1;
        let slot = self.parts.get_mut(part)?.get_mut(&block)?;
        if let Some(key) = self.by_use.remove(&slot.used) {
            self.by_use.insert(self.clock, key);
        }
        slot.used = self.clock;
        Some(slot.bytes)
    }

    fn insert(&mut self, key: Key, bytes: u64) {
        self.remove(&key.0, key.1);
        self.clock += 1;
        self.stats.bytes += bytes;
        self.by_use.insert(self.clock, key.clone());
        self.parts.entry(key.0).or_default().insert(key.1, Slot { bytes, used: self.clock });
    }

    /// Whether it was there.
    fn remove(&mut self, part: &str, block: u64) -> bool {
        let Some(blocks) = self.parts.get_mut(part) else { return false };
        let Some(slot) = blocks.remove(&block) else { return false };
        self.by_use.remove(&slot.used);
        self.stats.bytes -= slot.bytes;
        if blocks.is_empty() {
            self.parts.remove(part);
        }
        true
    }

    fn forget(&mut self, part: &str) {
        for slot in self.parts.remove(part).into_iter().flat_map(BTreeMap::into_values) {
            self.by_use.remove(&slot.used);
            self.stats.bytes -= slot.bytes;
        }
    }
}

fn sum(part: &str, block: u64, bytes: &[u8]) -> u32 {
    let of_name = crc32c::crc32c_append(crc32c::crc32c(part.as_bytes()), &block.to_le_bytes());
    crc32c::crc32c_append(of_name, bytes)
}

fn seal(part: &str, block: u64, bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(bytes.len() + SUM_BYTES as usize);
    sealed.extend_from_slice(bytes);
    sealed.extend_from_slice(&sum(part, block, bytes).to_le_bytes());
    sealed
}

fn check(part: &str, block: u64, mut sealed: Vec<u8>) -> Option<Bytes> {
    let (bytes, found) = sealed.split_last_chunk::<{ SUM_BYTES as usize }>()?;
    if sum(part, block, bytes).to_le_bytes() != *found {
        return None;
    }
    sealed.truncate(sealed.len() - SUM_BYTES as usize);
    Some(sealed.into())
}

/// Whole under its name or not there. It is not synced: what a power cut leaves of it, its checksum finds.
fn write(unfinished: &Path, file: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = match fs::write(unfinished, bytes) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
            fs::write(unfinished, bytes)
        }
        written => written,
    };
    written.and_then(|()| fs::rename(unfinished, file)).inspect_err(|_| {
        let _ = fs::remove_file(unfinished);
    })
}

/// Blocks below a directory, each with when it was written and its size. What can be no block is removed.
fn walk(dir: &Path, part: &str, out: &mut Vec<(SystemTime, Key, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            let below = if part.is_empty() { name } else { format!("{part}/{name}") };
            walk(&entry.path(), &below, out)?;
            continue;
        }
        let number = u64::from_str_radix(&name, 16).ok().filter(|n| format!("{n:06x}") == name);
        match number {
            Some(block) if metadata.len() > SUM_BYTES && metadata.len() <= BLOCK_BYTES + SUM_BYTES => {
                out.push((metadata.modified()?, (part.into(), block), metadata.len()));
            }
            _ => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PART: &str = "v1/0/logs/2026-11-22/0000000000000001-0badcafe.parquet";

    fn files(dir: &Path) -> usize {
        let mut found = Vec::new();
        walk(dir, "", &mut found).unwrap();
        found.len()
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_bound_holds() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path(), 1000).unwrap();
        for n in 0..30 {
            blocks.put(PART, n, &[n as u8; 96]);
            assert_eq!(blocks.get(PART, 0).unwrap(), vec![0; 96], "used all the time");
            assert!(blocks.stats().bytes <= 1000);
        }
        assert_eq!((blocks.get(PART, 1), files(dir.path())), (None, 10));
        assert_eq!(blocks.get(PART, 29).unwrap(), vec![29; 96]);
        blocks.put(PART, 99, &[0; 997]);
        assert_eq!(blocks.get(PART, 99), None, "larger than everything");
        let stats = blocks.stats();
        assert_eq!((stats.bytes, stats.evicted, stats.hits, stats.misses, stats.damaged), (1000, 20, 31, 2, 0));
        drop(blocks);

        let blocks = Blocks::open(dir.path(), 500).unwrap();
        assert_eq!((files(dir.path()), blocks.stats().bytes), (5, 500), "a smaller bound holds at once");
        assert_eq!(blocks.get(PART, 29).unwrap(), vec![29; 96], "the last written is there");
        blocks.keep_only(&BTreeSet::from(["v1/other"]));
        assert_eq!((files(dir.path()), blocks.stats().bytes), (0, 0));
        assert!(!dir.path().join("v1").exists(), "empty folders go too");
    }

    #[test]
    fn what_is_damaged_cut_or_misplaced_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path(), 1 << 20).unwrap();
        let file = |block| blocks.file(PART, block);
        for block in 0..4 {
            blocks.put(PART, block, b"some bytes");
        }
        let mut flipped = fs::read(file(0)).unwrap();
        flipped[3] ^= 1;
        fs::write(file(0), flipped).unwrap();
        fs::write(file(1), b"some").unwrap();
        fs::copy(file(3), file(2)).unwrap();
        for block in 0..3 {
            assert_eq!((blocks.get(PART, block), file(block).exists()), (None, false), "block {block}");
            blocks.put(PART, block, b"fetched anew");
            assert_eq!(blocks.get(PART, block).unwrap(), "fetched anew");
        }
        assert_eq!(blocks.stats().damaged, 3);
        let unfinished = file(3).with_extension("new7");
        fs::write(&unfinished, b"half").unwrap();
        let again = Blocks::open(dir.path(), 1 << 20).unwrap();
        assert!(!unfinished.exists());
        assert_eq!(again.get(PART, 3).unwrap(), "some bytes");
    }
}
