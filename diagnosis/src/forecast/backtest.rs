//! The rolling-origin back-test: a model is given the past up to several moments (origins) and what it foresees is compared with
//! what came. The error is scaled as MASE has it (Hyndman and Koehler 2006): by the mean error of looking one season back.

use super::model::{MODELS, Model, lag};

/// Origins every model is tried from.
const ORIGINS: usize = 10;
/// Origins a cheap model is tried from once more when it was chosen, for its intervals.
const ORIGINS_OF_CHEAP: usize = 40;
/// Fewest values a model is fitted to.
const TRAIN_MIN: usize = 8;
/// A model must be this much better than the baseline to be preferred to it.
const GAIN_MIN: f64 = 0.03;

/// Which origins, and how far ahead each looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many values a model sees, one entry an origin.
    pub origins: Vec<usize>,
    /// Steps compared at each.
    pub horizon: usize,
}

impl Plan {
    /// The plan for `points` values with seasons, asked for `horizon` steps ahead; `many`: more origins.
    pub fn of(points: usize, seasons: &[usize], horizon: usize, many: bool) -> Plan {
        let longest = seasons.iter().copied().max().unwrap_or(0);
        let first = (2 * longest).max(points / 2).max(TRAIN_MIN).min(points.saturating_sub(2));
        let room = points - first;
        let horizon = horizon.min(room.div_ceil(2)).max(1);
        let last = points - horizon;
        let count = if many { ORIGINS_OF_CHEAP } else { ORIGINS }.min(last - first + 1);
        let at = |i: usize| first + (last - first) * i / (count - 1).max(1);
        let mut origins: Vec<usize> = (0..count).map(at).collect();
        if count == 1 {
            origins = vec![last];
        }
        Plan { origins, horizon }
    }
}

/// How one model did.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Which.
    pub model: &'static Model,
    /// Per origin: what came minus what was foreseen, by step.
    pub errors: Vec<Vec<f64>>,
    /// Mean absolute error.
    pub mae: f64,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Tries a model; `None` if at any origin it can't foresee.
pub fn run(model: &'static Model, values: &[f64], seasons: &[usize], plan: &Plan) -> Option<Tried> {
    let mut errors = Vec::with_capacity(plan.origins.len());
    for origin in &plan.origins {
        let (past, future) = values.split_at_checked(*origin)?;
        let foreseen = (model.predict)(past, seasons, plan.horizon)?;
        let at_origin: Vec<f64> = future.iter().zip(&foreseen).map(|(came, said)| came - said).collect();
        if at_origin.len() < plan.horizon || at_origin.iter().any(|e| !e.is_finite()) {
            return None;
        }
        errors.push(at_origin);
    }
    let count = errors.iter().map(Vec::len).sum::<usize>().max(1);
    let mae = errors.iter().flatten().map(|e| e.abs()).sum::<f64>() / count as f64;
    Some(Tried { model, errors, mae })
}

/// Tries every model on the same origins, the baseline first. Empty only if nothing can be foreseen at all.
pub fn all(values: &[f64], seasons: &[usize], plan: &Plan) -> Vec<Tried> {
    MODELS.iter().filter_map(|model| run(model, values, seasons, plan)).collect()
}

/// The model to use: the best, if it is clearly better than the baseline, which stands first.
pub fn choose(tried: &[Tried]) -> Option<&Tried> {
    let baseline = tried.first()?;
    let best = tried.iter().min_by(|a, b| a.mae.total_cmp(&b.mae))?;
    Some(if best.mae < (1.0 - GAIN_MIN) * baseline.mae { best } else { baseline })
}

/// The errors intervals are made from: a cheap model is asked at more origins than the choice needed.
pub fn errors(chosen: &Tried, values: &[f64], seasons: &[usize], horizon: usize) -> Vec<Vec<f64>> {
    let more = || run(chosen.model, values, seasons, &Plan::of(values.len(), seasons, horizon, true));
    match chosen.model.costly {
        true => chosen.errors.clone(),
        false => more().map_or_else(|| chosen.errors.clone(), |t| t.errors),
    }
}

/// What MASE divides by: the mean error of looking one season back, over all values.
pub fn scale(values: &[f64], seasons: &[usize]) -> f64 {
    let lag = lag(seasons, values.len() / 2);
    let pairs = values.len() - lag;
    values[lag..].iter().zip(values).map(|(a, b)| (a - b).abs()).sum::<f64>() / pairs.max(1) as f64
}

/// MASE of a mean absolute error; `None` where the scale is 0 and the error is not.
pub fn mase(mae: f64, scale: f64) -> Option<f64> {
    if mae == 0.0 {
        return Some(0.0);
    }
    let mase = mae / scale;
    mase.is_finite().then_some(mase)
}
