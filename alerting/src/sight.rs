//! Whether a rule sees what it watches.
//!
//! A rule is blind when its query fails, or when one of its selectors matches nothing although it matched within the last
//! hour, or has never matched since the rule was loaded. Not looked at: arguments of `absent` and `absent_over_time`, right
//! sides of `or` and `unless`, and `ALERTS`, which is there only while something is wrong. A selector on the left of an `or` that never matched is forgiven while the right side sees:
//! `pg_x or mysql_x` is one rule for whichever is there. What stays away longer than an hour has been retired: the rule is
//! no longer blind. A rule that says `sparse` watches series that come and go: only a failed query blinds it.

use query::promql::Expr;
use query::promql::ast::{BinaryOp, Selector};

use crate::rule::{Rule, Source};

/// How long something that matched before is missed, and how long after loading alerts are held for what never matched,
/// milliseconds.
pub const MISSED_MS: i64 = 3_600_000;

/// Why a rule is blind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The query failed.
    QueryFailed,
    /// A selector matches nothing, but did within the last hour.
    Lost,
    /// A selector has matched nothing since the rule was loaded.
    NeverMatched,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 3] = [Cause::QueryFailed, Cause::Lost, Cause::NeverMatched];

    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Cause::QueryFailed => "query_failed",
            Cause::Lost => "lost",
            Cause::NeverMatched => "never_matched",
        }
    }
}

/// That a rule can't see, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind {
    /// Why.
    pub cause: Cause,
    /// The selector that matches nothing; `None`: the whole query failed.
    pub selector: Option<String>,
    /// Since when, milliseconds.
    pub since_ms: i64,
}

/// What is remembered of a rule's selectors between evaluations.
#[derive(Clone, Debug)]
pub struct Sight {
    watch: Watch,
    selectors: Vec<Watched>,
    loaded_ms: i64,
    blind: Option<Blind>,
}

#[derive(Clone, Debug)]
struct Watched {
    /// Where it begins in the query, bytes.
    start: usize,
    text: String,
    matched_ms: Option<i64>,
}

/// An expression as far as seeing goes.
#[derive(Clone, Debug)]
enum Watch {
    /// Index into the selectors.
    Selector(usize),
    /// All must see.
    All(Vec<Watch>),
    /// The right side helps out where the left never saw.
    Or(Box<Watch>, Box<Watch>),
}

impl Sight {
    /// Of a rule loaded at `now_ms`.
    pub fn new(rule: &Rule, now_ms: i64) -> Sight {
        let mut selectors = Vec::new();
        let watch = match &rule.source {
            _ if rule.is_sparse() => Watch::All(Vec::new()),
            Source::Promql { expr, .. } => watch(expr, &mut selectors),
            Source::Forecast(source) => watch(&source.expr, &mut selectors),
            Source::Sql(_) => Watch::All(Vec::new()),
        };
        Sight { watch, selectors, loaded_ms: now_ms, blind: None }
    }

    /// What it could not see at the last evaluation.
    pub fn blind(&self) -> Option<&Blind> {
        self.blind.as_ref()
    }

    /// The query failed.
    pub fn failed(&mut self, ts_ms: i64) {
        self.set(Some((Cause::QueryFailed, None)), ts_ms);
    }

    /// The query was answered; `unmatched`: where in it the selectors begin that found nothing.
    pub fn looked(&mut self, unmatched: &[usize], ts_ms: i64) {
        let seen: Vec<bool> = self.selectors.iter().map(|s| !unmatched.contains(&s.start)).collect();
        for (selector, seen) in self.selectors.iter_mut().zip(&seen) {
            if *seen {
                selector.matched_ms = Some(ts_ms);
            }
        }
        let missing = self.missing(&self.watch, &seen, ts_ms);
        self.set(missing.map(|(i, cause)| (cause, Some(i))), ts_ms);
    }

    /// Whether alerts that are missing from the answer are held where they are rather than resolved.
    pub fn holds(&self, ts_ms: i64) -> bool {
        match self.blind.as_ref().map(|b| b.cause) {
            Some(Cause::QueryFailed | Cause::Lost) => true,
            Some(Cause::NeverMatched) => ts_ms - self.loaded_ms <= MISSED_MS,
            None => false,
        }
    }

    fn set(&mut self, found: Option<(Cause, Option<usize>)>, ts_ms: i64) {
        self.blind = found.map(|(cause, selector)| {
            let selector = selector.map(|i| self.selectors[i].text.clone());
            let before = self.blind.as_ref().filter(|b| b.cause == cause && b.selector == selector);
            Blind { cause, since_ms: before.map_or(ts_ms, |b| b.since_ms), selector }
        });
    }

    /// The first selector that is missed, those that were lost before those that never matched.
    fn missing(&self, watch: &Watch, seen: &[bool], ts_ms: i64) -> Option<(usize, Cause)> {
        match watch {
            Watch::Selector(i) if seen[*i] => None,
            Watch::Selector(i) => match self.selectors[*i].matched_ms {
                Some(then) if ts_ms - then <= MISSED_MS => Some((*i, Cause::Lost)),
                Some(_) => None,
                None => Some((*i, Cause::NeverMatched)),
            },
            Watch::All(parts) => parts.iter().filter_map(|p| self.missing(p, seen, ts_ms)).min_by_key(|(_, c)| *c),
            Watch::Or(left, right) => match self.missing(left, seen, ts_ms) {
                Some(never @ (_, Cause::NeverMatched)) => {
                    let right = self.missing(right, seen, ts_ms)?;
                    Some(if right.1 < never.1 { right } else { never })
                }
                other => other,
            },
        }
    }
}

fn watch(expr: &Expr, selectors: &mut Vec<Watched>) -> Watch {
    let mut add = |start: usize, text: String| {
        selectors.push(Watched { start, text, matched_ms: None });
        Watch::Selector(selectors.len() - 1)
    };
    match expr {
        Expr::Selector(selector) if is_alerts(selector) => Watch::All(Vec::new()),
        Expr::Matrix(matrix) if is_alerts(&matrix.selector) => Watch::All(Vec::new()),
        Expr::Selector(selector) => add(selector.span.start, expr.to_string()),
        Expr::Matrix(matrix) => add(matrix.selector.span.start, expr.to_string()),
        Expr::Call(call) if matches!(call.function.name, "absent" | "absent_over_time") => Watch::All(Vec::new()),
        Expr::Call(call) if call.function.name == "info" => {
            Watch::All(call.args.iter().take(1).map(|e| watch(e, selectors)).collect())
        }
        Expr::Binary(binary) if binary.op == BinaryOp::Or => {
            Watch::Or(Box::new(watch(&binary.left, selectors)), Box::new(watch(&binary.right, selectors)))
        }
        Expr::Binary(binary) if binary.op == BinaryOp::Unless => watch(&binary.left, selectors),
        other => Watch::All(other.children().into_iter().map(|e| watch(e, selectors)).collect()),
    }
}

fn is_alerts(selector: &Selector) -> bool {
    matches!(selector.name.as_deref(), Some("ALERTS" | "ALERTS_FOR_STATE"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Kind;

    const MINUTE_MS: i64 = 60_000;

    fn sight(text: &str) -> Sight {
        let expr = query::promql::parse(text).expect(text);
        let source = Source::Promql { expr: Box::new(expr), text: text.into() };
        Sight::new(&Rule { name: "r".into(), source, labels: Vec::new(), kind: Kind::Recording }, 0)
    }

    /// One round a minute: the names of the metrics that match then. Expected: the cause and the selector's metric per round.
    fn check(text: &str, rounds: &[&str], expected: &[&str]) {
        let mut sight = sight(text);
        let mut found = Vec::new();
        for (minute, there) in (1..).zip(rounds) {
            let there: Vec<&str> = there.split(' ').collect();
            let name = |s: &Watched| s.text.split(['{', '[']).next().unwrap_or("").to_string();
            let unmatched = sight.selectors.iter().filter(|s| !there.contains(&name(s).as_str())).map(|s| s.start);
            let unmatched: Vec<usize> = unmatched.collect();
            sight.looked(&unmatched, minute * MINUTE_MS);
            found.push(
                sight
                    .blind()
                    .map_or(String::new(), |b| format!("{} {}", b.cause.word(), b.selector.as_deref().unwrap_or(""))),
            );
        }
        assert_eq!(found, expected, "{text} {rounds:?}");
    }

    #[test]
    fn what_is_missed_and_what_is_exempt() {
        check("a > 1", &["a", "a", "", "a"], &["", "", "lost a", ""]);
        check("a > 1", &["", "", "a"], &["never_matched a", "never_matched a", ""]);
        check("rate(a[5m]) / rate(b{x=\"y\"}[5m])", &["a b", "a", "b"], &["", "lost b{x=\"y\"}[5m]", "lost a[5m]"]);
        check("absent(a)", &["", "a", ""], &["", "", ""]);
        check("absent_over_time(a[5m]) or b", &["", "b", ""], &["", "", ""]);
        check("a unless b", &["a", "a b", "b"], &["", "", "lost a"]);
        check("a or b", &["a", "b", "a b", "a"], &["", "lost a", "", ""]);
        check("a or b", &["b", "b", "", "b"], &["", "", "lost b", ""]);
        check("a or b", &["", "b"], &["never_matched a", ""]);
        check("a or vector(0)", &["", "a", ""], &["", "", "lost a"]);
        check("sum(a) and on () (b > 0)", &["a b", "b"], &["", "lost a"]);
        check("max_over_time(a[1h:1m]) > 2", &["a", ""], &["", "lost a"]);
        check("ALERTS{alertname=\"A\"} > 0", &["", "ALERTS", ""], &["", "", ""]);
        check("a / c + b", &["", "a c b", "a"], &["never_matched a", "", "lost c"]);
    }

    #[test]
    fn what_stays_away_was_retired_and_a_failed_query_is_blind_as_long_as_it_fails() {
        let mut sight = sight("a");
        let start = sight.selectors[0].start;
        sight.looked(&[], 0);
        sight.looked(&[start], MISSED_MS);
        assert_eq!((sight.blind().map(|b| b.since_ms), sight.holds(MISSED_MS)), (Some(MISSED_MS), true));
        sight.looked(&[start], MISSED_MS + 1);
        assert_eq!((sight.blind(), sight.holds(MISSED_MS + 1)), (None, false));
        for minute in [0, 100, 1000] {
            sight.failed(minute * MINUTE_MS);
            assert!(sight.holds(minute * MINUTE_MS));
        }
        assert_eq!(sight.blind().map(|b| (b.cause, b.since_ms)), Some((Cause::QueryFailed, 0)));
    }

    #[test]
    fn what_never_matched_holds_nothing_for_ever() {
        let mut sight = sight("a");
        let start = sight.selectors[0].start;
        for (ts_ms, holds) in [(0, true), (MISSED_MS, true), (MISSED_MS + 1, false)] {
            sight.looked(&[start], ts_ms);
            assert_eq!((sight.blind().map(|b| b.cause), sight.holds(ts_ms)), (Some(Cause::NeverMatched), holds));
        }
    }
}
