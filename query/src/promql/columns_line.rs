//! `deriv` and `predict_linear` over all windows of a series. Half of the sums of a regression follow from times alone and are
//! made once for equal times; the other half is made for several windows at a time.

use multiversion::multiversion;

use super::columns::ColumnFunction;
use super::function_trend::{Abscissas, line};
use super::kahan;
use super::range::Placement;
use super::running::{self, Apart, LANES, Lanes, Shifted};
use super::value::Steps;
use super::window::Samples;
use super::window_plan::{Bounds, ByTimes, Plan, Windows};

/// Most places of samples that are kept for one series' times; windows beyond compute theirs each time.
const PLACES_MAX: usize = 1 << 16;

/// `deriv` or `predict_linear`.
pub(super) struct Regression<'a> {
    steps: Steps,
    placement: Placement,
    /// Of `predict_linear`: how far ahead, in seconds, one a step.
    ahead: Option<&'a [f64]>,
    lines: ByTimes<Lines>,
}

/// A window, and what its times say of it.
struct Line {
    bounds: Bounds,
    /// What times are counted from.
    origin_ms: i64,
    /// Where the samples' places begin in [`Lines::places`], if they are kept.
    places: Option<u32>,
    sums: Abscissas,
}

struct Lines {
    lines: Vec<Line>,
    /// Times of samples, in seconds from the origin. Windows over regular times share theirs.
    places: Vec<f64>,
    samples: u64,
}

impl Plan for Lines {
    fn bytes(&self) -> usize {
        size_of_val(&self.lines[..]) + size_of_val(&self.places[..])
    }
}

impl<'a> Regression<'a> {
    pub(super) fn slope(steps: Steps, placement: Placement) -> Regression<'a> {
        Regression { steps, placement, ahead: None, lines: ByTimes::default() }
    }

    pub(super) fn prediction(steps: Steps, placement: Placement, ahead: &'a [f64]) -> Regression<'a> {
        Regression { ahead: Some(ahead), ..Regression::slope(steps, placement) }
    }

    fn lay(&self, times: &[i64]) -> Lines {
        let Windows { bounds, samples } = Windows::lay(times, &self.steps, &self.placement);
        let mut out = Lines { lines: Vec::with_capacity(bounds.len()), places: Vec::new(), samples };
        for (step, bounds) in bounds.into_iter().enumerate() {
            let window = bounds.of(times);
            // A slope is the same wherever times are counted from; near the samples the numbers stay small.
            let origin_ms =
                if self.ahead.is_some() { self.steps.time(step) } else { window.first().copied().unwrap_or(0) };
            let mut line = Line { bounds, origin_ms, places: None, sums: Abscissas::default() };
            let places: Vec<f64> = window.iter().map(|t| seconds_from(origin_ms, *t)).collect();
            if let Some(before) = out.lines.last()
                && let Some(at) = before.places
                && out.places.get(at as usize..at as usize + places.len()) == Some(&places)
                && before.bounds.len() == places.len()
            {
                (line.places, line.sums) = (Some(at), before.sums);
            } else {
                line.sums = Abscissas::of(places.iter().copied());
                if out.places.len() + places.len() <= PLACES_MAX {
                    line.places = Some(out.places.len() as u32);
                    out.places.extend(places);
                }
            }
            out.lines.push(line);
        }
        out
    }

    fn value(&self, step: usize, sums: &Abscissas, (y, xy): (f64, f64), constant: Option<f64>) -> f64 {
        let (slope, intercept) = line(sums, y, xy, constant);
        self.ahead.map_or(slope, |ahead| slope * ahead[step] + intercept)
    }
}

fn seconds_from(origin_ms: i64, time_ms: i64) -> f64 {
    (time_ms - origin_ms) as f64 / 1000.0
}

impl ColumnFunction for Regression<'_> {
    fn fill(&self, samples: &Samples<'_>, out: &mut [f64]) -> u64 {
        let (times, values) = (&samples.times[..], &samples.values[..]);
        let plan = self.lines.of(times, || self.lay(times));
        let runs = runs(values);
        let constant = |window: &Bounds| {
            let is_constant = runs[window.end as usize - 1] <= window.start;
            is_constant.then(|| values[window.start as usize])
        };
        let mut step = 0;
        while step < plan.lines.len() {
            let group = &plan.lines[step..plan.lines.len().min(step + LANES)];
            let shared = group[0].places.filter(|_| group.len() == LANES && group[0].bounds.len() > 1);
            let alike = |l: &Line| l.places == shared && l.bounds.len() == group[0].bounds.len();
            if let Some(at) = shared.filter(|_| group.iter().all(alike)) {
                let places = &plan.places[at as usize..at as usize + group[0].bounds.len()];
                let sums: [(f64, f64); LANES] = match Shifted::of(group.iter().map(|line| line.bounds), values) {
                    Some(windows) => ordinates(places, &windows),
                    None => ordinates(places, &Apart(std::array::from_fn(|lane| group[lane].bounds.of(values)))),
                };
                for (lane, sums) in sums.into_iter().enumerate() {
                    let line = &group[lane];
                    out[step + lane] = self.value(step + lane, &line.sums, sums, constant(&line.bounds));
                }
                step += LANES;
                continue;
            }
            let line = &group[0];
            let window = line.bounds.of(values);
            if window.len() > 1 {
                let sums = match line.places {
                    Some(at) => ordinates(&plan.places[at as usize..at as usize + window.len()], &Apart([window]))[0],
                    None => {
                        let places = line.bounds.of(times).iter().map(|t| seconds_from(line.origin_ms, *t));
                        ordinates(&places.collect::<Vec<f64>>(), &Apart([window]))[0]
                    }
                };
                out[step] = self.value(step, &line.sums, sums, constant(&line.bounds));
            }
            step += 1;
        }
        plan.samples
    }
}

/// For each value, where the run of values that are equal to it began.
fn runs(values: &[f64]) -> Vec<u32> {
    let mut began = 0;
    let run = |i: usize| {
        if i > 0 && values[i] != values[i - 1] {
            began = i as u32;
        }
        began
    };
    (0..values.len()).map(run).collect()
}

/// The sums of y and of xy of each window, all of whose samples lie at `places`.
#[multiversion(targets("x86_64+avx2"), dispatcher = "direct")]
fn ordinates<const L: usize, W: Lanes<L>>(places: &[f64], windows: &W) -> [(f64, f64); L] {
    let (y, y_lost) = running::sums(windows.rows());
    let products = windows.rows().zip(places).map(|(mut row, x)| {
        for v in &mut row {
            *v *= x;
        }
        row
    });
    let (xy, xy_lost) = running::sums(products);
    std::array::from_fn(|lane| (kahan::value(y[lane], y_lost[lane]), kahan::value(xy[lane], xy_lost[lane])))
}
