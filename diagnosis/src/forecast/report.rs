//! A forecast as answers and evidence carry it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Forecast, Threshold};

/// Most points of the past in a report; every so many-th is shown.
const HISTORY_MAX: usize = 360;
/// Most points to come.
const FUTURE_MAX: usize = 240;

/// A series with its forecast. Times are milliseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeriesReport {
    /// The series' labels, as an object.
    pub labels: Value,
    /// Time and value.
    pub history: Vec<(i64, f64)>,
    /// Time, forecast, lower and upper end of the interval.
    pub forecast: Vec<(i64, f64, f64, f64)>,
    /// The model used.
    pub model: String,
    /// Its mean absolute scaled error on the back-test.
    pub mase: Option<f64>,
    /// That of seasonal-naive.
    pub mase_baseline: Option<f64>,
    /// Share of what came in the back-test that lay within the interval.
    pub coverage: f64,
    /// Share the interval shall hold.
    pub confidence: f64,
    /// Origins of the back-test.
    pub origins: usize,
    /// How far ahead the back-test looked.
    pub tested_ahead_ms: i64,
    /// Seasons found.
    pub seasons_ms: Vec<i64>,
    /// Where the part of the past that counts begins.
    pub since_ms: i64,
    /// Why there: beginning, level_shift, trend_change.
    pub since: String,
    /// The limit asked about.
    pub threshold: Option<f64>,
    /// above or below: on which side of it trouble lies.
    pub crosses: Option<super::Direction>,
    /// When the forecast reaches it.
    pub reaches_at_ms: Option<i64>,
    /// Not before.
    pub reaches_from_ms: Option<i64>,
    /// Not after.
    pub reaches_to_ms: Option<i64>,
}

impl SeriesReport {
    /// The report of a forecast. Long ones are thinned; ends are kept.
    pub fn of(labels: Value, forecast: &Forecast, confidence: f64, threshold: Option<Threshold>, step_ms: i64) -> Self {
        let crossing = forecast.crossing.unwrap_or_default();
        let future: Vec<_> = forecast.future.iter().map(|p| (p.ts_ms, p.mid, p.low, p.high)).collect();
        SeriesReport {
            labels,
            history: thinned(&forecast.history, HISTORY_MAX),
            forecast: thinned(&future, FUTURE_MAX),
            model: forecast.model.into(),
            mase: forecast.quality.mase,
            mase_baseline: forecast.quality.mase_baseline,
            coverage: forecast.quality.coverage,
            confidence,
            origins: forecast.quality.origins,
            tested_ahead_ms: forecast.quality.steps as i64 * step_ms,
            seasons_ms: forecast.seasons_ms.clone(),
            since_ms: forecast.since_ms,
            since: forecast.since.word().into(),
            threshold: threshold.map(|t| t.value),
            crosses: threshold.map(|t| t.direction),
            reaches_at_ms: crossing.at_ms,
            reaches_from_ms: crossing.from_ms,
            reaches_to_ms: crossing.to_ms,
        }
    }
}

/// Every so many-th, counted from the end, so that the last is kept.
fn thinned<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let every = all.len().div_ceil(most).max(1);
    let mut kept: Vec<T> = all.iter().rev().step_by(every).copied().collect();
    kept.reverse();
    kept
}
