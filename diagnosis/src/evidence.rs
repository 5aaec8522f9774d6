//! Everything around one alert, frozen when it fired. Its JSON is stored with the alert and served as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::blocking::BlockNode;
use crate::forecast::SeriesReport;
use crate::question::Unit;
use crate::session::Session;
use crate::statement::StatementChange;
use crate::verdict::Finding;

/// The evidence of one alert.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// When it was collected, milliseconds.
    pub collected_at_ms: i64,
    /// What it spans.
    pub window: Window,
    /// Whom it is about.
    pub instance: String,
    /// The alert's labels.
    pub labels: BTreeMap<String, String>,
    /// The alert's value; `null`: not a number.
    pub value: Option<f64>,
    /// Series around the alert.
    pub series: Vec<SeriesEvidence>,
    /// Top statements with their change.
    pub statements: Vec<StatementChange>,
    /// Sessions of the latest moment that ran, waited or held a transaction.
    pub sessions: Vec<Session>,
    /// Who waits for whom.
    pub blocking: Vec<BlockNode>,
    /// Log lines of the window.
    pub logs: Vec<LogLine>,
    /// What changed: objects, settings.
    pub changes: Vec<ObjectChange>,
    /// Of alerts of forecast rules: the forecast they rest on.
    pub forecast: Option<ForecastEvidence>,
    /// Answers to what the trees of this alert asked.
    pub facts: Vec<AskedFact>,
    /// Verdicts, most fitting first.
    pub findings: Vec<Finding>,
    /// What could not be had, and why.
    pub errors: Vec<String>,
}

/// A forecast, in the form `/api/v1/forecast` gives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForecastEvidence {
    /// The alert's series.
    pub series: Vec<SeriesReport>,
}

/// The answer to one question of a tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedFact {
    /// Verdict at the root of the tree that asked.
    pub tree: String,
    /// Name of the fact.
    pub name: String,
    /// Its number, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<f64>,
    /// Its text, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How its number reads.
    #[serde(default)]
    pub unit: Unit,
}

/// A span of time, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its beginning.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
}

/// The answer to one question about series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesEvidence {
    /// What it shows.
    pub title: String,
    /// The PromQL asked.
    pub query: String,
    /// One entry a series.
    pub result: Vec<SeriesPoints>,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesPoints {
    /// Its labels.
    pub labels: Value,
    /// Time in milliseconds and value; `null`: not a number.
    pub values: Vec<(i64, Option<f64>)>,
}

/// A log record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLine {
    /// The record's time, milliseconds.
    pub ts_ms: i64,
    /// debug … panic.
    pub level: Option<String>,
    /// What it is.
    pub class: Option<String>,
    /// Masked text.
    pub body: Option<String>,
    /// SQLSTATE or error number.
    pub code: Option<String>,
    /// Backend or connection id.
    pub pid: Option<i64>,
}

/// A change of an object or setting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectChange {
    /// When it was seen, milliseconds.
    pub ts_ms: i64,
    /// setting, table, index, …
    pub kind: Option<String>,
    /// The object.
    pub name: Option<String>,
    /// Table of an index.
    pub parent: Option<String>,
    /// added, changed or removed.
    pub change: Option<String>,
    /// Before.
    pub previous: Option<String>,
    /// After, or its definition.
    pub value: Option<String>,
}
