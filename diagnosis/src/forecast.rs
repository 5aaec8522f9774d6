//! Foresees a series: which model fits it is decided on its own past, how sure it is by what that model got wrong there, and when
//! it reaches a threshold follows from both.
//!
//! Pure: values in, values out, the same each time; cost is bounded by the number of points, seasons, models and origins, never
//! by a clock. The stages, each a file: `series` (samples to equal steps) · `regime` and `season` (which part counts, what repeats) ·
//! `model` (the list) · `backtest` (the choice) · `band` (intervals) · `crossing` (time to a threshold) · `report` (as JSON).

mod backtest;
mod band;
mod crossing;
mod line;
mod model;
mod order;
mod regime;
mod report;
mod season;
mod series;

pub use crossing::{Crossing, Direction, Threshold};
pub use model::{BASELINE, MODELS, Model, Predictor};
pub use regime::Since;
pub use report::SeriesReport;
pub use series::{POINTS_MAX, POINTS_MIN};

/// Most steps a forecast goes ahead.
pub const HORIZON_STEPS_MAX: usize = 1_000;
/// A forecast goes ahead this many times as long as the part of the past that counts, and no farther.
pub const AHEAD_OF_PAST_MAX: usize = 3;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Samples up to here count, milliseconds.
    pub end_ms: i64,
    /// Distance of values, milliseconds.
    pub step_ms: i64,
    /// How far ahead, milliseconds.
    pub horizon_ms: i64,
    /// Share of values the intervals shall hold, between 0 and 1.
    pub confidence: f64,
    /// A limit, if one is of interest.
    pub threshold: Option<Threshold>,
}

/// Why there is no forecast.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not enough values.
    #[error("{points} values are too few; at least {POINTS_MIN} steps with a value are needed")]
    TooFew {
        /// How many there are.
        points: usize,
    },
    /// The series ended a while ago.
    #[error("the series has no value in its last {steps} steps")]
    Silent {
        /// Steps without a value.
        steps: usize,
    },
    /// The horizon has too many steps.
    #[error("the horizon has {steps} steps; at most {HORIZON_STEPS_MAX} are allowed: choose a longer step")]
    TooFar {
        /// How many it has.
        steps: usize,
    },
    /// The values are so large that what is foreseen is no number.
    #[error("the forecast leaves the range of numbers")]
    OutOfRange,
}

/// A value to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FuturePoint {
    /// When, milliseconds.
    pub ts_ms: i64,
    /// The forecast.
    pub mid: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How good the model was on the series' own past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Mean absolute scaled error of the model; `None`: nothing to scale by.
    pub mase: Option<f64>,
    /// The same of seasonal-naive on the same origins; never less than `mase`.
    pub mase_baseline: Option<f64>,
    /// Share of what came that lay within intervals made without it.
    pub coverage: f64,
    /// How often it was tried.
    pub origins: usize,
    /// Steps ahead it was tried for.
    pub steps: usize,
}

/// A forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The model used.
    pub model: &'static str,
    /// Mean absolute scaled error of every model that could be tried, in the list's order.
    pub tried: Vec<(&'static str, Option<f64>)>,
    /// How good it was.
    pub quality: Quality,
    /// Seasons found, milliseconds, shortest first.
    pub seasons_ms: Vec<i64>,
    /// Where the part of the past that counts begins, milliseconds.
    pub since_ms: i64,
    /// Why there.
    pub since: Since,
    /// The past on equal steps, milliseconds and value.
    pub history: Vec<(i64, f64)>,
    /// What is to come; ends before the horizon where the past is too short to look farther.
    pub future: Vec<FuturePoint>,
    /// When the threshold is reached, if one was given.
    pub crossing: Option<Crossing>,
}

/// Foresees a series from its samples (milliseconds, value; in order of time).
pub fn forecast(samples: &[(i64, f64)], question: &Question) -> Result<Forecast, Refused> {
    let step_ms = question.step_ms.max(1);
    let steps = question.horizon_ms.max(0).saturating_add(step_ms - 1) / step_ms;
    let steps = usize::try_from(steps).unwrap_or(usize::MAX).max(1);
    if steps > HORIZON_STEPS_MAX {
        return Err(Refused::TooFar { steps });
    }
    let regular = series::regular(samples, question.end_ms, step_ms)?;
    // the models work on values of size 1, so that none overflows
    let size = regular.values.iter().fold(0.0_f64, |a, v| a.max(v.abs()));
    let size = if size > 0.0 { size } else { 1.0 };
    let scaled: Vec<f64> = regular.values.iter().map(|v| v / size).collect();
    let regime = regime::regime(&scaled, step_ms);
    let (values, seasons) = (&regime.values, &regime.seasons);
    let steps = steps.min(values.len().saturating_mul(AHEAD_OF_PAST_MAX));

    let plan = backtest::Plan::of(values.len(), seasons, steps, false);
    let tried = match order::range(values) > 0.0 {
        true => backtest::all(values, seasons, &plan),
        false => backtest::run(BASELINE, values, seasons, &plan).into_iter().collect(),
    };
    let baseline = tried.first().ok_or(Refused::TooFew { points: values.len() })?;
    let chosen = backtest::choose(&tried).unwrap_or(baseline);
    let ahead = |model: &Model| {
        (model.predict)(values, seasons, steps).filter(|v| v.len() == steps && v.iter().all(|v| (v * size).is_finite()))
    };
    let (chosen, mid) = match ahead(chosen.model) {
        Some(mid) => (chosen, mid),
        None => (baseline, ahead(baseline.model).ok_or(Refused::OutOfRange)?),
    };
    let room = values.len() - plan.origins.first().copied().unwrap_or(0);
    let band = band::Band::of(&backtest::errors(chosen, values, seasons, steps), room, question.confidence);

    let scale = backtest::scale(values, seasons);
    let mut is_due = false;
    let point = |(i, mid): (usize, f64)| {
        let (low, high) = band.at(i + 1);
        let (mut mid, mut low, mut high) = (mid, mid + low, mid + high);
        if let Some(renewal) = regime.renewal {
            // where it was always reset the forecast stops, and from there on it may be back at any time
            is_due |= if renewal.is_down { mid >= renewal.first } else { mid <= renewal.first };
            mid = if renewal.is_down { mid.min(renewal.last) } else { mid.max(renewal.last) };
            (low, high) = (low.min(mid), high.max(mid));
            if is_due {
                (low, high) =
                    if renewal.is_down { (low.min(renewal.back), high) } else { (low, high.max(renewal.back)) };
            }
        }
        let ts_ms = regular.end_ms.saturating_add((i as i64 + 1).saturating_mul(step_ms));
        let within = |v: f64| (v * size).clamp(f64::MIN, f64::MAX);
        FuturePoint { ts_ms, mid: mid * size, low: within(low), high: within(high) }
    };
    let future: Vec<FuturePoint> = mid.into_iter().enumerate().map(point).collect();
    let at = |i: usize| regular.end_ms - (regular.values.len() - 1 - i) as i64 * step_ms;
    let history: Vec<(i64, f64)> = regular.values.iter().enumerate().map(|(i, v)| (at(i), *v)).collect();
    let now = (regular.end_ms, regular.values.last().copied().unwrap_or(0.0));
    Ok(Forecast {
        model: chosen.model.name,
        tried: tried.iter().map(|t| (t.model.name, backtest::mase(t.mae, scale))).collect(),
        quality: Quality {
            mase: backtest::mase(chosen.mae, scale),
            mase_baseline: backtest::mase(baseline.mae, scale),
            coverage: band.coverage,
            origins: plan.origins.len(),
            steps: plan.horizon,
        },
        seasons_ms: seasons.iter().map(|p| *p as i64 * step_ms).collect(),
        since_ms: at(regime.start),
        since: regime.since,
        history,
        crossing: question.threshold.map(|t| crossing::crossing(now, &future, t)),
        future,
    })
}

#[cfg(test)]
mod tests;
