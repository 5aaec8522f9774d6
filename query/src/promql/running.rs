//! Formulas that take the samples of a window one after another, for several windows at a time: each sample waits for the one
//! before it, so that one window alone leaves most of a processor idle.

use std::array;

use multiversion::multiversion;

use super::kahan::{self, Mean};
use super::value::ABSENT;
use super::window_plan::Bounds;

/// A formula over the samples of a window.
pub(super) trait Formula {
    /// Its value over each of `windows`, which have at least one sample.
    fn over<const L: usize>(windows: &impl Lanes<L>) -> [f64; L];
}

/// Windows that are equally long.
pub(super) trait Lanes<const L: usize> {
    /// The samples that stand at the same place of all windows, in order.
    fn rows(&self) -> impl Iterator<Item = [f64; L]> + Clone;

    /// One of the windows.
    fn window(&self, lane: usize) -> &[f64];
}

/// Windows anywhere.
pub(super) struct Apart<'a, const L: usize>(pub(super) [&'a [f64]; L]);

impl<const L: usize> Lanes<L> for Apart<'_, L> {
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = [f64; L]> + Clone {
        let length = self.0.iter().map(|w| w.len()).min().unwrap_or(0);
        let windows = self.0.map(|w| &w[..length]);
        (0..length).map(move |at| windows.map(|w| w[at]))
    }

    fn window(&self, lane: usize) -> &[f64] {
        self.0[lane]
    }
}

/// Windows each of which begins one sample after the one before it: all samples from the first to the last. Those that stand at
/// the same place are neighbours.
pub(super) struct Shifted<'a, const L: usize>(&'a [f64]);

impl<'a, const L: usize> Shifted<'a, L> {
    /// The windows of `bounds` in `values`, if they lie so.
    #[inline(always)]
    pub(super) fn of(
        bounds: impl ExactSizeIterator<Item = Bounds> + Clone,
        values: &'a [f64],
    ) -> Option<Shifted<'a, L>> {
        let first = bounds.clone().next()?;
        let is_shifted = |(lane, bounds): (usize, Bounds)| {
            bounds.start == first.start + lane as u32 && bounds.end == first.end + lane as u32
        };
        let lie_so = bounds.len() == L && bounds.enumerate().all(is_shifted);
        lie_so.then(|| Shifted(&values[first.start as usize..first.end as usize + L - 1]))
    }
}

impl<const L: usize> Lanes<L> for Shifted<'_, L> {
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = [f64; L]> + Clone {
        self.0.array_windows::<L>().copied()
    }

    fn window(&self, lane: usize) -> &[f64] {
        &self.0[lane..self.0.len() - (L - 1 - lane)]
    }
}

/// The compensated sum.
pub(super) struct Sum;

/// The arithmetic mean.
pub(super) struct Average;

/// Welford's variance, compensated.
pub(super) struct Variance;

/// The standard deviation.
pub(super) struct Deviation;

/// Sums and what they lost.
#[inline(always)]
pub(super) fn sums<const L: usize>(rows: impl Iterator<Item = [f64; L]> + Clone) -> ([f64; L], [f64; L]) {
    let (mut sum, mut lost) = ([0.0; L], [0.0; L]);
    for row in rows.clone() {
        kahan::add_each_finite(row, &mut sum, &mut lost);
    }
    if !all_finite(&sum) || !all_finite(&lost) {
        (sum, lost) = ([0.0; L], [0.0; L]);
        for row in rows {
            kahan::add_each(row, &mut sum, &mut lost);
        }
    }
    (sum, lost)
}

#[inline(always)]
fn all_finite<const L: usize>(values: &[f64; L]) -> bool {
    values.iter().all(|v| v.is_finite())
}

impl Formula for Sum {
    #[inline(always)]
    fn over<const L: usize>(windows: &impl Lanes<L>) -> [f64; L] {
        let (sum, lost) = sums(windows.rows());
        array::from_fn(|lane| kahan::value(sum[lane], lost[lane]))
    }
}

impl Formula for Average {
    #[inline(always)]
    fn over<const L: usize>(windows: &impl Lanes<L>) -> [f64; L] {
        let (sum, lost) = sums(windows.rows());
        array::from_fn(|lane| {
            let window = windows.window(lane);
            if !sum[lane].is_finite() {
                // the sum was too large on the way, or there are infinities
                let mut mean = Mean::default();
                window.iter().for_each(|v| mean.add(*v));
                return mean.value();
            }
            let count = window.len() as f64;
            sum[lane] / count + lost[lane] / count
        })
    }
}

/// What Welford's formula has seen of each window.
struct Spread<const L: usize> {
    mean: [f64; L],
    mean_lost: [f64; L],
    total: [f64; L],
    total_lost: [f64; L],
}

impl<const L: usize> Spread<L> {
    #[inline(always)]
    fn of(
        rows: impl Iterator<Item = [f64; L]>,
        add: impl Fn([f64; L], &mut [f64; L], &mut [f64; L]),
    ) -> (Spread<L>, f64) {
        let zero = [0.0; L];
        let (mut s, mut count) = (Spread { mean: zero, mean_lost: zero, total: zero, total_lost: zero }, 0.0);
        for row in rows {
            count += 1.0;
            let (mut delta, mut share, mut squares) = (zero, zero, zero);
            for lane in 0..L {
                delta[lane] = row[lane] - (s.mean[lane] + s.mean_lost[lane]);
                share[lane] = delta[lane] / count;
            }
            add(share, &mut s.mean, &mut s.mean_lost);
            for lane in 0..L {
                squares[lane] = delta[lane] * (row[lane] - (s.mean[lane] + s.mean_lost[lane]));
            }
            add(squares, &mut s.total, &mut s.total_lost);
        }
        (s, count)
    }

    #[inline(always)]
    fn is_finite(&self) -> bool {
        [&self.mean, &self.mean_lost, &self.total, &self.total_lost].into_iter().all(all_finite)
    }
}

impl Formula for Variance {
    #[inline(always)]
    fn over<const L: usize>(windows: &impl Lanes<L>) -> [f64; L] {
        let (mut spread, mut count) = Spread::of(windows.rows(), kahan::add_each_finite);
        if !spread.is_finite() {
            (spread, count) = Spread::of(windows.rows(), kahan::add_each);
        }
        array::from_fn(|lane| (spread.total[lane] + spread.total_lost[lane]) / count)
    }
}

impl Formula for Deviation {
    #[inline(always)]
    fn over<const L: usize>(windows: &impl Lanes<L>) -> [f64; L] {
        Variance::over(windows).map(f64::sqrt)
    }
}

/// Windows that are looked at together: two vectors of the widest registers that are used.
pub(super) const LANES: usize = 8;

/// The value of `F` over `values`, at least one.
#[inline(always)]
pub(super) fn over<F: Formula>(values: &[f64]) -> f64 {
    F::over(&Apart([values]))[0]
}

/// The value of `F` over each window of `values`; absent where there is no sample.
#[multiversion(targets("x86_64+avx2"), dispatcher = "direct")]
pub(super) fn over_windows<F: Formula>(windows: &[Bounds], values: &[f64], out: &mut [f64]) {
    let ((groups, rest), (outs, rest_out)) = (windows.as_chunks::<LANES>(), out.as_chunks_mut::<LANES>());
    let alone = |window: &Bounds| if window.len() == 0 { ABSENT } else { over::<F>(window.of(values)) };
    for (group, out) in groups.iter().zip(outs) {
        let length = group[0].len();
        *out = if length == 0 || group.iter().any(|window| window.len() != length) {
            group.map(|window| alone(&window))
        } else if let Some(shifted) = Shifted::of(group.iter().copied(), values) {
            F::over::<LANES>(&shifted)
        } else {
            F::over(&Apart(group.map(|window| window.of(values))))
        };
    }
    rest.iter().zip(rest_out).for_each(|(window, out)| *out = alone(window));
}
