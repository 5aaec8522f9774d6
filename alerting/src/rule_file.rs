//! Reads rule files: Prometheus' format, with `sql` and `levels` beside it.
//!
//! Raw first, then checked: expressions and templates are parsed, names and durations checked, before anything runs. Every
//! error names file, line, group, rule and field.

use std::collections::{BTreeMap, BTreeSet};

use query::promql::number::parse_duration_ms;
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use crate::forecast::rule::{self as forecast_rule, RawForecast};
use crate::level::{Level, SEVERITY_LABEL};
use crate::rule::{Alerting, Kind, LevelRule, Rule, RuleGroup, Side, Source};
use crate::template::Template;

mod find;
mod locate;

pub use find::{FILE_BYTES_MAX, FILES_MAX, find, load, matches_pattern, read, text};

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

/// What may be left out or left empty: `labels:` with nothing behind it is no labels.
pub(crate) fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default, deserialize_with = "or_empty")]
    groups: Vec<RawGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
    query_offset: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "or_empty")]
    limit: i64,
    #[serde(default, deserialize_with = "or_empty")]
    labels: BTreeMap<String, Option<Spanned<String>>>,
    #[serde(default, deserialize_with = "or_empty")]
    rules: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Option<Spanned<String>>,
    sql: Option<Spanned<String>>,
    forecast: Option<Spanned<RawForecast>>,
    #[serde(rename = "for")]
    for_: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    sparse: Option<Spanned<bool>>,
    #[serde(default, deserialize_with = "or_empty")]
    levels: BTreeMap<String, Spanned<RawLevel>>,
    #[serde(default, deserialize_with = "or_empty")]
    labels: BTreeMap<String, Option<Spanned<String>>>,
    #[serde(default, deserialize_with = "or_empty")]
    annotations: BTreeMap<String, Option<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLevel {
    above: Option<f64>,
    below: Option<f64>,
    within: Option<Spanned<String>>,
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

/// Texts by name; a name without one has the empty text.
type Texts = BTreeMap<String, Option<Spanned<String>>>;

/// Reads one file's text. `interval_ms` is used by groups that name none. The first thing wrong is the error.
pub fn parse(file: &str, text: &str, interval_ms: i64) -> Result<Vec<RuleGroup>, RuleFileError> {
    parse_all(file, text, interval_ms).map_err(|mut errors| errors.swap_remove(0))
}

/// As [`parse`], with everything that is wrong: at least one error.
pub fn parse_all(file: &str, text: &str, interval_ms: i64) -> Result<Vec<RuleGroup>, Vec<RuleFileError>> {
    let error = |line, message| RuleFileError { file: file.into(), line, message };
    // a byte order mark is no part of the text; documents after the first don't count and need not be rules
    let mut bytes = text.trim_start_matches('\u{feff}').as_bytes();
    let mut documents = serde_saphyr::read::<_, RawFile>(&mut bytes);
    let raw = match documents.next() {
        Some(Ok(raw)) => raw,
        None => return Ok(Vec::new()),
        Some(Err(e)) => {
            let line = e.location().map(|l| l.line());
            let place = line.map(|line| locate::place(text, line)).unwrap_or_default();
            return Err(vec![error(line, format!("{place}{}", e.without_snippet()))]);
        }
    };
    if documents.next().is_some() {
        tracing::warn!(file, "only the first document of a rule file counts");
    }
    let (mut names, mut groups, mut errors) = (BTreeSet::new(), Vec::new(), Vec::new());
    for raw in raw.groups {
        let name = raw.name.as_ref().map(|n| n.value.clone()).unwrap_or_default();
        let line = raw.name.as_ref().map(|n| n.referenced.line());
        if name.is_empty() {
            errors.push(error(line, "group name must not be empty".into()));
        } else if !names.insert(name.clone()) {
            errors.push(error(line, format!("group {name:?} is there twice")));
        }
        match check_group(raw, &name, file, interval_ms) {
            Ok(group) => groups.push(group),
            Err(faults) => {
                errors.extend(faults.into_iter().map(|f| error(Some(f.line), format!("group {name:?}, {}", f.message))))
            }
        }
    }
    if errors.is_empty() { Ok(groups) } else { Err(errors) }
}

fn check_group(raw: RawGroup, name: &str, file: &str, interval_ms: i64) -> Result<RuleGroup, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut checked = |text: &Option<Spanned<String>>, field: &str| match text.as_ref().map(|t| duration(t, field)) {
        None => 0,
        Some(Ok(ms)) => ms,
        Some(Err(fault)) => {
            faults.push(fault);
            0
        }
    };
    // as in Prometheus, an interval of 0 is none
    let own_interval_ms = checked(&raw.interval, "interval");
    let query_offset_ms = checked(&raw.query_offset, "query_offset");
    let mut rules = Vec::new();
    for (i, rule) in raw.rules.into_iter().enumerate() {
        let (line, rule) = (rule.referenced.line(), rule.value);
        let name = rule.alert.as_ref().or(rule.record.as_ref()).map(|n| n.value.clone()).unwrap_or_default();
        match check_rule(rule, &raw.labels) {
            Ok(rule) => rules.push(rule),
            Err(f) => faults.push(Fault {
                line: if f.line == 0 { line } else { f.line },
                message: format!("rule {} {name:?}: {}", i + 1, f.message),
            }),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let interval_ms = if own_interval_ms == 0 { interval_ms } else { own_interval_ms };
    for rule in &mut rules {
        if let Source::Forecast(forecast) = &mut rule.source {
            // data come about as often as rules look at them
            forecast.ask.finest_ms = interval_ms.clamp(1_000, 60_000);
        }
    }
    let limit = usize::try_from(raw.limit).unwrap_or(0);
    Ok(RuleGroup { name: name.into(), file: file.into(), interval_ms, query_offset_ms, limit, rules })
}

fn check_rule(raw: RawRule, group_labels: &Texts) -> Result<Rule, Fault> {
    let name = match (&raw.record, &raw.alert) {
        (Some(record), Some(_)) => return fault(record, "only one of record and alert may be set"),
        (None, None) => return Err(Fault { line: 0, message: "one of record and alert must be set".into() }),
        (Some(name), None) | (None, Some(name)) if name.value.is_empty() => {
            return fault(name, "one of record and alert must be set");
        }
        (Some(name), None) => {
            // names may be any text; braces say that someone wrote a selector
            if name.value.contains(['{', '}']) {
                return fault(name, format!("record {:?} has braces: it is a metric name, not a selector", name.value));
            }
            name.clone()
        }
        (None, Some(name)) => name.clone(),
    };
    let is_alert = raw.alert.is_some();
    let source = match (raw.expr, raw.sql, raw.forecast) {
        (Some(text), None, None) if !text.value.trim().is_empty() => match query::promql::parse(&text.value) {
            Ok(expr) => Source::Promql { expr: Box::new(expr), text: text.value },
            Err(e) => return fault(&text, format!("field expr: could not parse expression: {e}")),
        },
        (None, Some(text), None) if !text.value.trim().is_empty() => Source::Sql(text.value),
        (None, None, Some(forecast)) if is_alert => {
            let checked = forecast.value.check().map_err(|(line, message)| Fault { line, message })?;
            Source::Forecast(Box::new(checked))
        }
        (None, None, Some(_)) => return fault(&name, "field forecast is not allowed in a recording rule"),
        (_, Some(sql), _) if !sql.value.trim().is_empty() => {
            return fault(&sql, "only one of expr, sql and forecast may be set");
        }
        (_, _, Some(forecast)) => return fault(&forecast, "only one of expr, sql and forecast may be set"),
        _ => return fault(&name, "field expr must be set"),
    };
    let mut labels: BTreeMap<&String, &Option<Spanned<String>>> = group_labels.iter().collect();
    labels.extend(&raw.labels);
    for label in labels.keys() {
        if label.is_empty() || label.as_str() == "__name__" {
            return fault(&name, format!("field labels: {label:?} is not allowed as a label name"));
        }
    }
    if raw.annotations.contains_key("") {
        return fault(&name, "field annotations: \"\" is not allowed as a name");
    }
    let labels = templates(labels.into_iter(), "labels", is_alert)?;
    if !is_alert {
        for (field, value) in [("for", &raw.for_), ("keep_firing_for", &raw.keep_firing_for)] {
            if let Some(at) = value
                && duration(at, field)? != 0
            {
                return fault(at, format!("field {field} is not allowed in a recording rule"));
            }
        }
        if let Some(at) = &raw.sparse {
            return fault(at, "field sparse is not allowed in a recording rule");
        }
        if !raw.annotations.is_empty() || !raw.levels.is_empty() {
            return fault(&name, "fields annotations and levels are not allowed in a recording rule");
        }
        return Ok(Rule { name: name.value, source, labels, kind: Kind::Recording });
    }
    let for_ms = raw.for_.as_ref().map_or(Ok(0), |d| duration(d, "for"))?;
    let keep_firing_for_ms = raw.keep_firing_for.as_ref().map_or(Ok(0), |d| duration(d, "keep_firing_for"))?;
    let mut levels = levels(raw.levels, for_ms, &source, &name)?;
    let mut annotations = templates(raw.annotations.iter(), "annotations", true)?;
    if let Source::Forecast(forecast) = &source {
        if levels.is_empty() {
            let severity = labels.iter().find(|(name, _)| name == SEVERITY_LABEL).map(|(_, t)| t.source());
            levels.push(forecast.only_level(Level::from_severity(severity), for_ms));
        }
        if annotations.is_empty() {
            for (annotation, text) in forecast_rule::ANNOTATIONS {
                let parsed =
                    Template::parse(text).or_else(|e| fault(&name, format!("annotation {annotation}: {e}")))?;
                annotations.push((annotation.into(), parsed));
            }
        }
    }
    let sparse = raw.sparse.is_some_and(|s| s.value);
    let alerting = Alerting { for_ms, keep_firing_for_ms, levels, sparse, annotations };
    Ok(Rule { name: name.value, source, labels, kind: Kind::Alerting(alerting) })
}

fn levels(
    raw: BTreeMap<String, Spanned<RawLevel>>,
    rule_for_ms: i64,
    source: &Source,
    rule: &Spanned<String>,
) -> Result<Vec<LevelRule>, Fault> {
    let mut levels = Vec::new();
    for (name, raw) in raw {
        let (at, raw) = (&raw, &raw.value);
        let Some(level) = Level::from_name(&name) else {
            return fault(at, format!("field levels: {name:?} is not a level; allowed are notice, warning, critical"));
        };
        if let Source::Forecast(forecast) = source {
            let Some(text) = raw.within.as_ref().filter(|_| raw.above.or(raw.below).or(raw.recover).is_none()) else {
                return fault(
                    at,
                    format!("level {name}: a level of a forecast has within, and not above, below or recover"),
                );
            };
            let within_ms = duration(text, "within")?;
            if within_ms == 0 || within_ms > forecast.horizon_ms {
                return fault(text, format!("level {name}: within must be longer than 0 and at most the horizon"));
            }
            let for_ms = raw.for_.as_ref().map_or(Ok(rule_for_ms), |d| duration(d, "for"))?;
            levels.push(forecast_rule::level_rule(level, within_ms, for_ms));
            continue;
        }
        if let Some(text) = &raw.within {
            return fault(
                text,
                format!("level {name}: within is for levels of a forecast; here above or below is allowed"),
            );
        }
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
            return fault(rule, format!("level {} must lie beyond level {} on the same side", bad.level, mild.level));
        }
    }
    Ok(levels)
}

fn templates<'a>(
    texts: impl Iterator<Item = (&'a String, &'a Option<Spanned<String>>)>,
    field: &str,
    expand: bool,
) -> Result<Vec<(String, Template)>, Fault> {
    let mut templates = Vec::new();
    for (name, text) in texts {
        let Some(text) = text else {
            templates.push((name.clone(), Template::literal("")));
            continue;
        };
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

#[cfg(test)]
mod tests;
