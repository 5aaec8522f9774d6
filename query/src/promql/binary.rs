//! Binary operators on single values, and between a vector and a scalar. Vectors meet in `binary_match` and `binary_set`.

use std::sync::Arc;

use super::QueryError;
use super::annotations::{Annotations, Info, Warning};
use super::ast::{Binary, BinaryOp, ValueType};
use super::eval::{Evaluator, Sink};
use super::histogram::{Histogram, ResetHint};
use super::position::Span;
use super::value::{ABSENT, Point, Series, Steps, is_absent};

/// The result of an operator on floats; comparisons give 1 or 0.
#[inline]
pub(super) fn of_scalars(op: BinaryOp, l: f64, r: f64) -> f64 {
    let truth = |b: bool| if b { 1.0 } else { 0.0 };
    match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => l.powf(r),
        BinaryOp::Atan2 => l.atan2(r),
        op if op.is_comparison() => truth(compares(op, l, r)),
        _ => f64::NAN,
    }
}

/// Whether a comparison holds.
#[inline]
pub(super) fn compares(op: BinaryOp, l: f64, r: f64) -> bool {
    match op {
        BinaryOp::Eq => l == r,
        BinaryOp::Ne => l != r,
        BinaryOp::Lt => l < r,
        BinaryOp::Le => l <= r,
        BinaryOp::Gt => l > r,
        BinaryOp::Ge => l >= r,
        _ => false,
    }
}

/// What an operator makes of two samples.
pub(super) enum Outcome {
    /// A value of its own.
    Value(Point),
    /// A comparison: whether it holds.
    Holds(bool),
    /// No result for these types; said so already.
    None,
}

/// Applies `op` to two samples of any kind.
pub(super) fn of_points(notes: &Annotations, op: BinaryOp, l: &Point, r: &Point, span: Span) -> Outcome {
    let mismatch = |left: &str, right: &str| {
        notes.info(&Info::IncompatibleTypes(left, op.symbol(), right), span);
        Outcome::None
    };
    match (l, r) {
        (Point::Float(_), Point::Float(_)) if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) => {
            mismatch("float", "float")
        }
        (Point::Float(l), Point::Float(r)) if op.is_comparison() => Outcome::Holds(compares(op, *l, *r)),
        (Point::Float(l), Point::Float(r)) => Outcome::Value(Point::Float(of_scalars(op, *l, *r))),
        (Point::Float(l), Point::Histogram(r)) => match op {
            BinaryOp::Mul => Outcome::Value(scaled(r, *l)),
            _ => mismatch("float", "histogram"),
        },
        (Point::Histogram(l), Point::Float(r)) => match op {
            BinaryOp::Mul => Outcome::Value(scaled(l, *r)),
            BinaryOp::Div => {
                let mut out = (**l).clone();
                out.divide(*r);
                Outcome::Value(Point::Histogram(Arc::new(out)))
            }
            BinaryOp::TrimUpper => Outcome::Value(Point::Histogram(Arc::new(l.trimmed(*r, true)))),
            BinaryOp::TrimLower => Outcome::Value(Point::Histogram(Arc::new(l.trimmed(*r, false)))),
            _ => mismatch("histogram", "float"),
        },
        (Point::Histogram(l), Point::Histogram(r)) => match op {
            BinaryOp::Eq => Outcome::Holds(l == r),
            BinaryOp::Ne => Outcome::Holds(l != r),
            BinaryOp::Add | BinaryOp::Sub => combined(notes, op, l, r, span),
            _ => mismatch("histogram", "histogram"),
        },
    }
}

fn scaled(h: &Histogram, factor: f64) -> Point {
    let mut out = h.clone();
    out.scale(factor);
    Point::Histogram(Arc::new(out))
}

fn combined(notes: &Annotations, op: BinaryOp, l: &Histogram, r: &Histogram, span: Span) -> Outcome {
    let mut out = l.clone();
    let (outcome, word) = if op == BinaryOp::Add { (out.add(r), "addition") } else { (out.subtract(r), "subtraction") };
    let Ok(reconciled) = outcome else {
        notes.warn(&Warning::IncompatibleLayout(op.symbol()), span);
        return Outcome::None;
    };
    if reconciled.reset_collision {
        notes.warn(&Warning::ResetCollision(word), span);
    }
    if reconciled.bounds {
        notes.info(&Info::BoundsReconciled(word), span);
    }
    if op == BinaryOp::Sub {
        out.hint = ResetHint::Gauge;
    }
    Outcome::Value(Point::Histogram(Arc::new(out.compact())))
}

/// The series with all signs turned.
pub(super) fn negated(mut series: Series) -> Series {
    series.floats.iter_mut().filter(|v| !is_absent(**v)).for_each(|v| *v = -*v);
    for h in series.histograms.iter_mut().flatten().flatten() {
        let mut out = (**h).clone();
        out.scale(-1.0);
        *h = Arc::new(out);
    }
    series
}

impl Evaluator<'_> {
    /// An operator with a vector on one side and a scalar on the other.
    pub(super) fn stream_with_scalar(
        &self,
        b: &Binary,
        span: Span,
        steps: &Steps,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let scalar_left = b.left.value_type() == ValueType::Scalar;
        let (vector, scalar) = if scalar_left { (&b.right, &b.left) } else { (&b.left, &b.right) };
        let scalars = self.scalar(scalar, steps)?;
        let drops_name = b.op.drops_name() || b.return_bool;
        self.stream(vector, steps, &mut |mut series| {
            for (i, s) in scalars.iter().enumerate() {
                if let Some(h) = series.histogram(i).cloned() {
                    let (h, s) = (Point::Histogram(h), Point::Float(*s));
                    let (l, r) = if scalar_left { (&s, &h) } else { (&h, &s) };
                    match of_points(self.notes, b.op, l, r, span) {
                        Outcome::Value(point) => {
                            series.clear(i);
                            series.set(i, point);
                        }
                        _ => series.clear(i),
                    }
                    continue;
                }
                let v = series.floats[i];
                if is_absent(v) {
                    continue;
                }
                let (l, r) = if scalar_left { (*s, v) } else { (v, *s) };
                series.floats[i] = if b.op.is_comparison() {
                    let holds = compares(b.op, l, r);
                    match (b.return_bool, holds) {
                        (true, holds) => f64::from(u8::from(holds)),
                        (false, true) => v,
                        (false, false) => ABSENT,
                    }
                } else if matches!(b.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
                    of_points(self.notes, b.op, &Point::Float(l), &Point::Float(r), span);
                    ABSENT
                } else {
                    of_scalars(b.op, l, r)
                };
            }
            if series.is_empty() {
                return Ok(());
            }
            sink(if drops_name { self.drop_name(series) } else { series })
        })
    }
}
