//! Compares what was expected with what came, and says what differs.

use std::collections::BTreeMap;

use proto::Labels;
use query::promql::Point;
use query::promql::number::{format_duration_ms, format_g};

use super::expect::{AlertTest, ExpectedAlert, ExprTest};
use crate::active::Active;
use crate::evaluate::Written;
use crate::group::Group;
use crate::level::{Level, SEVERITY_LABEL};
use crate::state::Phase;
use query::promql::histogram::ResetHint;

/// A time from the test's start.
pub(super) fn time(ms: i64) -> String {
    format_duration_ms(ms)
}

/// One line per alert or sample, as shown in failures.
type Lines = Vec<String>;

/// The alerts of every rule of that name, in every group.
pub(super) fn alerts(expected: &AlertTest, groups: &[Group], diff: bool) -> Vec<String> {
    let rules =
        || groups.iter().flat_map(|g| g.group.rules.iter().zip(&g.rules)).filter(|(r, _)| r.name == expected.name);
    let of_phase = |phase: Phase| -> Vec<&Active> {
        let mut found: Vec<&Active> = rules()
            .filter(|(rule, _)| rule.alerting().is_some())
            .flat_map(|(_, state)| state.active.values())
            .filter(|a| a.track.phase == phase)
            .collect();
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    };
    let mut failures = Vec::new();
    let mut check = |what: &str, expected_alerts: &[ExpectedAlert], found: &[&Active]| {
        if let Some((exp, got)) = differs(expected_alerts, found) {
            let head = format!("alertname: {}, time: {}{what}", expected.name, time(expected.at_ms));
            failures.push(failure(&head, &exp, &got, diff));
        }
    };
    check("", &expected.firing, &of_phase(Phase::Firing));
    if let Some(pending) = &expected.pending {
        check(", pending", pending, &of_phase(Phase::Pending));
    }
    let found = rules().find_map(|(_, state)| state.sight.blind());
    if expected.blind.is_some_and(|blind| blind != found.is_some()) {
        let got = match found {
            Some(blind) => format!("{} {}", blind.cause.word(), blind.selector.as_deref().unwrap_or("")),
            None => "it sees".into(),
        };
        let place = format!("alertname: {}, time: {}", expected.name, time(expected.at_ms));
        failures.push(format!("{place}, blind\n    exp: {}\n    got: {got}", expected.blind == Some(true)));
    }
    failures
}

/// `None`: they are the same; else both as text.
fn differs(expected: &[ExpectedAlert], found: &[&Active]) -> Option<(Lines, Lines)> {
    let mut expected: Vec<&ExpectedAlert> = expected.iter().collect();
    expected.sort_by(|a, b| a.labels.cmp(&b.labels));
    let asks_level = expected.iter().any(|e| e.level.is_some());
    let fits = |(e, a): (&&ExpectedAlert, &&Active)| {
        e.labels == comparable(&a.labels, e)
            && e.annotations.as_ref().is_none_or(|annotations| *annotations == a.annotations)
            && e.level.is_none_or(|level| level == a.track.level)
    };
    if expected.len() == found.len() && expected.iter().zip(found).all(fits) {
        return None;
    }
    let empty = BTreeMap::new();
    let exp = expected.iter().map(|e| {
        let annotations = e.annotations.as_ref().unwrap_or(&empty);
        line(&e.labels, annotations, e.level)
    });
    let got = found.iter().map(|a| line(&a.labels, &a.annotations, asks_level.then_some(a.track.level)));
    Some((exp.collect(), got.collect()))
}

/// Where the level is expected and `severity` is not, the label that says the level is left out.
fn comparable(found: &Labels, expected: &ExpectedAlert) -> Labels {
    if expected.level.is_none() || expected.labels.get(SEVERITY_LABEL).is_some() {
        return found.clone();
    }
    let mut labels = found.to_builder();
    labels.remove(SEVERITY_LABEL);
    labels.build()
}

fn line(labels: &Labels, annotations: &BTreeMap<String, String>, level: Option<Level>) -> String {
    let level = level.map(|l| format!(" level={l}")).unwrap_or_default();
    format!("labels={labels}{level} annotations={}", Labels::from_pairs(annotations))
}

fn failure(head: &str, exp: &[String], got: &[String], diff: bool) -> String {
    let mut text = head.to_string();
    if diff {
        let only = |a: &[String], b: &[String], sign: &str| -> String {
            a.iter().filter(|l| !b.contains(l)).map(|l| format!("\n    {sign} {l}")).collect()
        };
        return text + &only(exp, got, "-") + &only(got, exp, "+");
    }
    for (name, lines) in [("exp", exp), ("got", got)] {
        text += &format!("\n    {name}:{}", if lines.is_empty() { " nothing" } else { "" });
        lines.iter().for_each(|l| text += &format!("\n        {l}"));
    }
    text
}

/// The answer of a query.
pub(super) fn samples(
    expected: &ExprTest,
    found: Result<Vec<Written>, String>,
    fuzzy: bool,
    diff: bool,
) -> Option<String> {
    let head = format!("expr: {:?}, time: {}", expected.expr, time(expected.at_ms));
    let mut found = match found {
        Ok(found) => found,
        Err(e) => return Some(format!("{head}, err: {e}")),
    };
    let mut exp = expected.samples.clone();
    exp.sort_by(|a, b| a.0.cmp(&b.0));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let same =
        exp.len() == found.len() && exp.iter().zip(&found).all(|(e, f)| e.0 == f.0 && is_same_point(&e.1, &f.1, fuzzy));
    if same {
        return None;
    }
    let show = |(labels, point): &Written| match point {
        Point::Float(value) => format!("{labels} {}", format_g(*value)),
        Point::Histogram(h) => format!("{labels} {h:?}"),
    };
    let lines = |samples: &[Written]| samples.iter().map(show).collect::<Lines>();
    Some(failure(&head, &lines(&exp), &lines(&found), diff))
}

/// Values are equal, or next to each other where the file allows it; NaN equals nothing, as in promtool.
fn is_same_point(expected: &Point, found: &Point, fuzzy: bool) -> bool {
    match (expected, found) {
        (Point::Float(e), Point::Float(f)) => e == f || fuzzy && (e.next_up() == *f || e.next_down() == *f),
        (Point::Histogram(e), Point::Histogram(f)) => {
            let f = (**f).clone().compact();
            let f = if e.hint == ResetHint::Unknown { f.with_hint(ResetHint::Unknown) } else { f };
            (**e).clone().compact() == f
        }
        _ => false,
    }
}
