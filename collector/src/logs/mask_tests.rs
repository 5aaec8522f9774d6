//! What must go and what must stay; that no planted secret passes is shown by `mask_fuzz_tests`.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn mask(engine: Engine) -> Mask {
    Mask { engine, unmasked: Unmasked::default() }
}

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
        assert_eq!(mask(engine).message(text), want);
    }
}

#[test]
fn a_deadlock_report_keeps_its_statements_without_literals_and_its_locks_without_rows() {
    let text = "InnoDB: *** (1) TRANSACTION:\nTRANSACTION 5, ACTIVE 3 sec\n\
                MariaDB thread id 8, OS thread handle 1, query id 9 localhost root Updating\n\
                UPDATE t SET a = 'secret'\nWHERE id = 4111\n*** WAITING FOR THIS LOCK TO BE GRANTED:\n\
                RECORD LOCKS space id 5 page no 3 n bits 8 index PRIMARY of table `s`.`t`\n 0: len 4; hex 80000fff; asc secr;;\n";
    let got = mask(Engine::Mariadb).message(text);
    assert!(!got.contains("secr") && !got.contains("4111") && !got.contains("80000fff"), "{got}");
    assert!(got.contains("UPDATE t SET a = ?\nWHERE id = ?\n*** WAITING") && got.contains("`s`.`t`"), "{got}");
}

#[test]
fn kinds_that_may_stay_do_and_credentials_never() {
    let keep = |literals, parameters, row_values| Mask {
        engine: Engine::Postgresql,
        unmasked: Unmasked { literals, parameters, row_values },
    };
    for (mask, text, want) in [
        (keep(true, false, false), "statement: select 'x'", "statement: select 'x'"),
        (keep(true, false, false), "Key (a)=(x) already exists.", "Key (a)=(?) already exists."),
        (keep(true, false, false), "parameters: $1 = 'x'", "parameters: ?"),
        (keep(true, false, false), "statement: alter role a password 'x'", "statement: alter role a password ?"),
        (
            keep(true, false, false),
            "duration: 1 ms  plan:\nQuery Text: select $1\nQuery Parameters: $1 = 'x'\nResult  (cost=0.00..0.01 rows=1)",
            "duration: 1 ms  plan:\nQuery Text: select $1\nQuery Parameters: ?\nResult  (cost=0.00..0.01 rows=1)",
        ),
        (keep(true, false, false), "conninfo: host=h password=x y", "conninfo: host=h password=? y"),
        (keep(false, true, false), "parameters: $1 = 5, $2 = 'x'", "parameters: $1 = 5, $2 = '?'"),
        (keep(true, true, false), "parameters: $1 = 'x'", "parameters: $1 = 'x'"),
        (keep(false, true, false), "statement: select 'x'", "statement: select ?"),
        (keep(false, false, true), "Key (a)=(x) already exists.", "Key (a)=(x) already exists."),
        (keep(false, false, true), "Failing row contains (1, x).", "Failing row contains (1, x)."),
        (keep(true, true, true), "could not reach postgres://u:x@h", "could not reach postgres://?@h"),
    ] {
        assert_eq!(mask.message(text), want);
    }
}

#[test]
fn credentials_in_settings_go() {
    for (name, value, want) in [
        ("primary_conninfo", "host=h user=u password=x", "host=h user=u password=?"),
        ("primary_conninfo", "postgres://u:x@h:5432/", "postgres://?@h:5432/"),
        ("app.secret_key", "x", "?"),
        ("validate_password.policy", "MEDIUM", "MEDIUM"),
        ("password_encryption", "scram-sha-256", "scram-sha-256"),
        ("wsrep_sst_auth", "sst:x", "?"),
        ("work_mem", "4096", "4096"),
    ] {
        assert_eq!(setting(name, value), want, "{name}");
    }
}

proptest! {
    #[test]
    fn any_text_is_masked_without_panic(text in "\\PC{0,200}") {
        mask(Engine::Postgresql).message(&text);
        mask(Engine::Mariadb).message(&text);
    }
}
