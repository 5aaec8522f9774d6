//! When a forecast and the edges of its band reach a threshold.

use serde::{Deserialize, Serialize};

use super::FuturePoint;

/// On which side of a threshold trouble lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Values above it.
    Above,
    /// Values below it.
    Below,
}

/// A limit a series must not cross.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Which side is trouble.
    pub direction: Direction,
    /// The limit.
    pub value: f64,
}

impl Threshold {
    /// Whether a value lies at the limit or beyond it.
    pub fn is_reached(&self, value: f64) -> bool {
        match self.direction {
            Direction::Above => value >= self.value,
            Direction::Below => value <= self.value,
        }
    }
}

/// When a threshold is first reached, milliseconds; `None`: not within the forecast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossing {
    /// By the forecast itself.
    pub at_ms: Option<i64>,
    /// By the edge of the band that is nearer to the threshold: not before this.
    pub from_ms: Option<i64>,
    /// By the other edge: not after this.
    pub to_ms: Option<i64>,
}

/// One of the three lines of a forecast.
type Edge = fn(&FuturePoint) -> f64;

/// Where the forecast that follows `now` (milliseconds, value) first reaches the threshold.
pub fn crossing(now: (i64, f64), future: &[FuturePoint], threshold: Threshold) -> Crossing {
    let first = |of: Edge| {
        if threshold.is_reached(now.1) {
            return Some(now.0);
        }
        let mut before = now;
        for point in future {
            let value = of(point);
            if threshold.is_reached(value) {
                let part = (threshold.value - before.1) / (value - before.1);
                let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 1.0 };
                return Some(before.0 + ((point.ts_ms - before.0) as f64 * part).round() as i64);
            }
            before = (point.ts_ms, value);
        }
        None
    };
    let (near, far): (Edge, Edge) = match threshold.direction {
        Direction::Above => (|p| p.high, |p| p.low),
        Direction::Below => (|p| p.low, |p| p.high),
    };
    Crossing { at_ms: first(|p| p.mid), from_ms: first(near), to_ms: first(far) }
}
