//! Vector matching: series of two sides find each other once, by their matching labels; then whole columns are combined.
//!
//! Which series meet at a step depends on which have a value there, so several series may share a match group as long as
//! they are never there together.

use proto::Labels;

use super::QueryError;
use super::ast::{Binary, BinaryOp, Cardinality, Matching};
use super::binary::{Outcome, compares, of_points, of_scalars};
use super::eval::{Evaluator, internal, merge_same};
use super::groups::Groups;
use super::position::Span;
use super::value::{ABSENT, METADATA_LABELS, Point, Series, Steps, is_absent};
use proto::labels::METRIC_NAME;

/// Whether series are matched by the label of this name.
pub(super) fn matches_by(matching: &Matching) -> impl Fn(&str) -> bool {
    move |name| {
        let is_listed = matching.labels.iter().any(|listed| listed == name);
        if matching.on { is_listed } else { !is_listed && name != METRIC_NAME }
    }
}

/// Series of both sides that share a match group.
#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// One operation, its sides turned so that the "many" side comes first.
struct Join<'a> {
    op: BinaryOp,
    return_bool: bool,
    matching: &'a Matching,
    swapped: bool,
    span: Span,
    steps: &'a Steps,
}

impl Evaluator<'_> {
    /// An operator between two vectors.
    pub(super) fn match_vectors(&self, b: &Binary, span: Span, steps: &Steps) -> Result<Vec<Series>, QueryError> {
        let matching = b.matching.as_ref().ok_or_else(|| internal("a vector match"))?;
        let (left, right) = (self.vector(&b.left, steps)?, self.vector(&b.right, steps)?);
        if b.op.is_set() {
            let out = super::binary_set::apply(b.op, left, right, matching);
            return if b.op == BinaryOp::Or && !self.options.delayed_name_removal { merge_same(out) } else { Ok(out) };
        }
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let join = Join { op: b.op, return_bool: b.return_bool, matching, swapped, span, steps };
        let out = join.run(self, &many, &one)?;
        merge_same(out)
    }
}

impl Join<'_> {
    /// Fill values for a missing many side and a missing one side.
    fn fills(&self) -> (Option<f64>, Option<f64>) {
        let (left, right) = (self.matching.fill_left, self.matching.fill_right);
        if self.swapped { (right, left) } else { (left, right) }
    }

    fn run(&self, ev: &Evaluator<'_>, many: &[Series], one: &[Series]) -> Result<Vec<Series>, QueryError> {
        let (fill_many, fill_one) = self.fills();
        if (many.is_empty() && fill_many.is_none()) || (one.is_empty() && fill_one.is_none()) {
            return Ok(Vec::new());
        }
        let mut groups = Groups::default();
        let mut list: Vec<(Labels, Group)> = Vec::new();
        for (is_many, side) in [(true, many), (false, one)] {
            for (i, series) in side.iter().enumerate() {
                let at = groups.place(&series.labels, matches_by(self.matching));
                if at == list.len() {
                    list.push((groups.set(at).clone(), Group::default()));
                }
                if is_many { &mut list[at].1.many } else { &mut list[at].1.one }.push(i);
            }
        }
        // Steps at which one side has nothing at all match nothing, and so cannot match ambiguously either.
        let has = |side: &[Series], fill: Option<f64>| -> Vec<bool> {
            (0..self.steps.count).map(|i| fill.is_some() || side.iter().any(|s| s.is_present(i))).collect()
        };
        let any_shared = list.iter().any(|(_, g)| g.one.len() > 1);
        let live: Vec<bool> = if any_shared {
            has(many, fill_many).into_iter().zip(has(one, fill_one)).map(|(a, b)| a && b).collect()
        } else {
            Vec::new()
        };
        let mut out = Vec::new();
        for (key, group) in &list {
            ev.budget.tick()?;
            self.join_group(ev, key, group, (many, one), &live, &mut out)?;
        }
        Ok(out)
    }

    fn join_group(
        &self,
        ev: &Evaluator<'_>,
        key: &Labels,
        group: &Group,
        (many, one): (&[Series], &[Series]),
        live: &[bool],
        out: &mut Vec<Series>,
    ) -> Result<(), QueryError> {
        let (fill_many, fill_one) = self.fills();
        if group.one.len() > 1 {
            self.check_one_side(key, group, one, live)?;
        }
        let steps = self.steps.count;
        let filler = |value: f64| Series { floats: vec![value; steps], ..Series::absent(key.clone(), steps) };
        // What the one side has at each step, when it has several series or gaps to fill.
        let mut results: Vec<(Labels, Vec<bool>)> = Vec::new();
        let mut emit = |l: &Series, r: &Series, is_filled: bool, only: Option<&[bool]>| -> Result<(), QueryError> {
            let (series, matched) = self.combine(ev, l, r, only);
            if !is_filled || matched.iter().any(|m| *m) {
                self.check_unique(&series.labels, &matched, &mut results)?;
            }
            if !series.is_empty() {
                ev.budget.take(series.bytes())?;
                out.push(series);
            }
            Ok(())
        };
        for m in &group.many {
            for o in &group.one {
                emit(&many[*m], &one[*o], false, None)?;
            }
            if let Some(value) = fill_one {
                let missing = missing(&group.one, one, steps);
                if missing.contains(&true) {
                    emit(&many[*m], &filler(value), true, Some(&missing))?;
                }
            }
        }
        if let Some(value) = fill_many {
            let missing = missing(&group.many, many, steps);
            if missing.contains(&true) {
                for o in &group.one {
                    emit(&filler(value), &one[*o], true, Some(&missing))?;
                }
            }
        }
        Ok(())
    }

    /// At no step may two series of the one side be in the same group.
    fn check_one_side(&self, key: &Labels, group: &Group, one: &[Series], live: &[bool]) -> Result<(), QueryError> {
        for step in (0..self.steps.count).filter(|i| live[*i]) {
            let mut there = group.one.iter().filter(|i| one[**i].is_present(step));
            if let (Some(a), Some(b)) = (there.next(), there.next()) {
                let mut names = [one[*a].labels.to_string(), one[*b].labels.to_string()];
                names.sort();
                let side = if self.swapped { "left" } else { "right" };
                return Err(QueryError::Execution(format!(
                    "found duplicate series for the match group {key} on the {side} hand-side of the operation: \
                     [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                    names[0], names[1]
                )));
            }
        }
        Ok(())
    }

    /// At no step may two matches of a group end in the same place.
    fn check_unique(
        &self,
        labels: &Labels,
        matched: &[bool],
        results: &mut Vec<(Labels, Vec<bool>)>,
    ) -> Result<(), QueryError> {
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let key = if one_to_one { Labels::empty() } else { labels.clone() };
        let Some((_, seen)) = results.iter_mut().find(|(l, _)| *l == key) else {
            results.push((key, matched.to_vec()));
            return Ok(());
        };
        if seen.iter().zip(matched).any(|(a, b)| *a && *b) {
            let why = if one_to_one {
                "many-to-one matching must be explicit (group_left/group_right)"
            } else {
                "grouping labels must ensure unique matches"
            };
            return Err(QueryError::Execution(format!("multiple matches for labels: {why}")));
        }
        seen.iter_mut().zip(matched).for_each(|(a, b)| *a |= *b);
        Ok(())
    }

    /// The labels of a result.
    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let m = self.matching;
        let drops_name = self.op.drops_name();
        let keep = |n: &str| {
            if drops_name && METADATA_LABELS.contains(&n) {
                return false;
            }
            m.cardinality != Cardinality::OneToOne || m.labels.iter().any(|l| l == n) == m.on
        };
        let labels = many.only(keep);
        if m.include.is_empty() {
            return labels;
        }
        let mut builder = labels.to_builder();
        for name in &m.include {
            builder.set(name, one.get(name).unwrap_or(""));
        }
        builder.build()
    }

    /// The result of two series over all steps, and where both were there.
    fn combine(&self, ev: &Evaluator<'_>, many: &Series, one: &Series, only: Option<&[bool]>) -> (Series, Vec<bool>) {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        let mut labels = self.result_labels(&many.labels, &one.labels);
        let drop_name = if self.op.drops_name() { false } else { self.return_bool || many.drop_name };
        if drop_name && !ev.options.delayed_name_removal {
            labels = super::value::without_name(&labels);
        }
        let mut out = Series::absent(labels, self.steps.count);
        out.drop_name = drop_name && ev.options.delayed_name_removal;
        let mut matched = vec![false; self.steps.count];
        let plain = left.histograms.is_none() && right.histograms.is_none();
        for i in 0..self.steps.count {
            if only.is_some_and(|only| !only[i]) {
                continue;
            }
            if plain && !matches!(self.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
                let (l, r) = (left.floats[i], right.floats[i]);
                if is_absent(l) || is_absent(r) {
                    continue;
                }
                matched[i] = true;
                out.floats[i] = if self.op.is_comparison() {
                    let holds = compares(self.op, l, r);
                    match (self.return_bool, holds) {
                        (true, holds) => f64::from(u8::from(holds)),
                        // What is kept is the left side's value, whichever side is many.
                        (false, true) => l,
                        (false, false) => ABSENT,
                    }
                } else {
                    of_scalars(self.op, l, r)
                };
                continue;
            }
            let (Some(l), Some(r)) = (left.point(i), right.point(i)) else { continue };
            matched[i] = true;
            match of_points(ev.notes, self.op, &l, &r, self.span) {
                Outcome::Value(point) => out.set(i, point),
                Outcome::Holds(holds) if self.return_bool => out.set(i, Point::Float(f64::from(u8::from(holds)))),
                Outcome::Holds(true) => out.set(i, l),
                Outcome::Holds(false) | Outcome::None => {}
            }
        }
        (out, matched)
    }
}

/// The steps at which none of the chosen series has a value.
fn missing(chosen: &[usize], side: &[Series], steps: usize) -> Vec<bool> {
    (0..steps).map(|i| !chosen.iter().any(|s| side[*s].is_present(i))).collect()
}
