//! Range functions over all windows of a series at once, for the series most are: of floats, and with windows that end at their
//! edges. Everything else goes window by window (`range`), and both give the same bits.

use std::marker::PhantomData;
use std::sync::Arc;

use super::columns_line::Regression;
use super::columns_rate::{LastTwo, Rates};
use super::columns_sliding::{Counts, Extremes, Quantiles};
use super::function_over_time as over_time;
use super::function_trend as trend;
use super::range::Placement;
use super::running::{self, Average, Deviation, Formula, Sum, Variance};
use super::value::Steps;
use super::window::Samples;
use super::window_plan::{ByTimes, Windows};

/// A range function over the windows of a series of floats.
pub(super) trait ColumnFunction: Send + Sync {
    /// Sets one value a step in `out`, where the step's window has one. Returns how many samples the windows hold together.
    fn fill(&self, samples: &Samples<'_>, out: &mut [f64]) -> u64;
}

/// Windows as the steps and a range vector want them, found once for equal times.
pub(super) struct Laid {
    steps: Steps,
    placement: Placement,
    windows: ByTimes<Windows>,
}

impl Laid {
    pub(super) fn over(&self, times: &[i64]) -> Arc<Windows> {
        self.windows.of(times, || Windows::lay(times, &self.steps, &self.placement))
    }
}

/// The function of this name, if it has such a form. `scalars`: its scalar arguments, one value a step.
pub(super) fn find<'a>(
    name: &str,
    steps: &Steps,
    placement: &Placement,
    scalars: &'a [Vec<f64>],
) -> Option<Box<dyn ColumnFunction + 'a>> {
    let laid = || Laid { steps: *steps, placement: *placement, windows: ByTimes::default() };
    let rates = |is_counter, is_rate| Box::new(Rates::new(*steps, *placement, is_counter, is_rate));
    Some(match name {
        "rate" => rates(true, true),
        "increase" => rates(true, false),
        "delta" => rates(false, false),
        "irate" => Box::new(LastTwo { laid: laid(), is_rate: true }),
        "idelta" => Box::new(LastTwo { laid: laid(), is_rate: false }),
        "count_over_time" => Box::new(Each(laid(), |w: &[f64]| w.len() as f64)),
        "present_over_time" => Box::new(Each(laid(), |_: &[f64]| 1.0)),
        "first_over_time" => Box::new(Each(laid(), |w: &[f64]| w[0])),
        "last_over_time" => Box::new(Each(laid(), |w: &[f64]| w[w.len() - 1])),
        "sum_over_time" => running::<Sum>(laid()),
        "avg_over_time" => running::<Average>(laid()),
        "stdvar_over_time" => running::<Variance>(laid()),
        "stddev_over_time" => running::<Deviation>(laid()),
        "min_over_time" => Box::new(Extremes { laid: laid(), pick: over_time::smaller }),
        "max_over_time" => Box::new(Extremes { laid: laid(), pick: over_time::larger }),
        "changes" => Box::new(Counts { laid: laid(), differ: trend::is_change }),
        "resets" => Box::new(Counts { laid: laid(), differ: trend::is_reset }),
        "quantile_over_time" => Box::new(Quantiles { laid: laid(), quantiles: &scalars[0] }),
        "deriv" => Box::new(Regression::slope(*steps, *placement)),
        "predict_linear" => Box::new(Regression::prediction(*steps, *placement, &scalars[0])),
        _ => return None,
    })
}

/// A function that looks at no more than a window's ends.
struct Each<F>(Laid, F);

impl<F: Fn(&[f64]) -> f64 + Send + Sync> ColumnFunction for Each<F> {
    fn fill(&self, samples: &Samples<'_>, out: &mut [f64]) -> u64 {
        let windows = self.0.over(&samples.times);
        for (window, out) in windows.bounds.iter().zip(out) {
            let values = window.of(&samples.values);
            if !values.is_empty() {
                *out = (self.1)(values);
            }
        }
        windows.samples
    }
}

/// A function that takes samples one after another.
struct Runs<F>(Laid, PhantomData<fn() -> F>);

fn running<F: Formula + 'static>(laid: Laid) -> Box<dyn ColumnFunction> {
    Box::new(Runs::<F>(laid, PhantomData))
}

impl<F: Formula> ColumnFunction for Runs<F> {
    fn fill(&self, samples: &Samples<'_>, out: &mut [f64]) -> u64 {
        let windows = self.0.over(&samples.times);
        running::over_windows::<F>(&windows.bounds, &samples.values, out);
        windows.samples
    }
}
