//! A test file: raw, then checked. Unknown fields are refused, as promtool refuses them.

use std::collections::BTreeMap;

use proto::Labels;
use query::promql::number::parse_duration_ms;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::expect::{AlertTest, ExprTest, RawAlertTest, RawExprTest};
use super::input::{InputRows, InputSeries, RawRows, RawSeries};
use crate::rule_file::{RuleFileError, or_empty};

/// Between evaluations and samples unless the file says otherwise, milliseconds.
const INTERVAL_MS: i64 = 60_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default, deserialize_with = "or_empty")]
    rule_files: Vec<String>,
    evaluation_interval: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "or_empty")]
    group_eval_order: Vec<Spanned<String>>,
    #[serde(default)]
    fuzzy_compare: bool,
    #[serde(default, deserialize_with = "or_empty")]
    tests: Vec<RawGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Option<String>,
    interval: Option<Spanned<String>>,
    start_timestamp: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "or_empty")]
    input_series: Vec<RawSeries>,
    #[serde(default, deserialize_with = "or_empty")]
    input_rows: Vec<RawRows>,
    #[serde(default, deserialize_with = "or_empty")]
    alert_rule_test: Vec<RawAlertTest>,
    #[serde(default, deserialize_with = "or_empty")]
    promql_expr_test: Vec<RawExprTest>,
    #[serde(default, deserialize_with = "or_empty")]
    external_labels: BTreeMap<String, String>,
    external_url: Option<String>,
}

/// A checked file.
pub(super) struct TestFile {
    pub rule_files: Vec<String>,
    pub interval_ms: i64,
    /// Names of groups evaluated first, in this order.
    pub order: Vec<String>,
    /// Values may differ in their last bit.
    pub fuzzy: bool,
    pub groups: Vec<TestGroup>,
}

/// One entry of `tests`.
pub(super) struct TestGroup {
    pub name: String,
    /// Between samples.
    pub interval_ms: i64,
    /// When its clock begins.
    pub start_ms: i64,
    pub series: Vec<InputSeries>,
    pub rows: Vec<InputRows>,
    pub alerts: Vec<AlertTest>,
    pub exprs: Vec<ExprTest>,
    pub external_labels: Labels,
    pub external_url: String,
}

/// Something wrong at a line of the test file.
pub(super) struct Fault {
    pub line: u64,
    pub message: String,
}

pub(super) fn fault<V>(at: &Spanned<V>, message: impl Into<String>) -> Fault {
    Fault { line: at.referenced.line(), message: message.into() }
}

/// A duration; the field is named in the error.
pub(super) fn duration(at: &Spanned<String>, field: &str) -> Result<i64, Fault> {
    parse_duration_ms(&at.value).map_err(|e| fault(at, format!("{field}: {e}")))
}

/// Reads a file's text.
pub(super) fn parse(file: &str, text: &str) -> Result<TestFile, RuleFileError> {
    let error = |line, message| RuleFileError { file: file.into(), line, message };
    let raw: Option<RawFile> = serde_saphyr::from_str(text)
        .map_err(|e| error(e.location().map(|l| l.line()), e.without_snippet().to_string()))?;
    let Some(raw) = raw else { return Err(error(None, "the file is empty".into())) };
    check(raw).map_err(|f| error(Some(f.line), f.message))
}

fn check(raw: RawFile) -> Result<TestFile, Fault> {
    let interval_ms = positive(raw.evaluation_interval.as_ref(), "evaluation_interval")?.unwrap_or(INTERVAL_MS);
    let mut order: Vec<String> = Vec::new();
    for name in raw.group_eval_order {
        if order.contains(&name.value) {
            return Err(fault(&name, format!("group name repeated in group_eval_order: {}", name.value)));
        }
        order.push(name.value);
    }
    let groups = raw.tests.into_iter().map(|group| check_group(group, interval_ms)).collect::<Result<_, _>>()?;
    Ok(TestFile { rule_files: raw.rule_files, interval_ms, order, fuzzy: raw.fuzzy_compare, groups })
}

fn positive(text: Option<&Spanned<String>>, field: &str) -> Result<Option<i64>, Fault> {
    let Some(text) = text else { return Ok(None) };
    Ok(Some(duration(text, field)?).filter(|ms| *ms > 0))
}

fn check_group(raw: RawGroup, evaluation_interval_ms: i64) -> Result<TestGroup, Fault> {
    let interval_ms = positive(raw.interval.as_ref(), "interval")?.unwrap_or(evaluation_interval_ms);
    let start_ms = raw.start_timestamp.as_ref().map_or(Ok(0), timestamp_ms)?;
    Ok(TestGroup {
        name: raw.name.unwrap_or_default(),
        interval_ms,
        start_ms,
        series: raw.input_series.into_iter().map(InputSeries::check).collect::<Result<_, _>>()?,
        rows: raw.input_rows.into_iter().map(InputRows::check).collect::<Result<_, _>>()?,
        alerts: raw.alert_rule_test.into_iter().map(AlertTest::check).collect::<Result<_, _>>()?,
        exprs: raw.promql_expr_test.into_iter().map(ExprTest::check).collect::<Result<_, _>>()?,
        external_labels: Labels::from_pairs(raw.external_labels),
        external_url: raw.external_url.unwrap_or_default(),
    })
}

/// RFC 3339, or seconds since 1970.
fn timestamp_ms(at: &Spanned<String>) -> Result<i64, Fault> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(&at.value) {
        return Ok(time.timestamp_millis());
    }
    let seconds: Option<f64> = at.value.parse().ok().filter(|s: &f64| s.abs() < 1e12);
    seconds
        .map(|s| (s * 1000.0).round() as i64)
        .ok_or_else(|| fault(at, format!("start_timestamp: {:?} is neither RFC 3339 nor Unix seconds", at.value)))
}
