//! A template as it stands in a file: every field anyone may write, then checked, with line, field and what is allowed.
//!
//! A template may inherit another: a group of a name the other has takes the fields given here and keeps the rest, a
//! group of a new name is added, `remove` leaves groups out. Every SQL text given here is read by parse tree: what is not
//! one statement that only reads is refused when the file is loaded, never while it runs.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::{
    connection::dialect,
    explain::reads_only,
    template::{Group, Metric, Pairs, ServerRole, Status, Template},
};
use crate::config::{ConfigError, Engine, Place, Text};

/// Largest file, bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most groups of one template.
const GROUPS_MAX: usize = 200;
/// Most metrics of one group.
const METRICS_MAX: usize = 500;
/// Most settings of a session.
const SESSION_MAX: usize = 32;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTemplate {
    /// Its name.
    pub template: Text,
    /// The template it begins with.
    pub inherit: Option<Text>,
    /// Whose protocol and SQL the server speaks.
    engine: Option<Text>,
    status: Option<Text>,
    database: Option<Text>,
    job: Option<Text>,
    metrics_only: Option<bool>,
    identity: Option<Text>,
    session: Option<Spanned<Vec<Text>>>,
    #[serde(default)]
    remove: Vec<Text>,
    #[serde(default)]
    groups: Vec<Spanned<RawGroup>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Text,
    interval_s: Option<Spanned<u64>>,
    sql: Option<Text>,
    sql_else: Option<Text>,
    from_version: Option<i64>,
    below_version: Option<i64>,
    role: Option<Text>,
    grant: Option<String>,
    every_database: Option<bool>,
    labels: Option<Vec<Text>>,
    fingerprint: Option<String>,
    prefix: Option<String>,
    metrics: Option<Vec<Spanned<Metric>>>,
    pairs: Option<Pairs>,
    every_column: Option<bool>,
    renamed: Option<BTreeMap<String, String>>,
}

/// A file whose shape is right.
#[derive(Debug)]
pub struct TemplateFile {
    file: String,
    /// What stands in it.
    pub raw: RawTemplate,
}

impl TemplateFile {
    /// Reads a text; `file` is its name in errors.
    pub fn read(file: &str, text: &str) -> Result<TemplateFile, ConfigError> {
        let place = Place::new(file);
        if text.len() > FILE_BYTES_MAX {
            let message = format!("{} bytes; allowed: at most {FILE_BYTES_MAX}", text.len());
            return Err(place.error(Location::UNKNOWN, message));
        }
        let raw: RawTemplate = place.read(text)?;
        if !valid_word(&raw.template.value) {
            return place.refuse(&raw.template, "template", "1 to 64 lower-case letters, digits, '-' or '_'");
        }
        Ok(TemplateFile { file: file.to_owned(), raw })
    }

    /// An error at a place of the file.
    pub fn error(&self, at: &Text, message: impl Into<String>) -> ConfigError {
        Place::new(&self.file).error(at.referenced, message)
    }

    /// Checks it, on top of the template it inherits.
    pub fn check(self, base: Option<&Template>) -> Result<Template, ConfigError> {
        let place = Place::new(&self.file);
        let raw = self.raw;
        let engine = match (&raw.engine, base) {
            (Some(text), _) => {
                let engine = place.choice(text, "engine", &Engine::WORDS)?;
                if base.is_some_and(|b| b.engine.job() != engine.job()) {
                    return place.refuse(text, "engine", "that of the template it inherits, or none");
                }
                engine
            }
            (None, Some(base)) => base.engine,
            (None, None) => {
                let message =
                    "engine: is missing; allowed: postgresql, mysql, mariadb, or inherit with the name of a template";
                return Err(place.error(raw.template.referenced, message));
            }
        };
        let statuses = [("verified", Status::Verified), ("derived", Status::Derived), ("own", Status::Own)];
        let status = match &raw.status {
            Some(text) => place.choice(text, "status", &statuses)?,
            None => Status::Own,
        };
        let allowed = GroupRules { place: &place, engine };
        if let Some(sql) = &raw.identity {
            allowed.sql("identity", sql)?;
        }
        let session = match &raw.session {
            None => base.and_then(|b| b.session.clone()),
            Some(list) => Some(session(&place, list)?),
        };
        let mut groups: Vec<Group> = base.map(|b| b.groups.clone()).unwrap_or_default();
        for name in &raw.remove {
            let before = groups.len();
            groups.retain(|g| g.name != name.value);
            if groups.len() == before {
                let has: Vec<&str> = groups.iter().map(|g| g.name.as_str()).collect();
                return place.refuse(name, "remove", &format!("a group of what it inherits: {}", has.join(", ")));
            }
        }
        let mut names = HashSet::new();
        for raw in raw.groups {
            let at = raw.referenced;
            let name = raw.value.name.value.clone();
            if !names.insert(name.clone()) {
                return place.refuse(&raw.value.name, "groups.name", "a name no other group of the file has");
            }
            match groups.iter_mut().find(|g| g.name == name) {
                Some(group) => *group = allowed.group(at, raw.value, Some(&*group))?,
                None => groups.push(allowed.group(at, raw.value, None)?),
            }
        }
        if groups.is_empty() || groups.len() > GROUPS_MAX {
            let message = format!("groups: {} of them; allowed: 1 to {GROUPS_MAX}", groups.len());
            return Err(place.error(raw.template.referenced, message));
        }
        let given = |text: Option<Text>, inherited: Option<&String>| text.map(|t| t.value).or(inherited.cloned());
        Ok(Template {
            name: raw.template.value.as_str().into(),
            status,
            engine,
            database: given(raw.database, base.and_then(|b| b.database.as_ref())),
            job: given(raw.job, base.and_then(|b| b.job.as_ref())),
            metrics_only: raw.metrics_only.or(base.map(|b| b.metrics_only)).unwrap_or(false),
            identity: given(raw.identity, base.and_then(|b| b.identity.as_ref())),
            session,
            groups,
        })
    }
}

/// Settings are names and plain values: they become part of a statement or of a start-up option.
fn session(place: &Place<'_>, list: &Spanned<Vec<Text>>) -> Result<Vec<String>, ConfigError> {
    if list.value.len() > SESSION_MAX {
        return Err(place.error(list.referenced, format!("session: allowed: at most {SESSION_MAX} settings")));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    for text in &list.value {
        let fits = text.value.split_once('=').is_some_and(|(name, value)| {
            valid_name(&name.replace('.', "_")) && value.trim_matches('\'').chars().all(plain)
        });
        if !fits {
            return place.refuse(text, "session", "name=value with a value of letters, digits, '_', '.', '-'");
        }
    }
    Ok(list.value.iter().map(|t| t.value.clone()).collect())
}

/// What holds for every group of a file.
struct GroupRules<'a> {
    place: &'a Place<'a>,
    engine: Engine,
}

impl GroupRules<'_> {
    fn sql(&self, field: &str, text: &Text) -> Result<String, ConfigError> {
        match reads_only(dialect(self.engine), &text.value) {
            Ok(()) => Ok(text.value.clone()),
            Err(refusal) => {
                let message = format!("{field}: {refusal}; allowed: one SELECT, VALUES or SHOW that only reads");
                Err(self.place.error(text.referenced, message))
            }
        }
    }

    fn group(&self, at: Location, raw: RawGroup, base: Option<&Group>) -> Result<Group, ConfigError> {
        let name = raw.name.value.clone();
        if !valid_word(&name) {
            return self.place.refuse(&raw.name, "groups.name", "1 to 64 lower-case letters, digits, '-' or '_'");
        }
        let wrong = |at: Location, text: &str| Err(self.place.error(at, format!("group {name:?}: {text}")));
        let interval_s = match (&raw.interval_s, base) {
            (Some(given), _) if (1..=86_400).contains(&given.value) => given.value,
            (Some(given), _) => return wrong(given.referenced, "interval_s: 1 to 86400 is allowed"),
            (None, Some(base)) => base.interval_s,
            (None, None) => return wrong(at, "interval_s is missing; allowed: 1 to 86400"),
        };
        let sql = match (&raw.sql, base) {
            (Some(text), _) => self.sql(&format!("group {name:?}: sql"), text)?,
            (None, Some(base)) => base.sql.clone(),
            (None, None) => return wrong(at, "sql is missing; allowed: one SELECT, VALUES or SHOW that only reads"),
        };
        let sql_else = match (&raw.sql_else, base) {
            (Some(text), _) => Some(self.sql(&format!("group {name:?}: sql_else"), text)?),
            // Another first text has its own second, or none.
            (None, Some(base)) if raw.sql.is_none() => base.sql_else.clone(),
            (None, _) => None,
        };
        let roles = [("primary", ServerRole::Primary), ("replica", ServerRole::Replica)];
        let role = match &raw.role {
            Some(text) => Some(self.place.choice(text, &format!("group {name:?}: role"), &roles)?),
            None => base.and_then(|b| b.role),
        };
        let reshaped = raw.metrics.is_some() || raw.pairs.is_some() || raw.every_column.is_some();
        let shape = base.filter(|_| !reshaped);
        for label in raw.labels.iter().flatten() {
            if !valid_name(&label.value) {
                let field = format!("group {name:?}: labels");
                return self.place.refuse(label, &field, "letters, digits and '_', not beginning with a digit");
            }
        }
        let given: Vec<Spanned<Metric>> = raw.metrics.unwrap_or_default();
        if given.len() > METRICS_MAX {
            return wrong(at, &format!("metrics: at most {METRICS_MAX} are allowed"));
        }
        let labels = raw.labels.map(|l| l.into_iter().map(|t| t.value).collect());
        let fingerprint = raw.fingerprint.map(|column| (column, dialect(self.engine)));
        let group = Group {
            interval_s,
            sql,
            sql_else,
            from_version: raw.from_version.or(base.and_then(|b| b.from_version)),
            below_version: raw.below_version.or(base.and_then(|b| b.below_version)),
            role,
            grant: raw.grant.or(base.and_then(|b| b.grant.clone())),
            every_database: raw.every_database.or(base.map(|b| b.every_database)).unwrap_or(false),
            fingerprint: fingerprint.or(base.and_then(|b| b.fingerprint.clone())),
            labels: labels.or(base.map(|b| b.labels.clone())).unwrap_or_default(),
            prefix: raw.prefix.or(base.map(|b| b.prefix.clone())).unwrap_or_default(),
            metrics: shape.map_or_else(|| given.iter().map(|m| m.value.clone()).collect(), |b| b.metrics.clone()),
            pairs: shape.map_or(raw.pairs, |b| b.pairs.clone()),
            every_column: shape.map_or(raw.every_column.unwrap_or(false), |b| b.every_column),
            renamed: raw.renamed.or(base.map(|b| b.renamed.clone())).unwrap_or_default(),
            name: name.clone(),
        };
        for metric in &given {
            let names = std::iter::once(group.metric_name(&metric.value)).chain(metric.value.aliases.iter().cloned());
            if let Some(bad) = names.into_iter().find(|n| !valid_name(n)) {
                let text = format!(
                    "metric {bad:?} is not a valid name; allowed: letters, digits and '_', not beginning with a digit"
                );
                return wrong(metric.referenced, &text);
            }
        }
        let shapes = usize::from(!group.metrics.is_empty())
            + usize::from(group.pairs.is_some())
            + usize::from(group.every_column);
        match shapes {
            0 => wrong(at, "one of metrics, pairs, every_column is needed"),
            2.. if group.pairs.is_some() => wrong(at, "pairs stands alone"),
            _ => Ok(group),
        }
    }
}

fn valid_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn valid_word(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}
