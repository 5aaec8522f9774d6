//! `/api/v1/forecast`: what the series of a query will be, how sure that is, and when they reach a limit.

use alerting::forecast::{Ask, AskError, ask};
use axum::extract::State;
use diagnosis::forecast::{Direction, Threshold};
use serde_json::json;

use super::{
    Api,
    form::Form,
    reply::{ApiError, ApiResult, ErrorType, Reply, query_error},
};

/// Most series of one answer.
const SERIES_MAX: usize = 50;
/// Share of values an interval holds unless said, between 0 and 1.
const CONFIDENCE: f64 = 0.8;
/// Steps chosen by the server are not finer: how often data usually come, milliseconds.
const FINEST_MS: i64 = 15_000;

/// Foresees the series of `query` for `horizon`.
pub async fn forecast(State(api): State<Api>, form: Form) -> ApiResult {
    let at_ms = form.time_ms("time", api.now_ms()).map_err(|e| ApiError::parameter("time", e))?;
    let span = |name: &str| match form.duration_ms(name)? {
        Some(ms) if ms <= 0 => Err(ApiError::parameter(name, "must be longer than 0")),
        other => Ok(other),
    };
    let Some(horizon_ms) = span("horizon")? else {
        return Err(ApiError::parameter("horizon", "must be given: how far ahead, like 4h or 2d"));
    };
    let confidence = match form.get("confidence") {
        "" => CONFIDENCE,
        text => match text.parse::<f64>() {
            Ok(share) if (0.5..1.0).contains(&share) => share,
            _ => return Err(ApiError::parameter("confidence", "a number from 0.5 to below 1 is allowed")),
        },
    };
    let asked = Ask {
        query: form.get("query").to_owned(),
        horizon_ms,
        history_ms: span("history")?,
        step_ms: span("step")?,
        confidence,
        threshold: threshold(form.get("crosses")).map_err(|e| ApiError::parameter("crosses", e))?,
        finest_ms: FINEST_MS,
        series_max: SERIES_MAX,
    };
    let _turn = api.turn().await?;
    let found = ask(&api.querier, &api.tenant, &asked, at_ms).await.map_err(of_ask)?;
    let (mut series, mut refused) = (Vec::new(), Vec::new());
    for one in found.series {
        match one.result {
            Ok(report) => series.push(report),
            Err(why) => refused.push(json!({ "labels": one.labels, "reason": why.to_string() })),
        }
    }
    Reply::json(&json!({ "series": series, "refused": refused }))
}

/// `above 90`, `above:90`, `>90`, and so for below.
fn threshold(text: &str) -> Result<Option<Threshold>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let sides =
        [("above", Direction::Above), (">", Direction::Above), ("below", Direction::Below), ("<", Direction::Below)];
    let found = sides.into_iter().find_map(|(word, direction)| Some((text.strip_prefix(word)?, direction)));
    let number = found.and_then(|(rest, direction)| {
        let value = rest.trim_start_matches([':', ' ', '=']).trim().parse::<f64>().ok().filter(|v| v.is_finite())?;
        Some(Threshold { direction, value })
    });
    number.map(Some).ok_or_else(|| format!("{text:?} is no limit; allowed are texts like \"above 90\" and \"below 5\""))
}

fn of_ask(error: AskError) -> ApiError {
    match error {
        AskError::Query(error) => match query_error(error) {
            error if error.kind == ErrorType::BadData => ApiError::parameter("query", error.message),
            error => error,
        },
        AskError::NoSeries(_) => ApiError::parameter("query", error),
        AskError::Spans(_) => ApiError::parameter("step", error),
        AskError::TooManySeries { .. } => ApiError { kind: ErrorType::Execution, message: error.to_string() },
        AskError::TooSlow { .. } => ApiError { kind: ErrorType::Timeout, message: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_every_spelling() {
        for text in ["above 90", "above:90", ">90", "> 90", " above  90.0 "] {
            assert_eq!(threshold(text), Ok(Some(Threshold { direction: Direction::Above, value: 90.0 })), "{text}");
        }
        assert_eq!(threshold("below:-5"), Ok(Some(Threshold { direction: Direction::Below, value: -5.0 })));
        assert_eq!(threshold(""), Ok(None));
        for text in ["90", "above", "above NaN", "over 9"] {
            assert!(threshold(text).is_err(), "{text}");
        }
    }
}
