//! `rate`, `increase`, `delta`, `irate`, `idelta` over all windows of a series. How far the samples of a window reach follows from
//! times alone, so that of a rate's divisions none is left for a series whose times were seen before.

use super::columns::{ColumnFunction, Laid};
use super::function_rate::{Reach, instant_difference};
use super::range::Placement;
use super::value::Steps;
use super::window::Samples;
use super::window_plan::{Bounds, ByTimes, Plan, Windows};

/// Relative room for rounding when a counter's zero is compared with the guess it may cut short.
const ROUNDING: f64 = 1.0 + 1e-9;

/// `rate`, `increase` or `delta`.
pub(super) struct Rates {
    steps: Steps,
    placement: Placement,
    is_counter: bool,
    is_rate: bool,
    windows: ByTimes<RateWindows>,
}

struct RateWindows {
    windows: Vec<RateWindow>,
    /// Of each window; seldom looked at, so kept apart.
    reaches: Vec<Reach>,
    samples: u64,
}

/// A window, and what its times say of it; nothing is to be known of one with less than two samples.
struct RateWindow {
    bounds: Bounds,
    /// A counter that began with more than this part of its difference has its zero before all that is guessed.
    near: f64,
    /// What the difference is multiplied with, unless the counter's zero is near.
    factor: f64,
}

impl Plan for RateWindows {
    fn bytes(&self) -> usize {
        size_of_val(&self.windows[..]) + size_of_val(&self.reaches[..])
    }
}

impl Rates {
    pub(super) fn new(steps: Steps, placement: Placement, is_counter: bool, is_rate: bool) -> Rates {
        Rates { steps, placement, is_counter, is_rate, windows: ByTimes::default() }
    }

    fn per_second(&self, factor: f64) -> f64 {
        if self.is_rate { factor / (self.placement.range_ms as f64 / 1000.0) } else { factor }
    }

    fn lay(&self, times: &[i64]) -> RateWindows {
        let Windows { bounds, samples } = Windows::lay(times, &self.steps, &self.placement);
        let reach = |(step, bounds): (usize, &Bounds)| {
            let end_ms = self.placement.end(self.steps.time(step));
            match bounds.of(times) {
                [first, .., last] => {
                    let start_ms = end_ms.saturating_sub(self.placement.range_ms);
                    Reach::of((*first, *last), bounds.len(), (start_ms, end_ms), None)
                }
                _ => Reach::default(),
            }
        };
        let reaches: Vec<Reach> = bounds.iter().enumerate().map(reach).collect();
        let windows = bounds.into_iter().zip(&reaches).map(|(bounds, reach)| RateWindow {
            bounds,
            near: reach.to_start / reach.sampled * ROUNDING,
            factor: self.per_second(reach.factor(None)),
        });
        RateWindows { windows: windows.collect(), reaches, samples }
    }
}

impl ColumnFunction for Rates {
    fn fill(&self, samples: &Samples<'_>, out: &mut [f64]) -> u64 {
        let (values, drops) = (&samples.values[..], &samples.drops[..]);
        let plan = self.windows.of(&samples.times, || self.lay(&samples.times));
        let mut passed = 0;
        for (step, (RateWindow { bounds, near, factor }, out)) in plan.windows.iter().zip(out).enumerate() {
            let [first, .., last] = bounds.of(values) else { continue };
            let mut result = last - first;
            // a reset at the first sample of the window happened before it
            while drops.get(passed).is_some_and(|drop| *drop <= bounds.start as usize) {
                passed += 1;
            }
            for drop in drops[passed..].iter().take_while(|drop| **drop < bounds.end as usize) {
                result += values[drop - 1];
            }
            let may_have_been_zero = self.is_counter && result > 0.0 && *first >= 0.0;
            let factor = match may_have_been_zero && *first <= near * result {
                true => self.per_second(plan.reaches[step].factor(Some(first / result))),
                false => *factor,
            };
            *out = result * factor;
        }
        plan.samples
    }
}

/// `irate` or `idelta`.
pub(super) struct LastTwo {
    pub(super) laid: Laid,
    pub(super) is_rate: bool,
}

impl ColumnFunction for LastTwo {
    fn fill(&self, samples: &Samples<'_>, out: &mut [f64]) -> u64 {
        let windows = self.laid.over(&samples.times);
        for (window, out) in windows.bounds.iter().zip(out) {
            let ([.., t0, t1], [.., v0, v1]) = (window.of(&samples.times), window.of(&samples.values)) else {
                continue;
            };
            *out = instant_difference((*t0, *v0), (*t1, *v1), self.is_rate, false);
        }
        windows.samples
    }
}
