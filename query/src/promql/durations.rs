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

/// A duration that has no value.
#[derive(Debug)]
pub struct BadDuration {
    /// Where it begins and ends, and what is wrong with it.
    pub message: String,
}

impl BadDuration {
    fn new(duration: &DurationExpr, message: &str) -> BadDuration {
        let Span { start, end } = duration.inner_span();
        BadDuration { message: format!("{start}:{end}: {message}") }
    }
}

impl DurationExpr {
    /// The value in milliseconds.
    pub fn to_ms(&self, times: &QueryTimes) -> Result<i64, BadDuration> {
        let seconds = self.seconds(times)?;
        let (exact, nearest) = (seconds * 1000.0, (seconds * 1000.0).round());
        // Fractions of a millisecond are cut off; what is off by rounding alone is not a fraction.
        let ms = if (exact - nearest).abs() < 1e-6 { nearest } else { exact.trunc() };
        if !ms.is_finite() || ms.abs() > (i64::MAX / 1_000_000) as f64 {
            return Err(BadDuration::new(self, "duration is out of range"));
        }
        Ok(ms as i64)
    }

    /// The value in milliseconds, which must be positive.
    pub fn to_positive_ms(&self, times: &QueryTimes) -> Result<i64, BadDuration> {
        match self.to_ms(times)? {
            ms if ms > 0 => Ok(ms),
            _ => Err(BadDuration::new(self, "duration must be greater than 0")),
        }
    }

    /// The seconds of a number or duration, with its signs; `None` for what is computed.
    pub fn literal(&self) -> Option<f64> {
        match self {
            DurationExpr::Literal(seconds, ..) => Some(*seconds),
            DurationExpr::Paren(e, _) => e.literal(),
            DurationExpr::Unary(minus, e, _) => e.literal().map(|v| if *minus { -v } else { v }),
            _ => None,
        }
    }

    /// Where it stands, without parentheses around it.
    pub fn inner_span(&self) -> Span {
        match self {
            DurationExpr::Paren(e, _) => e.inner_span(),
            DurationExpr::Binary(_, a, b) => a.inner_span().to(b.inner_span()),
            other => other.span(),
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
                        return Err(BadDuration::new(self, "division by zero"));
                    }
                    BinaryOp::Div => x / y,
                    BinaryOp::Mod if y == 0.0 => {
                        return Err(BadDuration::new(self, "modulo by zero"));
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
