//! Series as test scripts and promtool's rule tests write them: `metric{a="b"} 0+10x5 _ stale {{schema:0 count:1}}`.

use std::sync::Arc;

use proto::Labels;
use proto::labels::METRIC_NAME;

use super::ast::Expr;
use super::histogram::{Histogram, ResetHint, SCHEMA_CUSTOM};
use super::matcher::MatchOp;
use super::number::{parse_duration_ms, parse_number};
use super::value::{Point, STALE_NAN_BITS};

/// How many points one series may spell, so that a typo does not fill the memory.
const POINTS_MAX: usize = 1_000_000;

/// One written point.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The value; `None` where `_` stands.
    pub point: Option<Point>,
    /// Whether a histogram's counter reset hint was written out.
    pub has_hint: bool,
}

/// Splits `metric{…}[@st] points` and reads the labels. The rest and whether `@st` stood there are returned.
pub fn parse_labels(text: &str) -> Result<(Labels, bool, &str), String> {
    let text = text.trim_start();
    let end = labels_end(text);
    let (head, rest) = text.split_at(end);
    let (is_start_times, rest) = match rest.strip_prefix("@st") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    Ok((read_labels(head)?, is_start_times, rest))
}

/// Where the metric ends: after its braces, or at the first blank.
fn labels_end(text: &str) -> usize {
    let (mut quote, mut escaped, mut in_braces) = (None, false, false);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(q), '\\') if q != '`' => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => in_braces = true,
            (None, '}') => return i + 1,
            (None, c) if !in_braces && (c.is_whitespace() || c == '@') => return i,
            _ => {}
        }
    }
    text.len()
}

fn read_labels(head: &str) -> Result<Labels, String> {
    let bare = head.trim();
    if matches!(bare, "" | "{}") {
        return Ok(Labels::empty());
    }
    // The language of selectors, of which only `=` may be used; a harmless matcher lets `{a=""}` pass.
    let text = match bare.strip_suffix('}') {
        Some(open) if open.trim_end().ends_with(['{', ',']) => format!("{open}__series__=\"x\"}}"),
        Some(open) => format!("{open},__series__=\"x\"}}"),
        None => bare.to_string(),
    };
    let expr = super::parse(&text).map_err(|e| format!("{bare}: {}", e.message))?;
    let Expr::Selector(selector) = expr else { return Err(format!("{bare} is not a series")) };
    let mut builder = Labels::empty().to_builder();
    for m in selector.matchers.iter().filter(|m| m.name() != "__series__") {
        if m.op() != MatchOp::Eq {
            return Err(format!("{bare}: only = may stand between label and value"));
        }
        builder.set(m.name(), m.value());
    }
    if let Some(name) = &selector.name {
        builder.set(METRIC_NAME, name);
    }
    Ok(builder.build())
}

/// Reads `0+10x5 _ stale {{…}}+{{…}}x3`.
pub fn parse_points(text: &str) -> Result<Vec<Written>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (item, tail) = next_item(rest)?;
        read_item(item, &mut out)?;
        if out.len() > POINTS_MAX {
            return Err(format!("more than {POINTS_MAX} points"));
        }
        rest = tail.trim_start();
    }
    Ok(out)
}

/// The text up to the next blank that is not inside `{{…}}`.
fn next_item(text: &str) -> Result<(&str, &str), String> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if let Some(inside) = rest.strip_prefix("{{") {
            let len = inside.find("}}").ok_or("{{ is not closed")?;
            at += len + 4;
        } else {
            match rest.chars().next() {
                None => return Ok((text, "")),
                Some(c) if c.is_whitespace() => return Ok(text.split_at(at)),
                Some(c) => at += c.len_utf8(),
            }
        }
    }
}

fn floats(out: &mut Vec<Written>, values: impl IntoIterator<Item = f64>) {
    out.extend(values.into_iter().map(|v| Written { point: Some(Point::Float(v)), has_hint: false }));
}

fn repetitions(text: &str) -> Result<usize, String> {
    let times: usize = text.parse().map_err(|_| format!("bad repetition x{text}"))?;
    if times > POINTS_MAX { Err(format!("more than {POINTS_MAX} points")) } else { Ok(times) }
}

fn read_item(item: &str, out: &mut Vec<Written>) -> Result<(), String> {
    if item.starts_with("{{") {
        return read_histograms(item, out);
    }
    if item == "stale" {
        floats(out, [f64::from_bits(STALE_NAN_BITS)]);
        return Ok(());
    }
    let (values, times) = match item.rsplit_once('x') {
        Some((values, times)) => (values, Some(repetitions(times)?)),
        None => (item, None),
    };
    if values == "_" {
        out.extend(std::iter::repeat_n(Written { point: None, has_hint: false }, times.unwrap_or(1)));
        return Ok(());
    }
    let bad = || format!("bad value {item}");
    let number = |s: &str| signed_number(s).ok_or_else(bad);
    // A sign after the first value begins the increment, unless it belongs to an exponent.
    let split = values.char_indices().skip(1).find(|(i, c)| {
        matches!(c, '+' | '-') && !values[..*i].ends_with(['e', 'E']) && !values[..*i].ends_with(['+', '-'])
    });
    match (split, times) {
        (Some((at, _)), Some(times)) => {
            let (first, increment) = (number(&values[..at])?, number(&values[at..])?);
            // Added one by one, as Prometheus does: the rounding is part of the data.
            let mut v = first;
            for i in 0..=times {
                floats(out, [v]);
                if i < times {
                    v += increment;
                }
            }
        }
        (None, Some(times)) => floats(out, std::iter::repeat_n(number(values)?, times + 1)),
        (None, None) => floats(out, [number(values)?]),
        (Some(_), None) => return Err(bad()),
    }
    Ok(())
}

fn signed_number(text: &str) -> Option<f64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    parse_number(digits).map(|v| if negative { -v } else { v })
}

fn read_histograms(item: &str, out: &mut Vec<Written>) -> Result<(), String> {
    let (first, rest) = item[2..].split_once("}}").ok_or("{{ is not closed")?;
    let (mut value, has_hint) = read_histogram(first)?;
    let mut push = |h: &Histogram| out.push(Written { point: Some(Point::Histogram(Arc::new(h.clone()))), has_hint });
    if rest.is_empty() {
        push(&value);
        return Ok(());
    }
    if let Some(times) = rest.strip_prefix('x') {
        (0..=repetitions(times)?).for_each(|_| push(&value));
        return Ok(());
    }
    let subtracts = rest.starts_with('-');
    let rest = rest.strip_prefix(['+', '-']).and_then(|r| r.strip_prefix("{{")).ok_or("bad histogram series")?;
    let (increment, times) = rest.split_once("}}x").ok_or("bad histogram series")?;
    let (increment, _) = read_histogram(increment)?;
    let hint = value.hint;
    push(&value);
    for _ in 0..repetitions(times)? {
        let outcome = if subtracts { value.subtract(&increment) } else { value.add(&increment) };
        outcome.map_err(|_| "histograms with exponential and custom buckets cannot be added")?;
        value.hint = hint;
        push(&value);
    }
    Ok(())
}

/// Reads `schema:0 sum:1 count:2 buckets:[1 2]`, and whether a hint was among it.
fn read_histogram(text: &str) -> Result<(Histogram, bool), String> {
    let mut h = Histogram::default();
    let (mut offset, mut negative_offset, mut has_hint) = (0, 0, false);
    let (mut buckets, mut negative): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once(':').ok_or_else(|| format!("bad histogram field {rest}"))?;
        let tail = tail.trim_start();
        let (value, after) = match tail.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or("[ is not closed")?,
            None => tail.split_once(char::is_whitespace).unwrap_or((tail, "")),
        };
        let bad = || format!("bad histogram value {key}:{value}");
        let number = || signed_number(value.trim()).ok_or_else(bad);
        let list =
            || value.split_whitespace().map(|v| signed_number(v).ok_or_else(bad)).collect::<Result<Vec<f64>, _>>();
        match key.trim() {
            "schema" => h.schema = number()? as i32,
            "sum" => h.sum = number()?,
            "count" => h.count = number()?,
            "z_bucket" => h.zero_count = number()?,
            "z_bucket_w" => h.zero_threshold = number()?,
            "offset" => offset = number()? as i32,
            "n_offset" => negative_offset = number()? as i32,
            "buckets" => buckets = list()?,
            "n_buckets" => negative = list()?,
            "custom_values" => h.bounds = list()?.into(),
            "counter_reset_hint" => {
                has_hint = true;
                h.hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return Err(bad()),
                };
            }
            other => return Err(format!("unknown histogram field {other}")),
        }
        rest = after.trim_start();
    }
    if h.schema != SCHEMA_CUSTOM && !(-9..=52).contains(&h.schema) {
        return Err(format!("bad histogram schema {}", h.schema));
    }
    let indexed = |from: i32, counts: Vec<f64>| (from..).zip(counts).collect();
    h.positive = indexed(offset, buckets);
    h.negative = indexed(negative_offset, negative);
    Ok((h, has_hint))
}

/// Reads the points of an `@st` line: offsets of start timestamps from their samples' times, in milliseconds, `None` for `_`.
pub fn parse_start_offsets(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        let (values, times) = match item.rsplit_once('x') {
            Some((values, times)) => (values, Some(repetitions(times)?)),
            None => (item, None),
        };
        if values == "_" {
            out.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
            continue;
        }
        let split = values.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map(|(i, _)| i);
        let (first, increment) = match split {
            Some(at) => (signed_duration(&values[..at])?, signed_duration(&values[at..])?),
            None => (signed_duration(values)?, 0),
        };
        for i in 0..=times.unwrap_or(0) {
            out.push(Some(first + increment * i as i64));
        }
        if out.len() > POINTS_MAX {
            return Err(format!("more than {POINTS_MAX} points"));
        }
    }
    Ok(out)
}

/// Reads a duration or a number of seconds, with a sign.
fn signed_duration(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let ms = match parse_number(digits) {
        Some(seconds) => (seconds * 1000.0) as i64,
        None => parse_duration_ms(digits)?,
    };
    Ok(sign * ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<f64> {
        let float = |w: Written| match w.point {
            Some(Point::Float(v)) => v,
            _ => f64::NEG_INFINITY,
        };
        parse_points(text).expect(text).into_iter().map(float).collect()
    }

    #[test]
    fn points_expand() {
        assert_eq!(values("1+2x2 _ 5-1x1"), [1.0, 3.0, 5.0, f64::NEG_INFINITY, 5.0, 4.0]);
        assert_eq!(values("-1e-3 1E+2x1 .5"), [-0.001, 100.0, 100.0, 0.5]);
        assert_eq!(values("1e-3+1e-3x1"), [0.001, 0.002]);
    }

    #[test]
    fn labels_are_read_up_to_the_points() {
        let (labels, st, rest) = parse_labels(r#"m{a="}",b='c'} 1 2"#).expect("valid");
        assert_eq!((labels.to_string().as_str(), st, rest), (r#"{__name__="m", a="}", b="c"}"#, false, " 1 2"));
        let (labels, st, rest) = parse_labels("m{}@st 0").expect("valid");
        assert_eq!((labels.to_string().as_str(), st, rest), (r#"{__name__="m"}"#, true, " 0"));
    }
}
