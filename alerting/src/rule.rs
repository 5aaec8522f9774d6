//! A rule, parsed and checked: what to ask, when it is an alert, and what to say.

use query::promql::ast::Expr;

use crate::forecast::rule::ForecastSource;
use crate::level::Level;
use crate::template::Template;

/// Where a rule's values come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// PromQL: every series of the answer.
    Promql {
        /// The tree.
        expr: Box<Expr>,
        /// As written.
        text: String,
    },
    /// SQL: every row of the answer; the column `value` is the value, every other column a label. `$now` stands for the
    /// evaluation's time.
    Sql(String),
    /// What PromQL will answer: seconds until a limit is reached.
    Forecast(Box<ForecastSource>),
}

impl Source {
    /// The question as written.
    pub fn text(&self) -> &str {
        match self {
            Source::Promql { text, .. } | Source::Sql(text) => text,
            Source::Forecast(source) => &source.ask.query,
        }
    }
}

/// On which side of the threshold a level lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Values above it.
    Above,
    /// Values below it.
    Below,
}

/// One level of a rule with levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelRule {
    /// Which.
    pub level: Level,
    /// Side of the threshold.
    pub side: Side,
    /// The threshold.
    pub threshold: f64,
    /// Where the level is left again; the threshold itself if none was given.
    pub recover: f64,
    /// How long the condition must hold, milliseconds.
    pub for_ms: i64,
}

impl LevelRule {
    /// Whether the level's condition holds.
    pub fn holds(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value > self.threshold,
            Side::Below => value < self.threshold,
        }
    }

    /// Whether a level once reached stays.
    pub fn stays(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value > self.recover || value == self.recover && self.recover != self.threshold,
            Side::Below => value < self.recover || value == self.recover && self.recover != self.threshold,
        }
    }
}

/// What a rule makes of its values.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A new series named like the rule.
    Recording,
    /// Alerts.
    Alerting(Alerting),
}

/// When values are alerts.
#[derive(Clone, Debug)]
pub struct Alerting {
    /// How long the condition must hold, milliseconds; rules with levels have one per level instead.
    pub for_ms: i64,
    /// How long an alert fires on after its condition ended, milliseconds.
    pub keep_firing_for_ms: i64,
    /// Mildest first; empty: every value is an alert, graded by the label `severity`.
    pub levels: Vec<LevelRule>,
    /// Its series are there only while something is wrong: that they are gone is good news, not blindness.
    pub sparse: bool,
    /// What people read.
    pub annotations: Vec<(String, Template)>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The alert's or the new series' name.
    pub name: String,
    /// What to ask.
    pub source: Source,
    /// Added to every result; values of alerting rules are templates.
    pub labels: Vec<(String, Template)>,
    /// What comes of it.
    pub kind: Kind,
}

impl Rule {
    /// Whether it says that series may be missing.
    pub fn is_sparse(&self) -> bool {
        self.alerting().is_some_and(|a| a.sparse)
    }

    /// What it says about alerts, if it does.
    pub fn alerting(&self) -> Option<&Alerting> {
        match &self.kind {
            Kind::Alerting(alerting) => Some(alerting),
            Kind::Recording => None,
        }
    }
}

/// Rules evaluated together, in order, at the same time.
#[derive(Clone, Debug)]
pub struct RuleGroup {
    /// Unique in its file.
    pub name: String,
    /// Where it stands.
    pub file: String,
    /// Distance of evaluations, milliseconds.
    pub interval_ms: i64,
    /// How far before the evaluation's time the queries look, milliseconds.
    pub query_offset_ms: i64,
    /// Most alerts or series of one rule; 0: no limit.
    pub limit: usize,
    /// In order of evaluation.
    pub rules: Vec<Rule>,
}
