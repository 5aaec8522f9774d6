//! Evidence of real shapes in, the first verdict out.

use super::*;
use crate::blocking::trees;
use crate::evidence::{LogLine, ObjectChange};
use crate::session::Session;
use crate::statement::{PlanSeen, StatementCost, rank};

fn session(pid: i64, state: &str, blocked_by: Option<&str>) -> Session {
    Session {
        pid,
        state: Some(state.into()),
        user: Some("app".into()),
        text: Some(format!("UPDATE t SET x = ? /* {pid} */")),
        transaction_ms: Some(90_000.0),
        blocked_by: blocked_by.map(Into::into),
        ..Session::default()
    }
}

fn locks(root_state: &str) -> Evidence {
    let sessions =
        vec![session(7, root_state, None), session(8, "active", Some("[7]")), session(9, "active", Some("[8]"))];
    Evidence { blocking: trees(&sessions), sessions, ..Evidence::default() }
}

fn slower(plan_changed: bool, index_removed: bool) -> Evidence {
    let cost =
        |calls, total_ms| StatementCost { fingerprint: "00ab".into(), calls, total_ms, ..StatementCost::default() };
    let mut statements = rank(&[cost(10, 500.0)], &[cost(100, 50.0)], 5);
    statements[0].plan = Some(PlanSeen {
        plan_fingerprint: "2".into(),
        previous_plan_fingerprint: Some("1".into()),
        summary: Some("Seq Scan on orders".into()),
        plan: None,
        ts_ms: 0,
        changed: plan_changed,
    });
    let index = ObjectChange {
        kind: Some("index".into()),
        name: Some("orders_customer".into()),
        parent: Some("orders".into()),
        change: Some("removed".into()),
        previous: Some("CREATE INDEX orders_customer ON orders (customer)".into()),
        ..ObjectChange::default()
    };
    Evidence { statements, changes: if index_removed { vec![index] } else { vec![] }, ..Evidence::default() }
}

#[test]
fn the_right_verdict_comes_first() {
    let refused = LogLine { code: Some("53300".into()), ..LogLine::default() };
    let many = Evidence { sessions: vec![session(1, "idle", None)], logs: vec![refused], ..Evidence::default() };
    let few = Evidence { sessions: vec![session(1, "idle", None)], ..Evidence::default() };
    let deadlock = LogLine { class: Some("deadlock".into()), ..LogLine::default() };
    let dead = Evidence { logs: vec![deadlock], ..Evidence::default() };
    let idle = Evidence { sessions: vec![session(1, "idle in transaction", None)], ..Evidence::default() };
    for (alert, evidence, verdict, reason, advice) in [
        ("LockPileup", &locks("active"), "lock_pileup", "2 session(s) wait for pid 7", "pg_terminate_backend(7)"),
        (
            "LockPileup",
            &locks("idle in transaction"),
            "lock_pileup_idle_in_transaction",
            "still holds its locks",
            "COMMIT",
        ),
        (
            "StatementRegression",
            &slower(true, true),
            "statement_regression_lost_index",
            "index orders_customer on orders",
            "CREATE INDEX orders_customer ON orders (customer)",
        ),
        (
            "StatementRegression",
            &slower(true, false),
            "statement_regression_plan_flip",
            "Seq Scan on orders",
            "ANALYZE",
        ),
        (
            "StatementRegression",
            &slower(false, false),
            "statement_regression",
            "100 times the 0.5 ms before",
            "statistics",
        ),
        ("ConnectionsNearMax", &many, "connection_exhaustion", "refused 1 connection(s)", "pooler"),
        ("ConnectionsNearMax", &few, "connections_near_limit", "user app holds 1 of 1", "pool"),
        ("Deadlocks", &dead, "deadlocks", "1 deadlock(s)", "same order"),
        ("LongTransaction", &idle, "idle_in_transaction", "90 s old", "commit"),
    ] {
        let findings = Trees::builtin().judge(alert, evidence);
        let first = findings.first().unwrap_or_else(|| panic!("{alert}: nothing found"));
        assert_eq!(first.verdict, verdict, "{alert}");
        assert!(first.reasons.join("; ").contains(reason), "{alert}: {:?}", first.reasons);
        assert!(first.advice.contains(advice), "{alert}: {}", first.advice);
        assert_eq!(first.reasons.len(), first.reasons_zh.len());
        assert!(first.advice_zh.chars().any(|c| c > '\u{4e00}'), "{alert}: {}", first.advice_zh);
    }
    assert!(Trees::builtin().judge("Anything", &Evidence::default()).is_empty());
}

#[test]
fn trees_that_mean_nothing_are_refused() {
    let tree = |when: &str, reason: &str| {
        format!(
            "- verdict: v\n  title: {{en: a, zh: a}}\n  when: [{when}]\n  reason: {{en: '{reason}', zh: a}}\n  advice: {{en: a, zh: a}}\n"
        )
    };
    for (text, part) in [
        (tree("{fact: root.idle, at_least: 1}", "fine {root.pid}"), ""),
        (tree("{fact: nosuch, at_least: 1}", "x"), "\"nosuch\" is not a fact; there are: alert.name"),
        (tree("{fact: root.idle}", "x"), "must have at_least, below or is"),
        (tree("", "x"), "at least one condition"),
        (tree("{fact: root.idle, at_least: 1}", "{nosuch}"), "{nosuch} is not a fact"),
        (tree("{fact: root.idle, over: 1}", "x"), "unknown field `over`"),
    ] {
        let found = Trees::parse(&text).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(found.is_empty(), part.is_empty(), "{text}\n{found}");
        assert!(found.contains(part), "{found}");
    }
}

#[test]
fn every_fact_has_a_meaning() {
    let evidence = Evidence { blocking: locks("active").blocking, ..slower(true, true) };
    for name in facts("x", &evidence).keys() {
        assert!(VOCABULARY.iter().any(|(n, about)| n == name && !about.is_empty()), "{name}");
    }
}
