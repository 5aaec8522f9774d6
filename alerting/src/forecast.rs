//! Forecasts of what PromQL answers: the past is asked for, every series of it foreseen. Rules and the API ask here.
//!
//! Two looks: the whole past at a coarse step, and the latest of it at a fine one. The fine look counts where the coarse one has
//! too few points or was wrong about what came last: a disk that lay still for two weeks and fills since ten minutes.

pub mod evaluate;
pub mod kept;
pub mod rule;
pub mod span;
pub mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diagnosis::forecast::{
    AHEAD_OF_PAST_MAX, Direction, Forecast, Question, Refused, SeriesReport, Threshold, forecast,
};
use proto::Labels;
use query::promql::AnswerValue;
use query::{Querier, QueryError};
use serde_json::json;

/// All series of one question are foreseen within this time, or it is an error, milliseconds.
pub const WORK_MS_MAX: u64 = 20_000;
/// Steps of the fine look.
const FINE_STEPS: i64 = 240;
/// The fine step is this part of the coarse one, if data may be that fine.
const FINE_PART: i64 = 30;
/// The fine look is worth its cost where its step is at most this part of the coarse one.
const FINE_PART_MIN: i64 = 3;
/// Steps at the end that the coarse look is tested on.
const TESTED_STEPS: i64 = 2;
/// Share of values the test's interval holds.
const TESTED_CONFIDENCE: f64 = 0.98;
/// Values farther out than this many times the interval are a surprise.
const SURPRISE: f64 = 1.5;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// PromQL.
    pub query: String,
    /// How far ahead, milliseconds.
    pub horizon_ms: i64,
    /// How far back; chosen by the horizon if not given, milliseconds.
    pub history_ms: Option<i64>,
    /// Distance of values; chosen if not given, milliseconds. Given, there is one look only.
    pub step_ms: Option<i64>,
    /// Share of values the intervals shall hold, between 0 and 1.
    pub confidence: f64,
    /// A limit.
    pub threshold: Option<Threshold>,
    /// No step is finer: how often data come, milliseconds.
    pub finest_ms: i64,
    /// Most series.
    pub series_max: usize,
}

/// Why a question has no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The query failed.
    #[error("{0}")]
    Query(#[from] QueryError),
    /// The query gives no series over time.
    #[error("the query gives a {0}; a forecast needs a vector")]
    NoSeries(&'static str),
    /// Spans that don't fit.
    #[error("{0}")]
    Spans(String),
    /// Too many series.
    #[error("the query gives {found} series; at most {max} are foreseen at once")]
    TooManySeries {
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// It took too long.
    #[error("the forecasts of {series} series took longer than {WORK_MS_MAX} ms")]
    TooSlow {
        /// How many there are.
        series: usize,
    },
}

/// One series of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreseen {
    /// Its labels.
    pub labels: Labels,
    /// Its last value.
    pub value: Option<f64>,
    /// Its forecast, or why there is none.
    pub result: Result<SeriesReport, Refused>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Every series that has a value now.
    pub series: Vec<Foreseen>,
    /// Where in the query the selectors begin that found nothing.
    pub unmatched: Vec<usize>,
}

type Samples = BTreeMap<Labels, Vec<(i64, f64)>>;

impl Ask {
    /// The past looked at and the step, milliseconds; an error if they don't fit the horizon.
    pub fn spans(&self) -> Result<(i64, i64), String> {
        let history_ms = self.history_ms.unwrap_or_else(|| span::history_ms(self.horizon_ms));
        let step_ms = self.step_ms.unwrap_or_else(|| span::step_ms(history_ms, self.horizon_ms, self.finest_ms));
        span::check(history_ms, self.horizon_ms, step_ms)?;
        Ok((history_ms, step_ms))
    }

    /// The fine look's step, if there is one.
    fn fine_step_ms(&self, step_ms: i64) -> Option<i64> {
        if self.step_ms.is_some() {
            return None;
        }
        let fine_ms = span::step_ms(step_ms * FINE_STEPS / FINE_PART, 0, self.finest_ms.max(step_ms / FINE_PART));
        (fine_ms * FINE_PART_MIN <= step_ms).then_some(fine_ms)
    }
}

/// Foresees every series of the query's answer as of `at_ms`.
pub async fn ask(querier: &Querier, tenant: &str, ask: &Ask, at_ms: i64) -> Result<Asked, AskError> {
    let (history_ms, step_ms) = ask.spans().map_err(AskError::Spans)?;
    let (mut coarse, unmatched) = samples(querier, tenant, &ask.query, history_ms, at_ms, step_ms).await?;
    // a series that has no value now is gone, as it is for every other rule
    coarse.retain(|_, samples| samples.last().is_some_and(|(ts_ms, _)| *ts_ms == at_ms));
    let fine_ms = ask.fine_step_ms(step_ms);
    let fine = match fine_ms {
        Some(fine_ms) => samples(querier, tenant, &ask.query, fine_ms * FINE_STEPS, at_ms, fine_ms).await?.0,
        None => Samples::new(),
    };
    if coarse.len() > ask.series_max {
        return Err(AskError::TooManySeries { found: coarse.len(), max: ask.series_max });
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, stopped, series) = (ask.clone(), stop.clone(), coarse.len());
    let work = tokio::task::spawn_blocking(move || {
        let mut found = Vec::with_capacity(coarse.len());
        for (labels, samples) in coarse {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let recent = fine_ms.zip(fine.get(&labels)).map(|(step_ms, samples)| (step_ms, samples.as_slice()));
            found.push(look(&asked, labels, (step_ms, &samples), recent, at_ms));
        }
        found
    });
    match tokio::time::timeout(Duration::from_millis(WORK_MS_MAX), work).await {
        Ok(Ok(series)) => Ok(Asked { series, unmatched }),
        Ok(Err(_)) | Err(_) => {
            stop.store(true, Ordering::Relaxed);
            Err(AskError::TooSlow { series })
        }
    }
}

async fn samples(
    querier: &Querier,
    tenant: &str,
    query: &str,
    history_ms: i64,
    to_ms: i64,
    step_ms: i64,
) -> Result<(Samples, Vec<usize>), AskError> {
    // the last step is now: what came last counts most
    let from_ms = to_ms.saturating_sub(history_ms / step_ms * step_ms);
    let answer = querier.range(tenant, query, from_ms, to_ms, step_ms).await?;
    match answer.value {
        AnswerValue::Matrix(series) => {
            Ok((series.into_iter().map(|s| (s.labels, s.floats)).collect(), answer.unmatched))
        }
        other => Err(AskError::NoSeries(other.api_type())),
    }
}

/// Foresees one series; each look is a step and samples.
fn look(
    ask: &Ask,
    labels: Labels,
    (step_ms, samples): (i64, &[(i64, f64)]),
    fine: Option<(i64, &[(i64, f64)])>,
    at_ms: i64,
) -> Foreseen {
    let question = |step_ms: i64, horizon_ms: i64| Question {
        end_ms: at_ms,
        step_ms,
        horizon_ms,
        confidence: ask.confidence,
        threshold: ask.threshold,
    };
    let coarse = forecast(samples, &question(step_ms, ask.horizon_ms));
    let doubtful = match &coarse {
        Err(Refused::TooFew { .. }) => true,
        Err(_) => false,
        Ok(_) => fine.is_some() && was_surprised(samples, step_ms, at_ms),
    };
    let recent = fine.filter(|_| doubtful).and_then(|(fine_ms, samples)| {
        let horizon_ms = ask.horizon_ms.min(fine_ms * FINE_STEPS * AHEAD_OF_PAST_MAX as i64);
        Some((fine_ms, forecast(samples, &question(fine_ms, horizon_ms)).ok()?))
    });
    let value = samples.iter().rev().map(|s| s.1).find(|v| v.is_finite());
    let report =
        |step_ms: i64, found: &Forecast| SeriesReport::of(json!(labels), found, ask.confidence, ask.threshold, step_ms);
    let result = match (&recent, &coarse) {
        (Some((_, near)), Ok(far)) if is_beyond(near, far, ask.threshold) => Ok(report(step_ms, far)),
        (Some((fine_ms, found)), _) => Ok(report(*fine_ms, found)),
        (None, Ok(found)) => Ok(report(step_ms, found)),
        (None, Err(refused)) => Err(refused.clone()),
    };
    Foreseen { labels, value, result }
}

/// Whether the limit is reached only after what the fine look sees, by a coarse look that what the fine one sees doesn't contradict.
fn is_beyond(fine: &Forecast, coarse: &Forecast, threshold: Option<Threshold>) -> bool {
    let reached = |found: &Forecast| found.crossing.and_then(|c| c.at_ms);
    let (Some(threshold), Some(end)) = (threshold, fine.future.last()) else { return false };
    if reached(fine).is_some() || reached(coarse).is_none_or(|at_ms| at_ms <= end.ts_ms) {
        return false;
    }
    let then = coarse.future.iter().rev().find(|p| p.ts_ms <= end.ts_ms);
    then.is_some_and(|then| match threshold.direction {
        Direction::Above => end.mid >= then.low,
        Direction::Below => end.mid <= then.high,
    })
}

/// Whether the latest steps are far from what the steps before them let expect.
fn was_surprised(samples: &[(i64, f64)], step_ms: i64, at_ms: i64) -> bool {
    let horizon_ms = TESTED_STEPS * step_ms;
    let question =
        Question { end_ms: at_ms - horizon_ms, step_ms, horizon_ms, confidence: TESTED_CONFIDENCE, threshold: None };
    let Ok(found) = forecast(samples, &question) else { return false };
    let Some((ts_ms, value)) = samples.iter().rev().find(|(_, v)| v.is_finite()) else { return false };
    let Some(expected) = found.future.iter().rev().find(|p| p.ts_ms <= *ts_ms) else { return false };
    let away = value - expected.mid;
    away > SURPRISE * (expected.high - expected.mid) || -away > SURPRISE * (expected.mid - expected.low)
}

#[cfg(test)]
mod tests;
