//! Values planted in statements and in the records of every format, for the fuzz of masking. Texts are those of the servers'
//! sources, written by hand.

use std::fmt::Write as _;

use crate::databases::Dialect;

/// Every secret of text begins so, every secret number so.
pub(super) const TEXT_BEGINS: &str = "zqhushhush";
pub(super) const NUMBER_BEGINS: &str = "90773177";
/// What stands between the two halves of a secret: what could end a literal too early, or begin one.
pub(super) const WITHIN: [&str; 24] = [
    "", " ", "'", "\"", "`", "\\", "$$", "$q$", ";", "--", " -- ", "/*", "*/", "#", ")", "(", "=", ",", "@", ":", "''",
    "\\'", "\n", "…",
];

/// One planted value: as its user meant it, unquoted.
pub(super) struct Secrets {
    /// What decides; also for those who plant.
    pub(super) rng: fastrand::Rng,
    made: u64,
}

impl Secrets {
    /// The same secrets for the same seed.
    pub(super) fn new(seed: u64) -> Secrets {
        Secrets { rng: fastrand::Rng::with_seed(seed), made: 0 }
    }

    pub(super) fn text(&mut self) -> String {
        self.made += 2;
        let within = WITHIN[self.rng.usize(..WITHIN.len())];
        format!("{TEXT_BEGINS}{:06}{within}{TEXT_BEGINS}{:06}", self.made, self.made + 1)
    }

    /// For places where the server itself would not take blanks or quotes.
    pub(super) fn word(&mut self) -> String {
        self.made += 1;
        format!("{TEXT_BEGINS}{:06}", self.made)
    }

    pub(super) fn number(&mut self) -> String {
        self.made += 1;
        let sign = if self.rng.bool() { "-" } else { "" };
        let fraction = if self.rng.bool() { ".5" } else { "" };
        format!("{sign}{NUMBER_BEGINS}{:06}{fraction}", self.made)
    }

    pub(super) fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.rng.usize(..list.len())]
    }

    /// A value as a literal of the dialect.
    pub(super) fn literal(&mut self, dialect: Dialect) -> String {
        let value = match self.rng.u8(..4) {
            0 => return self.number(),
            _ => self.text(),
        };
        let doubled = value.replace('\'', "''");
        let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
        match (dialect, self.rng.u8(..5)) {
            (Dialect::Postgresql, 0) => format!("E'{escaped}'"),
            (Dialect::Postgresql, 1) => format!("$zz${value}$zz$"),
            (Dialect::Postgresql, 2) => format!("U&'{}'", doubled.replace('\\', "\\\\")),
            (Dialect::Postgresql, _) => format!("'{doubled}'"),
            (Dialect::Mysql, 0) => format!("'{escaped}'"),
            (Dialect::Mysql, 1) => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\"\"")),
            (Dialect::Mysql, 2) => format!("_utf8mb4'{}'", doubled.replace('\\', "\\\\")),
            (Dialect::Mysql, _) => format!("'{}'", doubled.replace('\\', "\\\\")),
        }
    }

    /// A statement of the dialect with secrets in its literals and comments.
    pub(super) fn statement(&mut self, dialect: Dialect) -> String {
        let common = [
            "select a from t where b = {} and c > {}",
            "select a from t where b in ({}, {}, {}) limit {}",
            "insert into t (a, b) values ({}, {}), ({}, {})",
            "update t set a = {}, b = b + {}\nwhere c = {}",
            "delete from t where a between {} and {}",
            "select f({}, a, {}) /* {} */ from t -- {}",
            "with x as (select {}) select * from x where a like {}",
            "call p({}, {})",
        ];
        let own: &[&str] = match dialect {
            Dialect::Postgresql => &[
                "create user u password {}",
                "alter role u with login password {} valid until {}",
                "create user mapping for u server s options (user 'x', password {})",
                "create subscription s connection {} publication p",
                "select * from dblink({}, {}) as t(a int)",
                "select crypt({}, gen_salt('bf'))",
                "copy t from program {}",
                "set app.token = {}",
                "comment on table t is {}",
                "do {}",
                "create function f() returns text language sql as {}",
                "select a from t where b @> {} and c ? {} and d -> {} = {}::jsonb",
                "select array[{}, {}], row({}), {}::text",
                "execute s({}, {})",
                "prepare s as select {}",
                "notify c, {}",
            ],
            Dialect::Mysql => &[
                "create user u identified by {}",
                "create user u@{} identified via mysql_native_password using {}",
                "alter user u identified by {} replace {}",
                "grant all on *.* to u identified by {}",
                "set password for u = password({})",
                "set password = {}",
                "change master to master_host = {}, master_password = {}",
                "change replication source to source_user = {}, source_password = {}",
                "create server s foreign data wrapper mysql options (user 'u', password {})",
                "select aes_encrypt(a, {}) from t",
                "set @a = {}, @b := {}",
                "load data infile {} into table t",
                "insert into t values ({}) on duplicate key update a = {}",
                "/*!50000 insert into t values ({}) */",
                "select a from t where b = {} # {}",
                "prepare s from {}",
            ],
        };
        let index = self.rng.usize(..common.len() + own.len());
        let shape = common.get(index).or_else(|| own.get(index - common.len())).unwrap();
        let mut sql = String::new();
        let mut pieces = shape.split("{}");
        sql.push_str(pieces.next().unwrap());
        for piece in pieces {
            let in_comment = sql.ends_with("/* ") || sql.ends_with("-- ") || sql.ends_with("# ");
            sql.push_str(&if in_comment { self.word() } else { self.literal(dialect) });
            sql.push_str(piece);
        }
        sql
    }
}

/// What one server would log, before it has a format.
#[derive(Clone, Default)]
pub(super) struct Told {
    severity: &'static str,
    code: &'static str,
    message: String,
    detail: String,
    context: String,
    query: String,
    statement: String,
}

pub(super) fn told(severity: &'static str, message: impl Into<String>) -> Told {
    Told { severity, code: "00000", message: message.into(), ..Told::default() }
}

pub(super) const POSTGRES_PLACES: u8 = 29;

/// PostgreSQL's records with values in them. Texts are those of its sources.
pub(super) fn postgres_told(s: &mut Secrets, place: u8) -> Told {
    let sql = s.statement(Dialect::Postgresql);
    let (a, b, number) = (s.text(), s.text(), s.number());
    let error = |message: &str| Told { statement: sql.clone(), ..told("ERROR", message) };
    let detail = |message: &str, detail: String| Told { detail, ..error(message) };
    let context = |message: &str, context: String| Told { context, ..error(message) };
    let quoted = |v: &str| format!("'{}'", v.replace('\'', "''"));
    match place {
        0 => told("LOG", format!("statement: {sql}")),
        1 => told("LOG", format!("execute {}: {sql}", s.one_of(&["<unnamed>", "S_1", "fetch from S_2/C_3"]))),
        2 => told("LOG", format!("duration: 12.5 ms  statement: {sql}")),
        3 => told("LOG", format!("duration: 0.2 ms  bind a_long_name_{}: {sql}", "x".repeat(90))),
        4 => Told {
            detail: format!("parameters: $1 = {}, $2 = {}", quoted(&a), quoted(&number)),
            ..told("LOG", format!("duration: 1.5 ms  execute S_1: {sql}"))
        },
        5 => told(
            "LOG",
            format!(
                "duration: 9.1 ms  plan:\nQuery Text: {sql}\nSeq Scan on t  (cost=0.00..1.00 rows=1 width=4)\n  Filter: (a = {}::text)\n  Index Cond: (b > {number})",
                quoted(&a)
            ),
        ),
        6 => told(
            "LOG",
            format!(
                "duration: 9.1 ms  plan:\nQuery Text: {sql}\nQuery Parameters: $1 = {}, $2 = {}\nResult  (cost=0.00..0.01 rows=1 width=4)",
                quoted(&a),
                quoted(&b)
            ),
        ),
        7 => {
            let plan = serde_json::json!({
                "Query Text": sql, "Query Parameters": format!("$1 = {}", quoted(&a)),
                "Plan": {"Node Type": "Seq Scan", "Filter": format!("(a = {}::text)", quoted(&b)), "Output": [format!("{number}"), "a"]},
            });
            told("LOG", format!("duration: 9.1 ms  plan:\n{plan:#}"))
        }
        8 => Told {
            code: "23505",
            ..detail(
                "duplicate key value violates unique constraint \"t_pkey\"",
                format!("Key (lower(a), b)=({a}, {number}) already exists."),
            )
        },
        9 => Told {
            code: "23503",
            ..detail(
                "insert or update on table \"t\" violates foreign key constraint \"f\"",
                format!("Key (a)=({a}) is not present in table \"u\"."),
            )
        },
        10 => detail(
            "null value in column \"a\" of relation \"t\" violates not-null constraint",
            format!("Failing row contains (1, {a}, null, {b})."),
        ),
        11 => detail(
            "conflicting key value violates exclusion constraint \"x\"",
            format!("Key (a)=({a}) conflicts with existing key (a)=({b})."),
        ),
        12 => detail(
            "no partition of relation \"t\" found for row",
            format!("Partition key of the failing row contains (a) = ({a})."),
        ),
        13 => error(&format!("invalid input syntax for type integer: \"{a}\"")),
        14 => error(&format!("value \"{number}\" is out of range for type integer")),
        15 => error(&format!("date/time field value out of range: \"{a}\"")),
        16 => error(&format!("invalid input value for enum color: \"{a}\"")),
        17 => error(&format!("syntax error at or near \"{}\"", quoted(&a))),
        18 => Told {
            detail: format!("Token \"{a}\" is invalid."),
            ..context(
                "invalid input syntax for type json",
                format!("JSON data, line 1: {{\"a\": {number}, \"b\": {b}..."),
            )
        },
        19 => context("invalid input syntax", format!("COPY t, line 3, column a: \"{a}\"")),
        20 => context("extra data after last expected column", format!("COPY s.t, line 3: \"{number},{a}\"")),
        21 => Told {
            context: format!(
                "SQL statement \"{sql}\"\nPL/pgSQL function f(text) line 3 at SQL statement\nPL/pgSQL assignment \"x := {}\"",
                quoted(&a)
            ),
            query: s.statement(Dialect::Postgresql),
            ..error("division by zero")
        },
        22 => context("x", format!("unnamed portal with parameters: $1 = {}, $2 = NULL", quoted(&a))),
        23 => context("x", format!("unnamed portal parameter $1 = {}", quoted(&a))),
        24 => detail(
            "deadlock detected",
            format!(
                "Process 7 waits for ShareLock on transaction 9; blocked by process 8.\nProcess 8 waits for ShareLock on transaction 5; blocked by process 7.\nProcess 7: {sql}\nProcess 8: {}",
                s.statement(Dialect::Postgresql)
            ),
        ),
        25 => Told {
            context: "PL/pgSQL function f() line 3 at RAISE".into(),
            detail: b,
            ..told("NOTICE", format!("customer {a} has {number}"))
        },
        26 => Told { code: "P0001", context: "PL/pgSQL function f() line 5 at RAISE".into(), ..told("ERROR", a) },
        27 => told(
            "LOG",
            format!(
                "AUDIT: SESSION,1,1,WRITE,INSERT,TABLE,public.t,\"{}\",\"{number},{}\"",
                sql.replace('"', "\"\""),
                b.replace('"', "\"\"")
            ),
        ),
        _ => {
            let word = s.word();
            error(&match s.rng.u8(..3) {
                0 => format!("could not connect to the primary server: host=h password={word} user=u"),
                1 => format!("invalid connection string: postgres://u:{word}@h:5432/db"),
                _ => format!("could not parse conninfo \"host=h password={}\"", quoted(&a)),
            })
        }
    }
}

pub(super) const AT: &str = "2026-11-25 12:00:00.123 UTC";

pub(super) fn stderr_of(told: &Told, prefix: &str) -> String {
    let mut out = String::new();
    let parts = [
        (told.severity, &told.message),
        ("DETAIL", &told.detail),
        ("CONTEXT", &told.context),
        ("QUERY", &told.query),
        ("STATEMENT", &told.statement),
    ];
    for (word, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
        let _ = writeln!(out, "{prefix}{word}:  {}", text.replace('\n', "\n\t"));
    }
    out
}

pub(super) fn csv_of(told: &Told) -> String {
    let quoted = |text: &str| match text.is_empty() {
        true => String::new(),
        false => format!("\"{}\"", text.replace('"', "\"\"")),
    };
    format!(
        "{AT},\"ann\",\"shop\",77,\"[local]\",65f.1a,3,\"INSERT\",{AT},3/4,0,{},{},{},{},,{},,{},{},,,\"psql\",\"client backend\",,0\n",
        told.severity,
        told.code,
        quoted(&told.message),
        quoted(&told.detail),
        quoted(&told.query),
        quoted(&told.context),
        quoted(&told.statement),
    )
}

pub(super) fn json_of(told: &Told) -> String {
    let mut object = serde_json::json!({
        "timestamp": AT, "user": "ann", "dbname": "shop", "pid": 77, "error_severity": told.severity,
        "state_code": told.code, "message": told.message, "backend_type": "client backend",
    });
    for (key, text) in [
        ("detail", &told.detail),
        ("context", &told.context),
        ("internal_query", &told.query),
        ("statement", &told.statement),
    ] {
        if !text.is_empty() {
            object[key] = text.as_str().into();
        }
    }
    format!("{object}\n")
}

pub(super) const MYSQL_PLACES: u8 = 12;

/// Messages of MySQL's and MariaDB's error logs with values in them.
pub(super) fn mysql_told(s: &mut Secrets, place: u8) -> Vec<String> {
    let sql = s.statement(Dialect::Mysql);
    let (a, number) = (s.text(), s.number());
    let one_line = |text: &str| text.replace('\n', " ");
    match place {
        0 => vec![format!(
            "Slave SQL: Error 'Duplicate entry '{}' for key 'PRIMARY'' on query. Default database: 'shop'. Query: '{}', Gtid 0-1-77, Internal MariaDB error code: 1062",
            one_line(&a),
            one_line(&sql)
        )],
        1 => vec![format!(
            "Could not execute Write_rows_v1 event on table shop.t; Duplicate entry '{a}' for key 't.mail', Error_code: 1062; handler error HA_ERR_FOUND_DUPP_KEY; the event's master log b.1, end_log_pos 5"
        )],
        2 => vec![format!(
            "mysqld got signal 11 ;\nSorry, we probably made a mistake.\nQuery (0x7f8a): {sql}\n\nConnection ID (thread ID): 5\nStatus: NOT_KILLED"
        )],
        3 => vec![format!(
            "Unsafe statement written to the binary log using statement format since BINLOG_FORMAT = STATEMENT. The statement is unsafe because it uses a LIMIT clause. Statement: {sql}"
        )],
        4 => vec![format!("Incorrect integer value: '{a}' for column 'a' at row 1")],
        5 => vec![format!("Truncated incorrect DOUBLE value: '{a}'")],
        6 => vec![format!("Event Scheduler: [root@localhost].[shop.e] Duplicate entry '{a}' for key 'mail'")],
        7 => vec![format!("InnoDB: Transaction was aborted due to '{a}'")],
        _ => {
            // a deadlock, in as many records as the server makes of it
            let party = |n: u8, sql: &str, asc: &str| {
                vec![
                    format!(
                        "InnoDB: \n*** ({n}) TRANSACTION:\nTRANSACTION 180{n}, ACTIVE 2 sec starting index read\nmysql tables in use 1, locked 1\nLOCK WAIT 3 lock struct(s), heap size 1128, 2 row lock(s)\n{} thread id {n}, OS thread handle 1, query id 2{n} localhost root Updating\n{sql}",
                        if place.is_multiple_of(2) { "MariaDB" } else { "MySQL" }
                    ),
                    format!(
                        "InnoDB: *** WAITING FOR THIS LOCK TO BE GRANTED:\nRECORD LOCKS space id 5 page no 3 n bits 8 index PRIMARY of table `shop`.`t` trx id 180{n} lock_mode X waiting\nRecord lock, heap no 2 PHYSICAL RECORD: n_fields 2; compact format; info bits 0\n 0: len 4; hex 80000001; asc     ;;\n 1: len 30; hex 9077; asc {asc}; (total 90 bytes);\n"
                    ),
                ]
            };
            let other = s.statement(Dialect::Mysql);
            let mut records = vec!["InnoDB: Transactions deadlock detected, dumping detailed information.".to_owned()];
            records.extend(party(1, &sql, &one_line(&a)));
            records.extend(party(2, &other, &number));
            records.push("InnoDB: *** WE ROLL BACK TRANSACTION (1)".to_owned());
            records
        }
    }
}

pub(super) fn mysql_json_of(messages: &[String]) -> String {
    let line = |message: &String| {
        let object = serde_json::json!({
            "prio": 2, "err_code": 10055, "subsystem": "Server", "msg": message, "time": "2026-11-25T12:00:00.123456Z",
            "thread": 5, "label": "Warning",
        });
        format!("{object}\n")
    };
    messages.iter().map(line).collect()
}

pub(super) fn slow_of(s: &mut Secrets) -> String {
    let sql = s.statement(Dialect::Mysql);
    format!(
        "# Time: 2026-11-25T12:00:00.250000Z\n# User@Host: root[root] @  [10.1.2.3]  Id:    12\n# Query_time: 0.250000  Lock_time: 0.000000 Rows_sent: 0  Rows_examined: 0\nuse shop;\nSET timestamp=1795607999;\n{sql};\n"
    )
}
