//! Anchored and smoothed windows: what a counter or gauge is worth exactly at the edges of a window.
//! (Prometheus proposal "extended range selectors".)

/// A value on the line between two samples. Over a counter reset, the left edge starts from zero and the right edge
/// counts on from the value before the reset.
fn interpolate(p1: (i64, f64), p2: (i64, f64), t: i64, is_counter: bool, left_edge: bool) -> f64 {
    let (mut y1, mut y2) = (p1.1, p2.1);
    if is_counter && y2 < y1 {
        if left_edge { y1 = 0.0 } else { y2 += y1 }
    }
    y1 + (y2 - y1) * (t - p1.0) as f64 / (p2.0 - p1.0) as f64
}

/// The samples that matter for a window: indices of the first and last, and the values at both edges.
struct Ends {
    first: usize,
    last: usize,
    left: f64,
    right: f64,
}

fn ends(times: &[i64], values: &[f64], start: i64, end: i64, smoothed: bool, is_counter: bool) -> Option<Ends> {
    let mut last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|t| *t <= start).saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|t| *t < end);
    }
    let at = |i: usize| (times[i], values[i]);
    let left = if smoothed && times[first] < start && first + 1 < times.len() {
        interpolate(at(first), at(first + 1), start, is_counter, true)
    } else {
        values[first]
    };
    let right = if smoothed && last > 0 && times[last] > end {
        interpolate(at(last - 1), at(last), end, is_counter, false)
    } else {
        values[last]
    };
    Some(Ends { first, last, left, right })
}

/// The difference between both edges of `(start, end]`, counter resets undone; `None` if no sample lies in the window.
/// `times` and `values` reach beyond the window by the lookback.
pub(super) fn difference(
    times: &[i64],
    values: &[f64],
    start: i64,
    end: i64,
    smoothed: bool,
    is_counter: bool,
) -> Option<f64> {
    let Ends { mut first, last, left, right } = ends(times, values, start, end, smoothed, is_counter)?;
    if times[last] <= start {
        return None;
    }
    let mut result = right - left;
    if is_counter {
        let mut stop = last + 1;
        if times[first] <= start {
            first += 1;
        }
        if times[last] >= end {
            stop -= 1;
        }
        let mut previous = left;
        for v in values.get(first..stop).unwrap_or(&[]) {
            if *v < previous {
                result += previous;
            }
            previous = *v;
        }
        if right < previous {
            result += previous;
        }
    }
    Some(result)
}

/// The samples inside the window with one exactly at each edge.
pub(super) fn extended(
    times: &[i64],
    values: &[f64],
    start: i64,
    end: i64,
    smoothed: bool,
) -> Option<(Vec<i64>, Vec<f64>)> {
    let Ends { mut first, last, left, right } = ends(times, values, start, end, smoothed, false)?;
    if times[last] <= start {
        return None;
    }
    let mut stop = last + 1;
    if times[first] <= start {
        first += 1;
    }
    if times[last] >= end {
        stop -= 1;
    }
    let inner = first..stop.max(first);
    let (mut out_times, mut out_values) = (vec![start], vec![left]);
    out_times.extend_from_slice(&times[inner.clone()]);
    out_values.extend_from_slice(&values[inner]);
    out_times.push(end);
    out_values.push(right);
    Some((out_times, out_values))
}

/// The value at one moment, between the samples around it; the nearest one where there is only one side.
pub(super) fn smoothed_value(times: &[i64], values: &[f64], t: i64) -> Option<f64> {
    ends(times, values, t, t, true, false).map(|e| e.right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_taken_or_interpolated() {
        let (times, values) = ([0, 10, 20, 30], [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(difference(&times, &values, 5, 25, true, true), Some(20.0));
        assert_eq!(difference(&times[..3], &values[..3], 5, 25, false, true), Some(20.0));
        assert_eq!(difference(&times, &values, 40, 50, false, true), None);
        assert_eq!(smoothed_value(&times, &values, 15), Some(15.0));
        assert_eq!(smoothed_value(&times, &values, 35), Some(30.0));
    }
}
