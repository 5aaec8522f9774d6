//! Monitor templates: what to read from which kind and version of server, as data (`collector/templates/*.yaml`).
//!
//! A group is one query; its answer becomes metrics by one of three shapes:
//! - `metrics`: a list of columns, each with the metric it is. A column the server does not have leaves its metric out.
//! - `pairs`: rows are name and value (`SHOW GLOBAL STATUS`); families of names fold into one metric with a label.
//! - `every_column`: each column that holds a number is a metric (`SHOW REPLICA STATUS`).
//!
//! These are the checked values; `template_file` makes them of a text, `templates` keeps those that were shipped beside
//! those of the user.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{sql_tokens::Dialect, templates::Templates};
use crate::config::Engine;

/// A checked template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it was run for real.
    pub status: Status,
    /// Whose protocol and SQL the server speaks.
    pub engine: Engine,
    /// Database to connect to if none is configured; `None`: the engine's usual one.
    pub database: Option<String>,
    /// The `job` label of its metrics; `None`: the engine's.
    pub job: Option<String>,
    /// Only its groups are read, no sessions, statements or objects: an admin console, or views of its own.
    pub metrics_only: bool,
    /// Query that says who answers; `None`: the engine's own.
    pub identity: Option<String>,
    /// Settings of our session there, `name=value`; `None`: the engine's own.
    pub session: Option<Vec<String>>,
    /// Queries and what they become.
    pub groups: Vec<Group>,
}

/// Whether a template was run for real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// By our tests, against real servers.
    Verified,
    /// Written from manuals; no server of it was at hand.
    Derived,
    /// A user's own.
    Own,
}

/// One query.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name, unique in the template.
    pub name: String,
    /// Least time between two readings, seconds; the target's own interval if that is longer.
    pub interval_s: u64,
    /// Query text.
    pub sql: String,
    /// Tried instead if the first names something the server does not have.
    pub sql_else: Option<String>,
    /// Lowest version, as the server numbers itself (150018; 101119).
    pub from_version: Option<i64>,
    /// First version no longer read.
    pub below_version: Option<i64>,
    /// Only in this role.
    pub role: Option<ServerRole>,
    /// Right without which rows or columns are missing, as the grant that gives it.
    pub grant: Option<String>,
    /// Read once in every database instead of once for the instance.
    pub every_database: bool,
    /// Columns that become labels.
    pub labels: Vec<String>,
    /// Column with a statement's text, which becomes the label `fingerprint`; and the dialect it is in.
    pub fingerprint: Option<(String, Dialect)>,
    /// Begin of the metrics' names.
    pub prefix: String,
    /// Columns that become metrics.
    pub metrics: Vec<Metric>,
    /// Rows are name and value.
    pub pairs: Option<Pairs>,
    /// Each column that holds a number is a metric named prefix and column.
    pub every_column: bool,
    /// With `every_column`: words of a column's name and what they were called before; both names are published.
    pub renamed: BTreeMap<String, String>,
}

/// What the server is in its replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerRole {
    /// Takes writes.
    #[default]
    Primary,
    /// Follows another.
    Replica,
}

/// A column and the metric it becomes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Column of the answer.
    pub column: String,
    /// Name; else prefix and column.
    #[serde(default)]
    pub name: Option<String>,
    /// Other names it is published under, such as those of an exporter.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What it is.
    pub kind: MetricKind,
    /// One line.
    pub help: String,
    /// Base unit.
    #[serde(default)]
    pub unit: String,
    /// Multiplied with this.
    #[serde(default)]
    pub scale: Option<f64>,
    /// Published instead of NULL; without it a NULL leaves the sample out.
    #[serde(default)]
    pub null_value: Option<NullValue>,
}

/// What stands for NULL. `.nan` says that there is something without a value, such as the delay of a stopped replica;
/// unlike other NaNs it equals itself, so that a template read again is the same template.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
pub struct NullValue(pub f64);

impl PartialEq for NullValue {
    fn eq(&self, other: &NullValue) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Only rises, but for resets.
    Counter,
    /// Goes both ways.
    Gauge,
    /// The server does not say.
    Unknown,
}

impl MetricKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Unknown => "unknown",
        }
    }
}

/// Rows of name and value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// Column with the name.
    pub name: String,
    /// Column with the value.
    pub value: String,
    /// Families of names that are one metric with a label; the first that fits is taken.
    #[serde(default)]
    pub folds: Vec<Fold>,
    /// Begins of names that are left out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Names (after prefix) that are counters; the rest is unknown, as the servers don't tell.
    #[serde(default)]
    pub counters: Vec<String>,
}

/// Names with this begin become `metric{label="rest of the name"}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fold {
    /// Begin of the name, lower case.
    pub begins: String,
    /// End of the name, lower case.
    #[serde(default)]
    pub ends: String,
    /// Metric.
    pub metric: String,
    /// Label for the rest.
    pub label: String,
    /// What it is.
    pub kind: MetricKind,
}

impl Template {
    /// The template shipped for an engine.
    pub fn shipped(engine: Engine) -> Arc<Template> {
        Templates::shipped().of(engine)
    }

    /// The `job` label of its metrics.
    pub fn job(&self) -> &str {
        self.job.as_deref().unwrap_or(self.engine.job())
    }

    /// The word for what is watched: an engine, or what stands before one.
    pub fn kind(&self) -> &str {
        if self.metrics_only { &self.name } else { self.engine.as_str() }
    }

    /// The groups that fit a server.
    pub fn groups_for(&self, version: i64, role: ServerRole) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(move |g| {
            g.from_version.is_none_or(|v| version >= v)
                && g.below_version.is_none_or(|v| version < v)
                && g.role.is_none_or(|r| r == role)
        })
    }
}

impl Group {
    /// The name a metric is published under.
    pub fn metric_name(&self, metric: &Metric) -> String {
        metric.name.clone().unwrap_or_else(|| format!("{}_{}", self.prefix, metric.column))
    }

    /// Time between two readings, given the target's interval of metrics.
    pub fn interval(&self, metrics: Duration) -> Duration {
        Duration::from_secs(self.interval_s).max(metrics)
    }
}
