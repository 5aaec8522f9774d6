//! Reads rule files: Prometheus' format, with `sql` and `levels` beside it.
//!
//! Raw first, then checked: expressions and templates are parsed, names and durations checked, before anything runs. Every
//! error names file, line, group, rule and field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use query::promql::matcher::is_plain_metric_name;
use query::promql::number::parse_duration_ms;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::level::Level;
use crate::rule::{Alerting, Kind, LevelRule, Rule, RuleGroup, Side, Source};
use crate::template::Template;

/// Largest rule file read, bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most files behind all patterns together.
pub const FILES_MAX: usize = 10_000;

/// A rule file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}", .line.map(|l| format!(":{l}")).unwrap_or_default())]
pub struct RuleFileError {
    /// Which file.
    pub file: String,
    /// Which line, where known.
    pub line: Option<u64>,
    /// What is wrong, where in the file, and what is allowed.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    groups: Vec<RawGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Spanned<String>,
    interval: Option<Spanned<String>>,
    query_offset: Option<Spanned<String>>,
    #[serde(default)]
    limit: usize,
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Option<Spanned<String>>,
    sql: Option<Spanned<String>>,
    #[serde(rename = "for")]
    for_: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    #[serde(default)]
    levels: BTreeMap<String, RawLevel>,
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    annotations: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLevel {
    above: Option<f64>,
    below: Option<f64>,
    recover: Option<f64>,
    #[serde(rename = "for")]
    for_: Option<Spanned<String>>,
}

/// Something wrong at a line; file, group and rule are added on the way up.
struct Fault {
    line: u64,
    message: String,
}

fn fault<T, V>(at: &Spanned<V>, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { line: at.referenced.line(), message: message.into() })
}

/// Reads one file's text. `interval_ms` is used by groups that name none.
pub fn parse(file: &str, text: &str, interval_ms: i64) -> Result<Vec<RuleGroup>, RuleFileError> {
    let error = |line, message| RuleFileError { file: file.into(), line, message };
    let documents: Vec<RawFile> = serde_saphyr::from_multiple(text).map_err(|e| {
        let line = e.location().map(|l| l.line());
        error(line, e.without_snippet().to_string())
    })?;
    if documents.len() > 1 {
        tracing::warn!(file, documents = documents.len(), "only the first document of a rule file counts");
    }
    let mut names = BTreeSet::new();
    let mut groups = Vec::new();
    for raw in documents.into_iter().next().map(|d| d.groups).unwrap_or_default() {
        let (name, line) = (raw.name.value.clone(), raw.name.referenced.line());
        if name.is_empty() {
            return Err(error(Some(line), "group name must not be empty".into()));
        }
        if !names.insert(name.clone()) {
            return Err(error(Some(line), format!("group {name:?} is there twice")));
        }
        let group = check_group(raw, file, interval_ms);
        groups.push(group.map_err(|f| error(Some(f.line), format!("group {name:?}, {}", f.message)))?);
    }
    Ok(groups)
}

fn check_group(raw: RawGroup, file: &str, interval_ms: i64) -> Result<RuleGroup, Fault> {
    let interval_ms = match &raw.interval {
        Some(text) => match duration(text, "interval")? {
            0 => return fault(text, "interval must be longer than 0"),
            ms => ms,
        },
        None => interval_ms,
    };
    let query_offset_ms = raw.query_offset.as_ref().map_or(Ok(0), |d| duration(d, "query_offset"))?;
    let mut rules = Vec::new();
    for (i, rule) in raw.rules.into_iter().enumerate() {
        let name = rule.alert.as_ref().or(rule.record.as_ref()).map(|n| n.value.clone()).unwrap_or_default();
        let line =
            rule.alert.as_ref().or(rule.record.as_ref()).or(rule.expr.as_ref()).map_or(0, |n| n.referenced.line());
        let rule = check_rule(rule, &raw.labels).map_err(|f| Fault {
            line: if f.line == 0 { line.max(raw.name.referenced.line()) } else { f.line },
            message: format!("rule {} {name:?}: {}", i + 1, f.message),
        })?;
        rules.push(rule);
    }
    Ok(RuleGroup { name: raw.name.value, file: file.into(), interval_ms, query_offset_ms, limit: raw.limit, rules })
}

fn check_rule(raw: RawRule, group_labels: &BTreeMap<String, Spanned<String>>) -> Result<Rule, Fault> {
    let name = match (&raw.record, &raw.alert) {
        (Some(record), Some(_)) => return fault(record, "only one of record and alert may be set"),
        (None, None) => return Err(Fault { line: 0, message: "one of record and alert must be set".into() }),
        (Some(name), None) | (None, Some(name)) if name.value.is_empty() => {
            return fault(name, "one of record and alert must be set");
        }
        (Some(name), None) => {
            if !is_plain_metric_name(&name.value) {
                return fault(name, format!("record {:?} is not a metric name", name.value));
            }
            name.clone()
        }
        (None, Some(name)) => name.clone(),
    };
    let is_alert = raw.alert.is_some();
    let source = match (raw.expr, raw.sql) {
        (Some(text), None) if !text.value.trim().is_empty() => match query::promql::parse(&text.value) {
            Ok(expr) => Source::Promql { expr: Box::new(expr), text: text.value },
            Err(e) => return fault(&text, format!("field expr: could not parse expression: {e}")),
        },
        (None, Some(text)) if !text.value.trim().is_empty() => Source::Sql(text.value),
        (Some(_), Some(sql)) => return fault(&sql, "only one of expr and sql may be set"),
        _ => return fault(&name, "field expr must be set"),
    };
    let mut labels: BTreeMap<&String, &Spanned<String>> = group_labels.iter().collect();
    labels.extend(&raw.labels);
    for (label, text) in &labels {
        if label.is_empty() || label.as_str() == "__name__" {
            return fault(text, format!("field labels: {label:?} is not allowed as a label name"));
        }
    }
    let labels = templates(labels.into_iter(), "labels", is_alert)?;
    if !is_alert {
        let alert_only = [("for", &raw.for_), ("keep_firing_for", &raw.keep_firing_for)];
        if let Some((field, Some(at))) = alert_only.into_iter().find(|(_, value)| value.is_some()) {
            return fault(at, format!("field {field} is not allowed in a recording rule"));
        }
        if !raw.annotations.is_empty() || !raw.levels.is_empty() {
            return fault(&name, "fields annotations and levels are not allowed in a recording rule");
        }
        return Ok(Rule { name: name.value, source, labels, kind: Kind::Recording });
    }
    let for_ms = raw.for_.as_ref().map_or(Ok(0), |d| duration(d, "for"))?;
    let keep_firing_for_ms = raw.keep_firing_for.as_ref().map_or(Ok(0), |d| duration(d, "keep_firing_for"))?;
    let levels = levels(raw.levels, for_ms, &name)?;
    let annotations = templates(raw.annotations.iter(), "annotations", true)?;
    let alerting = Alerting { for_ms, keep_firing_for_ms, levels, annotations };
    Ok(Rule { name: name.value, source, labels, kind: Kind::Alerting(alerting) })
}

fn levels(raw: BTreeMap<String, RawLevel>, rule_for_ms: i64, at: &Spanned<String>) -> Result<Vec<LevelRule>, Fault> {
    let mut levels = Vec::new();
    for (name, raw) in raw {
        let Some(level) = Level::from_name(&name) else {
            return fault(at, format!("field levels: {name:?} is not a level; allowed are notice, warning, critical"));
        };
        let (side, threshold) = match (raw.above, raw.below) {
            (Some(t), None) => (Side::Above, t),
            (None, Some(t)) => (Side::Below, t),
            _ => return fault(at, format!("level {name}: exactly one of above and below must be set")),
        };
        let recover = raw.recover.unwrap_or(threshold);
        let backwards = match side {
            Side::Above => recover > threshold,
            Side::Below => recover < threshold,
        };
        if backwards || !threshold.is_finite() || !recover.is_finite() {
            return fault(at, format!("level {name}: recover {recover} lies beyond the threshold {threshold}"));
        }
        let for_ms = raw.for_.as_ref().map_or(Ok(rule_for_ms), |d| duration(d, "for"))?;
        levels.push(LevelRule { level, side, threshold, recover, for_ms });
    }
    levels.sort_by_key(|l| l.level);
    for pair in levels.windows(2) {
        let (mild, bad) = (&pair[0], &pair[1]);
        let ordered = match mild.side {
            Side::Above => mild.threshold <= bad.threshold,
            Side::Below => mild.threshold >= bad.threshold,
        };
        if mild.side != bad.side || !ordered {
            return fault(at, format!("level {} must lie beyond level {} on the same side", bad.level, mild.level));
        }
    }
    Ok(levels)
}

fn templates<'a>(
    texts: impl Iterator<Item = (&'a String, &'a Spanned<String>)>,
    field: &str,
    expand: bool,
) -> Result<Vec<(String, Template)>, Fault> {
    let mut templates = Vec::new();
    for (name, text) in texts {
        let parsed = if expand { Template::parse(&text.value) } else { Ok(Template::literal(&text.value)) };
        match parsed {
            Ok(template) => templates.push((name.clone(), template)),
            Err(e) => return fault(text, format!("field {field}.{name}: template: {e}")),
        }
    }
    Ok(templates)
}

fn duration(text: &Spanned<String>, field: &str) -> Result<i64, Fault> {
    parse_duration_ms(&text.value)
        .or_else(|e| fault(text, format!("field {field}: {e}; allowed are texts like 30s, 5m, 1h30m")))
}

/// The files behind patterns, sorted; `*` and `?` are allowed in file names. Patterns are relative to `base`.
pub fn find(patterns: &[String], base: &Path) -> Result<Vec<PathBuf>, RuleFileError> {
    let mut found = BTreeSet::new();
    for pattern in patterns {
        let error = |message: String| RuleFileError { file: pattern.clone(), line: None, message };
        let path = base.join(pattern);
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("").to_string();
        if !name.contains(['*', '?']) {
            found.insert(path);
            continue;
        }
        let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        if folder.to_string_lossy().contains(['*', '?']) {
            return Err(error("* and ? are allowed in the file name only".into()));
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(|n| matches_pattern(&name, n)) {
                found.insert(entry.path());
            }
        }
    }
    if found.len() > FILES_MAX {
        let message = format!("{} files behind the patterns; at most {FILES_MAX} are read", found.len());
        return Err(RuleFileError { file: patterns.join(" "), line: None, message });
    }
    Ok(found.into_iter().collect())
}

/// Whether a name fits a pattern of `*` and `?`.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            matches_pattern(&pattern[1..], name)
                || name.chars().next().is_some_and(|c| matches_pattern(pattern, &name[c.len_utf8()..]))
        }
        (Some('?'), Some(c)) => matches_pattern(&pattern[1..], &name[c.len_utf8()..]),
        (Some(p), Some(c)) if p == c => matches_pattern(&pattern[p.len_utf8()..], &name[c.len_utf8()..]),
        _ => false,
    }
}

/// Reads and checks every file behind the patterns; one bad file and nothing is loaded.
pub fn load(patterns: &[String], base: &Path, interval_ms: i64) -> Result<Vec<RuleGroup>, RuleFileError> {
    let mut groups = Vec::new();
    for path in find(patterns, base)? {
        let file = path.display().to_string();
        let error = |message: String| RuleFileError { file: file.clone(), line: None, message };
        let size = std::fs::metadata(&path).map_err(|e| error(format!("can't be read: {e}")))?.len();
        if size > FILE_BYTES_MAX {
            return Err(error(format!("has {size} bytes; at most {FILE_BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| error(format!("can't be read: {e}")))?;
        groups.extend(parse(&file, &text, interval_ms)?);
    }
    groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    Ok(groups)
}

#[cfg(test)]
mod tests;
