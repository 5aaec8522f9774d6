//! The way through a query: parse, load what its selectors need, evaluate all steps, give the answer its shape.

use std::sync::Arc;
use std::time::Duration;

use proto::Labels;

use super::annotations::Annotations;
use super::ast::{Expr, ValueType};
use super::budget::{Budget, Limits, StopCheck};
use super::durations::{BadDuration, QueryTimes};
use super::eval::{Evaluator, merge_same};
use super::histogram::Histogram;
use super::parser::{ParseError, parse_with};
use super::selection;
use super::source::{Source, SourceError};
use super::value::{Point, Series, Steps, Tally, Value, without_name};
use super::{Features, Stop};

/// How queries are read and evaluated.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which parts of the language are on.
    pub features: Features,
    /// How far back an instant selector looks for a sample, exclusive.
    pub lookback_ms: i64,
    /// The step of subqueries that name none.
    pub subquery_step_ms: i64,
    /// Whether metric names are removed only at the end of a query.
    pub delayed_name_removal: bool,
    /// Whether `__type__` says what is a counter, rather than the name's suffix.
    pub type_and_unit_labels: bool,
    /// Whether counters' start timestamps are looked at.
    pub use_start_timestamps: bool,
    /// Threads one query may use.
    pub threads_max: usize,
    /// Whether the samples looked at are counted by step.
    pub per_step_stats: bool,
    /// What one query may cost.
    pub limits: Limits,
}

impl Default for Options {
    /// Prometheus' defaults: 5 minutes lookback, subqueries each minute, experimental parts off.
    fn default() -> Options {
        Options {
            features: Features::default(),
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            delayed_name_removal: false,
            type_and_unit_labels: false,
            use_start_timestamps: false,
            threads_max: std::thread::available_parallelism().map_or(1, usize::from),
            per_step_stats: false,
            limits: Limits::default(),
        }
    }
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The text is no query (HTTP `bad_data`).
    #[error("{0}")]
    Parse(ParseError),
    /// The times make no range, or a duration computed from them is none (HTTP `bad_data`).
    #[error("{0}")]
    BadRange(String),
    /// The query cannot be evaluated on this data (HTTP `execution`).
    #[error("{0}")]
    Execution(String),
    /// More samples than allowed (HTTP `execution`).
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// More series than allowed (HTTP `execution`).
    #[error("query would touch more than {0} series")]
    TooManySeries(usize),
    /// Larger intermediate results than allowed (HTTP `execution`).
    #[error("query would need more than {0} bytes of memory")]
    TooManyBytes(usize),
    /// More steps than allowed (HTTP `execution`).
    #[error("query would evaluate more than {0} steps")]
    TooManySteps(usize),
    /// It was told to stop (HTTP `canceled` or `timeout`).
    #[error("{}", match .0 { Stop::Cancelled => "query was canceled", Stop::TimedOut => "query timed out" })]
    Stopped(Stop),
    /// The samples could not be read (HTTP `internal`).
    #[error("{0}")]
    Source(SourceError),
}

impl QueryError {
    pub(super) fn duplicate_series() -> QueryError {
        QueryError::Execution("vector cannot contain metrics with the same labelset".into())
    }

    /// The error's type in the HTTP API.
    pub fn api_type(&self) -> &'static str {
        match self {
            QueryError::Parse(_) | QueryError::BadRange(_) => "bad_data",
            QueryError::Stopped(Stop::Cancelled) => "canceled",
            QueryError::Stopped(Stop::TimedOut) => "timeout",
            QueryError::Source(_) => "internal",
            _ => "execution",
        }
    }
}

impl From<BadDuration> for QueryError {
    fn from(bad: BadDuration) -> QueryError {
        QueryError::BadRange(bad.message)
    }
}

/// A query that was read once and may be evaluated often.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expr: Expr,
}

impl Query {
    /// Reads `text`.
    pub fn parse(text: &str, features: &Features) -> Result<Query, ParseError> {
        Ok(Query { text: text.into(), expr: parse_with(text, features)? })
    }

    /// The tree.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// One sample of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// The series.
    pub labels: Labels,
    /// The evaluation time, in milliseconds.
    pub time_ms: i64,
    /// The value.
    pub value: Point,
}

/// One series of a range result.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    /// The series.
    pub labels: Labels,
    /// Floats with their times in milliseconds, ascending.
    pub floats: Vec<(i64, f64)>,
    /// Histograms with their times in milliseconds, ascending.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// A query's result.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerValue {
    /// A number at a time (milliseconds).
    Scalar(i64, f64),
    /// A string at a time (milliseconds).
    String(i64, String),
    /// One sample a series, in the order the query asks for.
    Vector(Vec<VectorSample>),
    /// Many samples a series, sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

impl AnswerValue {
    /// The type's name in the HTTP API.
    pub fn api_type(&self) -> &'static str {
        match self {
            AnswerValue::Scalar(..) => "scalar",
            AnswerValue::String(..) => "string",
            AnswerValue::Vector(_) => "vector",
            AnswerValue::Matrix(_) => "matrix",
        }
    }
}

/// What a query cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series loaded.
    pub series: usize,
    /// Samples loaded.
    pub samples: usize,
    /// Samples looked at, as Prometheus counts them: one that lies in the windows of two steps counts twice, a histogram as
    /// many times 16 bytes as it takes.
    pub queried: u64,
    /// The same by step, times in milliseconds; empty unless [`Options::per_step_stats`].
    pub queried_per_step: Vec<(i64, u64)>,
    /// Most samples held at a time: those loaded, and the numbers of intermediate results.
    pub samples_peak: usize,
    /// Most bytes held at a time in intermediate results.
    pub bytes_peak: usize,
    /// Steps evaluated.
    pub steps: usize,
    /// How long reading samples took, as far as the caller measured it.
    pub preparing: Duration,
    /// How long the rest took, as far as the caller measured it.
    pub evaluating: Duration,
}

/// A result with what is to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The result.
    pub value: AnswerValue,
    /// Warnings, each with its place in the query.
    pub warnings: Vec<String>,
    /// Infos, each with its place in the query.
    pub infos: Vec<String>,
    /// What it cost.
    pub stats: Stats,
    /// Where in the query the selectors begin that found no series, bytes.
    pub unmatched: Vec<usize>,
}

/// Evaluates queries.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: Options,
}

impl Engine {
    /// An engine with these options.
    pub fn new(options: Options) -> Engine {
        Engine { options }
    }

    /// The options it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Reads and evaluates `text` at `time_ms`.
    pub async fn evaluate_instant(
        &self,
        source: &dyn Source,
        text: &str,
        time_ms: i64,
        stop: StopCheck<'_>,
    ) -> Result<Answer, QueryError> {
        let query = Query::parse(text, &self.options.features).map_err(QueryError::Parse)?;
        self.instant(source, &query, time_ms, stop).await
    }

    /// Reads and evaluates `text` from `start_ms` to `end_ms`, every `step_ms`.
    pub async fn evaluate_range(
        &self,
        source: &dyn Source,
        text: &str,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        stop: StopCheck<'_>,
    ) -> Result<Answer, QueryError> {
        let query = Query::parse(text, &self.options.features).map_err(QueryError::Parse)?;
        self.range(source, &query, (start_ms, end_ms, step_ms), stop).await
    }

    /// Evaluates a query at `time_ms`.
    pub async fn instant(
        &self,
        source: &dyn Source,
        query: &Query,
        time_ms: i64,
        stop: StopCheck<'_>,
    ) -> Result<Answer, QueryError> {
        let times = QueryTimes { start_ms: time_ms, end_ms: time_ms, step_ms: 0 };
        self.run(source, query, times, None, stop).await
    }

    /// Evaluates a query from `start_ms` to `end_ms`, every `step_ms`.
    pub async fn range(
        &self,
        source: &dyn Source,
        query: &Query,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        stop: StopCheck<'_>,
    ) -> Result<Answer, QueryError> {
        if step_ms <= 0 {
            return Err(QueryError::BadRange("zero or negative query resolution step widths are not accepted".into()));
        }
        if end_ms < start_ms {
            return Err(QueryError::BadRange("end timestamp must not be before start time".into()));
        }
        if !matches!(query.expr.value_type(), ValueType::Scalar | ValueType::Vector) {
            let got = query.expr.value_type().documented();
            return Err(QueryError::BadRange(format!(
                "invalid expression type \"{got}\" for range query, must be Scalar or instant Vector"
            )));
        }
        let times = QueryTimes { start_ms, end_ms, step_ms };
        self.run(source, query, times, Some(step_ms), stop).await
    }

    async fn run(
        &self,
        source: &dyn Source,
        query: &Query,
        times: QueryTimes,
        step: Option<i64>,
        stop: StopCheck<'_>,
    ) -> Result<Answer, QueryError> {
        let mut budget = Budget::new(self.options.limits, stop);
        let step_ms = step.unwrap_or(1);
        let count = budget.check_steps(times.end_ms.saturating_sub(times.start_ms) / step_ms + 1)?;
        let steps = Steps { start_ms: times.start_ms, step_ms, count, tally: Tally::Each };
        budget.count_steps(count, self.options.per_step_stats);
        let data = selection::load(source, &query.expr, &times, &self.options, &budget).await?;
        source.before_evaluation(data.looks).await;
        let notes = Annotations::default();
        let evaluator = Evaluator { options: &self.options, times, data: &data, notes: &notes, budget: &budget };
        let value = evaluator.answer(&query.expr, &steps, step.is_some())?;
        let (warnings, infos) = notes.texts(&query.text);
        let stats = Stats {
            series: budget.series(),
            samples: budget.samples(),
            queried: budget.queried(),
            queried_per_step: steps.times().zip(budget.queried_per_step()).collect(),
            samples_peak: budget.samples() + budget.bytes_peak() / size_of::<f64>(),
            bytes_peak: budget.bytes_peak(),
            steps: count,
            ..Stats::default()
        };
        Ok(Answer { value, warnings, infos, stats, unmatched: data.unmatched })
    }
}

impl Evaluator<'_> {
    fn answer(&self, expr: &Expr, steps: &Steps, is_range: bool) -> Result<AnswerValue, QueryError> {
        let time = steps.start_ms;
        if expr.value_type() == ValueType::Matrix {
            let series = self.range_result(expr, steps)?;
            let shape = |s: super::source::SeriesSamples| MatrixSeries {
                labels: s.labels,
                floats: s.timestamps.into_iter().zip(s.values).collect(),
                histograms: s.histograms,
            };
            return Ok(AnswerValue::Matrix(sorted(series.into_iter().map(shape).collect())));
        }
        match (self.eval(expr, steps)?, is_range) {
            (Value::Scalar(v), false) => Ok(AnswerValue::Scalar(time, v[0])),
            (Value::Scalar(v), true) => {
                let floats = steps.times().zip(v).collect();
                Ok(AnswerValue::Matrix(vec![MatrixSeries { labels: Labels::empty(), floats, histograms: Vec::new() }]))
            }
            (Value::String(s), _) => Ok(AnswerValue::String(time, s.to_lossy())),
            (Value::Vector(series), false) => {
                let sample =
                    |s: Series| s.point(0).map(|value| VectorSample { labels: s.labels, time_ms: time, value });
                Ok(AnswerValue::Vector(self.named(series)?.into_iter().filter_map(sample).collect()))
            }
            (Value::Vector(series), true) => {
                let shape = |s: Series| matrix_series(s, steps);
                let series = self.named(series)?.into_iter().map(shape);
                Ok(AnswerValue::Matrix(sorted(
                    series.filter(|s| !s.floats.is_empty() || !s.histograms.is_empty()).collect(),
                )))
            }
        }
    }

    /// Does the name removals that were put off, and refuses results with two series of the same labels.
    fn named(&self, series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
        let bare = |mut s: Series| {
            if std::mem::take(&mut s.drop_name) {
                s.labels = without_name(&s.labels);
            }
            s
        };
        merge_same(series.into_iter().map(bare).collect())
    }
}

fn matrix_series(series: Series, steps: &Steps) -> MatrixSeries {
    let (mut floats, mut histograms) = (Vec::with_capacity(steps.count), Vec::new());
    for (i, t) in steps.times().enumerate() {
        match series.point(i) {
            Some(Point::Float(v)) => floats.push((t, v)),
            Some(Point::Histogram(h)) => histograms.push((t, h)),
            None => {}
        }
    }
    MatrixSeries { labels: series.labels, floats, histograms }
}

fn sorted(mut series: Vec<MatrixSeries>) -> Vec<MatrixSeries> {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}
