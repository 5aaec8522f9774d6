//! What conditions of verdict trees can refer to: named facts, computed from the evidence.

use std::collections::BTreeMap;

use crate::evidence::Evidence;

/// A named value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl Fact {
    /// As it reads in a sentence.
    pub fn words(&self) -> String {
        match self {
            Fact::Number(v) if v.fract() == 0.0 => format!("{v:.0}"),
            Fact::Number(v) => format!("{v:.1}"),
            Fact::Text(text) => text.clone(),
        }
    }
}

/// Facts by name.
pub type Facts = BTreeMap<&'static str, Fact>;

/// Longest piece of a statement's text in a fact, characters.
const TEXT_CHARS_MAX: usize = 160;
/// A statement that takes this many times as long as before has regressed.
const REGRESSION_RATIO: f64 = 3.0;
/// A regression must cost at least this much an execution, milliseconds.
const REGRESSION_MEAN_MS: f64 = 1.0;

/// Every fact, with what it means: the vocabulary of `verdicts.yaml`.
pub const VOCABULARY: &[(&str, &str)] = &[
    ("alert.name", "name of the alert's rule"),
    ("blocking.waiting", "sessions that wait for the root blocker, directly or not"),
    ("blocking.roots", "how many root blockers there are"),
    ("root.pid", "the root blocker"),
    ("root.user", "its account"),
    ("root.application", "its application_name"),
    ("root.state", "its state"),
    ("root.idle", "1: it sits idle in its transaction"),
    ("root.transaction_s", "age of its transaction, seconds"),
    ("root.text", "its statement, running or last"),
    ("regression.count", "statements that take a multiple of what they took before"),
    ("regression.fingerprint", "the one that costs most"),
    ("regression.text", "its text"),
    ("regression.ratio", "how many times as long it takes"),
    ("regression.mean_ms", "what it takes now, milliseconds"),
    ("regression.before_ms", "what it took before, milliseconds"),
    ("regression.plan_changed", "1: its plan changed"),
    ("regression.plan", "its plan now, in one line"),
    ("index.removed", "indexes that went away"),
    ("index.name", "the last of them"),
    ("index.table", "its table"),
    ("index.definition", "its definition"),
    ("setting.changed", "settings that changed"),
    ("sessions.total", "sessions seen"),
    ("sessions.idle_in_transaction", "those idle in a transaction"),
    ("sessions.oldest_transaction_s", "age of the oldest transaction, seconds"),
    ("sessions.top_user", "account with most sessions"),
    ("sessions.top_user_count", "how many it has"),
    ("logs.too_many_connections", "log lines that say no connection was left"),
    ("logs.deadlock", "log lines about deadlocks"),
    ("logs.errors", "log lines of level error and worse"),
];

/// The facts of an alert's evidence.
pub fn facts(alert: &str, evidence: &Evidence) -> Facts {
    let mut facts = Facts::new();
    let mut number = |name, value: f64| facts.insert(name, Fact::Number(value));
    number("blocking.roots", evidence.blocking.len() as f64);
    number("sessions.total", evidence.sessions.len() as f64);
    let idle = evidence.sessions.iter().filter(|s| s.is_idle_in_transaction()).count();
    number("sessions.idle_in_transaction", idle as f64);
    let oldest = evidence.sessions.iter().filter_map(|s| s.transaction_ms).fold(0.0, f64::max);
    number("sessions.oldest_transaction_s", oldest / 1000.0);
    let logs =
        |test: &dyn Fn(&crate::evidence::LogLine) -> bool| evidence.logs.iter().filter(|l| test(l)).count() as f64;
    let class = |l: &crate::evidence::LogLine, c: &str| l.class.as_deref() == Some(c);
    number("logs.deadlock", logs(&|l| class(l, "deadlock") || l.code.as_deref() == Some("40P01")));
    number(
        "logs.too_many_connections",
        logs(&|l| {
            class(l, "too_many_connections")
                || matches!(l.code.as_deref(), Some("53300" | "1040"))
                || l.body
                    .as_deref()
                    .is_some_and(|b| b.contains("too many clients") || b.contains("Too many connections"))
        }),
    );
    number("logs.errors", logs(&|l| matches!(l.level.as_deref(), Some("error" | "fatal" | "panic"))));
    let changed = |kind: &str, change: &str| {
        evidence
            .changes
            .iter()
            .filter(move |c| c.kind.as_deref() == Some(kind) && c.change.as_deref() == Some(change))
            .collect::<Vec<_>>()
    };
    let lost = changed("index", "removed");
    number("index.removed", lost.len() as f64);
    number("setting.changed", changed("setting", "changed").len() as f64);
    let regressed: Vec<_> = evidence
        .statements
        .iter()
        .filter(|s| s.change_ratio.is_some_and(|r| r >= REGRESSION_RATIO) && s.mean_ms >= REGRESSION_MEAN_MS)
        .collect();
    number("regression.count", regressed.len() as f64);
    if let Some(worst) = regressed.first() {
        number("regression.ratio", worst.change_ratio.unwrap_or(0.0));
        number("regression.mean_ms", worst.mean_ms);
        number("regression.before_ms", worst.before.map_or(0.0, |b| b.mean_ms));
        number("regression.plan_changed", f64::from(u8::from(worst.plan.as_ref().is_some_and(|p| p.changed))));
    }
    if let Some(root) = evidence.blocking.first() {
        number("blocking.waiting", root.waiting() as f64);
        number("root.pid", root.pid as f64);
        number("root.transaction_s", root.transaction_ms.unwrap_or(0.0) / 1000.0);
        let idle = evidence.sessions.iter().any(|s| s.pid == root.pid && s.is_idle_in_transaction());
        number("root.idle", f64::from(u8::from(idle)));
    } else {
        number("blocking.waiting", 0.0);
    }
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for session in &evidence.sessions {
        *users.entry(session.user.as_deref().unwrap_or("")).or_default() += 1;
    }
    let top = users.into_iter().max_by_key(|(_, n)| *n);
    number("sessions.top_user_count", top.map_or(0.0, |(_, n)| n as f64));
    let mut text = |name, value: &str| facts.insert(name, Fact::Text(cut(value)));
    text("alert.name", alert);
    text("sessions.top_user", top.map_or("", |(user, _)| user));
    if let Some(worst) = regressed.first() {
        text("regression.fingerprint", &worst.fingerprint);
        text("regression.text", worst.text.as_deref().unwrap_or(&worst.fingerprint));
        text("regression.plan", worst.plan.as_ref().and_then(|p| p.summary.as_deref()).unwrap_or(""));
    }
    if let Some(index) = lost.last() {
        text("index.name", index.name.as_deref().unwrap_or(""));
        text("index.table", index.parent.as_deref().unwrap_or(""));
        let definition =
            [&index.previous, &index.value].into_iter().flatten().find(|d| d.to_ascii_uppercase().contains("INDEX"));
        text("index.definition", definition.map_or("", |d| d));
    }
    if let Some(root) = evidence.blocking.first() {
        text("root.user", root.user.as_deref().unwrap_or("?"));
        text("root.application", root.application.as_deref().unwrap_or(""));
        text("root.state", root.state.as_deref().unwrap_or("not seen"));
        text("root.text", root.text.as_deref().unwrap_or(""));
    }
    facts
}

fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() > TEXT_CHARS_MAX {
        true => line.chars().take(TEXT_CHARS_MAX).chain(['…']).collect(),
        false => line,
    }
}
