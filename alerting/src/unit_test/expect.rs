//! What a test expects: alerts at a time, and answers of queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::Labels;
use query::promql::notation::{parse_labels, parse_points};
use query::promql::{Histogram, Point};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::file::{Fault, duration, fault};
use crate::level::Level;
use crate::rule_file::or_empty;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlertTest {
    eval_time: Option<Spanned<String>>,
    alertname: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "or_empty")]
    exp_alerts: Vec<RawAlert>,
    /// Ours: the pending alerts.
    exp_pending: Option<Vec<RawAlert>>,
    /// Ours: whether the rule is blind.
    exp_blind: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAlert {
    #[serde(default, deserialize_with = "or_empty")]
    exp_labels: BTreeMap<String, String>,
    exp_annotations: Option<BTreeMap<String, String>>,
    /// Ours: notice, warning or critical.
    exp_level: Option<Spanned<String>>,
}

/// One entry of `alert_rule_test`.
pub(super) struct AlertTest {
    pub at_ms: i64,
    pub name: String,
    pub firing: Vec<ExpectedAlert>,
    pub pending: Option<Vec<ExpectedAlert>>,
    pub blind: Option<bool>,
}

/// An alert there should be.
pub(super) struct ExpectedAlert {
    pub labels: Labels,
    /// `None`: whatever they are.
    pub annotations: Option<BTreeMap<String, String>>,
    pub level: Option<Level>,
}

impl AlertTest {
    pub(super) fn check(raw: RawAlertTest) -> Result<AlertTest, Fault> {
        let at_ms = raw.eval_time.as_ref().map_or(Ok(0), |t| duration(t, "eval_time"))?;
        let name = match raw.alertname {
            Some(name) if !name.value.is_empty() => name.value,
            other => {
                let line = other.as_ref().or(raw.eval_time.as_ref()).map_or(0, |a| a.referenced.line());
                let message = "an item under alert_rule_test misses its alertname".into();
                return Err(Fault { line, message });
            }
        };
        let expected = |alerts: Vec<RawAlert>| {
            alerts.into_iter().map(|a| ExpectedAlert::check(a, &name)).collect::<Result<Vec<_>, _>>()
        };
        let firing = expected(raw.exp_alerts)?;
        let pending = raw.exp_pending.map(expected).transpose()?;
        Ok(AlertTest { at_ms, firing, pending, blind: raw.exp_blind, name })
    }
}

impl ExpectedAlert {
    fn check(raw: RawAlert, name: &str) -> Result<ExpectedAlert, Fault> {
        let mut labels = Labels::from_pairs(&raw.exp_labels).to_builder();
        labels.set(crate::active::ALERT_NAME, name);
        let level = match &raw.exp_level {
            Some(text) => Some(Level::from_name(&text.value).ok_or_else(|| {
                fault(text, format!("exp_level: {:?}; allowed are notice, warning, critical", text.value))
            })?),
            None => None,
        };
        // without our extension it is promtool's: no annotations are expected where none are given
        let annotations =
            if level.is_some() { raw.exp_annotations } else { Some(raw.exp_annotations.unwrap_or_default()) };
        Ok(ExpectedAlert { labels: labels.build(), annotations, level })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExprTest {
    expr: Option<Spanned<String>>,
    eval_time: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "or_empty")]
    exp_samples: Vec<RawSample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSample {
    labels: Option<Spanned<String>>,
    #[serde(default)]
    value: f64,
    histogram: Option<Spanned<String>>,
}

/// One entry of `promql_expr_test`.
pub(super) struct ExprTest {
    pub at_ms: i64,
    pub expr: String,
    pub samples: Vec<(Labels, Point)>,
}

impl ExprTest {
    pub(super) fn check(raw: RawExprTest) -> Result<ExprTest, Fault> {
        let at_ms = raw.eval_time.as_ref().map_or(Ok(0), |t| duration(t, "eval_time"))?;
        let samples = raw.exp_samples.into_iter().map(sample).collect::<Result<_, _>>()?;
        Ok(ExprTest { at_ms, expr: raw.expr.map(|e| e.value).unwrap_or_default(), samples })
    }
}

fn sample(raw: RawSample) -> Result<(Labels, Point), Fault> {
    let labels = match &raw.labels {
        Some(text) => match parse_labels(&text.value) {
            Ok((labels, _, rest)) if rest.trim().is_empty() => labels,
            Ok((_, _, rest)) => return Err(fault(text, format!("exp_samples: labels: {rest:?} is left over"))),
            Err(e) => return Err(fault(text, format!("exp_samples: labels: {e}"))),
        },
        None => Labels::empty(),
    };
    let point = match &raw.histogram {
        Some(text) => Point::Histogram(histogram(text)?),
        None => Point::Float(raw.value),
    };
    Ok((labels, point))
}

fn histogram(text: &Spanned<String>) -> Result<Arc<Histogram>, Fault> {
    let bad = |e: String| fault(text, format!("exp_samples: histogram: {e}"));
    let mut points = parse_points(&text.value).map_err(bad)?;
    match (points.pop().and_then(|w| w.point), points.is_empty()) {
        (Some(Point::Histogram(h)), true) => Ok(h),
        _ => Err(bad(format!("{:?} is not one histogram", text.value))),
    }
}
