//! Facts that a tree asks for itself: PromQL or SQL over what is stored, with the alert's instance, window and labels put
//! in safely. This room only writes the question; whoever collects evidence asks it.

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use crate::evidence::Evidence;

/// Most facts one tree may ask for.
pub const QUESTIONS_PER_TREE_MAX: usize = 24;
/// Longest question, characters.
const TEXT_CHARS_MAX: usize = 4_000;
/// Most further values of one answer.
const FURTHER_MAX: usize = 8;

/// How a number reads in a sentence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// As it is, with at most one decimal.
    #[default]
    Plain,
    /// 1.5 GiB.
    Bytes,
    /// 2 h 5 min.
    Seconds,
    /// 0.93 as 93 %.
    Ratio,
}

impl Unit {
    /// A number in words that both languages read.
    pub fn words(self, value: f64) -> String {
        match self {
            Unit::Plain if value.fract() == 0.0 => format!("{value:.0}"),
            Unit::Plain if value.abs() < 1.0 => format!("{value:.2}"),
            Unit::Plain => format!("{value:.1}"),
            Unit::Ratio => format!("{:.0} %", value * 100.0),
            Unit::Bytes => bytes(value),
            Unit::Seconds => seconds(value),
        }
    }
}

fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

fn seconds(value: f64) -> String {
    let whole = value.max(0.0).round() as u64;
    let (days, hours, minutes, left) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if value < 10.0 && value.fract() != 0.0 => format!("{value:.1} s"),
        (0, 0, 0) => format!("{left} s"),
        (0, 0, _) => format!("{minutes} min {left} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A question whose answer is a fact.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Name of the fact.
    pub name: Spanned<String>,
    /// PromQL: the greatest value of the answer is the fact.
    promql: Option<Spanned<String>>,
    /// SQL: the column `value` of the first row is the fact.
    sql: Option<Spanned<String>>,
    /// Labels of that series, as facts `name.label`.
    #[serde(default)]
    labels: Vec<String>,
    /// Further columns of that row, as facts `name.column`.
    #[serde(default)]
    columns: Vec<String>,
    /// How its number reads.
    #[serde(default)]
    pub unit: Unit,
}

/// A question as it is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// At the end of the window.
    Promql(String),
    /// Over the event tables.
    Sql(String),
}

impl Question {
    /// What is wrong with it, with the line.
    pub(crate) fn check(&self) -> Result<(), (u64, String)> {
        let line = self.name.referenced.line();
        let further = match (&self.promql, &self.sql) {
            (Some(text), None) => {
                // every placeholder stands where a text or a number may, so that the rest can be parsed
                let trial =
                    write(&text.value, &|name| stand_in(name, true)).map_err(|e| (text.referenced.line(), e))?;
                query::promql::parse(&trial).map_err(|e| (text.referenced.line(), format!("promql: {e}")))?;
                if !self.columns.is_empty() {
                    return Err((line, "columns go with sql; promql has labels".into()));
                }
                &self.labels
            }
            (None, Some(text)) => {
                let trial =
                    write(&text.value, &|name| stand_in(name, false)).map_err(|e| (text.referenced.line(), e))?;
                if !trial.trim_start().get(..6).is_some_and(|w| w.eq_ignore_ascii_case("select")) {
                    return Err((text.referenced.line(), "sql must begin with SELECT".into()));
                }
                if !self.labels.is_empty() {
                    return Err((line, "labels go with promql; sql has columns".into()));
                }
                &self.columns
            }
            _ => return Err((line, "exactly one of promql and sql must be set".into())),
        };
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c))
        };
        if !plain(&self.name.value) {
            return Err((line, "name must consist of a-z, 0-9, . and _".into()));
        }
        if further.len() > FURTHER_MAX {
            return Err((line, format!("at most {FURTHER_MAX} labels or columns are allowed")));
        }
        Ok(())
    }

    /// Names of the facts it gives.
    pub fn facts(&self) -> impl Iterator<Item = String> {
        let further = self.labels.iter().chain(&self.columns);
        std::iter::once(self.name.value.clone()).chain(further.map(|f| format!("{}.{f}", self.name.value)))
    }

    /// Labels or columns that are facts too.
    pub fn further(&self) -> impl Iterator<Item = &String> {
        self.labels.iter().chain(&self.columns)
    }

    /// The question about this evidence's instance, window and labels.
    pub fn about(&self, evidence: &Evidence) -> Asked {
        let window = evidence.window;
        let label = |name: &str| evidence.labels.get(name).map_or("", String::as_str);
        let value = |name: &str, promql: bool| {
            let text = |text: &str| match promql {
                true => query::promql::number::go_quote(text.as_bytes()),
                false => format!("'{}'", text.replace('\'', "''")),
            };
            let moment = |ms: i64| match promql {
                true => format!("{:.3}", ms as f64 / 1000.0),
                false => format!("arrow_cast({ms}, 'Timestamp(Millisecond, Some(\"UTC\"))')"),
            };
            match name {
                "instance" => Some(text(&evidence.instance)),
                "from" => Some(moment(window.from_ms)),
                "to" => Some(moment(window.to_ms)),
                "window" => Some(format!("{}s", ((window.to_ms - window.from_ms) / 1000).max(1))),
                _ => match name.split_once('.')? {
                    ("label", name) => Some(text(label(name))),
                    ("below", name) => Some(text(&below(label(name), promql))),
                    _ => None,
                },
            }
        };
        // checked when the tree was read
        match (&self.promql, &self.sql) {
            (Some(q), _) => Asked::Promql(write(&q.value, &|name| value(name, true)).unwrap_or_default()),
            (_, Some(q)) => Asked::Sql(write(&q.value, &|name| value(name, false)).unwrap_or_default()),
            _ => Asked::Promql(String::new()),
        }
    }
}

/// The text with its placeholders filled.
fn write(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(format!("longer than {TEXT_CHARS_MAX} characters"));
    }
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or("").to_string();
    for part in parts {
        let mut end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(part.len());
        if !part.starts_with("label.") && !part.starts_with("below.") {
            end = part.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(part.len());
        }
        let (name, rest) = part.split_at(end);
        match value(name) {
            Some(value) => out.push_str(&value),
            None => {
                let message =
                    "is not a placeholder; there are $instance, $from, $to, $window, $label.NAME and $below.NAME";
                return Err(format!("${name} {message}"));
            }
        }
        out.push_str(rest);
    }
    Ok(out)
}

/// What lies below a folder that a label names: a regular expression, or a pattern of SQL's LIKE.
fn below(folder: &str, promql: bool) -> String {
    let folder = folder.trim_end_matches('/');
    if !promql {
        return format!("{folder}/%");
    }
    let mut out = String::new();
    for c in folder.chars() {
        if !c.is_alphanumeric() && c != '/' && c != '_' {
            out.push('\\');
        }
        out.push(c);
    }
    out + "(/.*)?"
}

fn stand_in(name: &str, promql: bool) -> Option<String> {
    match name {
        "instance" => Some(if promql { "\"i\"" } else { "'i'" }.into()),
        "from" | "to" => Some("1".into()),
        "window" => Some("900s".into()),
        _ => match name.split_once('.')? {
            ("label" | "below", name) if !name.is_empty() => Some(if promql { "\"l\"" } else { "'l'" }.into()),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Window;

    #[test]
    fn numbers_read_as_people_write_them() {
        for (unit, value, words) in [
            (Unit::Plain, 3.0, "3"),
            (Unit::Plain, 3.17, "3.2"),
            (Unit::Plain, 0.049, "0.05"),
            (Unit::Bytes, 512.0, "512 B"),
            (Unit::Bytes, 1.5 * 1024.0 * 1024.0, "1.5 MiB"),
            (Unit::Bytes, 300.0 * 1024.0 * 1024.0, "300 MiB"),
            (Unit::Seconds, 0.25, "0.2 s"),
            (Unit::Seconds, 59.0, "59 s"),
            (Unit::Seconds, 125.0, "2 min 5 s"),
            (Unit::Seconds, 7_500.0, "2 h 5 min"),
            (Unit::Seconds, 200_000.0, "2 d 7 h"),
            (Unit::Ratio, 0.934, "93 %"),
        ] {
            assert_eq!(unit.words(value), words);
        }
    }

    #[test]
    fn placeholders_can_not_break_out_of_their_place() {
        let question = |yaml: &str| serde_saphyr::from_str::<Question>(yaml).expect("a question");
        let evidence = Evidence {
            instance: "a\"b' OR 1=1".into(),
            window: Window { from_ms: 1_000, to_ms: 61_500 },
            labels: [("mountpoint".to_string(), "/it's".to_string())].into(),
            ..Evidence::default()
        };
        assert_eq!((below("/srv/a.b", true), below("/", true)), ("/srv/a\\.b(/.*)?".into(), "(/.*)?".into()));
        let promql =
            question("{name: a, promql: 'max(rate(x{instance=$instance,m=$label.mountpoint}[$window] @ $to))'}");
        assert!(promql.check().is_ok());
        let written = r#"max(rate(x{instance="a\"b' OR 1=1",m="/it's"}[60s] @ 61.500))"#;
        assert_eq!(promql.about(&evidence), Asked::Promql(written.into()));
        let sql = question("{name: a, sql: 'SELECT 1 AS value FROM logs WHERE instance = $instance AND ts > $from'}");
        assert!(sql.check().is_ok());
        let Asked::Sql(text) = sql.about(&evidence) else { panic!("sql") };
        assert!(text.contains("instance = 'a\"b'' OR 1=1' AND ts > arrow_cast(1000, "), "{text}");
    }
}
