//! The evaluator: one function per kind of expression, each over all steps at once. Series stream from selectors through
//! functions into aggregations one by one; only what needs all series together (matching, sorting) holds them all.

use hashbrown::HashMap;
use proto::Labels;

use super::annotations::Annotations;
use super::ast::{Binary, Call, Expr, Selector, ValueType};
use super::budget::Budget;
use super::durations::QueryTimes;
use super::selection::SelectedData;
use super::value::{Series, Steps, Value, without_name};
use super::{Options, QueryError, binary, function_math, matcher::MatchOp};
use proto::labels::METRIC_NAME;

/// Takes one series after another.
pub(super) type Sink<'s> = &'s mut dyn FnMut(Series) -> Result<(), QueryError>;

/// Everything an evaluation looks at.
pub(super) struct Evaluator<'a> {
    pub(super) options: &'a Options,
    pub(super) times: QueryTimes,
    pub(super) data: &'a SelectedData,
    pub(super) notes: &'a Annotations,
    pub(super) budget: &'a Budget<'a>,
}

impl Evaluator<'_> {
    /// The value of `expr` at all `steps`.
    pub(super) fn eval(&self, expr: &Expr, steps: &Steps) -> Result<Value, QueryError> {
        self.budget.check_stop()?;
        let before = self.budget.taken();
        let value = if steps.count > 1 && is_invariant(expr) {
            match self.node(expr, &steps.first())? {
                Value::Scalar(v) => Value::Scalar(vec![v[0]; steps.count]),
                Value::Vector(v) => Value::Vector(v.into_iter().map(|s| s.repeat(steps.count)).collect()),
                string => string,
            }
        } else {
            self.node(expr, steps)?
        };
        let bytes = match &value {
            Value::Scalar(v) => v.len() * 8,
            Value::Vector(v) => v.iter().map(Series::bytes).sum(),
            Value::String(_) => 0,
        };
        self.budget.settle(before, bytes)?;
        Ok(value)
    }

    /// The series of `expr`, which must be a vector.
    pub(super) fn vector(&self, expr: &Expr, steps: &Steps) -> Result<Vec<Series>, QueryError> {
        match self.eval(expr, steps)? {
            Value::Vector(v) => Ok(v),
            _ => Err(internal("a vector")),
        }
    }

    /// The numbers of `expr`, which must be a scalar, one a step.
    pub(super) fn scalar(&self, expr: &Expr, steps: &Steps) -> Result<Vec<f64>, QueryError> {
        match self.eval(expr, steps)? {
            Value::Scalar(v) => Ok(v),
            _ => Err(internal("a scalar")),
        }
    }

    fn node(&self, expr: &Expr, steps: &Steps) -> Result<Value, QueryError> {
        match expr {
            Expr::Number(n) => Ok(Value::Scalar(vec![n.value; steps.count])),
            Expr::String(s) => Ok(Value::String(s.value.clone())),
            Expr::Paren(p) => self.eval(&p.expr, steps),
            Expr::Selector(_) => self.collect(expr, steps),
            Expr::Matrix(_) | Expr::Subquery(_) => Err(internal("an instant expression")),
            Expr::Call(call) => self.call(expr, call, steps),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, steps).map(Value::Vector),
            Expr::Binary(b) => self.binary(expr, b, steps),
            Expr::Unary(u) if !u.minus => self.eval(&u.expr, steps),
            Expr::Unary(u) if u.expr.value_type() == ValueType::Scalar => {
                Ok(Value::Scalar(self.scalar(&u.expr, steps)?.into_iter().map(|v| -v).collect()))
            }
            Expr::Unary(_) => self.collect(expr, steps),
        }
    }

    fn binary(&self, expr: &Expr, b: &Binary, steps: &Steps) -> Result<Value, QueryError> {
        match (b.left.value_type(), b.right.value_type()) {
            (ValueType::Scalar, ValueType::Scalar) => {
                let (left, right) = (self.scalar(&b.left, steps)?, self.scalar(&b.right, steps)?);
                Ok(Value::Scalar(left.into_iter().zip(right).map(|(l, r)| binary::of_scalars(b.op, l, r)).collect()))
            }
            (ValueType::Vector, ValueType::Vector) => self.match_vectors(b, expr.span(), steps).map(Value::Vector),
            _ => self.collect(expr, steps),
        }
    }

    /// Streams `expr` into a list and joins series that became the same.
    fn collect(&self, expr: &Expr, steps: &Steps) -> Result<Value, QueryError> {
        let mut out = Vec::new();
        self.stream_node(expr, steps, &mut |series| {
            self.budget.take(series.bytes())?;
            out.push(series);
            Ok(())
        })?;
        let changes_labels = !matches!(expr, Expr::Selector(_));
        Ok(Value::Vector(if changes_labels && !self.options.delayed_name_removal { merge_same(out)? } else { out }))
    }

    /// Hands the series of `expr` to `sink` one by one, where the expression allows it without ever holding them all.
    pub(super) fn stream(&self, expr: &Expr, steps: &Steps, sink: Sink<'_>) -> Result<(), QueryError> {
        if steps.count > 1 && is_invariant(expr) {
            return self.vector(expr, &steps.first())?.into_iter().try_for_each(|s| sink(s.repeat(steps.count)));
        }
        if self.options.delayed_name_removal || has_one_name(expr) {
            self.stream_node(expr, steps, sink)
        } else {
            self.vector(expr, steps)?.into_iter().try_for_each(sink)
        }
    }

    fn stream_node(&self, expr: &Expr, steps: &Steps, sink: Sink<'_>) -> Result<(), QueryError> {
        match expr {
            Expr::Paren(p) => self.stream(&p.expr, steps, sink),
            Expr::Selector(selector) => self.stream_selector(selector, steps, sink),
            Expr::Unary(u) if u.minus => {
                self.stream(&u.expr, steps, &mut |series| sink(self.drop_name(binary::negated(series))))
            }
            Expr::Call(call) if super::range::is_range_function(call.function.name) => {
                self.stream_range_function(call, steps, sink)
            }
            Expr::Call(call) => match function_math::find(call.function.name) {
                Some(f) => self.stream(&call.args[0], steps, &mut |series| {
                    let out = self.drop_name(series.map_floats(f));
                    if out.is_empty() { Ok(()) } else { sink(out) }
                }),
                None => self.each(expr, steps, sink),
            },
            Expr::Binary(b) if b.left.value_type() != b.right.value_type() => {
                self.stream_with_scalar(b, expr.span(), steps, sink)
            }
            _ => self.each(expr, steps, sink),
        }
    }

    fn each(&self, expr: &Expr, steps: &Steps, sink: Sink<'_>) -> Result<(), QueryError> {
        self.vector(expr, steps)?.into_iter().try_for_each(sink)
    }

    fn call(&self, expr: &Expr, call: &Call, steps: &Steps) -> Result<Value, QueryError> {
        let name = call.function.name;
        if super::range::is_range_function(name) || function_math::find(name).is_some() {
            return self.collect(expr, steps);
        }
        super::function_call::call(self, call, steps)
    }

    /// Takes the metric name off, now or at the end.
    pub(super) fn drop_name(&self, mut series: Series) -> Series {
        if self.options.delayed_name_removal {
            series.drop_name = true;
        } else {
            series.labels = without_name(&series.labels);
        }
        series
    }
}

pub(super) fn internal(wanted: &str) -> QueryError {
    QueryError::Execution(format!("expression is not {wanted}"))
}

/// Whether all series `expr` selects have the same name, so that dropping it cannot make two of them one.
fn has_one_name(expr: &Expr) -> bool {
    let named = |s: &Selector| s.matchers.iter().any(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Eq);
    match expr {
        Expr::Selector(_) | Expr::Aggregate(_) => true,
        Expr::Matrix(m) => named(&m.selector),
        Expr::Paren(p) => has_one_name(&p.expr),
        Expr::Unary(u) => keeps_one_name(&u.expr),
        Expr::Call(c) => c.args.iter().all(|a| a.value_type() == ValueType::Scalar || keeps_one_name(a)),
        Expr::Binary(b) => {
            [&b.left, &b.right].into_iter().all(|e| e.value_type() == ValueType::Scalar || keeps_one_name(e))
        }
        _ => false,
    }
}

fn keeps_one_name(expr: &Expr) -> bool {
    match expr {
        Expr::Selector(s) => s.matchers.iter().any(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Eq),
        other => has_one_name(other),
    }
}

/// Whether the value of `expr` is the same at every step.
pub(super) fn is_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Selector(s) => s.at.is_some(),
        Expr::Matrix(m) => m.selector.at.is_some(),
        Expr::Subquery(s) => s.at.is_some(),
        Expr::Call(c) => {
            let looks_at_time = matches!(
                c.function.name,
                "time"
                    | "timestamp"
                    | "predict_linear"
                    | "days_in_month"
                    | "day_of_month"
                    | "day_of_week"
                    | "day_of_year"
            ) || matches!(c.function.name, "hour" | "minute" | "month" | "year" | "info");
            !looks_at_time && c.args.iter().all(is_invariant)
        }
        other => other.children().into_iter().all(is_invariant),
    }
}

/// Joins series with the same labels. They may not both have a value at the same step.
pub(super) fn merge_same(series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    // what a source gives ascends, and mostly still does without its name
    if series.is_sorted_by(|a, b| a.labels < b.labels) {
        return Ok(series);
    }
    let mut by_labels: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    let mut out: Vec<Series> = Vec::with_capacity(series.len());
    for one in series {
        match by_labels.get(&one.labels) {
            None => {
                by_labels.insert(one.labels.clone(), out.len());
                out.push(one);
            }
            Some(at) => {
                let into = &mut out[*at];
                into.drop_name |= one.drop_name;
                for step in 0..one.floats.len() {
                    if let Some(point) = one.point(step) {
                        if into.is_present(step) {
                            return Err(QueryError::duplicate_series());
                        }
                        into.set(step, point);
                    }
                }
            }
        }
    }
    Ok(out)
}

/// Series with one point at some step: helper of functions that build a single series.
pub(super) fn constant_series(labels: Labels, values: Vec<f64>) -> Series {
    Series { labels, drop_name: false, floats: values, histograms: None }
}
