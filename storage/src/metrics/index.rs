//! Label → series postings: which series have a label with a value, and which series a list of matchers selects.
//!
//! The head keeps one for its live series, every row group of a part has one while it is cached. Values are ordered, so
//! that sets and literal prefixes of regexes go straight to what they can match.

use std::{
    collections::BTreeMap,
    ops::Bound::{Included, Unbounded},
};

use proto::Labels;

use crate::matcher::Matcher;

/// Bytes one posting costs, list growth included.
const POSTING_BYTES: usize = 6;
/// Bytes one distinct (name, value) costs beyond its text: tree slot, allocation, list header.
const VALUE_BYTES: usize = 96;

/// Ascending ids; most values belong to one series or to many.
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    fn as_slice(&self) -> &[u32] {
        match self {
            Ids::One(id) => std::slice::from_ref(id),
            Ids::Many(ids) => ids,
        }
    }

    fn push(&mut self, id: u32) {
        match self {
            Ids::One(first) => *self = Ids::Many(vec![*first, id]),
            Ids::Many(ids) => ids.push(id),
        }
    }
}

/// Postings of series 0, 1, 2 … in the order they were added.
#[derive(Default)]
pub(crate) struct LabelIndex {
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, Ids>>,
    series: u32,
    bytes: usize,
}

impl LabelIndex {
    /// Adds the next series.
    pub(crate) fn add(&mut self, labels: &Labels) {
        let id = self.series;
        self.series += 1;
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
                self.bytes += VALUE_BYTES + name.len();
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => {
                    values.insert(value.into(), Ids::One(id));
                    self.bytes += VALUE_BYTES + value.len();
                }
            }
            self.bytes += POSTING_BYTES;
        }
    }

    /// Memory, estimated.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All label names, ascending.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(AsRef::as_ref)
    }

    /// Every value of `name` with its series, ascending.
    pub(crate) fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a [u32])> {
        self.names.get(name).into_iter().flatten().map(|(value, ids)| (value.as_ref(), ids.as_slice()))
    }

    /// The series that all matchers select, ascending. `labels` gives a series' labels.
    pub(crate) fn select<'a>(&self, matchers: &[Matcher], labels: impl Fn(u32) -> &'a Labels) -> Vec<u32> {
        // what narrows most for the least work first: literals, then the rest that demands the label, then what permits its absence
        let mut order: Vec<&Matcher> = matchers.iter().collect();
        order.sort_by_key(|m| (m.matches_empty(), m.literals().is_none(), m.prefix().is_empty()));
        let mut selected: Option<Vec<u32>> = None;
        for matcher in order {
            let next = match selected.take() {
                Some(ids) if ids.is_empty() => return ids,
                Some(mut ids) if ids.len() <= self.names.get(matcher.name()).map_or(usize::MAX, BTreeMap::len) => {
                    ids.retain(|&id| matcher.matches(labels(id).get(matcher.name()).unwrap_or("")));
                    ids
                }
                Some(ids) if matcher.matches_empty() => subtract(ids, &self.gather(matcher, false)),
                Some(ids) => intersect(ids, &self.gather(matcher, true)),
                None if matcher.matches_empty() => subtract((0..self.series).collect(), &self.gather(matcher, false)),
                None => self.gather(matcher, true),
            };
            selected = Some(next);
        }
        selected.unwrap_or_else(|| (0..self.series).collect())
    }

    /// The series whose value of the matcher's label fulfils it (or, with `wanted` false, does not), ascending.
    fn gather(&self, matcher: &Matcher, wanted: bool) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut lists = 0;
        let Some(values) = self.names.get(matcher.name()) else { return ids };
        let mut take = |found: &Ids| {
            ids.extend_from_slice(found.as_slice());
            lists += 1;
        };
        match matcher.literals().filter(|_| wanted) {
            Some(literals) => literals.iter().filter_map(|l| values.get(*l)).for_each(&mut take),
            None => {
                let prefix = if wanted { matcher.prefix() } else { "" };
                values
                    .range::<str, _>((if prefix.is_empty() { Unbounded } else { Included(prefix) }, Unbounded))
                    .take_while(|(value, _)| value.starts_with(prefix))
                    .filter(|(value, _)| matcher.matches(value) == wanted)
                    .for_each(|(_, found)| take(found));
            }
        }
        if lists > 1 {
            ids.sort_unstable(); // the lists of one label's values are disjoint
        }
        ids
    }
}

fn intersect(mut ids: Vec<u32>, other: &[u32]) -> Vec<u32> {
    let mut rest = other;
    ids.retain(|&id| {
        rest = &rest[lower_bound(rest, id)..];
        rest.first() == Some(&id)
    });
    ids
}

fn subtract(mut ids: Vec<u32>, other: &[u32]) -> Vec<u32> {
    let mut rest = other;
    ids.retain(|&id| {
        rest = &rest[lower_bound(rest, id)..];
        rest.first() != Some(&id)
    });
    ids
}

/// Position of the first id that is at least `id`: doubling steps from the front, then halving.
fn lower_bound(ids: &[u32], id: u32) -> usize {
    let mut step = 1;
    while step < ids.len() && ids[step] < id {
        step *= 2;
    }
    let (low, high) = (step / 2, ids.len().min(step + 1));
    low + ids[low..high].partition_point(|&other| other < id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::matcher::MatchOp;

    proptest::proptest! {
        #[test]
        fn selects_what_matches_one_by_one(
            series in proptest::collection::vec(proptest::collection::vec((0..3usize, 0..5usize), 0..4), 0..40),
            asked in proptest::collection::vec((0..4usize, 0..4usize, 0..9usize), 0..4),
        ) {
            let names = ["a", "b", "c", "none"];
            let values = ["x", "xy", "xyz", "y", "z"];
            let patterns = ["x", "", "x|z", "x.*", ".*", ".+", "xy?", "(y|z)+", "x|"];
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let series: Vec<Labels> =
                series.iter().map(|l| Labels::from_pairs(l.iter().map(|&(n, v)| (names[n], values[v])))).collect();
            let matchers: Vec<Matcher> =
                asked.iter().map(|&(n, o, p)| Matcher::new(names[n], ops[o], patterns[p]).unwrap()).collect();
            let mut index = LabelIndex::default();
            series.iter().for_each(|l| index.add(l));
            let expected: Vec<u32> = (0..series.len() as u32)
                .filter(|&i| matchers.iter().all(|m| m.matches(series[i as usize].get(m.name()).unwrap_or(""))))
                .collect();
            proptest::prop_assert_eq!(index.select(&matchers, |id| &series[id as usize]), expected);
        }
    }
}
