//! What a duration expression is worth, once step and range of the query are known.

use super::ast::{BinaryOp, DurationExpr};
use super::number::format_g;
use super::position::Span;

/// What durations may refer to, in milliseconds; zero for instant queries.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryTimes {
    /// First step.
    pub start_ms: i64,
    /// Last step.
    pub end_ms: i64,
    /// Distance of steps.
    pub step_ms: i64,
}

/// A duration that has no value; the span says where.
#[derive(Debug)]
pub struct BadDuration {
    /// Where it stands.
    pub span: Span,
    /// What is wrong with it.
    pub message: String,
}

impl DurationExpr {
    /// The value in milliseconds.
    pub fn to_ms(&self, times: &QueryTimes) -> Result<i64, BadDuration> {
        let seconds = self.seconds(times)?;
        let (exact, nearest) = (seconds * 1000.0, (seconds * 1000.0).round());
        // Fractions of a millisecond are cut off; what is off by rounding alone is not a fraction.
        let ms = if (exact - nearest).abs() < 1e-6 { nearest } else { exact.trunc() };
        if !ms.is_finite() || ms.abs() > (i64::MAX / 1_000_000) as f64 {
            return Err(BadDuration { span: self.span(), message: "duration is out of range".into() });
        }
        Ok(ms as i64)
    }

    /// The value in milliseconds, which must be positive.
    pub fn to_positive_ms(&self, times: &QueryTimes) -> Result<i64, BadDuration> {
        match self.to_ms(times)? {
            ms if ms > 0 => Ok(ms),
            _ => Err(BadDuration { span: self.span(), message: "duration must be greater than 0".into() }),
        }
    }

    /// Whether the value is known without the query.
    pub fn is_constant(&self) -> bool {
        match self {
            DurationExpr::Literal(..) => true,
            DurationExpr::Step(_) | DurationExpr::Range(_) => false,
            DurationExpr::Unary(_, e, _) | DurationExpr::Paren(e, _) => e.is_constant(),
            DurationExpr::Binary(_, a, b) | DurationExpr::Extreme(_, a, b, _) => a.is_constant() && b.is_constant(),
        }
    }

    fn seconds(&self, times: &QueryTimes) -> Result<f64, BadDuration> {
        Ok(match self {
            DurationExpr::Literal(seconds, ..) => *seconds,
            DurationExpr::Step(_) => times.step_ms as f64 / 1000.0,
            DurationExpr::Range(_) => (times.end_ms - times.start_ms) as f64 / 1000.0,
            DurationExpr::Paren(e, _) => e.seconds(times)?,
            DurationExpr::Unary(minus, e, _) => {
                let value = e.seconds(times)?;
                if *minus { -value } else { value }
            }
            DurationExpr::Extreme(is_max, a, b, _) => {
                let (a, b) = (a.seconds(times)?, b.seconds(times)?);
                if *is_max { a.max(b) } else { a.min(b) }
            }
            DurationExpr::Binary(op, a, b) => {
                let (x, y) = (a.seconds(times)?, b.seconds(times)?);
                match op {
                    BinaryOp::Add => x + y,
                    BinaryOp::Sub => x - y,
                    BinaryOp::Mul => x * y,
                    BinaryOp::Div if y == 0.0 => {
                        return Err(BadDuration { span: self.span(), message: "division by zero".into() });
                    }
                    BinaryOp::Div => x / y,
                    BinaryOp::Mod if y == 0.0 => {
                        return Err(BadDuration { span: self.span(), message: "modulo by zero".into() });
                    }
                    BinaryOp::Mod => x % y,
                    _ => x.powf(y),
                }
            }
        })
    }
}

/// How a literal is written back.
pub(super) fn literal(seconds: f64, with_unit: bool) -> String {
    let ms = seconds * 1000.0;
    if with_unit && ms.fract() == 0.0 { super::number::format_duration_ms(ms as i64) } else { format_g(seconds) }
}
