//! Evidence of real shapes in, the first verdict out.

use super::*;
use crate::blocking::trees;
use crate::evidence::{AskedFact, LogLine, ObjectChange};
use crate::question::Unit;
use crate::session::Session;
use crate::statement::{PlanSeen, StatementCost, rank};

fn session(pid: i64, state: &str, blocked_by: Option<&str>) -> Session {
    Session {
        pid,
        state: Some(state.into()),
        user: Some("app".into()),
        text: Some(format!("UPDATE t SET x = ? /* {pid} */")),
        transaction_ms: Some(90_000.0),
        state_ms: Some(90_000.0),
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
            "100 times the 0.50 ms before",
            "statistics",
        ),
        ("ConnectionsNearMax", &many, "connection_exhaustion", "refused 1 connection(s)", "pooler"),
        ("ConnectionsNearMax", &few, "connections_near_limit", "connections are taken", "pool"),
        ("Deadlocks", &dead, "deadlocks", "deadlock(s)", "same order"),
        ("LongTransaction", &idle, "idle_in_transaction", "done nothing for 1 min 30 s", "COMMIT"),
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

/// What a tree was told, as it stands in a stored bundle: `name=number` or `name=text`.
fn told(alert: &str, labels: &[(&str, &str)], answers: &[(&str, &str)]) -> Vec<Finding> {
    let trees = Trees::builtin();
    let roots: std::collections::BTreeSet<&str> = trees.questions(alert).map(|(tree, _)| tree).collect();
    let facts = roots.iter().flat_map(|tree| {
        answers.iter().map(|(name, value)| AskedFact {
            tree: (*tree).into(),
            name: (*name).into(),
            number: value.parse().ok(),
            text: value.parse::<f64>().is_err().then(|| (*value).into()),
            unit: trees.questions(alert).find(|(_, q)| q.name.value == *name).map_or(Unit::Plain, |(_, q)| q.unit),
        })
    });
    let labels = labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let evidence = Evidence { facts: facts.collect(), labels, value: Some(97.0), ..Evidence::default() };
    trees.judge(alert, &evidence)
}

#[test]
fn what_trees_ask_for_decides() {
    let disk = [("mountpoint", "/srv")];
    let class = [("class", "undefined_table")];
    for (alert, labels, answers, verdict, reason) in [
        (
            "ConnectionsNearMax",
            &[] as &[(&str, &str)],
            &[("connections.left", "0"), ("connections.used", "60"), ("connections.limit", "60")][..],
            "connection_exhaustion",
            "60 of 60 connections",
        ),
        (
            "ConnectionsNearMax",
            &[],
            &[
                ("connections.left", "9"),
                ("account", "40"),
                ("account.usename", "crm"),
                ("account.application_name", "x"),
            ],
            "connections_near_limit",
            "account crm, application 'x', holds 40",
        ),
        ("CheckpointStorm", &[], &[("checkpoints", "12"), ("wal.limit", "33554432")], "checkpoint_storm", "32.0 MiB"),
        (
            "CheckpointStorm",
            &[],
            &[("checkpoints.immediate", "9"), ("checkpoints.by_wal", "0")],
            "checkpoint_by_command",
            "9 checkpoints asked for by a command",
        ),
        (
            "RedoPressure",
            &[],
            &[("redo.age", "80000000"), ("redo.size", "100663296")],
            "redo_pressure",
            "76.3 MiB behind",
        ),
        (
            "TempSpill",
            &[],
            &[
                ("spiller", "1073741824"),
                ("spiller.user", "bi"),
                ("spiller.database", "shop"),
                ("spiller.each", "8.5"),
                ("spiller.text", "SELECT 1"),
            ],
            "temp_spill",
            "most (1.0 GiB, 8.5 MiB an execution) comes from user bi in shop",
        ),
        ("DiskFilling", &disk, &[("disk.used", "0.97")], "disk_filling", "97 % of /srv"),
        (
            "DiskFullForecast",
            &disk,
            &[("space.grown", "50000000"), ("space.spcname", "archive"), ("disk.used", "0.6")],
            "disk_filling_tablespace",
            "60 % of /srv",
        ),
        (
            "DiskFilling",
            &disk,
            &[("space.grown", "50000000"), ("space.spcname", "archive"), ("space", "100000000")],
            "disk_filling_tablespace",
            "tablespace archive",
        ),
        (
            "DiskFilling",
            &disk,
            &[("wal.share", "0.8"), ("slot", "900000000"), ("slot.slot_name", "old"), ("wal", "1000000000")],
            "disk_filling_slot",
            "slot old",
        ),
        (
            "ReplicationBroken",
            &[],
            &[("threads.sql", "0"), ("threads.io", "1"), ("sql.errno", "1062"), ("sql.errno.master_host", "db1")],
            "replication_apply_broken",
            "error 1062",
        ),
        (
            "ReplicationBroken",
            &[],
            &[("threads.sql", "1"), ("threads.io", "0"), ("io.errno", "1045"), ("sql.errno", "0")],
            "replication_connection_broken",
            "error 1045",
        ),
        (
            "ReplicationBroken",
            &[],
            &[("threads.sql", "0"), ("sql.errno", "0"), ("io.errno", "0")],
            "replication_stopped",
            "no error",
        ),
        ("ReplicationLag", &[], &[("lag", "90"), ("paused", "1")], "replication_replay_paused", "1 min 30 s old"),
        ("ReplayPaused", &[], &[("lag", "0"), ("paused", "1")], "replication_replay_paused", "replay is paused"),
        ("ReplicaLost", &[], &[("replicas", "0")], "replica_lost", "0 replica(s)"),
        (
            "WalRetainedBySlot",
            &[],
            &[("replicas", "0"), ("slot", "1073741824"), ("slot.slot_name", "old")],
            "slot_without_reader",
            "slot old has no reader and holds back 1.0 GiB",
        ),
        (
            "WalRetainedBySlot",
            &[],
            &[("replicas", "1"), ("slot.busy", "1073741824"), ("slot.busy.slot_name", "sub")],
            "slot_reader_behind",
            "slot sub has a reader, which is 1.0 GiB",
        ),
        (
            "ErrorBurst",
            &class,
            &[("errors", "40"), ("errors.before", "0")],
            "error_burst_schema",
            "a table the database",
        ),
        ("ErrorBurst", &[("class", "syntax_error")], &[("errors", "40")], "error_burst", "class syntax_error"),
    ] {
        let findings = told(alert, labels, answers);
        let first = findings.first().unwrap_or_else(|| panic!("{alert} {answers:?}: nothing found"));
        assert_eq!(first.verdict, verdict, "{alert} {answers:?}");
        assert!(first.reasons.join("; ").contains(reason), "{alert}: {:?}", first.reasons);
        assert_eq!(first.reasons.len(), first.reasons_zh.len());
    }
}

#[test]
fn a_file_of_ones_own_replaces_and_adds() {
    let own = "- verdict: temp_spill\n  title: {en: a, zh: a}\n  facts: [{name: n, promql: 'x{instance=$instance}'}]\n  \
               when: [{fact: n, at_least: 1}]\n  reason: {en: 'n is {n}', zh: a}\n  advice: {en: a, zh: a}\n";
    let mut trees = Trees::builtin();
    let before = trees.0.len();
    trees.add(Trees::parse("own.yaml", own).expect("a tree")).expect("room");
    assert_eq!(trees.0.len(), before);
    // it names no alert, so it asks for every one
    assert_eq!(trees.questions("Anything").filter(|(tree, _)| *tree == "temp_spill").count(), 1);
    for (own, error) in [
        (own.replace("x{instance=$instance}", "x{"), "own.yaml:3: verdict \"temp_spill\", fact \"n\": promql: "),
        (
            own.replace("$instance", "$host"),
            "own.yaml:3: verdict \"temp_spill\", fact \"n\": $host is not a placeholder",
        ),
        (own.replace("promql", "sql"), "sql must begin with SELECT"),
        (own.replace("name: n,", "name: root.pid,"), "\"root.pid\" is there already"),
    ] {
        let found = Trees::parse("own.yaml", &own).expect_err("wrong").to_string();
        assert!(found.contains(error), "{found}");
    }
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
        (tree("{fact: root.idle}", "x"), "must have at_least, below, is or known"),
        (tree("", "x"), "at least one condition"),
        (tree("{fact: root.idle, at_least: 1}", "{nosuch}"), "{nosuch} is not a fact"),
        (tree("{fact: root.idle, over: 1}", "x"), "unknown field `over`"),
    ] {
        let found = Trees::parse("own.yaml", &text).err().map(|e| e.to_string()).unwrap_or_default();
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

#[test]
fn built_in_trees_speak_both_languages() {
    fn words(node: &Node) -> Vec<(&str, &str)> {
        let own = [&node.title, &node.reason, &node.advice].map(|w| (w.en.value.as_str(), w.zh.value.as_str()));
        let also = node.also.iter().map(|a| (a.en.value.as_str(), a.zh.value.as_str()));
        own.into_iter().chain(also).chain(node.refine.iter().flat_map(words)).collect()
    }
    let chinese = |text: &str| text.chars().any(|c| c > '\u{4e00}');
    let trees = Trees::builtin();
    for (en, zh) in trees.0.iter().flat_map(words) {
        assert!(!chinese(en) && chinese(zh), "{en} / {zh}");
        let mut facts: Vec<Vec<&str>> = [en, zh].map(|t| placeholders(t).collect()).into();
        facts.iter_mut().for_each(|f| f.sort_unstable());
        assert_eq!(facts[0], facts[1], "{en} / {zh}");
    }
}
