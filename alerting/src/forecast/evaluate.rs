//! A forecast rule at one moment: seconds until the limit is reached, per series, and what to say about it.

use std::collections::{BTreeMap, BTreeSet};

use diagnosis::forecast::SeriesReport;
use proto::Labels;
use query::promql::Point;

use super::rule::ForecastSource;
use super::words::{Words, words};
use crate::evaluate::{Evaluator, Written};
use crate::sight::Sight;

/// What a forecast rule found beside its values.
#[derive(Clone, Debug, Default)]
pub struct Foresight {
    /// `$forecast` of each series.
    pub words: BTreeMap<Labels, Words>,
    /// The forecast of each series.
    pub reports: BTreeMap<Labels, SeriesReport>,
    /// Series that are there but can't be foreseen now: their alerts are held.
    pub held: BTreeSet<Labels>,
}

/// Values of a forecast rule: seconds until the limit is reached; infinite: not within what is foreseen.
pub async fn evaluate(
    evaluator: &Evaluator,
    source: &ForecastSource,
    sight: &mut Sight,
    (ts_ms, at_ms): (i64, i64),
) -> Result<(Vec<Written>, Foresight), String> {
    let answer = evaluator.forecasts.of(&evaluator.querier, &evaluator.tenant, source, at_ms).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => {
            sight.failed(ts_ms);
            return Err(e.to_string());
        }
    };
    sight.looked(&answer.unmatched, ts_ms);
    let (mut values, mut foresight) = (Vec::new(), Foresight::default());
    for one in &answer.series {
        let Ok(report) = &one.result else {
            foresight.held.insert(one.labels.clone());
            continue;
        };
        let until_s = report.reaches_at_ms.map_or(f64::INFINITY, |then| (then - at_ms).max(0) as f64 / 1000.0);
        values.push((one.labels.clone(), Point::Float(until_s)));
        let value = one.value.unwrap_or(f64::NAN);
        let said = words(report, value, &source.ask.query, source.horizon_ms, at_ms);
        foresight.words.insert(one.labels.clone(), said);
        foresight.reports.insert(one.labels.clone(), report.clone());
    }
    Ok((values, foresight))
}
