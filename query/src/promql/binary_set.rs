//! `and`, `or`, `unless`: which series are there decides, not their values.

use hashbrown::HashMap;
use proto::Labels;

use super::ast::{BinaryOp, Matching};
use super::binary_match::match_labels;
use super::value::Series;

/// For every match group the steps at which any of its series has a value.
fn presence(side: &[Series], matching: &Matching) -> HashMap<Labels, Vec<bool>> {
    let mut out: HashMap<Labels, Vec<bool>> = HashMap::with_capacity(side.len());
    for series in side {
        let steps =
            out.entry(match_labels(&series.labels, matching)).or_insert_with(|| vec![false; series.floats.len()]);
        steps.iter_mut().enumerate().for_each(|(i, p)| *p |= series.is_present(i));
    }
    out
}

/// Keeps the steps of `series` at which its group is there on the other side, or at which it is not.
fn keep(side: Vec<Series>, other: &HashMap<Labels, Vec<bool>>, matching: &Matching, when_there: bool) -> Vec<Series> {
    let mut out = Vec::with_capacity(side.len());
    for mut series in side {
        match other.get(&match_labels(&series.labels, matching)) {
            None if when_there => continue,
            None => {}
            Some(there) => {
                for (step, there) in there.iter().enumerate() {
                    if *there != when_there {
                        series.clear(step);
                    }
                }
                if series.is_empty() {
                    continue;
                }
            }
        }
        out.push(series);
    }
    out
}

/// The result of a set operator.
pub(super) fn apply(op: BinaryOp, left: Vec<Series>, right: Vec<Series>, matching: &Matching) -> Vec<Series> {
    match op {
        BinaryOp::Or => {
            let there = presence(&left, matching);
            let mut out = left;
            out.extend(keep(right, &there, matching, false));
            out
        }
        op => keep(left, &presence(&right, matching), matching, op == BinaryOp::And),
    }
}
