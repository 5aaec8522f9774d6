//! Who sent what: the highest sequence of each source and class, so that a resend is a duplicate and not a second count.

use std::collections::{BTreeMap, HashMap};

use proto::Class;

use crate::{append::Origin, log::Position, manifest::SourceEntry};

/// Most sources remembered; beyond, the least recently heard of is forgotten.
pub(crate) const SOURCES_MAX: usize = 16_384;

/// The sequences of all sources.
#[derive(Default)]
pub(crate) struct Sources(HashMap<(String, u64), Source>);

#[derive(Default)]
struct Source {
    seen_ms: i64,
    classes: BTreeMap<i32, Last>,
}

/// The last sequence of a class: where in the log it becomes durable, and which one was before.
#[derive(Clone, Copy, Default)]
struct Last {
    sequence: u64,
    at: Position,
    durable: u64,
}

impl Sources {
    /// As the manifest has them: all durable.
    pub(crate) fn from_entries(entries: &[SourceEntry]) -> Sources {
        let durable = |sequence: &u64| Last { sequence: *sequence, at: Position::default(), durable: *sequence };
        let source = |e: &SourceEntry| Source {
            seen_ms: e.seen_ms,
            classes: e.sequences.iter().map(|(class, sequence)| (*class, durable(sequence))).collect(),
        };
        Sources(entries.iter().map(|e| ((e.collector.clone(), e.epoch), source(e))).collect())
    }

    /// For the manifest, in order.
    pub(crate) fn entries(&self) -> Vec<SourceEntry> {
        let mut out: Vec<SourceEntry> = self
            .0
            .iter()
            .map(|((collector, epoch), source)| SourceEntry {
                collector: collector.clone(),
                epoch: *epoch,
                seen_ms: source.seen_ms,
                sequences: source.classes.iter().map(|(class, last)| (*class, last.sequence)).collect(),
            })
            .collect();
        out.sort_unstable_by(|a, b| (&a.collector, a.epoch).cmp(&(&b.collector, b.epoch)));
        out
    }

    /// If this sequence was taken before: the position at which it and all before it are durable.
    pub(crate) fn duplicate(&self, origin: &Origin<'_>) -> Option<Position> {
        let last = self.0.get(&(origin.collector.to_owned(), origin.epoch))?.classes.get(&(origin.class as i32))?;
        (origin.sequence <= last.sequence).then_some(last.at)
    }

    /// The highest sequence taken of a class, durable or not; 0 if there is none.
    pub(crate) fn last(&self, collector: &str, epoch: u64, class: Class) -> u64 {
        let source = self.0.get(&(collector.to_owned(), epoch));
        source.and_then(|source| source.classes.get(&(class as i32))).map_or(0, |last| last.sequence)
    }

    /// Remembers a sequence that will be durable at `at`; the disk now reaches `synced`.
    pub(crate) fn advance(&mut self, origin: &Origin<'_>, at: Position, synced: Position, now_ms: i64) {
        let key = (origin.collector.to_owned(), origin.epoch);
        if self.0.len() >= SOURCES_MAX && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(key, s)| (s.seen_ms, (*key).clone())).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                tracing::warn!(collector = oldest.0, epoch = oldest.1, "source forgotten: too many of them");
                self.0.remove(&oldest);
            }
        }
        let source = self.0.entry(key).or_default();
        source.seen_ms = source.seen_ms.max(now_ms);
        let last = source.classes.entry(origin.class as i32).or_default();
        if last.at <= synced {
            last.durable = last.sequence;
        }
        (last.sequence, last.at) = (last.sequence.max(origin.sequence), at);
    }

    /// The highest sequence of each class that is surely on disk.
    pub(crate) fn durable(&self, collector: &str, epoch: u64, synced: Position) -> Vec<(Class, u64)> {
        let Some(source) = self.0.get(&(collector.to_owned(), epoch)) else { return Vec::new() };
        let durable = |last: &Last| if last.at <= synced { last.sequence } else { last.durable };
        source
            .classes
            .iter()
            .filter_map(|(class, last)| Some((Class::try_from(*class).ok()?, durable(last))))
            .filter(|(_, sequence)| *sequence > 0)
            .collect()
    }
}
