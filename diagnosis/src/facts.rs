//! What conditions of verdict trees can refer to: named facts, computed from the evidence, beside those a tree asks for.

use std::collections::BTreeMap;

use crate::blocking::BlockNode;
use crate::deadlock;
use crate::evidence::Evidence;
use crate::question::Unit;

/// A named value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A number, and how it reads.
    Number(f64, Unit),
    /// A text.
    Text(String),
}

impl Fact {
    /// As it reads in a sentence.
    pub fn words(&self) -> String {
        match self {
            Fact::Number(value, unit) => unit.words(*value),
            Fact::Text(text) => text.clone(),
        }
    }
}

/// Facts by name.
pub type Facts = BTreeMap<String, Fact>;

/// Longest piece of a statement's text in a fact, characters.
const TEXT_CHARS_MAX: usize = 160;
/// A statement that takes this many times as long as before has regressed.
const REGRESSION_RATIO: f64 = 3.0;
/// A regression must cost at least this much an execution, milliseconds.
const REGRESSION_MEAN_MS: f64 = 1.0;

/// A fact of this prefix is a label of the alert.
pub const LABEL: &str = "label.";
/// Statements that take a lock which nobody passes, as they begin.
const DDL: [&str; 12] = [
    "alter ",
    "drop ",
    "truncate",
    "create index",
    "create unique index",
    "reindex",
    "vacuum full",
    "cluster",
    "lock table",
    "rename ",
    "optimize ",
    "flush tables",
];

/// Every fact of the evidence, with what it means. Beside them stand the alert's labels (`label.NAME`) and what the tree asks.
pub const VOCABULARY: &[(&str, &str)] = &[
    ("alert.name", "name of the alert's rule"),
    ("alert.value", "value of the alert"),
    ("blocking.waiting", "sessions that wait for the root blocker, directly or not"),
    ("blocking.roots", "how many root blockers there are"),
    ("root.pid", "the root blocker"),
    ("root.user", "its account"),
    ("root.application", "its application_name"),
    ("root.state", "its state"),
    ("root.idle", "1: it sits idle in its transaction"),
    ("root.transaction_s", "age of its transaction, seconds"),
    ("root.text", "its statement, running or last"),
    ("root.client", "its address"),
    ("ddl.pid", "a session that changes a table's definition, waits for the root and lets others queue behind it"),
    ("ddl.user", "its account"),
    ("ddl.text", "its statement"),
    ("ddl.behind", "sessions that wait behind it"),
    ("lock.object", "what most of those who wait want"),
    ("metadata.waiting", "sessions that wait for a metadata lock (MySQL, MariaDB)"),
    ("open.pid", "the session with the oldest open transaction"),
    ("idle.pid", "the session that sits idle in its transaction longest"),
    ("idle.user", "its account"),
    ("idle.application", "its application_name"),
    ("idle.client", "its address"),
    ("idle.database", "its database"),
    ("idle.for_s", "how long it does nothing, seconds"),
    ("idle.transaction_s", "age of its transaction, seconds"),
    ("idle.text", "what it ran last"),
    ("deadlock.first_pid", "a session of the last deadlock in the log"),
    ("deadlock.first", "its statement"),
    ("deadlock.second_pid", "the other session"),
    ("deadlock.second", "its statement"),
    ("deadlock.same", "1: both ran the same statement"),
    ("replication.error", "the last error line of a replication thread or connection in the log"),
    ("regression.rows_each", "rows an execution gives or changes now"),
    ("regression.rows_ratio", "how many times as many rows as before"),
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
    let mut facts = Known::default();
    facts.text("alert.name", alert);
    if let Some(value) = evidence.value {
        facts.number("alert.value", value);
    }
    for (name, value) in &evidence.labels {
        facts.0.insert(format!("{LABEL}{name}"), Fact::Text(cut(value)));
    }
    of_blocking(&mut facts, evidence);
    of_sessions(&mut facts, evidence);
    of_logs(&mut facts, evidence);
    of_changes(&mut facts, evidence);
    of_statements(&mut facts, evidence);
    facts.0
}

#[derive(Default)]
struct Known(Facts);

impl Known {
    fn number(&mut self, name: &str, value: f64) {
        self.0.insert(name.into(), Fact::Number(value, Unit::Plain));
    }

    fn seconds(&mut self, name: &str, ms: Option<f64>) {
        if let Some(ms) = ms {
            self.0.insert(name.into(), Fact::Number(ms / 1000.0, Unit::Seconds));
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.0.insert(name.into(), Fact::Text(cut(value)));
    }

    fn given(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            self.text(name, value);
        }
    }
}

fn of_blocking(facts: &mut Known, evidence: &Evidence) {
    facts.number("blocking.roots", evidence.blocking.len() as f64);
    let Some(root) = evidence.blocking.first() else {
        return facts.number("blocking.waiting", 0.0);
    };
    facts.number("blocking.waiting", root.waiting() as f64);
    facts.number("root.pid", root.pid as f64);
    facts.seconds("root.transaction_s", root.transaction_ms);
    let seen = evidence.sessions.iter().find(|s| s.pid == root.pid);
    facts.number("root.idle", f64::from(u8::from(seen.is_some_and(|s| s.is_idle_in_transaction()))));
    facts.text("root.user", root.user.as_deref().unwrap_or("?"));
    facts.given("root.application", root.application.as_deref());
    facts.given("root.client", seen.and_then(|s| s.client.as_deref()));
    facts.text("root.state", root.state.as_deref().unwrap_or("not seen"));
    facts.given("root.text", root.text.as_deref());
    let mut queue: Vec<&BlockNode> = root.blocked.iter().collect();
    let mut ddl: Option<&BlockNode> = None;
    while let Some(node) = queue.pop() {
        if node.text.as_deref().is_some_and(is_ddl) && ddl.is_none_or(|d| d.waiting() < node.waiting()) {
            ddl = Some(node);
        }
        queue.extend(&node.blocked);
    }
    if let Some(ddl) = ddl {
        facts.number("ddl.pid", ddl.pid as f64);
        facts.text("ddl.user", ddl.user.as_deref().unwrap_or("?"));
        facts.text("ddl.text", ddl.text.as_deref().unwrap_or(""));
        // MariaDB's plugin lists holders only: whoever else waits for metadata stands behind the definition's change
        let metadata = evidence.sessions.iter().filter(|s| s.wait_class.as_deref() == Some("MetadataLock")).count();
        facts.number("ddl.behind", ddl.waiting().max(metadata.saturating_sub(1)) as f64);
    }
}

fn is_ddl(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    DDL.iter().any(|d| text.starts_with(d))
}

fn of_sessions(facts: &mut Known, evidence: &Evidence) {
    let sessions = &evidence.sessions;
    facts.number("sessions.total", sessions.len() as f64);
    let idle: Vec<_> = sessions.iter().filter(|s| s.is_idle_in_transaction()).collect();
    facts.number("sessions.idle_in_transaction", idle.len() as f64);
    let age = |ms: Option<f64>| ms.unwrap_or(0.0);
    let oldest = sessions.iter().max_by(|a, b| age(a.transaction_ms).total_cmp(&age(b.transaction_ms)));
    facts.seconds("sessions.oldest_transaction_s", Some(age(oldest.and_then(|s| s.transaction_ms))));
    if let Some(open) = oldest.filter(|s| s.transaction_ms.is_some()) {
        facts.number("open.pid", open.pid as f64);
    }
    let longest = idle.into_iter().max_by(|a, b| age(a.state_ms).total_cmp(&age(b.state_ms)));
    if let Some(idle) = longest {
        facts.number("idle.pid", idle.pid as f64);
        facts.text("idle.user", idle.user.as_deref().unwrap_or("?"));
        facts.given("idle.application", idle.application.as_deref());
        facts.given("idle.client", idle.client.as_deref());
        facts.given("idle.database", idle.database.as_deref());
        facts.seconds("idle.for_s", idle.state_ms);
        facts.seconds("idle.transaction_s", idle.transaction_ms);
        facts.given("idle.text", idle.text.as_deref());
    }
    let waiting = sessions.iter().filter(|s| s.wait_class.as_deref() == Some("MetadataLock"));
    facts.number("metadata.waiting", waiting.count() as f64);
    if let Some((object, _)) = most(sessions.iter().filter_map(|s| s.lock_object.as_deref())) {
        facts.given("lock.object", Some(object));
    }
    let top = most(sessions.iter().map(|s| s.user.as_deref().unwrap_or("")));
    facts.number("sessions.top_user_count", top.map_or(0.0, |(_, n)| n as f64));
    facts.text("sessions.top_user", top.map_or("", |(user, _)| user));
}

fn most<'a>(names: impl Iterator<Item = &'a str>) -> Option<(&'a str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts.into_iter().max_by_key(|(_, n)| *n)
}

fn of_logs(facts: &mut Known, evidence: &Evidence) {
    type Line = crate::evidence::LogLine;
    let count = |test: &dyn Fn(&Line) -> bool| evidence.logs.iter().filter(|l| test(l)).count() as f64;
    let class = |l: &Line, c: &str| l.class.as_deref() == Some(c);
    let deadlock = |l: &Line| class(l, "deadlock") || l.code.as_deref() == Some("40P01");
    let refused = |l: &Line| {
        class(l, "too_many_connections")
            || matches!(l.code.as_deref(), Some("53300" | "1040"))
            || l.body.as_deref().is_some_and(|b| b.contains("too many clients") || b.contains("Too many connections"))
    };
    facts.number("logs.deadlock", count(&deadlock));
    facts.number("logs.too_many_connections", count(&refused));
    facts.number("logs.errors", count(&|l| matches!(l.level.as_deref(), Some("error" | "fatal" | "panic"))));
    let bodies = evidence.logs.iter().rev().filter(|l| deadlock(l)).filter_map(|l| l.body.as_deref());
    let parties = bodies.map(deadlock::parties).find(|p| p.len() >= 2);
    if let Some([first, second, ..]) = parties.as_deref() {
        facts.number("deadlock.first_pid", first.0 as f64);
        facts.text("deadlock.first", &first.1);
        facts.number("deadlock.second_pid", second.0 as f64);
        facts.text("deadlock.second", &second.1);
        facts.number("deadlock.same", f64::from(u8::from(first.1 == second.1)));
    }
    let replication = |l: &&Line| {
        let of_class = l.class.as_deref().is_some_and(|c| {
            matches!(
                c,
                "replica_sql_error" | "replica_io_error" | "binlog_purged" | "slot_missing" | "wal_segment_removed"
            ) || c.starts_with("replication_")
        });
        // it repeats that the thread stopped, not why
        let why = !l.body.as_deref().is_some_and(|b| b.starts_with("Error running query"));
        of_class && why && matches!(l.level.as_deref(), Some("warning" | "error" | "fatal" | "panic"))
    };
    facts.given("replication.error", evidence.logs.iter().rfind(replication).and_then(|l| l.body.as_deref()));
}

fn of_changes(facts: &mut Known, evidence: &Evidence) {
    let changed = |kind: &str, change: &str| {
        let fits =
            |c: &&crate::evidence::ObjectChange| c.kind.as_deref() == Some(kind) && c.change.as_deref() == Some(change);
        evidence.changes.iter().filter(fits).collect::<Vec<_>>()
    };
    let lost = changed("index", "removed");
    facts.number("index.removed", lost.len() as f64);
    facts.number("setting.changed", changed("setting", "changed").len() as f64);
    if let Some(index) = lost.last() {
        facts.text("index.name", index.name.as_deref().unwrap_or(""));
        facts.text("index.table", index.parent.as_deref().unwrap_or(""));
        let texts = [&index.previous, &index.value].into_iter().flatten();
        let definition = texts.into_iter().find(|d| d.to_ascii_uppercase().contains("INDEX") || d.contains('('));
        facts.text("index.definition", definition.map_or("", |d| d));
    }
}

fn of_statements(facts: &mut Known, evidence: &Evidence) {
    let slower = |s: &&crate::statement::StatementChange| {
        s.change_ratio.is_some_and(|r| r >= REGRESSION_RATIO) && s.mean_ms >= REGRESSION_MEAN_MS
    };
    facts.number("regression.count", evidence.statements.iter().filter(slower).count() as f64);
    let Some(worst) = evidence.statements.iter().find(slower) else { return };
    facts.number("regression.ratio", worst.change_ratio.unwrap_or(0.0));
    facts.number("regression.mean_ms", worst.mean_ms);
    facts.number("regression.before_ms", worst.before.map_or(0.0, |b| b.mean_ms));
    facts.number("regression.plan_changed", f64::from(u8::from(worst.plan.as_ref().is_some_and(|p| p.changed))));
    facts.text("regression.fingerprint", &worst.fingerprint);
    facts.text("regression.text", worst.text.as_deref().unwrap_or(&worst.fingerprint));
    facts.text("regression.plan", worst.plan.as_ref().and_then(|p| p.summary.as_deref()).unwrap_or(""));
    let now = worst.rows.filter(|_| worst.calls > 0).map(|r| r as f64 / worst.calls as f64);
    if let (Some(now), Some(before)) = (now, worst.before.and_then(|b| b.rows_each)) {
        facts.number("regression.rows_each", now);
        facts.number("regression.rows_ratio", now / before.max(1.0));
    }
}

fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() > TEXT_CHARS_MAX {
        true => line.chars().take(TEXT_CHARS_MAX).chain(['…']).collect(),
        false => line,
    }
}
