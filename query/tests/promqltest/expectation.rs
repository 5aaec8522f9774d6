//! What an evaluation is to give: series with points, annotations, errors, order. And whether it did.

use proto::Labels;
use query::promql::histogram::Histogram;
use query::promql::notation::{Written, parse_labels};
use query::promql::{Answer, AnswerValue, MatrixSeries, Point, QueryError};

use crate::script::points;

/// How a message is compared.
enum Message {
    Any,
    Exactly(String),
    Like(regex::Regex),
}

impl Message {
    fn read(text: &str) -> Result<Message, String> {
        let text = text.trim();
        if let Some(exact) = text.strip_prefix("msg:") {
            return Ok(Message::Exactly(exact.trim().into()));
        }
        if let Some(pattern) = text.strip_prefix("regex:") {
            return regex::Regex::new(pattern.trim()).map(Message::Like).map_err(|e| e.to_string());
        }
        if text.is_empty() { Ok(Message::Any) } else { Err(format!("cannot read expectation {text}")) }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Message::Any => true,
            Message::Exactly(exact) => text == exact,
            Message::Like(pattern) => pattern.is_match(text),
        }
    }
}

/// All expectations of one evaluation.
#[derive(Default)]
pub struct Expected {
    fail: Vec<Message>,
    warn: Vec<Message>,
    info: Vec<Message>,
    no_warn: bool,
    no_info: bool,
    ordered: bool,
    string: Option<String>,
    /// The result is a range vector: its points lie from the first time to the second, which is also when the query is
    /// evaluated, the third apart.
    pub range_vector: Option<(i64, i64, i64)>,
    series: Vec<(Labels, Vec<Written>)>,
    scalar: Option<Vec<Written>>,
}

impl Expected {
    /// Reads the lines below an `eval`.
    pub fn read(body: &[&str], old_form: Option<&str>) -> Result<Expected, String> {
        let mut out = Expected::default();
        match old_form {
            None => {}
            Some("fail") => out.fail.push(Message::Any),
            Some("warn") => out.warn.push(Message::Any),
            Some("info") => out.info.push(Message::Any),
            Some("ordered") => out.ordered = true,
            Some(other) => return Err(format!("eval_{other} is unknown")),
        }
        for line in body {
            if let Some(rest) = line.strip_prefix("expect ").or(line.strip_prefix("expect\t")) {
                out.read_expect(rest.trim())?;
            } else if let Some(text) = line.strip_prefix("expected_fail_message") {
                out.fail.push(Message::Exactly(text.trim().into()));
            } else if let Some(text) = line.strip_prefix("expected_fail_regexp") {
                out.fail.push(Message::read(&format!("regex:{text}"))?);
            } else if line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
                || matches!(*line, "NaN" | "Inf")
            {
                out.scalar = Some(points(line)?);
            } else {
                let (labels, _, rest) = parse_labels(line)?;
                out.series.push((labels, points(rest)?));
            }
        }
        Ok(out)
    }

    fn read_expect(&mut self, text: &str) -> Result<(), String> {
        let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match kind {
            "fail" => self.fail.push(Message::read(rest)?),
            "warn" => self.warn.push(Message::read(rest)?),
            "info" => self.info.push(Message::read(rest)?),
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            "ordered" => self.ordered = true,
            "string" => {
                let text = query::promql::literal::unquote(rest.trim())?;
                self.string = Some(text.to_lossy());
            }
            // `range vector from <start> step <step>`
            "range" => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                let ["vector", "from", start, "to", end, "step", step] = words[..] else {
                    return Err(format!("cannot read {text}"));
                };
                let (start, end, step) = (time_ms(start)?, time_ms(end)?, time_ms(step)?);
                if step <= 0 || end < start {
                    return Err(format!("{text} has no points"));
                }
                self.range_vector = Some((start, end, step));
            }
            _ => return Err(format!("cannot read expectation {text}")),
        }
        Ok(())
    }
}

fn time_ms(text: &str) -> Result<i64, String> {
    match text.parse::<f64>() {
        Ok(seconds) => Ok((seconds * 1000.0) as i64),
        Err(_) => query::promql::number::parse_duration_ms(text),
    }
}

fn notes(wanted: &[Message], none: bool, got: &[String], kind: &str) -> Result<(), String> {
    if none && !got.is_empty() {
        return Err(format!("unexpected {kind}: {got:?}"));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    if got.is_empty() {
        return Err(format!("expected {kind}, got none"));
    }
    if wanted.iter().any(|w| !got.iter().any(|g| w.fits(g))) || got.iter().any(|g| !wanted.iter().any(|w| w.fits(g))) {
        return Err(format!("other {kind} than expected: {got:?}"));
    }
    Ok(())
}

/// Checks an evaluation. `times` are the steps of a range query.
pub fn check(expected: &Expected, answer: &Result<Answer, QueryError>, times: Option<&[i64]>) -> Result<(), String> {
    let answer = match answer {
        Err(e) if expected.fail.is_empty() => return Err(format!("failed: {e}")),
        Err(e) => {
            let text = e.to_string();
            return if expected.fail.iter().all(|m| m.fits(&text)) {
                Ok(())
            } else {
                Err(format!("failed otherwise: {text}"))
            };
        }
        Ok(_) if !expected.fail.is_empty() => return Err("expected a failure, got a result".into()),
        Ok(answer) => answer,
    };
    notes(&expected.warn, expected.no_warn, &answer.warnings, "warnings")?;
    notes(&expected.info, expected.no_info, &answer.infos, "infos")?;
    match (&answer.value, times) {
        (AnswerValue::Matrix(series), Some(times)) => matrix(expected, series, times),
        (AnswerValue::Matrix(series), None) => match expected.range_vector {
            Some((start, end, step)) => {
                matrix(expected, series, &(start..=end).step_by(step as usize).collect::<Vec<_>>())
            }
            None => Err("the result is a range vector".into()),
        },
        (value, _) => instant(expected, value),
    }
}

fn instant(expected: &Expected, value: &AnswerValue) -> Result<(), String> {
    match value {
        AnswerValue::String(_, text) => match &expected.string {
            Some(wanted) if wanted == text => Ok(()),
            wanted => Err(format!("expected string {wanted:?}, got {text:?}")),
        },
        AnswerValue::Scalar(_, v) => {
            let wanted = expected.scalar.as_ref().and_then(|p| p.first());
            match wanted {
                Some(w) => same_point(w, Some(&Point::Float(*v))).map_err(|e| format!("scalar: {e}")),
                None => Err(format!("expected no scalar, got {v}")),
            }
        }
        AnswerValue::Vector(samples) => {
            if expected.scalar.is_some() || expected.string.is_some() {
                return Err(format!("expected no vector, got {samples:?}"));
            }
            for (i, (labels, points)) in expected.series.iter().enumerate() {
                let found = samples.iter().position(|s| s.labels == *labels);
                let Some(at) = found else { return Err(format!("{labels} is missing in {samples:?}")) };
                if expected.ordered && at != i {
                    return Err(format!("{labels} is number {at}, expected {i}"));
                }
                let wanted = points.first().ok_or_else(|| format!("{labels} has no expected value"))?;
                same_point(wanted, Some(&samples[at].value)).map_err(|e| format!("{labels}: {e}"))?;
            }
            if samples.len() != expected.series.len() {
                let extra = samples.iter().find(|s| !expected.series.iter().any(|(l, _)| *l == s.labels));
                return Err(format!("expected {} series, got {}; {extra:?}", expected.series.len(), samples.len()));
            }
            Ok(())
        }
        AnswerValue::Matrix(_) => Err("the result is a range vector".into()),
    }
}

fn matrix(expected: &Expected, series: &[MatrixSeries], times: &[i64]) -> Result<(), String> {
    let is_there = |points: &[Written]| points.iter().take(times.len()).any(|w| w.point.is_some());
    let mut wanted: Vec<(Labels, &[Written])> = expected.series.iter().map(|(l, p)| (l.clone(), &p[..])).collect();
    if let Some(scalar) = &expected.scalar {
        wanted.push((Labels::empty(), scalar));
    }
    for (labels, points) in &wanted {
        let found = series.iter().find(|s| s.labels == *labels);
        if points.len() > times.len() {
            return Err(format!("{labels}: {} points are expected at {} times", points.len(), times.len()));
        }
        let between =
            found.into_iter().flat_map(|s| s.floats.iter().map(|f| f.0).chain(s.histograms.iter().map(|h| h.0)));
        if let Some(time) = between.filter(|time| times.binary_search(time).is_err()).min() {
            return Err(format!("{labels}: a point at {time}ms, where none is expected"));
        }
        for (i, time) in times.iter().enumerate() {
            let got = found.and_then(|s| point_at(s, *time));
            let nothing = Written { point: None, has_hint: false };
            same_point(points.get(i).unwrap_or(&nothing), got.as_ref())
                .map_err(|e| format!("{labels} at {time}ms: {e}"))?;
        }
    }
    let extra = series.iter().find(|s| !wanted.iter().any(|(l, p)| *l == s.labels && is_there(p)));
    extra.map_or(Ok(()), |s| Err(format!("unexpected series {s:?}")))
}

fn point_at(series: &MatrixSeries, time: i64) -> Option<Point> {
    let float = series.floats.iter().find(|(t, _)| *t == time).map(|(_, v)| Point::Float(*v));
    float.or_else(|| series.histograms.iter().find(|(t, _)| *t == time).map(|(_, h)| Point::Histogram(h.clone())))
}

/// The tolerance of Prometheus' runner.
const RELATIVE_ERROR_MAX: f64 = 1e-6;

fn almost(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < RELATIVE_ERROR_MAX * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < RELATIVE_ERROR_MAX
}

fn same_point(wanted: &Written, got: Option<&Point>) -> Result<(), String> {
    let fits = match (&wanted.point, got) {
        (None, None) => true,
        (Some(Point::Float(a)), Some(Point::Float(b))) => almost(*a, *b),
        (Some(Point::Histogram(a)), Some(Point::Histogram(b))) => {
            same_histogram(a, b) && (!wanted.has_hint || a.hint == b.hint)
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("expected {:?}, got {got:?}", wanted.point)) }
}

fn same_histogram(a: &Histogram, b: &Histogram) -> bool {
    let full =
        |buckets: &[(i32, f64)]| -> Vec<(i32, f64)> { buckets.iter().copied().filter(|(_, c)| *c != 0.0).collect() };
    let same_buckets = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        let (a, b) = (full(a), full(b));
        a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| x.0 == y.0 && almost(x.1, y.1))
    };
    a.schema == b.schema
        && almost(a.count, b.count)
        && almost(a.sum, b.sum)
        && (a.is_custom() || (a.zero_threshold == b.zero_threshold && almost(a.zero_count, b.zero_count)))
        && a.bounds.len() == b.bounds.len()
        && a.bounds.iter().zip(b.bounds.iter()).all(|(x, y)| almost(*x, *y))
        && same_buckets(&a.positive, &b.positive)
        && same_buckets(&a.negative, &b.negative)
}

/// Checks that a repeated evaluation gave what the first did.
pub fn check_repeated(
    expected: &Expected,
    first: &Answer,
    again: &Result<Answer, QueryError>,
    _time: i64,
) -> Result<(), String> {
    let again = again.as_ref().map_err(|e| format!("failed: {e}"))?;
    match (&first.value, &again.value) {
        (AnswerValue::Scalar(_, a), AnswerValue::Scalar(_, b)) if almost(*a, *b) => Ok(()),
        (AnswerValue::Scalar(_, a), AnswerValue::Vector(v)) => match &v[..] {
            [only] if matches!(only.value, Point::Float(b) if almost(*a, b)) => Ok(()),
            other => Err(format!("expected {a}, got {other:?}")),
        },
        (AnswerValue::Vector(_), value @ AnswerValue::Vector(_)) => {
            // The order means something only where it was asked for, and never in a range.
            let unordered = Expected { series: expected.series.clone(), ..Expected::default() };
            instant(&unordered, value)
        }
        (AnswerValue::String(_, a), AnswerValue::String(_, b)) if a == b => Ok(()),
        (AnswerValue::Matrix(_), AnswerValue::Matrix(_)) => Ok(()),
        (a, b) => Err(format!("first {a:?}, then {b:?}")),
    }
}
