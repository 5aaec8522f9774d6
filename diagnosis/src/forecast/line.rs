//! A straight line through points that may hold outliers: Theil's slope (median of the slopes between pairs; Theil 1950,
//! Sen 1968), which a quarter of wild points does not move.

use super::order::median;

/// Blocks the points are thinned to before pairs are made, so that a fit costs at most this many pairs squared by half.
const BLOCKS_MAX: usize = 160;

/// A line over positions 0, 1, 2 ….
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Growth from one position to the next.
    pub slope: f64,
    /// Value at position 0.
    pub intercept: f64,
}

impl Line {
    /// Its value at a position.
    pub fn at(&self, position: f64) -> f64 {
        self.intercept + self.slope * position
    }

    /// The robust line through `values`; flat through nothing or one.
    pub fn through(values: &[f64]) -> Line {
        let points = thinned(values);
        let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
        for (i, (x, y)) in points.iter().enumerate() {
            slopes.extend(points[i + 1..].iter().map(|(x2, y2)| (y2 - y) / (x2 - x)));
        }
        let slope = middle(&mut slopes);
        let levels: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
        Line { slope, intercept: median(&levels) }
    }

    /// What is left of values after the line.
    pub fn residuals(&self, values: &[f64]) -> Vec<f64> {
        values.iter().enumerate().map(|(i, v)| v - self.at(i as f64)).collect()
    }
}

/// Position and value; of long series the median of every block at the block's middle.
fn thinned(values: &[f64]) -> Vec<(f64, f64)> {
    let block = values.len().div_ceil(BLOCKS_MAX).max(1);
    let of_block = |(i, b): (usize, &[f64])| ((i * block) as f64 + (b.len() - 1) as f64 / 2.0, median(b));
    values.chunks(block).enumerate().map(of_block).collect()
}

/// The median without sorting all.
fn middle(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let half = values.len() / 2;
    let (below, middle, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let middle = *middle;
    match below.iter().copied().reduce(f64::max) {
        Some(other) if values.len().is_multiple_of(2) => (middle + other) / 2.0,
        _ => middle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_wild_points_does_not_move_the_line() {
        let mut values: Vec<f64> = (0..400).map(|i| 3.0 + 0.5 * f64::from(i)).collect();
        for i in (0..400).step_by(5) {
            values[i] += 1_000.0;
        }
        let line = Line::through(&values);
        assert!((line.slope - 0.5).abs() < 0.01, "{line:?}");
        assert!((line.at(399.0) - 202.5).abs() < 2.0, "{line:?}");
        assert_eq!(Line::through(&[]).at(5.0), 0.0);
        assert_eq!(Line::through(&[7.0]).at(5.0), 7.0);
    }
}
