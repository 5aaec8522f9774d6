//! Formulas that take the samples of a window one after another, for several windows at a time: each sample waits for the one
//! before it, so that one window alone leaves most of a processor idle.

use std::array;

use super::kahan::{self, Mean};
use super::value::ABSENT;
use super::window_plan::Bounds;

/// A formula over the samples of a window.
pub(super) trait Formula {
    /// Its value over each of `windows`, which are equally long, at least one sample.
    fn over<const L: usize>(windows: [&[f64]; L]) -> [f64; L];
}

/// The compensated sum.
pub(super) struct Sum;

/// The arithmetic mean.
pub(super) struct Average;

/// Welford's variance, compensated.
pub(super) struct Variance;

/// The standard deviation.
pub(super) struct Deviation;

/// Calls `each` with the samples that stand at the same place of all windows, in order.
#[inline(always)]
fn in_step<const L: usize>(windows: [&[f64]; L], mut each: impl FnMut([f64; L])) {
    let length = windows.iter().map(|w| w.len()).min().unwrap_or(0);
    let windows = windows.map(|w| &w[..length]);
    for at in 0..length {
        each(windows.map(|w| w[at]));
    }
}

/// Sums and what they lost.
#[inline(always)]
fn sums<const L: usize>(windows: [&[f64]; L]) -> ([f64; L], [f64; L]) {
    let (mut sum, mut lost) = ([0.0; L], [0.0; L]);
    in_step(windows, |v| kahan::add_each(v, &mut sum, &mut lost));
    (sum, lost)
}

impl Formula for Sum {
    fn over<const L: usize>(windows: [&[f64]; L]) -> [f64; L] {
        let (sum, lost) = sums(windows);
        array::from_fn(|lane| kahan::value(sum[lane], lost[lane]))
    }
}

impl Formula for Average {
    fn over<const L: usize>(windows: [&[f64]; L]) -> [f64; L] {
        let (sum, lost) = sums(windows);
        array::from_fn(|lane| {
            if !sum[lane].is_finite() {
                // the sum was too large on the way, or there are infinities
                let mut mean = Mean::default();
                windows[lane].iter().for_each(|v| mean.add(*v));
                return mean.value();
            }
            let count = windows[lane].len() as f64;
            sum[lane] / count + lost[lane] / count
        })
    }
}

impl Formula for Variance {
    fn over<const L: usize>(windows: [&[f64]; L]) -> [f64; L] {
        let (mut mean, mut mean_lost, mut total, mut total_lost) = ([0.0; L], [0.0; L], [0.0; L], [0.0; L]);
        let mut count = 0.0;
        in_step(windows, |v| {
            count += 1.0;
            let delta: [f64; L] = array::from_fn(|lane| v[lane] - (mean[lane] + mean_lost[lane]));
            kahan::add_each(delta.map(|d| d / count), &mut mean, &mut mean_lost);
            let squares = array::from_fn(|lane| delta[lane] * (v[lane] - (mean[lane] + mean_lost[lane])));
            kahan::add_each(squares, &mut total, &mut total_lost);
        });
        array::from_fn(|lane| (total[lane] + total_lost[lane]) / count)
    }
}

impl Formula for Deviation {
    fn over<const L: usize>(windows: [&[f64]; L]) -> [f64; L] {
        Variance::over(windows).map(f64::sqrt)
    }
}

/// Windows that are looked at together.
pub(super) const LANES: usize = 4;

/// The value of `F` over `values`, at least one.
pub(super) fn over<F: Formula>(values: &[f64]) -> f64 {
    F::over([values])[0]
}

/// The value of `F` over each window of `values`; absent where there is no sample.
pub(super) fn over_windows<F: Formula>(windows: &[Bounds], values: &[f64], out: &mut [f64]) {
    let ((groups, rest), (outs, rest_out)) = (windows.as_chunks::<LANES>(), out.as_chunks_mut::<LANES>());
    let alone = |window: &Bounds| if window.len() == 0 { ABSENT } else { over::<F>(window.of(values)) };
    for (group, out) in groups.iter().zip(outs) {
        let length = group[0].len();
        *out = if length > 0 && group.iter().all(|window| window.len() == length) {
            F::over(group.map(|window| window.of(values)))
        } else {
            group.map(|window| alone(&window))
        };
    }
    rest.iter().zip(rest_out).for_each(|(window, out)| *out = alone(window));
}
