//! What must go, what must stay, and that no planted secret passes whatever stands around it.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn values_go_and_names_stay() {
    for (engine, text, want) in [
        (Engine::Postgresql, "relation \"orders\" does not exist", "relation \"orders\" does not exist"),
        (
            Engine::Postgresql,
            "invalid input syntax for type integer: \"4111\"",
            "invalid input syntax for type integer: \"?\"",
        ),
        (Engine::Postgresql, "Key (id)=(42) already exists.", "Key (id)=(?) already exists."),
        (
            Engine::Postgresql,
            "Key (lower(mail), n)=(a)b, 3) already exists.",
            "Key (lower(mail), n)=(?) already exists.",
        ),
        (
            Engine::Postgresql,
            "Key (customer)=(9) is not present in table \"customers\".",
            "Key (customer)=(?) is not present in table \"customers\".",
        ),
        (Engine::Postgresql, "Failing row contains (1, secret, (x)).", "Failing row contains (?)."),
        (Engine::Postgresql, "parameters: $1 = 'a', $2 = '7'", "parameters: ?"),
        (Engine::Postgresql, "COPY t, line 3, column mail: \"a@b\"", "COPY t, line 3, column mail: ?"),
        (
            Engine::Postgresql,
            "duration: 12.5 ms  statement: select * from t where a = 'x' and b = 7",
            "duration: 12.5 ms  statement: select * from t where a = ? and b = ?",
        ),
        (
            Engine::Postgresql,
            "duration: 1.0 ms  execute S_1: update t set a = 'x'",
            "duration: 1.0 ms  execute S_1: update t set a = ?",
        ),
        (
            Engine::Postgresql,
            "SQL statement \"INSERT INTO t VALUES ('x', 1)\"\nPL/pgSQL function f() line 3",
            "SQL statement \"INSERT INTO t VALUES (?, ?)\"\nPL/pgSQL function f() line 3",
        ),
        (
            Engine::Postgresql,
            "process 12 still waiting for ShareLock on transaction 5 after 1000.1 ms",
            "process 12 still waiting for ShareLock on transaction 5 after 1000.1 ms",
        ),
        (
            Engine::Postgresql,
            "password authentication failed for user \"ann\"",
            "password authentication failed for user \"ann\"",
        ),
        (Engine::Postgresql, "could not connect: host=a password=hunter2", "could not connect: host=a password=?"),
        (Engine::Postgresql, "could not reach postgres://u:pw@h/db", "could not reach postgres://?@h/db"),
        (Engine::Postgresql, "syntax error at or near \"4111\"", "syntax error at or near \"?\""),
        (
            Engine::Postgresql,
            "Process 7 waits for ShareLock on transaction 9; blocked by process 8.\nProcess 7: UPDATE stock SET n = 5\n WHERE mail = 'a@b'\nProcess 8: DELETE FROM stock WHERE id = 4111",
            "Process 7 waits for ShareLock on transaction 9; blocked by process 8.\nProcess 7: UPDATE stock SET n = ?\n WHERE mail = ?\nProcess 8: DELETE FROM stock WHERE id = ?",
        ),
        (
            Engine::Mariadb,
            "Slave SQL: Error 'Duplicate entry '4111' for key 'PRIMARY'' on query. Default database: 'shop'. Query: 'INSERT INTO orders VALUES (4111, 'a@b')', Gtid 0-1-77, Internal MariaDB error code: 1062",
            "Slave SQL: Error 'Duplicate entry '?' for key 'PRIMARY'' on query. Default database: 'shop'. Query: 'INSERT INTO orders VALUES (?, ?)', Gtid 0-1-77, Internal MariaDB error code: 1062",
        ),
        (
            Engine::Mariadb,
            "Access denied for user 'root'@'localhost' (using password: YES)",
            "Access denied for user 'root'@'localhost' (using password: YES)",
        ),
        (Engine::Mysql, "Duplicate entry 'a@b' for key 't.mail'", "Duplicate entry '?' for key 't.mail'"),
        (
            Engine::Mariadb,
            "Aborted connection 5 to db: 'shop' user: 'app' host: 'h' (Got timeout reading communication packets)",
            "Aborted connection 5 to db: 'shop' user: 'app' host: 'h' (Got timeout reading communication packets)",
        ),
        (Engine::Mysql, "Slave's SQL thread can't go on", "Slave's SQL thread can't go on"),
    ] {
        assert_eq!(message(engine, text), want);
    }
}

#[test]
fn a_deadlock_report_keeps_its_statements_without_literals_and_its_locks_without_rows() {
    let text = "InnoDB: *** (1) TRANSACTION:\nTRANSACTION 5, ACTIVE 3 sec\n\
                MariaDB thread id 8, OS thread handle 1, query id 9 localhost root Updating\n\
                UPDATE t SET a = 'secret'\nWHERE id = 4111\n*** WAITING FOR THIS LOCK TO BE GRANTED:\n\
                RECORD LOCKS space id 5 page no 3 n bits 8 index PRIMARY of table `s`.`t`\n 0: len 4; hex 80000fff; asc secr;;\n";
    let got = message(Engine::Mariadb, text);
    assert!(!got.contains("secr") && !got.contains("4111") && !got.contains("80000fff"), "{got}");
    assert!(got.contains("UPDATE t SET a = ?\nWHERE id = ?\n*** WAITING") && got.contains("`s`.`t`"), "{got}");
}

/// Places where a server writes a value of the user's.
fn planted(place: usize, secret: &str) -> (Engine, Record) {
    let record = |message: String| Record { message, ..Record::default() };
    let with = |message: &str, extra: Extra, text: String| Record {
        message: message.into(),
        extras: vec![(extra, text)],
        ..Record::default()
    };
    match place {
        0 => (Engine::Postgresql, record(format!("duration: 1.5 ms  statement: select * from t where a = '{secret}'"))),
        1 => (Engine::Postgresql, with("error", Extra::Statement, format!("alter role x password '{secret}'"))),
        2 => (Engine::Postgresql, with("dup", Extra::Detail, format!("Key (mail)=({secret}) already exists."))),
        3 => (Engine::Postgresql, with("null", Extra::Detail, format!("Failing row contains (1, {secret}, null)."))),
        4 => (Engine::Postgresql, record(format!("invalid input syntax for type integer: \"{secret}\""))),
        5 => (Engine::Postgresql, with("x", Extra::Detail, format!("parameters: $1 = '1', $2 = '{secret}'"))),
        6 => (Engine::Postgresql, with("x", Extra::Context, format!("COPY t, line 1, column a: \"{secret}\""))),
        7 => (Engine::Postgresql, with("x", Extra::Context, format!("SQL statement \"select '{secret}'\""))),
        8 => (Engine::Mysql, record(format!("Duplicate entry '{secret}' for key 'mail'"))),
        9 => (Engine::Mariadb, record(format!("Query (0x7f): insert into t values ('{secret}')\n\nConnection ID 5"))),
        10 => (Engine::Mysql, record(format!("Incorrect integer value: '{secret}' for column 'a' at row 1"))),
        _ => (
            Engine::Mariadb,
            record(format!("MariaDB thread id 5, query id 1 root\nset password = '{secret}'\n*** (2)")),
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn no_planted_secret_passes(place in 0usize..12, secret in "[A-Z][a-z0-9 ,.@#=:-]{3,20}[a-z0-9]") {
        let (engine, record) = planted(place, &secret);
        let got = body(engine, &record);
        prop_assert!(!got.contains(&secret), "{got}");
    }

    #[test]
    fn any_text_is_masked_without_panic(text in "\\PC{0,200}") {
        message(Engine::Postgresql, &text);
        message(Engine::Mariadb, &text);
    }
}
