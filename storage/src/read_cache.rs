//! Footers of parts, and row group indexes, bodies and statistics of metrics parts, kept while memory allows.

use std::{collections::HashMap, sync::Arc};

use object_store::path::Path;
use parking_lot::Mutex;

use crate::{
    metrics::{Bodies, Footer, GroupIndex, GroupStatistics},
    stats::ReadCacheStats,
};

/// Evict down to this share (percent) of the bound at once, so that eviction's scan is seldom.
const KEEP_PERCENT: usize = 90;

/// Which piece of which part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Footer(Path),
    Group(Path, usize),
    Bodies(Path, usize),
    Statistics(Path, usize),
}

impl Key {
    fn part(&self) -> &Path {
        match self {
            Key::Footer(part) | Key::Group(part, _) | Key::Bodies(part, _) | Key::Statistics(part, _) => part,
        }
    }
}

/// A cached piece.
#[derive(Clone)]
pub(crate) enum Piece {
    Footer(Footer),
    Group(Arc<GroupIndex>),
    /// Of all rows of a row group; `None`: they were asked for once, which is not yet worth the memory.
    Bodies(Option<Arc<Bodies>>),
    Statistics(Arc<GroupStatistics>),
}

struct Slot {
    piece: Piece,
    bytes: usize,
    used: u64,
}

#[derive(Default)]
struct Slots {
    slots: HashMap<Key, Slot>,
    bytes: usize,
    clock: u64,
    hits: u64,
    misses: u64,
    evicted: u64,
}

/// Pieces of parts, bounded in bytes, shared by all parts of a store.
pub struct ReadCache {
    bytes_max: usize,
    slots: Mutex<Slots>,
}

impl ReadCache {
    /// A cache that holds at most `bytes_max`; a piece larger than that is used and not kept.
    pub fn new(bytes_max: usize) -> Arc<ReadCache> {
        Arc::new(ReadCache { bytes_max, slots: Mutex::default() })
    }

    /// Bytes held now, estimated.
    pub fn bytes(&self) -> usize {
        self.slots.lock().bytes
    }

    /// The present numbers; counters begin with the cache.
    pub fn stats(&self) -> ReadCacheStats {
        let slots = self.slots.lock();
        let Slots { bytes, hits, misses, evicted, .. } = *slots;
        ReadCacheStats { bytes: bytes as u64, bytes_max: self.bytes_max as u64, hits, misses, evicted }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Piece> {
        let slots = &mut *self.slots.lock();
        slots.clock += 1;
        let slot = slots.slots.get_mut(key);
        match &slot {
            None | Some(Slot { piece: Piece::Bodies(None), .. }) => slots.misses += 1,
            Some(_) => slots.hits += 1,
        }
        let slot = slot?;
        slot.used = slots.clock;
        Some(slot.piece.clone())
    }

    /// Whether bodies are kept under a key; no use of them.
    pub(crate) fn holds_bodies(&self, key: &Key) -> bool {
        matches!(self.slots.lock().slots.get(key), Some(Slot { piece: Piece::Bodies(Some(_)), .. }))
    }

    /// Lets go of all pieces of a part that is there no more.
    pub(crate) fn forget(&self, part: &Path) {
        let slots = &mut *self.slots.lock();
        let bytes = &mut slots.bytes;
        slots.slots.retain(|key, slot| {
            let stays = key.part() != part;
            *bytes -= if stays { 0 } else { slot.bytes };
            stays
        });
    }

    pub(crate) fn put(&self, key: Key, piece: Piece, bytes: usize) {
        if bytes > self.bytes_max {
            return;
        }
        let slots = &mut *self.slots.lock();
        slots.clock += 1;
        let slot = Slot { piece, bytes, used: slots.clock };
        slots.bytes += bytes;
        if let Some(old) = slots.slots.insert(key, slot) {
            slots.bytes -= old.bytes;
        }
        if slots.bytes > self.bytes_max {
            let keep = self.bytes_max / 100 * KEEP_PERCENT;
            let mut by_age: Vec<(u64, Key)> = slots.slots.iter().map(|(key, slot)| (slot.used, key.clone())).collect();
            by_age.sort_unstable_by_key(|(used, _)| *used);
            for (_, key) in by_age {
                if slots.bytes <= keep {
                    break;
                }
                if let Some(old) = slots.slots.remove(&key) {
                    slots.bytes -= old.bytes;
                    slots.evicted += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_the_bound_holds() {
        let cache = ReadCache::new(1000);
        let key = |i: usize| Key::Group(Path::from("part"), i);
        for i in 0..30 {
            cache.put(key(i), Piece::Group(Arc::new(GroupIndex::default())), 100);
            assert!(cache.get(&key(0)).is_some(), "used all the time");
            assert!(cache.bytes() <= 1000);
        }
        assert!(cache.get(&key(1)).is_none());
        assert!(cache.get(&key(29)).is_some());
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.bytes_max), (31, 1, 1000));
        assert!(stats.bytes <= 1000 && stats.evicted + stats.bytes / 100 == 30, "{stats:?}");
        cache.put(key(99), Piece::Group(Arc::new(GroupIndex::default())), 1001);
        assert!(cache.get(&key(99)).is_none());
        cache.put(Key::Bodies(Path::from("other"), 0), Piece::Bodies(None), 10);
        cache.forget(&Path::from("part"));
        assert_eq!((cache.bytes(), cache.get(&key(0)).is_some()), (10, false));
    }
}
