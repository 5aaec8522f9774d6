//! The script language: `load`, `clear`, `eval`; each evaluation is repeated in the ways that must not change it.

use futures::executor::block_on;
use query::promql::notation::{Written, parse_labels, parse_points, parse_start_offsets};
use query::promql::number::parse_duration_ms;
use query::promql::{
    Answer, AnswerValue, Engine, Features, Histogram, Limits, MemorySource, Options, Point, QueryError, never_stop,
};

use crate::expectation::{Expected, check, check_repeated};

/// What a script came to.
#[derive(Default)]
pub struct Report {
    /// Evaluations that went as expected.
    pub passed: usize,
    /// The others: line, query, what was wrong.
    pub failures: Vec<String>,
}

/// A line that is no command, no blank and no comment.
fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// Runs a script.
pub fn run(text: &str) -> Report {
    let lines: Vec<&str> = text.lines().collect();
    let (mut report, mut data, mut at) = (Report::default(), MemorySource::new(), 0);
    let engine = engine();
    while at < lines.len() {
        let line = lines[at].trim();
        let number = at + 1;
        at += 1;
        if !is_content(line) {
            continue;
        }
        // A command's lines go up to the next blank line.
        let end = lines[at..].iter().position(|l| l.trim().is_empty()).map_or(lines.len(), |n| at + n);
        let body: Vec<&str> = lines[at..end].iter().map(|l| l.trim()).filter(|l| is_content(l)).collect();
        let outcome = if line == "clear" {
            data.clear();
            continue;
        } else if line.starts_with("load") {
            at = end;
            load(&mut data, line, &body).map_err(|e| (line.to_string(), e))
        } else if line.starts_with("eval") {
            at = end;
            let outcome = evaluate(&engine, &data, line, &body);
            report.passed += usize::from(outcome.is_ok());
            outcome.map_err(|e| (line.to_string(), e))
        } else {
            Err((line.to_string(), "not a command".into()))
        };
        if let Err((line, why)) = outcome {
            report.failures.push(format!("{number}: {line}\n    {why}"));
        }
    }
    report
}

/// As Prometheus' own runner sets it up: everything experimental on.
fn engine() -> Engine {
    Engine::new(Options {
        features: Features::all(),
        delayed_name_removal: true,
        use_start_timestamps: true,
        limits: Limits { samples_max: 10_000_000, ..Limits::default() },
        ..Options::default()
    })
}

/// A duration, or a number of seconds.
fn duration_ms(text: &str) -> Result<i64, String> {
    match text.parse::<f64>() {
        Ok(seconds) => Ok((seconds * 1000.0).round() as i64),
        Err(_) => match text.strip_prefix('-') {
            Some(rest) => parse_duration_ms(rest).map(|ms| -ms),
            None => parse_duration_ms(text),
        },
    }
}

fn load(data: &mut MemorySource, line: &str, body: &[&str]) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let with_nhcb = words.next() == Some("load_with_nhcb");
    let step = duration_ms(words.next().ok_or("load needs an interval")?)?;
    let mut classic = crate::nhcb::Classic::default();
    let mut starts: Vec<(proto::Labels, Vec<Option<i64>>)> = Vec::new();
    let lines = body.iter().map(|line| parse_labels(line)).collect::<Result<Vec<_>, _>>()?;
    for (labels, _, offsets) in lines.iter().filter(|(_, is_start_times, _)| *is_start_times) {
        starts.push((labels.clone(), parse_start_offsets(offsets)?));
    }
    for (labels, _, points) in lines.into_iter().filter(|(_, is_start_times, _)| !is_start_times) {
        let offsets = starts.iter().find(|(l, _)| *l == labels).map(|(_, o)| o);
        let points = parse_points(points)?;
        for (i, written) in points.iter().enumerate() {
            let Some(point) = &written.point else { continue };
            let time = step * i as i64;
            let start = offsets.and_then(|o| o.get(i).copied().flatten()).map_or(0, |offset| time + offset);
            data.insert(&labels, time, point.clone(), start);
        }
        if with_nhcb {
            classic.note(&labels, &points);
        }
    }
    classic.convert(|labels, i, h: Histogram| data.insert(labels, step * i as i64, Point::Histogram(h.into()), 0));
    Ok(())
}

/// What to evaluate and when.
enum When {
    Instant(i64),
    Range(i64, i64, i64),
}

/// The pieces of an `eval` line.
struct Command<'a> {
    when: When,
    query: &'a str,
    /// `fail`, `warn`, `info`, `ordered` of the old forms `eval_fail` and so on.
    old_form: Option<&'a str>,
}

fn read_command(line: &str) -> Result<Command<'_>, String> {
    fn word<'a>(rest: &mut &'a str) -> &'a str {
        let (first, tail) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest.trim_start(), ""));
        *rest = tail;
        first
    }
    let mut rest = line;
    let old_form = word(&mut rest).strip_prefix("eval").and_then(|s| s.strip_prefix('_'));
    let when = match (word(&mut rest), word(&mut rest)) {
        ("instant", "at") => When::Instant(duration_ms(word(&mut rest))?),
        ("range", "from") => {
            let start = duration_ms(word(&mut rest))?;
            let _to = word(&mut rest);
            let end = duration_ms(word(&mut rest))?;
            let _step = word(&mut rest);
            When::Range(start, end, duration_ms(word(&mut rest))?)
        }
        other => return Err(format!("{other:?} is not a way to evaluate")),
    };
    Ok(Command { when, query: rest.trim(), old_form })
}

fn evaluate(engine: &Engine, data: &MemorySource, line: &str, body: &[&str]) -> Result<(), String> {
    let command = read_command(line)?;
    let expected = Expected::read(body, command.old_form)?;
    let instant = |t: i64, query: &str| block_on(engine.evaluate_instant(data, query, t, &never_stop));
    let range = |r, query: &str| block_on(engine.evaluate_range(data, query, r, &never_stop));
    match command.when {
        When::Range(start, end, step) => {
            let times: Vec<i64> = (start..=end).step_by(step as usize).collect();
            check(&expected, &range((start, end, step), command.query), Some(&times))
        }
        When::Instant(t) => {
            let t = expected.range_vector.map_or(t, |(_, end, _)| end);
            let answer = instant(t, command.query);
            check(&expected, &answer, None)?;
            repeat(engine, data, command.query, t, &expected, &answer)
        }
    }
}

/// An instant query means the same at other times once its selectors are fixed by `@`, and as a step of a range.
fn repeat(
    engine: &Engine,
    data: &MemorySource,
    query: &str,
    t: i64,
    expected: &Expected,
    answer: &Result<Answer, QueryError>,
) -> Result<(), String> {
    let Ok(first) = answer else { return Ok(()) };
    if let Some(fixed) = crate::at_fixed::fix(query, t) {
        for other in [i64::from(i32::MIN), 0, 1_000_000] {
            let again = block_on(engine.evaluate_instant(data, &fixed, t + other, &never_stop));
            check_repeated(expected, first, &again, t + other)
                .map_err(|e| format!("as {fixed} at {}ms: {e}", t + other))?;
        }
    }
    if matches!(first.value, AnswerValue::String(..)) || !crate::at_fixed::means_the_same_in_a_range(query) {
        return Ok(());
    }
    let again = block_on(engine.evaluate_range(data, query, (t - 60_000, t + 60_000, 60_000), &never_stop));
    let again = again.map(|mut a| {
        a.value = at_time(a.value, t);
        a
    });
    check_repeated(expected, first, &again, t).map_err(|e| format!("as range query: {e}"))
}

/// The instant vector a range result has at `t`.
fn at_time(value: AnswerValue, t: i64) -> AnswerValue {
    let AnswerValue::Matrix(series) = value else { return value };
    let sample = |s: query::promql::MatrixSeries| {
        let float = s.floats.iter().find(|(time, _)| *time == t).map(|(_, v)| Point::Float(*v));
        let histogram = s.histograms.iter().find(|(time, _)| *time == t).map(|(_, h)| Point::Histogram(h.clone()));
        float.or(histogram).map(|value| query::promql::VectorSample { labels: s.labels.clone(), time_ms: t, value })
    };
    AnswerValue::Vector(series.into_iter().filter_map(sample).collect())
}

/// The points of expected series, shared with the comparison.
pub fn points(text: &str) -> Result<Vec<Written>, String> {
    parse_points(text)
}
