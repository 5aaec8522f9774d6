//! `topk`, `bottomk`, `limitk`, `limit_ratio`: they pass some series on; and `count_values`, which counts values.

use hashbrown::HashMap;
use proto::Labels;

use super::QueryError;
use super::aggregate::groups_by;
use super::annotations::{Info, Warning};
use super::ast::{Aggregate, AggregateOp, Expr};
use super::eval::{Evaluator, internal};
use super::function_labels::by_value;
use super::groups::Groups;
use super::number::format_f;
use super::value::{Point, Series, Steps, is_absent};

impl Evaluator<'_> {
    pub(super) fn pick_series(
        &self,
        aggregate: &Aggregate,
        param: &[f64],
        steps: &Steps,
    ) -> Result<Vec<Series>, QueryError> {
        let op = aggregate.op;
        self.check_params(aggregate, param)?;
        let series = self.vector(&aggregate.expr, steps)?;
        let mut groups = Groups::default();
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (i, s) in series.iter().enumerate() {
            let at = groups.place(&s.labels, groups_by(aggregate));
            if at == members.len() {
                members.push(Vec::new());
            }
            members[at].push(i);
        }
        let ranks = matches!(op, AggregateOp::Topk | AggregateOp::Bottomk);
        if ranks && series.iter().any(|s| s.histograms.iter().flatten().any(Option::is_some)) {
            self.notes.info(&Info::IgnoredInAggregation(op.name()), aggregate.expr.span());
        }
        let mut out: Vec<Series> = series
            .iter()
            .map(|s| Series { drop_name: s.drop_name, ..Series::absent(s.labels.clone(), steps.count) })
            .collect();
        let mut order: Vec<usize> = Vec::with_capacity(series.len());
        for group in &members {
            self.budget.tick()?;
            for (step, param) in param.iter().enumerate() {
                let present = group.iter().copied().filter(|i| series[*i].is_present(step));
                let chosen: Vec<usize> = match op {
                    AggregateOp::Limitk => present.take(limit(*param)).collect(),
                    AggregateOp::LimitRatio => present.filter(|i| in_ratio(&series[*i].labels, *param)).collect(),
                    op => {
                        let mut floats: Vec<usize> = present.filter(|i| !is_absent(series[*i].floats[step])).collect();
                        let descending = op == AggregateOp::Topk;
                        floats.sort_by(|a, b| by_value(series[*a].floats[step], series[*b].floats[step], descending));
                        floats.truncate(limit(*param));
                        floats
                    }
                };
                for i in chosen {
                    if let Some(point) = series[i].point(step) {
                        out[i].set(step, point);
                    }
                    if steps.count == 1 {
                        order.push(i);
                    }
                }
            }
        }
        if steps.count == 1 {
            // An instant result comes in the order of the ranks.
            let mut out: Vec<Option<Series>> = out.into_iter().map(Some).collect();
            return Ok(order.into_iter().filter_map(|i| out[i].take()).collect());
        }
        Ok(out.into_iter().filter(|s| !s.is_empty()).collect())
    }

    fn check_params(&self, aggregate: &Aggregate, param: &[f64]) -> Result<(), QueryError> {
        let span = aggregate.param.as_ref().map_or(aggregate.span, |p| p.span());
        for p in param {
            match aggregate.op {
                AggregateOp::LimitRatio if p.is_nan() => {
                    return Err(QueryError::Execution("Ratio value is NaN".into()));
                }
                AggregateOp::LimitRatio if p.abs() > 1.0 => {
                    self.notes.warn(&Warning::InvalidRatio(*p, p.signum()), span);
                }
                AggregateOp::LimitRatio => {}
                _ if p.is_nan() => return Err(QueryError::Execution("Parameter value is NaN".into())),
                _ if *p >= i64::MAX as f64 || *p <= i64::MIN as f64 => {
                    let value = super::number::format_g(*p);
                    return Err(QueryError::Execution(format!("Scalar value {value} overflows int64")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `count_values("label", v)`.
    pub(super) fn count_values(&self, aggregate: &Aggregate, steps: &Steps) -> Result<Vec<Series>, QueryError> {
        let Some(Expr::String(label)) = aggregate.param.as_deref().map(Expr::unparen) else {
            return Err(internal("a string"));
        };
        let Some(label) = label.value.as_str().filter(|l| !l.is_empty()) else {
            return Err(QueryError::Execution(format!("invalid label name {}", label.value.quoted())));
        };
        let mut index: HashMap<(Labels, String), usize> = HashMap::new();
        let mut out: Vec<Series> = Vec::new();
        self.stream(&aggregate.expr, steps, &mut |series| {
            self.budget.tick()?;
            let group = series.labels.only(|n| n != label && groups_by(aggregate)(n));
            for step in 0..steps.count {
                let value = match series.point(step) {
                    None => continue,
                    Some(Point::Float(v)) => format_f(v),
                    Some(Point::Histogram(h)) => h.to_string(),
                };
                let key = (group.clone(), value);
                let at = match index.get(&key) {
                    Some(at) => *at,
                    None => {
                        let labels = group.to_builder().set(label, &key.1).build();
                        self.budget.take(steps.count * 8 + 64)?;
                        out.push(Series { drop_name: series.drop_name, ..Series::absent(labels, steps.count) });
                        index.insert(key, out.len() - 1);
                        out.len() - 1
                    }
                };
                let slot = &mut out[at].floats[step];
                *slot = if is_absent(*slot) { 1.0 } else { *slot + 1.0 };
            }
            Ok(())
        })?;
        Ok(out)
    }
}

/// How many of a group are passed on.
fn limit(param: f64) -> usize {
    // Negative values saturate at zero.
    param as usize
}

/// Whether a series belongs to the sample of size `ratio`; a negative ratio is the complement of its positive counterpart.
fn in_ratio(labels: &Labels, ratio: f64) -> bool {
    let place = super::series_hash::of_labels(labels) as f64 / u64::MAX as f64;
    let ratio = ratio.clamp(-1.0, 1.0);
    if ratio >= 0.0 { place < ratio || ratio == 1.0 } else { place >= 1.0 + ratio }
}
