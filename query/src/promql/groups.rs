//! Which series have some of their labels in common: each such set of labels has a number, and is built once.

use std::hash::{Hash, Hasher};

use hashbrown::{Equivalent, HashMap};
use proto::Labels;

/// Sets of labels in the order they were met.
#[derive(Default)]
pub(super) struct Groups {
    places: HashMap<Labels, usize>,
    sets: Vec<Labels>,
    /// Of the set that is looked for.
    bytes: Vec<u8>,
}

impl Groups {
    /// The number of the set of those labels whose names `keep` wants; as large as all before are many if it is new.
    pub(super) fn place(&mut self, labels: &Labels, keep: impl Fn(&str) -> bool) -> usize {
        self.bytes.clear();
        labels.put_only(&keep, &mut self.bytes);
        if let Some(place) = self.places.get(&Canonical(&self.bytes)) {
            return *place;
        }
        let (place, set) = (self.sets.len(), labels.only(keep));
        self.places.insert(set.clone(), place);
        self.sets.push(set);
        place
    }

    /// The set of a number that was given.
    pub(super) fn set(&self, place: usize) -> &Labels {
        &self.sets[place]
    }

    /// The same, without making the set known.
    pub(super) fn find(&mut self, labels: &Labels, keep: impl Fn(&str) -> bool) -> Option<usize> {
        self.bytes.clear();
        labels.put_only(keep, &mut self.bytes);
        self.places.get(&Canonical(&self.bytes)).copied()
    }
}

/// A set's canonical bytes, as its hash and equality see them.
struct Canonical<'a>(&'a [u8]);

impl Hash for Canonical<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Labels> for Canonical<'_> {
    fn equivalent(&self, labels: &Labels) -> bool {
        self.0 == labels.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_numbered_as_they_are_met() {
        let set = |a: &str, b: &str| Labels::from_pairs([("a", a), ("b", b), ("c", "1")]);
        let mut groups = Groups::default();
        let by_a = |n: &str| n == "a";
        assert_eq!(groups.find(&set("x", "1"), by_a), None);
        let places = [set("x", "1"), set("y", "1"), set("x", "2"), set("", "2")].map(|l| groups.place(&l, by_a));
        assert_eq!(places, [0, 1, 0, 2]);
        assert_eq!(groups.find(&set("y", "9"), by_a), Some(1));
        assert_eq!([0, 1, 2].map(|at| groups.set(at).to_string()), [r#"{a="x"}"#, r#"{a="y"}"#, "{}"]);
        assert_eq!(groups.place(&Labels::empty(), |_| true), 2);
    }
}
