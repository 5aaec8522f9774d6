//! How far each partition of each stream was read: the offset is stored in the same log record as the rows it brought, so
//! that a consumer that starts again begins exactly behind what is here.

use std::collections::BTreeMap;

use crate::{append::Consumed, manifest::OffsetEntry};

/// Most partitions remembered; beyond, the one least recently read is forgotten. Read anew, its rows are found to be
/// duplicates by their sequences.
pub(crate) const PARTITIONS_MAX: usize = 16_384;

/// The offsets of all partitions.
#[derive(Default)]
pub(crate) struct Offsets(BTreeMap<(String, u32), Read>);

#[derive(Clone, Copy)]
struct Read {
    /// The offset behind the last one read.
    next: u64,
    seen_ms: i64,
}

impl Offsets {
    /// As the manifest has them.
    pub(crate) fn from_entries(entries: &[OffsetEntry]) -> Offsets {
        let read = |e: &OffsetEntry| ((e.stream.clone(), e.partition), Read { next: e.next, seen_ms: e.seen_ms });
        Offsets(entries.iter().map(read).collect())
    }

    /// For the manifest, in order.
    pub(crate) fn entries(&self) -> Vec<OffsetEntry> {
        let entry = |((stream, partition), read): (&(String, u32), &Read)| OffsetEntry {
            stream: stream.clone(),
            partition: *partition,
            next: read.next,
            seen_ms: read.seen_ms,
        };
        self.0.iter().map(entry).collect()
    }

    /// The partitions of a stream with the offset to go on at.
    pub(crate) fn of(&self, stream: &str) -> BTreeMap<u32, u64> {
        let from = (stream.to_owned(), 0);
        let of_stream = self.0.range(from..).take_while(|((name, _), _)| name == stream);
        of_stream.map(|((_, partition), read)| (*partition, read.next)).collect()
    }

    /// Remembers what was read last. It may be lower than before: a stream that was made anew counts from 0 again.
    pub(crate) fn set(&mut self, consumed: &Consumed<'_>, now_ms: i64) {
        let key = (consumed.stream.to_owned(), consumed.partition);
        if self.0.len() >= PARTITIONS_MAX && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(key, r)| (r.seen_ms, (*key).clone())).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                tracing::warn!(stream = oldest.0, partition = oldest.1, "offset forgotten: too many partitions");
                self.0.remove(&oldest);
            }
        }
        let read = self.0.entry(key).or_insert(Read { next: 0, seen_ms: now_ms });
        *read = Read { next: consumed.offset.saturating_add(1), seen_ms: read.seen_ms.max(now_ms) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_streams_are_apart() {
        let mut offsets = Offsets::default();
        for (stream, partition, offset) in [("a", 0, 7), ("a", 1, 3), ("ab", 0, 9), ("a", 0, 8), ("a", 1, 0)] {
            offsets.set(&Consumed { stream, partition, offset }, 1);
        }
        assert_eq!(offsets.of("a"), BTreeMap::from([(0, 9), (1, 1)]));
        assert_eq!(offsets.of("ab"), BTreeMap::from([(0, 10)]));
        assert_eq!(offsets.of("b"), BTreeMap::new());
        assert_eq!(Offsets::from_entries(&offsets.entries()).entries(), offsets.entries());
    }

    #[test]
    fn too_many_forget_the_one_read_longest_ago() {
        let mut offsets = Offsets::default();
        for partition in 0..PARTITIONS_MAX as u32 + 1 {
            offsets.set(&Consumed { stream: "s", partition, offset: 0 }, i64::from(partition));
        }
        let left = offsets.of("s");
        assert_eq!(left.len(), PARTITIONS_MAX);
        assert!(!left.contains_key(&0) && left.contains_key(&1));
    }
}
