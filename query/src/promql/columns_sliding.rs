//! Functions whose value in one window follows from that in the window before, or from running values over the whole series: each
//! sample is looked at a few times, however many windows it lies in.

use super::columns::{ColumnFunction, Laid};
use super::quantile;
use super::value::ABSENT;
use super::window::Samples;
use super::window_plan::{Bounds, Windows};

/// Windows that hold a sample this many times on average are worth preparing for.
const OVERLAP_MIN: u64 = 4;

fn overlap(windows: &Windows, values: &[f64]) -> bool {
    windows.samples > OVERLAP_MIN * values.len() as u64
}

/// `changes` or `resets`.
pub(super) struct Counts {
    pub(super) laid: Laid,
    pub(super) differ: fn(f64, f64) -> bool,
}

impl ColumnFunction for Counts {
    fn fill(&self, samples: &Samples<'_>, out: &mut [f64]) -> u64 {
        let windows = self.laid.over(&samples.times);
        let (mut count, mut before) = (0u32, samples.values.first().copied().unwrap_or(0.0));
        let counts = samples.values.iter().map(|v| {
            count += u32::from((self.differ)(before, *v));
            before = *v;
            count
        });
        let counts: Vec<u32> = counts.collect();
        for (window, out) in windows.bounds.iter().zip(out) {
            match window.of(&counts) {
                [] => {}
                [_] => *out = 0.0,
                [first, .., last] => *out = f64::from(last - first),
            }
        }
        windows.samples
    }
}

/// `min_over_time` or `max_over_time`: `pick` says which of two stays.
pub(super) struct Extremes<F> {
    pub(super) laid: Laid,
    pub(super) pick: F,
}

impl<F: Fn(f64, f64) -> f64 + Copy + Send + Sync> ColumnFunction for Extremes<F> {
    fn fill(&self, samples: &Samples<'_>, out: &mut [f64]) -> u64 {
        let (windows, values) = (self.laid.over(&samples.times), &samples.values[..]);
        let reduce = |window: &Bounds| window.of(values).iter().copied().reduce(self.pick).unwrap_or(ABSENT);
        if !overlap(&windows, values) {
            windows.bounds.iter().zip(out).for_each(|(window, out)| *out = reduce(window));
            return windows.samples;
        }
        // The series in blocks as long as the longest window, so that a window lies in two at most: the extreme from the first
        // block's end backwards, and from the second one's beginning on (van Herk, Gil and Werman).
        let block = windows.bounds.iter().map(Bounds::len).max().unwrap_or(1).max(1);
        let (mut from_start, mut to_end) = (values.to_vec(), values.to_vec());
        for part in from_start.chunks_mut(block) {
            (1..part.len()).for_each(|i| part[i] = (self.pick)(part[i - 1], part[i]));
        }
        for part in to_end.chunks_mut(block) {
            (1..part.len()).rev().for_each(|i| part[i - 1] = (self.pick)(part[i - 1], part[i]));
        }
        for (window, out) in windows.bounds.iter().zip(out) {
            if window.len() == 0 {
                continue;
            }
            let (first, last) = (window.start as usize, window.end as usize - 1);
            *out = if first / block != last / block {
                (self.pick)(to_end[first], from_start[last])
            } else if first.is_multiple_of(block) {
                from_start[last]
            } else if last + 1 == values.len() || (last + 1).is_multiple_of(block) {
                to_end[first]
            } else {
                reduce(window)
            };
        }
        windows.samples
    }
}

/// `quantile_over_time`.
pub(super) struct Quantiles<'a> {
    pub(super) laid: Laid,
    /// One a step.
    pub(super) quantiles: &'a [f64],
}

impl ColumnFunction for Quantiles<'_> {
    fn fill(&self, samples: &Samples<'_>, out: &mut [f64]) -> u64 {
        let windows = self.laid.over(&samples.times);
        let keys: Vec<i64> = samples.values.iter().map(|v| quantile::key_of(*v)).collect();
        // those of the window, in order
        let (mut sorted, mut held) = (Vec::new(), Bounds { start: 0, end: 0 });
        for ((window, q), out) in windows.bounds.iter().zip(self.quantiles).zip(out) {
            let moves = (window.start - held.start) as usize + (window.end - held.end) as usize;
            if window.start < held.end && moves * 2 < window.len() {
                let gone = &keys[held.start as usize..window.start as usize];
                let new = &keys[held.end as usize..window.end as usize];
                let (replaced, rest) = new.split_at(gone.len().min(new.len()));
                gone.iter().zip(replaced).for_each(|(gone, new)| replace(&mut sorted, *gone, *new));
                gone[replaced.len()..].iter().for_each(|gone| _ = sorted.remove(place(&sorted, *gone)));
                rest.iter().for_each(|new| sorted.insert(place(&sorted, *new), *new));
            } else {
                sorted.clear();
                sorted.extend_from_slice(window.of(&keys));
                sorted.sort_unstable();
            }
            held = *window;
            if !sorted.is_empty() {
                *out = quantile::of_sorted(*q, sorted.len(), |i| quantile::value_of(sorted[i]));
            }
        }
        windows.samples
    }
}

/// Where a key stands, or would.
fn place(sorted: &[i64], key: i64) -> usize {
    sorted.partition_point(|other| *other < key)
}

/// Puts `new` into order in place of `gone`, which is there; only what lies between them moves.
fn replace(sorted: &mut [i64], gone: i64, new: i64) {
    let (from, to) = (place(sorted, gone), place(sorted, new));
    if from < to {
        sorted.copy_within(from + 1..to, from);
        sorted[to - 1] = new;
    } else {
        sorted.copy_within(to..from, to + 1);
        sorted[to] = new;
    }
}
