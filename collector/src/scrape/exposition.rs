//! Reads the text of a Prometheus page (text format 0.0.4) and of an OpenMetrics page (1.0). A function of values.
//!
//! As in Prometheus a page is good or bad as a whole: one line that can't be read fails it, with the line's number.

use std::collections::BTreeMap;

use proto::{Histogram, samples::Family};

/// Which of the two formats a page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`: timestamps are milliseconds.
    Text,
    /// `application/openmetrics-text`: timestamps are seconds, and the page ends with `# EOF`.
    OpenMetrics,
}

impl Format {
    /// From a `Content-Type`; everything that is not OpenMetrics is read as text.
    pub fn of(content_type: &str) -> Format {
        if content_type.trim_start().starts_with("application/openmetrics-text") {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }
}

/// One sample of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<V = f64> {
    /// Labels without the name.
    pub labels: BTreeMap<String, String>,
    /// Metric name.
    pub name: String,
    /// Value.
    pub value: V,
    /// Its own time, if it bears one.
    pub ts_ms: Option<i64>,
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the page's order.
    pub samples: Vec<Sample>,
    /// Native histograms, in the page's order.
    pub histograms: Vec<Sample<Histogram>>,
    /// What it says of its metrics.
    pub families: Vec<Family>,
    /// What was not taken of it.
    pub left_out: LeftOut,
}

/// Native parts of histograms that were not taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeftOut {
    /// The job does not ask for any.
    pub not_asked_for: usize,
    /// They break a rule of native histograms.
    pub broken: usize,
    /// Of the first broken one: which it is, and what rule.
    pub why: Option<String>,
}

/// Why a page can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PageError {
    /// From 1.
    pub line: usize,
    /// What was expected.
    pub what: &'static str,
}

/// Reads a page.
pub fn read(text: &str, format: Format) -> Result<Page, PageError> {
    let mut page = Page::default();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut ended = false;
    for (index, line) in text.split('\n').enumerate() {
        let wrong = |what| PageError { line: index + 1, what };
        let line = line.trim_matches(['\r', ' ', '\t']);
        if line.is_empty() {
            continue;
        }
        if ended {
            return Err(wrong("something follows # EOF"));
        }
        if let Some(comment) = line.strip_prefix('#') {
            ended = format == Format::OpenMetrics && comment.trim() == "EOF";
            note_family(&mut families, comment);
            continue;
        }
        page.samples.push(sample(line, format).map_err(wrong)?);
    }
    if format == Format::OpenMetrics && !ended {
        return Err(PageError { line: text.split('\n').count(), what: "# EOF is missing: the page was cut" });
    }
    // OpenMetrics names a counter without the ending its samples bear.
    page.families = families
        .into_values()
        .map(|mut family| {
            if format == Format::OpenMetrics && family.kind == "counter" && !family.name.ends_with("_total") {
                family.name += "_total";
            }
            family
        })
        .filter(|f| !f.kind.is_empty())
        .collect();
    Ok(page)
}

fn note_family(families: &mut BTreeMap<String, Family>, comment: &str) {
    let comment = comment.trim_start();
    let Some((word, rest)) = comment.split_once([' ', '\t']) else { return };
    let (name, text) = rest.trim_start().split_once([' ', '\t']).unwrap_or((rest, ""));
    if !matches!(word, "HELP" | "TYPE" | "UNIT") || name.is_empty() {
        return;
    }
    let family = families.entry(name.to_owned()).or_insert_with(|| Family {
        name: name.into(),
        kind: String::new(),
        help: String::new(),
        unit: String::new(),
    });
    match word {
        "HELP" => family.help = unescaped(text.trim_start()),
        "UNIT" => text.trim().clone_into(&mut family.unit),
        _ => {
            family.kind = match text.trim() {
                kind @ ("counter" | "gauge" | "histogram" | "summary") => kind.into(),
                _ => "unknown".into(),
            };
        }
    }
}

/// `name{label="value",…} value [timestamp] [# exemplar]`.
fn sample(line: &str, format: Format) -> Result<Sample, &'static str> {
    let name_end = line.find(|c: char| !is_name_char(c) && c != ':').unwrap_or(line.len());
    let name = &line[..name_end];
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a metric name is expected");
    }
    let rest = line[name_end..].trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let rest = match format {
        Format::OpenMetrics => rest.split_once('#').map_or(rest, |(before, _)| before),
        Format::Text => rest,
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().and_then(number).ok_or("a value is expected")?;
    let ts_ms = match (words.next(), format) {
        (None, _) => None,
        (Some(word), Format::Text) => Some(word.parse().map_err(|_| "a timestamp in milliseconds is expected")?),
        (Some(word), Format::OpenMetrics) => {
            let seconds: f64 = word.parse().map_err(|_| "a timestamp in seconds is expected")?;
            Some((seconds * 1000.0).round() as i64)
        }
    };
    if words.next().is_some() {
        return Err("nothing is expected after the timestamp");
    }
    Ok(Sample { name: name.to_owned(), labels, value, ts_ms })
}

/// Pairs up to the closing brace, and what follows it.
fn labels(text: &str) -> Result<(BTreeMap<String, String>, &str), &'static str> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after.trim_start()));
        }
        let name_end = rest.find(|c: char| !is_name_char(c)).ok_or("a closing brace is expected")?;
        let (name, after) = rest.split_at(name_end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("a label name is expected");
        }
        let after = after.trim_start().strip_prefix('=').ok_or("= is expected after a label name")?;
        let after = after.trim_start().strip_prefix('"').ok_or("a label value in quotes is expected")?;
        let value_end = end_of_quoted(after).ok_or("a closing quote is expected")?;
        if labels.insert(name.to_owned(), unescaped(&after[..value_end])).is_some() {
            return Err("a label is given twice");
        }
        rest = after[value_end + 1..].trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with('}') => {}
            None => return Err("a comma or a closing brace is expected"),
        }
    }
}

fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some(c @ ('\\' | '"'))) => out.push(c),
            ('\\', Some(other)) => out.extend(['\\', other]),
            (c, _) => out.push(c),
        }
    }
    out
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn number(word: &str) -> Option<f64> {
    match word {
        "NaN" => Some(f64::NAN),
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ if word.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => word.parse().ok(),
        _ => None,
    }
}
