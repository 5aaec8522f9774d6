//! Real messages to their classes, and what the tables promise about themselves.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::{config::Unmasked, logs::mask::Mask};

fn class_of(engine: Engine, code: Option<&str>, message: &str) -> Option<Classified> {
    classify(engine, code, &Mask { engine, unmasked: Unmasked::default() }.message(message))
}

#[test]
fn tables_are_large_and_every_row_can_be_reached() {
    for (engine, min) in [(Engine::Postgresql, 110), (Engine::Mariadb, 60)] {
        let classes: BTreeSet<&str> = table(engine).iter().map(|c| c.name).collect();
        assert!(classes.len() >= min, "{engine}: {} classes", classes.len());
        for class in table(engine) {
            assert!(!class.pattern.is_empty() || !class.code.is_empty(), "{}", class.name);
            let example = class.pattern.replace(['{', '}'], "").replace('*', "x");
            let code = Some(class.code).filter(|c| !c.is_empty());
            let found = classify(engine, code, &example).unwrap_or_else(|| panic!("{example} has no class"));
            assert_eq!(found.name, class.name, "an earlier row takes {example:?}");
        }
    }
}

/// `collector/testdata/log_lines.txt`: a line of each class is told as that class, after masking.
#[test]
fn a_line_of_each_class_has_it() {
    let mut seen: HashSet<(Engine, &str)> = HashSet::new();
    let mut wrong = Vec::new();
    let lines = include_str!("../../testdata/log_lines.txt").lines();
    for line in lines.filter(|l| !l.is_empty() && !l.starts_with("//")) {
        let parts: Vec<&str> = line.splitn(4, " | ").collect();
        let [engine, class, code, message] = parts[..] else { panic!("{line}") };
        let engine = match engine {
            "postgresql" => Engine::Postgresql,
            "mysql" => Engine::Mysql,
            "mariadb" => Engine::Mariadb,
            other => panic!("{other} is no engine"),
        };
        let got = class_of(engine, Some(code).filter(|c| *c != "-"), message).map(|c| c.name);
        if got != Some(class) {
            wrong.push(format!("{message}: {got:?}, not {class}"));
        }
        let of_table = if engine == Engine::Postgresql { engine } else { Engine::Mariadb };
        seen.insert((of_table, class));
    }
    for engine in [Engine::Postgresql, Engine::Mariadb] {
        for class in table(engine).iter().filter(|c| !seen.contains(&(engine, c.name))) {
            wrong.push(format!("{engine}: {} has no line", class.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn messages_of_postgresql() {
    for (code, message, want, captures) in [
        (
            None,
            "process 12 still waiting for ShareLock on transaction 789 after 1000.123 ms",
            "lock_wait",
            vec![("pid", "12"), ("mode", "ShareLock"), ("object", "transaction 789"), ("wait_ms", "1000.123")],
        ),
        (None, "duration: 1234.5 ms  statement: select 1", "slow_statement", vec![("duration_ms", "1234.5")]),
        (None, "duration: 5.1 ms  plan:\nQuery Text: select 1\nSeq Scan", "plan", vec![("duration_ms", "5.1")]),
        (Some("23505"), "irgendeine andere Sprache", "unique_violation", vec![]),
        (
            None,
            "duplicate key value violates unique constraint \"t_pkey\"",
            "unique_violation",
            vec![("constraint", "t_pkey")],
        ),
        (
            None,
            "server process (PID 5) was terminated by signal 9: Killed",
            "process_killed",
            vec![("child", "5"), ("signal", "9: Killed")],
        ),
        (
            None,
            "temporary file: path \"base/pgsql_tmp/x.1\", size 4096",
            "temporary_file",
            vec![("size_bytes", "4096")],
        ),
        (
            None,
            "automatic vacuum of table \"shop.public.orders\": index scans: 1",
            "autovacuum",
            vec![("table", "shop.public.orders")],
        ),
        (Some("57014"), "canceling statement due to lock timeout", "lock_timeout", vec![]),
        (None, "password authentication failed for user \"ann\"", "auth_failed", vec![("user", "ann")]),
    ] {
        let got = class_of(Engine::Postgresql, code, message).unwrap_or_else(|| panic!("{message}"));
        assert_eq!(got.name, want, "{message}");
        let got: Vec<(&str, &str)> = got.captures.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(got, captures, "{message}");
    }
    assert_eq!(class_of(Engine::Postgresql, None, "a message of an extension"), None);
}

#[test]
fn messages_of_mysql_and_mariadb() {
    for (message, want, captures) in [
        (
            "Aborted connection 31 to db: 'shop' user: 'app' host: 'localhost' (Got timeout reading communication packets)",
            "connection_aborted",
            vec![
                ("connection", "31"),
                ("database", "shop"),
                ("user", "app"),
                ("host", "localhost"),
                ("reason", "Got timeout reading communication packets"),
            ],
        ),
        ("Access denied for user 'x'@'h' (using password: NO)", "auth_failed", vec![("user", "x"), ("host", "h")]),
        ("InnoDB: Transactions deadlock detected, dumping detailed information.", "deadlock", vec![]),
        ("mariadbd: ready for connections.", "server_ready", vec![]),
        ("[ERROR] mysqld got signal 11 ;", "crash", vec![("signal", "11")]),
        (
            "InnoDB: page_cleaner: 1000ms intended loop took 4013ms. The settings might not be optimal.",
            "page_cleaner_slow",
            vec![("interval", "1000"), ("took_ms", "4013")],
        ),
    ] {
        let got = class_of(Engine::Mariadb, None, message).unwrap_or_else(|| panic!("{message}"));
        assert_eq!(got.name, want, "{message}");
        let got: Vec<(&str, &str)> = got.captures.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(got, captures, "{message}");
    }
}
