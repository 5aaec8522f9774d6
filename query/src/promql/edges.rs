//! Anchored and smoothed windows: what a counter or gauge is worth exactly at the edges of a window.
//! (Prometheus proposal "extended range selectors".)

/// A value on the line between two samples. Over a reset, a counter starts from zero.
fn interpolate(p1: (i64, f64), p2: (i64, f64), t: i64, is_counter: bool) -> f64 {
    let (mut y1, y2) = (p1.1, p2.1);
    if is_counter && y2 < y1 {
        y1 = 0.0;
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

/// The first and the last sample that matter for the window `(start, end]` of samples that reach beyond it; `None` if no sample
/// lies in it.
pub(super) fn picks(
    len: usize,
    time: impl Fn(usize) -> i64,
    start: i64,
    end: i64,
    smoothed: bool,
) -> Option<(usize, usize)> {
    let mut last = len.checked_sub(1)?;
    let first = (0..last).take_while(|i| time(*i) <= start).count().saturating_sub(1);
    if smoothed {
        last = (0..last).take_while(|i| time(*i) < end).count();
    }
    (time(last) > start && !(smoothed && time(first) > end)).then_some((first, last))
}

fn ends(times: &[i64], values: &[f64], start: i64, end: i64, smoothed: bool, is_counter: bool) -> Option<Ends> {
    let (first, last) = picks(times.len(), |i| times[i], start, end, smoothed)?;
    let at = |i: usize| (times[i], values[i]);
    let left = if smoothed && times[first] < start && first + 1 < times.len() {
        interpolate(at(first), at(first + 1), start, is_counter)
    } else {
        values[first]
    };
    let right = if smoothed && last > 0 && times[last] > end {
        interpolate(at(last - 1), at(last), end, is_counter)
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

/// The value at one moment: between the samples around it, or the last one where none comes after; nothing before the first.
pub(super) fn smoothed_value(times: &[i64], values: &[f64], t: i64) -> Option<f64> {
    let after = times.partition_point(|time| *time < t);
    let at = |i: usize| Some((*times.get(i)?, *values.get(i)?));
    match (after.checked_sub(1).and_then(at), at(after)) {
        (_, Some((time, v))) if time == t => Some(v),
        (Some(before), Some(after)) => Some(interpolate(before, after, t, false)),
        (Some((_, v)), None) => Some(v),
        (None, _) => None,
    }
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
        assert_eq!(difference(&times, &values, -30, -20, true, true), None);
        assert_eq!(smoothed_value(&times, &values, 15), Some(15.0));
        assert_eq!(smoothed_value(&times, &values, 20), Some(20.0));
        assert_eq!(smoothed_value(&times, &values, 35), Some(30.0));
        assert_eq!(smoothed_value(&times, &values, -5), None);
    }
}
