//! Where reading begins, decided purely: the store's offset, what the broker still has, which partitions are ours.

use std::collections::BTreeSet;

/// Which partitions are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// Every one, also those added later.
    All,
    /// These.
    These(BTreeSet<u32>),
}

impl Partitions {
    /// Those of the topic's that are read.
    pub(crate) fn of(&self, topic: &BTreeSet<u32>) -> BTreeSet<u32> {
        match self {
            Partitions::All => topic.clone(),
            Partitions::These(these) => these.intersection(topic).copied().collect(),
        }
    }

    /// Those asked for that the topic has not.
    pub(crate) fn missing(&self, topic: &BTreeSet<u32>) -> Vec<u32> {
        match self {
            Partitions::All => Vec::new(),
            Partitions::These(these) => these.difference(topic).copied().collect(),
        }
    }
}

/// Where a partition is read from, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It was never read: at the oldest it has.
    Oldest(u64),
    /// Behind what is stored.
    Stored(u64),
    /// What came behind the stored is gone from the broker: at the oldest left; so many offsets are lost.
    Lost { at: u64, offsets: u64 },
    /// The broker has less than was read: the topic was made anew. From its oldest; sequences tell what was read before.
    Anew { at: u64, stored: u64 },
}

impl Begin {
    /// Decides from the stored offset and the broker's oldest offset and the one behind its newest.
    pub(crate) fn decide(stored: Option<u64>, low: u64, high: u64) -> Begin {
        match stored {
            None => Begin::Oldest(low),
            Some(next) if next < low => Begin::Lost { at: low, offsets: low - next },
            Some(next) if next > high => Begin::Anew { at: low, stored: next },
            Some(next) => Begin::Stored(next),
        }
    }

    /// The offset to begin at.
    pub(crate) fn at(self) -> u64 {
        match self {
            Begin::Oldest(at) | Begin::Stored(at) | Begin::Lost { at, .. } | Begin::Anew { at, .. } => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_begins_behind_what_is_stored_where_the_broker_still_has_it() {
        for (stored, low, high, begin) in [
            (None, 0, 0, Begin::Oldest(0)),
            (None, 7, 9, Begin::Oldest(7)),
            (Some(5), 0, 9, Begin::Stored(5)),
            (Some(9), 0, 9, Begin::Stored(9)),
            (Some(7), 7, 9, Begin::Stored(7)),
            (Some(5), 7, 9, Begin::Lost { at: 7, offsets: 2 }),
            (Some(9), 0, 3, Begin::Anew { at: 0, stored: 9 }),
            (Some(9), 0, 0, Begin::Anew { at: 0, stored: 9 }),
        ] {
            assert_eq!(Begin::decide(stored, low, high), begin, "{stored:?} {low} {high}");
        }
    }

    #[test]
    fn all_grow_with_the_topic_and_a_list_does_not() {
        let topic = BTreeSet::from([0, 1, 2]);
        assert_eq!(Partitions::All.of(&topic), topic);
        let these = Partitions::These(BTreeSet::from([1, 5]));
        assert_eq!((these.of(&topic), these.missing(&topic)), (BTreeSet::from([1]), vec![5]));
    }
}
