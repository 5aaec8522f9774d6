//! The models, in one list. Each takes the past and its seasons and gives the next values, or nothing where it can't.

use augurs::ets::AutoETS;
use augurs::mstl::{FittedTrendModel, MSTLModel, TrendModel};
use augurs::{Fit, Forecast, Predict};

use super::line::Line;
use super::order::{median, range};

/// Values ETS looks at; older ones no longer move it.
const ETS_POINTS_MAX: usize = 240;
/// Values a recent line looks at: one part in so many.
const RECENT_PART: usize = 4;
/// Fewest values a line is drawn through.
const LINE_POINTS_MIN: usize = 6;

/// A way to foresee.
pub struct Model {
    /// Its name in answers and messages.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// A fit costs milliseconds, not microseconds.
    pub costly: bool,
    /// The next `horizon` values after `past`, given its seasons (steps, shortest first). `None`: not applicable here.
    pub predict: Predictor,
}

/// Past, seasons and horizon in steps to the values that follow.
pub type Predictor = fn(&[f64], &[usize], usize) -> Option<Vec<f64>>;

/// The model every other must beat: what was there a season ago; without a season, what is there now.
pub const BASELINE: &Model = &Model {
    name: "seasonal_naive",
    about: "what was there a season ago; without a season, what is there now",
    costly: false,
    predict: seasonal_naive,
};

/// Every model, cheapest first; the baseline stands first and wins ties.
pub const MODELS: [&Model; 8] = [
    BASELINE,
    &Model { name: "naive", about: "what is there now", costly: false, predict: naive },
    &Model { name: "drift", about: "the mean growth so far goes on from now", costly: false, predict: drift },
    &Model {
        name: "robust_linear",
        about: "a line through everything (Theil-Sen)",
        costly: false,
        predict: robust_linear,
    },
    &Model {
        name: "recent_linear",
        about: "the growth of the latest quarter (Theil-Sen) goes on",
        costly: false,
        predict: recent_linear,
    },
    &Model { name: "ets", about: "exponential smoothing with level and trend", costly: true, predict: ets },
    &Model { name: "mstl", about: "seasons split off by MSTL, the rest by ETS", costly: true, predict: mstl },
    &Model {
        name: "mstl_linear",
        about: "seasons split off by MSTL, the rest by a robust line",
        costly: true,
        predict: mstl_linear,
    },
];

fn naive(past: &[f64], _: &[usize], horizon: usize) -> Option<Vec<f64>> {
    Some(vec![*past.last()?; horizon])
}

fn seasonal_naive(past: &[f64], seasons: &[usize], horizon: usize) -> Option<Vec<f64>> {
    let period = lag(seasons, past.len());
    let season = past.get(past.len().checked_sub(period)?..)?;
    Some(season.iter().copied().cycle().take(horizon).collect())
}

/// The period seasonal-naive looks back: the longest season seen, 1 without any.
pub fn lag(seasons: &[usize], points: usize) -> usize {
    seasons.iter().copied().filter(|p| *p <= points).max().unwrap_or(1)
}

fn drift(past: &[f64], _: &[usize], horizon: usize) -> Option<Vec<f64>> {
    let (first, last) = (past.first()?, past.last()?);
    let slope = (last - first) / past.len().checked_sub(1).filter(|n| *n > 0)? as f64;
    Some((1..=horizon).map(|h| last + slope * h as f64).collect())
}

fn robust_linear(past: &[f64], _: &[usize], horizon: usize) -> Option<Vec<f64>> {
    (past.len() >= LINE_POINTS_MIN).then(|| continued(Line::through(past), past.len(), horizon))
}

fn recent_linear(past: &[f64], _: &[usize], horizon: usize) -> Option<Vec<f64>> {
    let length = (past.len() / RECENT_PART).max(LINE_POINTS_MIN);
    let recent = past.get(past.len().checked_sub(length)?..)?;
    let line = Line::through(recent);
    // from where it is, not from where the line would have it: the latest values are the level
    let level = median(&line.residuals(recent)[length.saturating_sub(3)..]) + line.at((length - 1) as f64);
    Some((1..=horizon).map(|h| level + line.slope * h as f64).collect())
}

fn continued(line: Line, length: usize, horizon: usize) -> Vec<f64> {
    (0..horizon).map(|h| line.at((length + h) as f64)).collect()
}

fn ets(past: &[f64], seasons: &[usize], horizon: usize) -> Option<Vec<f64>> {
    // a season would be taken for a trend
    if !seasons.is_empty() {
        return None;
    }
    let tail = &past[past.len().saturating_sub(ETS_POINTS_MAX)..];
    let (zeroed, at, by) = standardised(tail)?;
    let fitted = ets_model()?.fit(&zeroed).ok()?;
    let forecast = fitted.predict(horizon, None).ok()?;
    Some(forecast.point.into_iter().map(|v| at + v * by).collect())
}

fn ets_model() -> Option<AutoETS> {
    AutoETS::new(1, "AZN").ok()
}

fn mstl(past: &[f64], seasons: &[usize], horizon: usize) -> Option<Vec<f64>> {
    decomposed(past, seasons, horizon, Tail::Ets)
}

fn mstl_linear(past: &[f64], seasons: &[usize], horizon: usize) -> Option<Vec<f64>> {
    decomposed(past, seasons, horizon, Tail::Line)
}

fn decomposed(past: &[f64], seasons: &[usize], horizon: usize, trend: Tail) -> Option<Vec<f64>> {
    let periods: Vec<usize> = seasons.iter().copied().filter(|p| past.len() >= 2 * p).collect();
    if periods.is_empty() {
        return None;
    }
    // the decomposition counts in 32 bits: it gets values around 0 of size 1
    let (zeroed, at, by) = standardised(past)?;
    let fitted = MSTLModel::new(periods, trend).fit(&zeroed).ok()?;
    let forecast = fitted.predict(horizon, None).ok()?;
    Some(forecast.point.into_iter().map(|v| at + v * by).collect())
}

/// Values around 0 of size 1, with what to add and to multiply by to have them back.
fn standardised(values: &[f64]) -> Option<(Vec<f64>, f64, f64)> {
    let (middle, size) = (median(values), range(values));
    (size > 0.0).then(|| (values.iter().map(|v| (v - middle) / size).collect(), middle, size))
}

/// What goes on behind the seasons. Looks at the latest values only: the cost is bounded, and old trends are over.
#[derive(Clone, Copy, Debug)]
enum Tail {
    Ets,
    Line,
}

type Failed = Box<dyn std::error::Error + Send + Sync + 'static>;

impl TrendModel for Tail {
    fn name(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Tail::Ets => "ets of the tail".into(),
            Tail::Line => "line of the tail".into(),
        }
    }

    fn fit(&self, y: &[f64]) -> Result<Box<dyn FittedTrendModel + Sync + Send>, Failed> {
        match self {
            Tail::Ets => {
                let tail = &y[y.len().saturating_sub(ETS_POINTS_MAX)..];
                let fitted = ets_model().ok_or("no such model")?.fit(tail)?;
                Ok(Box::new(FittedTail::Ets(Box::new(fitted))))
            }
            Tail::Line => Ok(Box::new(FittedTail::Line(Line::through(y), y.len()))),
        }
    }
}

#[derive(Debug)]
enum FittedTail {
    Ets(Box<augurs::ets::FittedAutoETS>),
    Line(Line, usize),
}

impl FittedTrendModel for FittedTail {
    fn predict_inplace(&self, horizon: usize, _: Option<f64>, forecast: &mut Forecast) -> Result<(), Failed> {
        forecast.point = match self {
            FittedTail::Ets(fitted) => fitted.predict(horizon, None)?.point,
            FittedTail::Line(line, length) => continued(*line, *length, horizon),
        };
        Ok(())
    }

    fn predict_in_sample_inplace(&self, _: Option<f64>, _: &mut Forecast) -> Result<(), Failed> {
        Err("a tail does not tell of the past".into())
    }

    fn training_data_size(&self) -> Option<usize> {
        None
    }
}
