//! `and`, `or`, `unless`: which series are there decides, not their values.

use super::ast::{BinaryOp, Matching};
use super::binary_match::matches_by;
use super::groups::Groups;
use super::value::Series;

/// The steps at which any series of a match group has a value.
#[derive(Default)]
struct Presence {
    groups: Groups,
    steps: Vec<Vec<bool>>,
}

impl Presence {
    fn of(side: &[Series], matching: &Matching) -> Presence {
        let mut out = Presence::default();
        for series in side {
            let at = out.groups.place(&series.labels, matches_by(matching));
            if at == out.steps.len() {
                out.steps.push(vec![false; series.floats.len()]);
            }
            out.steps[at].iter_mut().enumerate().for_each(|(i, p)| *p |= series.is_present(i));
        }
        out
    }
}

/// Keeps the steps of `series` at which its group is there on the other side, or at which it is not.
fn keep(side: Vec<Series>, mut other: Presence, matching: &Matching, when_there: bool) -> Vec<Series> {
    let mut out = Vec::with_capacity(side.len());
    for mut series in side {
        match other.groups.find(&series.labels, matches_by(matching)) {
            None if when_there => continue,
            None => {}
            Some(there) => {
                for (step, there) in other.steps[there].iter().enumerate() {
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
            let there = Presence::of(&left, matching);
            let mut out = left;
            out.extend(keep(right, there, matching, false));
            out
        }
        op => keep(left, Presence::of(&right, matching), matching, op == BinaryOp::And),
    }
}
