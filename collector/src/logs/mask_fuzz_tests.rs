//! Statements and log lines of every format with secrets planted in them, through tailers, rows and spool: none is in a batch
//! that would be sent, neither in its bytes nor in what a server reads from it. Deterministic; `SOAK=1` goes on for longer.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use proto::{Batch, Events, EventsBuilder, Labels, Payload, Table};

use super::{
    mask::Mask,
    planted::{
        AT, MYSQL_PLACES, NUMBER_BEGINS, POSTGRES_PLACES, Secrets, TEXT_BEGINS, Told, csv_of, json_of, mysql_json_of,
        mysql_told, postgres_told, slow_of, stderr_of,
    },
    tailer::{Tailer, matching_files},
};
use crate::{
    config::{Engine, LogConfig, LogFormat, LogRows, LogStart, Unmasked},
    databases::{
        Dialect,
        activity::{self, Session},
        fingerprint, mask_sql, plan,
        statements::{Delta, Key, Known, Texts},
    },
    spool::{Spool, SpoolOptions},
};

/// Rows of every kind into a spool, and what it would send.
struct Node {
    directory: tempfile::TempDir,
    spool: Spool,
    /// What stood in the files, to tell which text a leak came from.
    written: Vec<String>,
}

impl Node {
    fn new() -> Node {
        let directory = tempfile::tempdir().unwrap();
        let options = SpoolOptions {
            data_dir: directory.path().join("spool"),
            batch_bytes_max: proto::batch::ENCODED_BYTES_MAX,
            bytes_max: 512 << 20,
            id: None,
            tenant: "0".into(),
            resource: Labels::empty(),
            host: "h".into(),
            boot: "b".into(),
            now_ms: 1000,
        };
        Node { spool: Spool::open(options).unwrap(), directory, written: Vec::new() }
    }

    fn send(&mut self, events: Events) {
        if events.rows() > 0 {
            self.spool.append(Payload::Events(events), 1000).unwrap();
        }
    }

    /// Reads a log both as records and as executions, to its end.
    fn log(&mut self, name: &str, engine: Engine, format: &LogFormat, records: &[String]) {
        let path = self.directory.path().join(name);
        std::fs::write(&path, records.concat()).unwrap();
        self.written.extend_from_slice(records);
        for rows in [LogRows::Records, LogRows::Executions] {
            let config = LogConfig {
                path: path.clone(),
                instance: "db".into(),
                engine,
                format: format.clone(),
                start: LogStart::Beginning,
                rows,
                unmasked: Unmasked::default(),
            };
            assert_eq!(matching_files(&path).unwrap().len(), 1);
            let mut tailer = Tailer::new(config, &[]);
            let mut rows = 0;
            for _ in 0..3 {
                loop {
                    let spool = &mut self.spool;
                    let more = tailer
                        .poll(1000, &mut |events, marks| {
                            rows += events.rows();
                            spool.append_marked(&Payload::Events(events), marks, 1000)
                        })
                        .unwrap();
                    if !more {
                        break;
                    }
                }
            }
            let all = tailer.config().rows == LogRows::Records;
            assert!(!all || rows >= records.len(), "{name}: {rows} rows of {} records", records.len());
        }
    }

    /// Everything the spool sends: nothing in its bytes, nothing in its cells.
    fn check(&mut self, seed: u64) -> usize {
        let mut cells = 0;
        while let Some(out) = self.spool.next_unsent(usize::MAX, 2000).unwrap() {
            let frame = out.bytes.windows(4).position(|w| w == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
            let message = zstd::decode_all(&out.bytes[frame..]).unwrap();
            let message = String::from_utf8_lossy(&message).to_lowercase();
            for begins in [TEXT_BEGINS, NUMBER_BEGINS] {
                let Some(at) = message.find(begins) else { continue };
                let secret: String = message[at..].chars().take(begins.len() + 6).collect();
                let source = self.written.iter().find(|w| w.to_lowercase().contains(&secret));
                let before: String =
                    message[..at].chars().rev().take(120).collect::<Vec<_>>().into_iter().rev().collect();
                panic!("seed {seed}: {secret} is sent\n  after {before:?}\n  from {source:?}");
            }
            let Payload::Events(events) = Batch::decode(&out.bytes).unwrap().payload else { continue };
            for row in 0..events.rows() {
                for column in events.table.columns() {
                    let cell = format!("{:?}", events.get(row, column.name)).to_lowercase();
                    assert!(!cell.contains(TEXT_BEGINS) && !cell.contains(NUMBER_BEGINS), "seed {seed}: {cell}");
                    cells += 1;
                }
            }
        }
        cells
    }
}

/// Statements as views show them: sessions (cut where the server cuts), texts of statistics, plans.
fn views(s: &mut Secrets, node: &mut Node, dialect: Dialect, count: usize) {
    let engine = if dialect == Dialect::Postgresql { Engine::Postgresql } else { Engine::Mariadb };
    let mut sessions = Vec::new();
    let mut plans = EventsBuilder::new(Table::Plans);
    let mut texts = Texts::default();
    let mut deltas = Vec::new();
    for i in 0..count {
        let mut sql = s.statement(dialect);
        node.written.push(sql.clone());
        let id: Arc<str> = format!("{i}").into();
        let known = Known { fingerprint: Arc::new(fingerprint(dialect, &sql)), truncated: false, raw: None };
        texts.learn(&id, known);
        let key = Key { database: None, user: None, native_id: Some(id), toplevel: true };
        deltas.push(Delta { key, counters: Default::default(), max_ms: None, quality: Vec::new() });
        let json =
            serde_json::json!([{"Plan": {"Node Type": "Seq Scan", "Filter": format!("(a = {})", s.literal(dialect))}}]);
        if dialect == Dialect::Postgresql {
            let plan = plan::read(dialect, &json.to_string()).unwrap();
            plans.row("db", 1, [("plan", plan.text.into()), ("summary", plan.summary.into())]);
        }
        if s.rng.bool() {
            let mut at = s.rng.usize(..=sql.len());
            while !sql.is_char_boundary(at) {
                at -= 1;
            }
            sql.truncate(at);
        }
        sessions.push(Session { pid: i as i64 + 1, text: Some(sql), ..Session::default() });
    }
    node.send(activity::rows(Mask { engine, unmasked: Unmasked::default() }, "db", 1, sessions));
    node.send(plans.build());
    node.send(texts.announce(engine, "db", 1, &deltas));
}

fn round(seed: u64) -> usize {
    let mut s = Secrets::new(seed);
    let mut node = Node::new();
    for (prefix, line) in [
        ("%m [%p] %q%u@%d ", format!("{AT} [77] ann@shop ")),
        ("%t:%r:%u@%d:[%p]: ", format!("{AT}:10.0.0.1(5000):ann@shop:[77]: ")),
        ("", String::new()),
    ] {
        let told: Vec<Told> = (0..POSTGRES_PLACES).map(|place| postgres_told(&mut s, place)).collect();
        let records: Vec<String> = told.iter().map(|t| stderr_of(t, &line)).collect();
        node.log(&format!("{}.log", line.len()), Engine::Postgresql, &LogFormat::Stderr(Some(prefix.into())), &records);
        node.log("unknown.log", Engine::Postgresql, &LogFormat::Stderr(None), &records);
    }
    let told: Vec<Told> = (0..POSTGRES_PLACES * 3).map(|place| postgres_told(&mut s, place / 3)).collect();
    let records: Vec<String> = told.iter().map(csv_of).collect();
    node.log("db.csv", Engine::Postgresql, &LogFormat::Csvlog, &records);
    let records: Vec<String> = told.iter().map(json_of).collect();
    node.log("db.json", Engine::Postgresql, &LogFormat::Jsonlog, &records);
    let told: Vec<Vec<String>> = (0..MYSQL_PLACES * 3).map(|place| mysql_told(&mut s, place / 3)).collect();
    let classic = |head: &'static str| {
        let record = move |m: &Vec<String>| m.iter().map(|m| format!("{head}{m}\n")).collect::<String>();
        told.iter().map(record).collect::<Vec<_>>()
    };
    node.log("mariadb.err", Engine::Mariadb, &LogFormat::ErrorLog, &classic("2026-11-25 12:00:00 5 [ERROR] "));
    node.log(
        "mysql.err",
        Engine::Mysql,
        &LogFormat::ErrorLog,
        &classic("2026-11-25T12:00:00.123456Z 5 [Warning] [MY-010055] [Server] "),
    );
    let records: Vec<String> = told.iter().map(|m| mysql_json_of(m)).collect();
    node.log("mysql.err.00.json", Engine::Mysql, &LogFormat::ErrorLog, &records);
    let records: Vec<String> = (0..30).map(|_| slow_of(&mut s)).collect();
    node.log("slow.log", Engine::Mariadb, &LogFormat::SlowLog, &records);
    views(&mut s, &mut node, Dialect::Postgresql, 40);
    views(&mut s, &mut node, Dialect::Mysql, 40);
    node.check(seed)
}

#[test]
fn no_planted_secret_leaves_the_process() {
    let rounds = if std::env::var_os("SOAK").is_some() { 500 } else { 25 };
    let cells: usize = (0..rounds).map(round).sum();
    println!("{rounds} rounds, {cells} cells of batches");
    assert!(cells > rounds as usize * 1_000);
}

/// Any piece of a log, as from a file that was cut or a record larger than a record may be: what begins no record is not told.
#[test]
fn no_secret_leaves_in_a_piece_of_a_record() {
    let rounds = if std::env::var_os("SOAK").is_some() { 2_000 } else { 60 };
    for seed in 0..rounds {
        let mut s = Secrets::new(seed);
        let mut node = Node::new();
        let line = format!("{AT} [77] ann@shop ");
        let postgres = |s: &mut Secrets| {
            let place = s.rng.u8(..POSTGRES_PLACES);
            postgres_told(s, place)
        };
        let mysql = |s: &mut Secrets| {
            let place = s.rng.u8(..MYSQL_PLACES);
            mysql_told(s, place)
        };
        let mut six =
            |record: &dyn Fn(&mut Secrets) -> String| -> Vec<String> { (0..6).map(|_| record(&mut s)).collect() };
        let stderr = LogFormat::Stderr(Some("%m [%p] %q%u@%d ".into()));
        let files = [
            ("a.log", Engine::Postgresql, stderr, six(&|s| stderr_of(&postgres(s), &line))),
            ("a.csv", Engine::Postgresql, LogFormat::Csvlog, six(&|s| csv_of(&postgres(s)))),
            ("a.json", Engine::Postgresql, LogFormat::Jsonlog, six(&|s| json_of(&postgres(s)))),
            ("b.00.json", Engine::Mysql, LogFormat::ErrorLog, six(&|s| mysql_json_of(&mysql(s)))),
            ("b.log", Engine::Mariadb, LogFormat::SlowLog, six(&slow_of)),
        ];
        for (name, engine, format, records) in files {
            let text = records.concat();
            let mut at = s.rng.usize(..text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            piece(&mut node, name, engine, &format, &text[at..], &records);
        }
        node.check(seed);
    }
}

fn piece(node: &mut Node, name: &str, engine: Engine, format: &LogFormat, text: &str, records: &[String]) {
    let path = node.directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    node.written.extend_from_slice(records);
    follow(&path, engine, format, &mut node.spool);
}

fn follow(path: &Path, engine: Engine, format: &LogFormat, spool: &mut Spool) {
    for rows in [LogRows::Records, LogRows::Executions] {
        let config = LogConfig {
            path: path.into(),
            instance: "db".into(),
            engine,
            format: format.clone(),
            start: LogStart::Beginning,
            rows,
            unmasked: Unmasked::default(),
        };
        let mut tailer = Tailer::new(config, &[]);
        for _ in 0..3 {
            while tailer
                .poll(1000, &mut |events, marks| spool.append_marked(&Payload::Events(events), marks, 1000))
                .unwrap()
            {}
        }
    }
}

/// What literals may stay where a configuration says so; credentials don't, whatever it says.
#[test]
fn credentials_stay_even_if_everything_else_may_leave() {
    let everything = Unmasked { literals: true, parameters: true, row_values: true };
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (dialect, engine) in [(Dialect::Postgresql, Engine::Postgresql), (Dialect::Mysql, Engine::Mysql)] {
        let mask = Mask { engine, unmasked: everything };
        let mut s = Secrets::new(7);
        for _ in 0..3_000 {
            let sql = s.statement(dialect);
            let words = ["password", "identified", "crypt", "token"];
            let masked = mask.sql(&sql);
            if words.iter().any(|w| sql.contains(w)) {
                *seen.entry("credential").or_default() += 1;
                assert_eq!(masked, mask_sql(dialect, &sql));
                assert!(!masked.contains(TEXT_BEGINS), "{masked}");
            } else if !sql.contains("--") && !sql.contains('#') && !sql.contains("/*") {
                *seen.entry("kept").or_default() += 1;
                assert_eq!(masked, sql.trim());
            }
        }
    }
    assert!(seen["credential"] > 500 && seen["kept"] > 500, "{seen:?}");
}
