//! `/api/v1/query`, `/query_range`, `/format_query`: PromQL over HTTP, Prometheus' forms and errors.

use axum::extract::State;
use query::{
    Ask, When,
    promql::{AnswerValue, json::pieces},
};

use super::{
    Api,
    client::Client,
    form::Form,
    query_stats,
    reply::{ApiError, ApiResult, ErrorType, Reply, query_error},
};

/// Most points of one series in a range answer, Prometheus' own bound.
pub const POINTS_PER_SERIES_MAX: i64 = 11_000;

/// Pieces an answer is sent in, bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Warnings, and infos, of one answer, Prometheus' own bound.
const NOTES_MAX: usize = 10;

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
    /// Any value gives statistics, `all` those of each step too.
    stats: bool,
    per_step_stats: bool,
}

fn common(form: &Form) -> Result<Common, ApiError> {
    let limit = form.limit()?;
    let timeout_ms = form.duration_ms("timeout")?.map(|ms| ms.max(0) as u64);
    let lookback_ms = match form.get("lookback_delta") {
        "" => None,
        text => Some(
            super::time::parse_duration_ms(text)
                .map_err(|e| ApiError::bad_data(format!("error parsing lookback delta duration: {e}")))?,
        ),
    };
    let stats = form.get("stats");
    Ok(Common {
        lookback_ms: lookback_ms.filter(|ms| *ms > 0),
        timeout_ms,
        limit,
        stats: !stats.is_empty(),
        per_step_stats: stats == "all",
    })
}

/// Evaluates at one time.
pub async fn instant(State(api): State<Api>, client: Client, form: Form) -> ApiResult {
    let at_ms = form.time_ms("time", api.now_ms()).map_err(|e| ApiError::parameter("time", e))?;
    let options = common(&form)?;
    answer(&api, client, form.get("query"), When::At(at_ms), &options).await
}

/// Evaluates at many times.
pub async fn range(State(api): State<Api>, client: Client, form: Form) -> ApiResult {
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
    answer(&api, client, form.get("query"), When::Steps { start_ms, end_ms, step_ms }, &options).await
}

async fn answer(api: &Api, client: Client, query: &str, when: When, options: &Common) -> ApiResult {
    let arrived = tokio::time::Instant::now();
    let _turn = api.turn().await?;
    let queued = arrived.elapsed();
    let ask = Ask {
        lookback_ms: options.lookback_ms,
        timeout_ms: options.timeout_ms,
        per_step_stats: options.per_step_stats,
        ..Ask::new(&api.tenant, query, when)
    };
    let mut answer = api.querier.asked_by(client.0).ask(ask).await.map_err(of_query)?;
    let took = arrived.elapsed() - queued;
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
    let end = match options.stats {
        true => format!(",\"stats\":{}}}", query_stats::of(&answer.stats, queued, took, options.per_step_stats)),
        false => "}".to_owned(),
    };
    let data = pieces(answer.value, PIECE_BYTES).chain(std::iter::once(end));
    Ok(Reply::pieces(data).with(first(answer.warnings, "warning"), first(answer.infos, "info")))
}

/// The first notes, and how many more there are.
fn first(mut notes: Vec<String>, kind: &str) -> Vec<String> {
    let more = notes.len().saturating_sub(NOTES_MAX);
    notes.truncate(NOTES_MAX);
    if more > 0 {
        notes.push(format!("{more} more {kind} annotations omitted"));
    }
    notes
}

/// Prometheus' warning about a cut answer.
pub const TRUNCATED: &str = "results truncated due to limit";

/// Cuts a list; whether there was something to cut.
pub fn cut<T>(list: &mut Vec<T>, limit: usize) -> bool {
    let longer = list.len() > limit;
    list.truncate(limit);
    longer
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
