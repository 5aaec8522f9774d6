//! Monitor templates: what to read from which kind and version of server, as data (`collector/templates/*.yaml`).
//!
//! A group is one query; its answer becomes metrics by one of three shapes:
//! - `metrics`: a list of columns, each with the metric it is. A column the server does not have leaves its metric out.
//! - `pairs`: rows are name and value (`SHOW GLOBAL STATUS`); families of names fold into one metric with a label.
//! - `every_column`: each column that holds a number is a metric (`SHOW REPLICA STATUS`).
//!
//! A text that does not fit is refused with its group and field when it is loaded, never while it runs.

use std::{collections::HashSet, time::Duration};

use serde::Deserialize;

use crate::config::Engine;

/// Most groups of one template.
const GROUPS_MAX: usize = 200;

/// A checked template.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its name.
    pub template: String,
    /// `verified` (run against real servers by our tests) or `derived` (written from manuals only).
    pub status: Status,
    /// Queries and what they become.
    pub groups: Vec<Group>,
}

/// Whether a template was run for real.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// By our tests, against real servers.
    Verified,
    /// Written from manuals; no server of it was at hand.
    Derived,
}

/// One query.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name, unique in the template.
    pub name: String,
    /// Least time between two readings, seconds; the target's own interval if that is longer.
    pub interval_s: u64,
    /// Query text.
    pub sql: String,
    /// Tried instead if the first names something the server does not have.
    #[serde(default)]
    pub sql_else: Option<String>,
    /// Lowest version, as the server numbers itself (150018; 101119).
    #[serde(default)]
    pub from_version: Option<i64>,
    /// First version no longer read.
    #[serde(default)]
    pub below_version: Option<i64>,
    /// Only in this role.
    #[serde(default)]
    pub role: Option<ServerRole>,
    /// Right without which rows or columns are missing, as the grant that gives it.
    #[serde(default)]
    pub grant: Option<String>,
    /// Read once in every database instead of once for the instance.
    #[serde(default)]
    pub every_database: bool,
    /// Columns that become labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Begin of the metrics' names.
    #[serde(default)]
    pub prefix: String,
    /// Columns that become metrics.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// Rows are name and value.
    #[serde(default)]
    pub pairs: Option<Pairs>,
    /// Each column that holds a number is a metric named prefix and column.
    #[serde(default)]
    pub every_column: bool,
}

/// What the server is in its replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerRole {
    /// Takes writes.
    Primary,
    /// Follows another.
    Replica,
}

/// A column and the metric it becomes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Column of the answer.
    pub column: String,
    /// Name; else prefix and column.
    #[serde(default)]
    pub name: Option<String>,
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
    pub null_value: Option<f64>,
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
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
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

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template {template}: {text}")]
pub struct TemplateError {
    /// Whose.
    pub template: String,
    /// What, where, what is allowed.
    pub text: String,
}

const POSTGRESQL: &str = include_str!("../../templates/postgresql.yaml");
const MARIADB: &str = include_str!("../../templates/mariadb.yaml");
const MYSQL: &str = include_str!("../../templates/mysql.yaml");

impl Template {
    /// The template shipped for an engine.
    pub fn shipped(engine: Engine) -> Result<Template, TemplateError> {
        match engine {
            Engine::Postgresql => Template::parse("postgresql", POSTGRESQL),
            Engine::Mariadb => Template::parse("mariadb", MARIADB),
            Engine::Mysql => Template::parse("mysql", MYSQL),
        }
    }

    /// Parses and checks a text; `name` stands in errors.
    pub fn parse(name: &str, text: &str) -> Result<Template, TemplateError> {
        let wrong = |text: String| TemplateError { template: name.to_owned(), text };
        let template: Template = serde_saphyr::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if template.groups.len() > GROUPS_MAX {
            return Err(wrong(format!("{} groups, at most {GROUPS_MAX} are allowed", template.groups.len())));
        }
        let mut names = HashSet::new();
        for group in &template.groups {
            let wrong = |text: &str| wrong(format!("group {:?}: {text}", group.name));
            if !names.insert(&group.name) {
                return Err(wrong("the name is used twice"));
            }
            if !(1..=86_400).contains(&group.interval_s) {
                return Err(wrong("interval_s: 1 to 86400 is allowed"));
            }
            let shapes = usize::from(!group.metrics.is_empty())
                + usize::from(group.pairs.is_some())
                + usize::from(group.every_column);
            if shapes == 0 {
                return Err(wrong("one of metrics, pairs, every_column is needed"));
            }
            if group.pairs.is_some() && shapes > 1 {
                return Err(wrong("pairs stands alone"));
            }
            for metric in &group.metrics {
                if !valid_name(&group.metric_name(metric)) {
                    return Err(wrong(&format!("metric {:?} is not a valid name", group.metric_name(metric))));
                }
            }
            if let Some(label) = group.labels.iter().find(|l| !valid_name(l)) {
                return Err(wrong(&format!("label {label:?} is not a valid name")));
            }
        }
        Ok(template)
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

fn valid_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shipped_templates_are_valid_and_fit_their_versions() {
        for (engine, version, least) in
            [(Engine::Postgresql, 150_018, 20), (Engine::Mariadb, 101_119, 8), (Engine::Mysql, 80_040, 8)]
        {
            let template = Template::shipped(engine).unwrap();
            assert!(template.groups_for(version, ServerRole::Primary).count() >= least, "{engine}");
        }
        let postgresql = Template::shipped(Engine::Postgresql).unwrap();
        let names = |version| -> Vec<&str> {
            postgresql.groups_for(version, ServerRole::Primary).map(|g| g.name.as_str()).collect()
        };
        assert!(names(150_018).contains(&"bgwriter") && !names(150_018).contains(&"checkpointer"));
        assert!(names(170_004).contains(&"checkpointer") && !names(170_004).contains(&"bgwriter"));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        let head = "template: t\nstatus: derived\ngroups:\n";
        for (text, want) in [
            ("  - {name: a, interval_s: 0, sql: x, every_column: true}", "interval_s"),
            ("  - {name: a, interval_s: 1, sql: x}", "one of metrics"),
            ("  - {name: a, interval_s: 1, sql: x, every_column: true, colour: red}", "colour"),
            (
                "  - {name: a, interval_s: 1, sql: x, prefix: p, metrics: [{column: a-b, kind: gauge, help: h}]}",
                "not a valid name",
            ),
            (
                "  - {name: a, interval_s: 1, sql: x, every_column: true}\n  - {name: a, interval_s: 1, sql: x, every_column: true}",
                "twice",
            ),
        ] {
            let error = Template::parse("t", &format!("{head}{text}\n")).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
