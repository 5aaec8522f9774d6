//! Aggregations: series stream in, each is added to its group's columns and forgotten. What picks or counts series instead
//! is in `aggregate_pick`.

use proto::Labels;

use super::QueryError;
use super::aggregate_fold::Fold;
use super::annotations::Warning;
use super::ast::{Aggregate, AggregateOp};
use super::eval::{Evaluator, merge_same};
use super::groups::Groups;
use super::value::{METADATA_LABELS, Series, Steps};

/// Whether groups have the label of this name.
pub(super) fn groups_by(aggregate: &Aggregate) -> impl Fn(&str) -> bool {
    move |name| {
        let is_listed = aggregate.grouping.iter().any(|listed| listed == name);
        if aggregate.without { !is_listed && !METADATA_LABELS.contains(&name) } else { is_listed }
    }
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, steps: &Steps) -> Result<Vec<Series>, QueryError> {
        use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Quantile, Topk};
        let param = match (aggregate.op, &aggregate.param) {
            (CountValues, _) => return self.count_values(aggregate, steps),
            (_, Some(param)) => Some(self.scalar(param, steps)?),
            (_, None) => None,
        };
        match aggregate.op {
            Topk | Bottomk | Limitk | LimitRatio => {
                return self.pick_series(aggregate, &param.unwrap_or_default(), steps);
            }
            Quantile => {
                let span = aggregate.param.as_ref().map_or(aggregate.span, |p| p.span());
                for q in param.iter().flatten().filter(|q| !(0.0..=1.0).contains(*q)) {
                    self.notes.warn(&Warning::InvalidQuantile(*q), span);
                }
            }
            _ => {}
        }
        let mut groups = Groups::default();
        let mut folds: Vec<(Labels, bool, Fold)> = Vec::new();
        let span = aggregate.expr.span();
        self.stream(&aggregate.expr, steps, &mut |series| {
            self.budget.tick()?;
            let at = groups.place(&series.labels, groups_by(aggregate));
            if at == folds.len() {
                self.budget.take(Fold::bytes(aggregate.op, steps.count))?;
                folds.push((groups.set(at).clone(), false, Fold::new(aggregate.op, steps.count)));
            }
            // A group that has the name of one series whose name is to go loses it too.
            folds[at].1 |= series.drop_name;
            folds[at].2.add(&series, self.notes, span, self.budget)
        })?;
        let mut out = Vec::with_capacity(folds.len());
        for (labels, drop_name, fold) in folds {
            let mut series = fold.finish(labels, param.as_deref(), self.notes, span);
            series.drop_name = drop_name;
            if !series.is_empty() {
                out.push(series);
            }
        }
        if self.options.delayed_name_removal { Ok(out) } else { merge_same(out) }
    }
}
