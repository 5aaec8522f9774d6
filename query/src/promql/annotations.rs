//! Warnings and infos a query's result carries, in Prometheus' words, with the place that caused them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::number::{format_g, go_quote};
use super::position::Span;

/// One thing worth saying about a result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Note {
    is_info: bool,
    text: String,
    start: usize,
}

/// All that was said while a query ran; each thing once.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    notes: Mutex<BTreeSet<Note>>,
}

/// What may be wrong.
pub(super) enum Warning<'a> {
    InvalidQuantile(f64),
    InvalidRatio(f64, f64),
    BadBucketLabel(&'a str, &'a str),
    MixedFloatsHistograms(&'a str),
    MixedFloatsHistogramsAggregation,
    MixedClassicNative(&'a str),
    NotCounter(&'a str),
    NotGauge(&'a str),
    MixedSchemas(&'a str),
    IncompatibleLayout(&'a str),
    ResetCollision(&'a str),
    StartOverlap(&'a str),
}

/// What is worth knowing.
pub(super) enum Info<'a> {
    PossibleNonCounter(&'a str),
    PossibleNonCounterLabel(&'a str, &'a str),
    ForcedMonotonicity(&'a str),
    IncompatibleTypes(&'a str, &'a str, &'a str),
    IgnoredInAggregation(&'a str),
    IgnoredInMixedRange(&'a str),
    QuantileNan(&'a str),
    QuantileSkewed(&'a str),
    FractionNan(&'a str),
    BoundsReconciled(&'a str),
}

fn for_metric(text: &str, name: &str) -> String {
    if name.is_empty() { text.into() } else { format!("{text} for metric name {}", go_quote(name.as_bytes())) }
}

impl Warning<'_> {
    fn text(&self) -> String {
        let quoted = |s: &str| go_quote(s.as_bytes());
        match self {
            Warning::InvalidQuantile(q) => format!("quantile value should be between 0 and 1, got {}", format_g(*q)),
            Warning::InvalidRatio(r, capped) => {
                let (r, capped) = (format_g(*r), format_g(*capped));
                format!("ratio value should be between -1 and 1, got {r}, capping to {capped}")
            }
            Warning::BadBucketLabel(name, le) => {
                for_metric(&format!("bucket label \"le\" is missing or has a malformed value of {}", quoted(le)), name)
            }
            Warning::MixedFloatsHistograms(name) => {
                format!("encountered a mix of histograms and floats for metric name {}", quoted(name))
            }
            Warning::MixedFloatsHistogramsAggregation => {
                "encountered a mix of histograms and floats for aggregation".into()
            }
            Warning::MixedClassicNative(name) => {
                for_metric("vector contains a mix of classic and native histograms", name)
            }
            Warning::NotCounter(name) => format!("this native histogram metric is not a counter: {}", quoted(name)),
            Warning::NotGauge(name) => format!("this native histogram metric is not a gauge: {}", quoted(name)),
            Warning::MixedSchemas(name) => format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
                quoted(name)
            ),
            Warning::IncompatibleLayout(op) => {
                format!("incompatible bucket layout encountered for binary operator {op}")
            }
            Warning::StartOverlap(name) => format!("start timestamp overlap detected for metric name {}", quoted(name)),
            Warning::ResetCollision(what) => format!("conflicting counter resets during histogram {what}"),
        }
    }
}

impl Info<'_> {
    fn text(&self) -> String {
        let quoted = |s: &str| go_quote(s.as_bytes());
        match self {
            Info::PossibleNonCounter(name) => format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quoted(name)
            ),
            Info::PossibleNonCounterLabel(name, kind) => format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {}: {}",
                quoted(kind),
                quoted(name)
            ),
            Info::ForcedMonotonicity(name) => for_metric(
                "input to histogram_quantile needed to be fixed for monotonicity \
                 (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                name,
            ),
            Info::IncompatibleTypes(left, op, right) => {
                let operator = quoted(op);
                format!("incompatible sample types encountered for binary operator {operator}: {left} {op} {right}")
            }
            Info::IgnoredInAggregation(op) => format!("ignored histogram in {op} aggregation"),
            Info::IgnoredInMixedRange(name) => format!(
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                quoted(name)
            ),
            Info::QuantileNan(name) => {
                for_metric("input to histogram_quantile has NaN observations, result is NaN", name)
            }
            Info::QuantileSkewed(name) => {
                for_metric("input to histogram_quantile has NaN observations, result is skewed higher", name)
            }
            Info::FractionNan(name) => for_metric(
                "input to histogram_fraction has NaN observations, which are excluded from all fractions",
                name,
            ),
            Info::BoundsReconciled(what) => format!("mismatched custom buckets were reconciled during {what}"),
        }
    }
}

impl Annotations {
    pub(super) fn warn(&self, warning: &Warning<'_>, span: Span) {
        self.add(false, format!("PromQL warning: {}", warning.text()), span);
    }

    pub(super) fn info(&self, info: &Info<'_>, span: Span) {
        self.add(true, format!("PromQL info: {}", info.text()), span);
    }

    fn add(&self, is_info: bool, text: String, span: Span) {
        let mut notes = self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        notes.insert(Note { is_info, text, start: span.start });
    }

    /// Warnings and infos as the API shows them: each with the place in `query`.
    pub(super) fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let notes = self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for note in notes.iter() {
            let place = Span::new(note.start, note.start).line_column(query);
            if note.is_info { &mut infos } else { &mut warnings }.push(format!("{} ({place})", note.text));
        }
        (warnings, infos)
    }
}
