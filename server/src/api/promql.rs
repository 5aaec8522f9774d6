//! `/api/v1/query`, `/query_range`, `/query_exemplars`, `/format_query`: PromQL over HTTP, Prometheus' forms and errors.

use axum::extract::State;
use query::promql::{Answer, AnswerValue, json::write_value};

use super::{
    Api,
    form::Form,
    reply::{ApiError, ApiResult, ErrorType, Reply, query_error},
};

/// Most points of one series in a range answer, Prometheus' own bound.
pub const POINTS_PER_SERIES_MAX: i64 = 11_000;

/// Wraps errors that the query's text caused, as Prometheus does.
fn of_query(error: query::QueryError) -> ApiError {
    let error = query_error(error);
    match error.kind {
        ErrorType::BadData => ApiError::parameter("query", error.message),
        _ => error,
    }
}

/// What both kinds of query take.
struct Common {
    lookback_ms: Option<i64>,
    timeout_ms: Option<u64>,
    limit: Option<usize>,
    stats: bool,
}

fn common(form: &Form) -> Result<Common, ApiError> {
    let lookback_ms = form.duration_ms("lookback_delta")?.filter(|ms| *ms > 0);
    let timeout_ms = form.duration_ms("timeout")?.map(|ms| ms.max(0) as u64);
    Ok(Common { lookback_ms, timeout_ms, limit: form.limit()?, stats: !form.get("stats").is_empty() })
}

/// Evaluates at one time.
pub async fn instant(State(api): State<Api>, form: Form) -> ApiResult {
    let options = common(&form)?;
    let at_ms = form.time_ms("time", api.now_ms())?;
    let _turn = api.turn().await?;
    let querier = &api.querier;
    let began = tokio::time::Instant::now();
    let answer = querier
        .instant_with(&api.tenant, form.get("query"), at_ms, options.lookback_ms, options.timeout_ms)
        .await
        .map_err(of_query)?;
    Ok(write(answer, &options, began))
}

/// Evaluates at many times.
pub async fn range(State(api): State<Api>, form: Form) -> ApiResult {
    let (start_ms, end_ms) = (form.required_time_ms("start")?, form.required_time_ms("end")?);
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = super::time::parse_duration_ms(form.get("step")).map_err(|e| ApiError::parameter("step", e))?;
    if step_ms <= 0 {
        let message = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", message));
    }
    if end_ms.saturating_sub(start_ms) / step_ms > POINTS_PER_SERIES_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let options = common(&form)?;
    let _turn = api.turn().await?;
    let began = tokio::time::Instant::now();
    let times = (start_ms, end_ms, step_ms);
    let answer = api
        .querier
        .range_with(&api.tenant, form.get("query"), times, options.lookback_ms, options.timeout_ms)
        .await
        .map_err(of_query)?;
    Ok(write(answer, &options, began))
}

fn write(mut answer: Answer, options: &Common, began: tokio::time::Instant) -> Reply {
    if let Some(limit) = options.limit {
        let length = match &mut answer.value {
            AnswerValue::Vector(samples) => cut(samples, limit),
            AnswerValue::Matrix(series) => cut(series, limit),
            AnswerValue::Scalar(..) | AnswerValue::String(..) => false,
        };
        if length {
            answer.warnings.push(TRUNCATED.to_owned());
        }
    }
    let mut data = String::new();
    write_value(&mut data, &answer.value);
    if options.stats {
        data.pop();
        let seconds = began.elapsed().as_secs_f64();
        let stats = serde_json::json!({
            "timings": {"evalTotalTime": seconds, "execTotalTime": seconds},
            "samples": {"totalQueryableSamples": answer.stats.samples, "series": answer.stats.series,
                "steps": answer.stats.steps, "peakBytes": answer.stats.bytes_peak},
        });
        data.push_str(&format!(",\"stats\":{stats}}}"));
    }
    Reply::raw(data).with(answer.warnings, answer.infos)
}

/// Prometheus' warning about a cut answer.
pub const TRUNCATED: &str = "results truncated due to limit";

/// Cuts a list; whether there was something to cut.
pub fn cut<T>(list: &mut Vec<T>, limit: usize) -> bool {
    let longer = list.len() > limit;
    list.truncate(limit);
    longer
}

/// No exemplars are kept; the question is checked all the same.
pub async fn exemplars(State(api): State<Api>, form: Form) -> ApiResult {
    form.range_ms()?;
    parse(&api, &form)?;
    Ok(Reply::raw("[]".into()))
}

/// The query as Prometheus would write it.
pub async fn format(State(api): State<Api>, form: Form) -> ApiResult {
    Reply::json(&query::promql::pretty(&parse(&api, &form)?))
}

/// The query's tree.
pub async fn tree(State(api): State<Api>, form: Form) -> ApiResult {
    Reply::json(&super::syntax_tree::of(&parse(&api, &form)?))
}

fn parse(api: &Api, form: &Form) -> Result<query::promql::Expr, ApiError> {
    query::promql::parse_with(form.get("query"), api.querier.features()).map_err(|e| ApiError::parameter("query", e))
}
