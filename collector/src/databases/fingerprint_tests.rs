//! Statements that must, and must not, have one id (`collector/testdata/fingerprints.txt`), and what holds of every text.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::databases::mask_sql;
use Dialect::{Mysql, Postgresql};

/// Paragraphs of statements with one id each, all different.
struct Section {
    title: &'static str,
    dialects: Vec<Dialect>,
    paragraphs: Vec<Vec<String>>,
}

fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut ended = true;
    for line in include_str!("../../testdata/fingerprints.txt").lines().filter(|l| !l.starts_with("//")) {
        if let Some(title) = line.strip_prefix("== ") {
            let dialects = match title.split_once(':').unwrap().0 {
                "both" => vec![Postgresql, Mysql],
                "postgresql" => vec![Postgresql],
                "mysql" => vec![Mysql],
                other => panic!("{other} is no dialect"),
            };
            sections.push(Section { title, dialects, paragraphs: Vec::new() });
            ended = true;
            continue;
        }
        let Some(section) = sections.last_mut() else { continue };
        if line.is_empty() {
            ended = true;
            continue;
        }
        if std::mem::take(&mut ended) {
            section.paragraphs.push(Vec::new());
        }
        section.paragraphs.last_mut().unwrap().push(line.replace('⏎', "\n").replace('⇥', "\t"));
    }
    sections
}

#[test]
fn statements_of_a_paragraph_have_one_id_and_those_of_two_have_two() {
    let (mut equal, mut different) = (0, 0);
    let mut wrong = Vec::new();
    for section in sections() {
        for &dialect in &section.dialects {
            let mut seen: BTreeMap<Arc<str>, &str> = BTreeMap::new();
            for paragraph in &section.paragraphs {
                let first = fingerprint(dialect, &paragraph[0]);
                for sql in &paragraph[1..] {
                    let print = fingerprint(dialect, sql);
                    if (print.id != first.id) || print.normalized_text != first.normalized_text {
                        wrong.push(format!(
                            "{} ({dialect:?}): {sql}\n  is    {}\n  not   {}",
                            section.title, print.normalized_text, first.normalized_text
                        ));
                    }
                }
                if let Some(other) = seen.insert(first.id, &paragraph[0]) {
                    wrong.push(format!("{} ({dialect:?}): {}\n  is as {other}", section.title, paragraph[0]));
                }
            }
        }
        equal += section.paragraphs.iter().map(|p| p.len() - 1).sum::<usize>();
        different += section.paragraphs.len() - 1; // each against the one before it; all are compared
    }
    println!("{equal} pairs that must be equal, {different} that must not");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(equal >= 290 && different >= 280, "{equal} and {different} pairs");
}

#[test]
fn every_normalised_text_normalises_to_itself() {
    for section in sections() {
        for &dialect in &section.dialects {
            for sql in section.paragraphs.iter().flatten() {
                let once = fingerprint(dialect, sql);
                let twice = fingerprint(dialect, &once.normalized_text);
                assert_eq!(once.normalized_text, twice.normalized_text, "{dialect:?}: {sql}");
                assert_eq!(once.id, twice.id);
            }
        }
    }
}

#[test]
fn ids_of_version_2_stay_as_they_are() {
    assert_eq!(FINGERPRINT_VERSION, 2);
    for (dialect, sql, text, id) in [
        (
            Postgresql,
            "SELECT * FROM Orders o WHERE id IN (1,2) AND x = -5 -- c",
            "select * from orders o where id in (...) and x = ?",
            "4c7f45df99f523ec",
        ),
        (
            Mysql,
            "INSERT INTO `Shop`.`order` (a, mid) VALUES (1, NOW()), (2, NOW())",
            "insert into shop.`order` (a, mid) values (?, now ())",
            "972f377a7bda12f7",
        ),
    ] {
        let print = fingerprint(dialect, sql);
        assert_eq!((&*print.normalized_text, &*print.id), (text, id));
    }
}

#[test]
fn tables_and_verbs_are_found() {
    let table: &[(&str, &str, &[&str])] = &[
        ("select a from t", "SELECT", &["t"]),
        ("select a from s.t x, u y where 1 = 1", "SELECT", &["s.t", "u"]),
        ("select a from t join u on t.a = u.a left join v using (a)", "SELECT", &["t", "u", "v"]),
        ("with x as (select * from t), y as (select 1) update u set a = 1 from x", "UPDATE", &["t", "u"]),
        ("insert into t (a) select b from u on conflict (a) do update set a = 1", "INSERT", &["t", "u"]),
        ("delete from t using u where exists (select 1 from v)", "DELETE", &["t", "v"]),
        ("select extract(year from c), substring(b from 2) from t where a is distinct from b", "SELECT", &["t"]),
        ("select * from generate_series(1, 2), t", "SELECT", &[]),
        ("select * from (select a from t) x", "SELECT", &["t"]),
        ("select a from t for update", "SELECT", &["t"]),
        ("drop table if exists t", "DROP", &["t"]),
        ("vacuum t", "VACUUM", &[]),
        ("", "", &[]),
    ];
    for (sql, command, tables) in table {
        let print = fingerprint(Postgresql, sql);
        assert_eq!(
            (print.command.as_str(), &print.tables[..]),
            (*command, &tables.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()[..]),
            "{sql}"
        );
    }
}

#[test]
fn a_trace_parent_is_kept_and_nothing_else_of_a_comment() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sql = format!("select 1 /* action='x',traceparent='{parent}' */");
    assert_eq!(fingerprint(Postgresql, &sql).trace_parent.as_deref(), Some(parent));
    assert_eq!(fingerprint(Postgresql, "select 1 /* traceparent='secret' */").trace_parent, None);
}

/// A literal of the dialect, whatever is in it.
fn literal(dialect: Dialect) -> impl Strategy<Value = String> {
    let escaped = move |text: String| match dialect {
        Postgresql => text.replace('\'', "''"),
        Mysql => text.replace('\\', "\\\\").replace('\'', "''"),
    };
    let text = "[ -~é数\n]{0,24}".prop_map(move |t| format!("'{}'", escaped(t)));
    let of_dialect = match dialect {
        Postgresql => prop_oneof![
            "[ -~é\n]{0,24}".prop_map(|t| format!("$q${}$q$", t.replace('$', "S"))),
            "[ -~é\n]{0,24}".prop_map(|t| format!("E'{}'", t.replace('\\', "\\\\").replace('\'', "\\'"))),
            "[0-9a-f]{1,8}".prop_map(|t| format!("x'{t}'")),
        ]
        .boxed(),
        Mysql => prop_oneof![
            "[ -~é\n]{0,24}".prop_map(|t| format!("\"{}\"", t.replace('\\', "\\\\").replace('"', "\\\""))),
            "[ -~é\n]{0,24}".prop_map(|t| format!("_utf8mb4'{}'", t.replace('\\', "\\\\").replace('\'', "''"))),
            "[0-9a-f]{1,8}".prop_map(|t| format!("0x{t}")),
        ]
        .boxed(),
    };
    let number = prop_oneof![
        any::<u32>().prop_map(|n| n.to_string()),
        any::<i32>().prop_map(|n| n.to_string()),
        (any::<u32>(), any::<u16>(), 0..40i32).prop_map(|(a, b, e)| format!("{a}.{b}e-{e}")),
    ];
    let word = prop_oneof![Just("null"), Just("TRUE"), Just("false")].prop_map(str::to_owned);
    prop_oneof![4 => text, 2 => of_dialect, 3 => number, 1 => word]
}

/// A statement with `¿` where a literal stands and `…` where a list of them does.
const SHAPES: [&str; 12] = [
    "select a from t where b = ¿ and c > ¿",
    "select a from t where b in (…) or c not in (…)",
    "select a, ¿ from s.t where b between ¿ and ¿ order by c limit 10",
    "insert into t (a, b) values (¿, ¿), (¿, ¿)",
    "insert into t values (…)",
    "update t set a = ¿, b = b + ¿ where c = ¿",
    "delete from t where a = ¿ and b <> ¿",
    "select f(…), g(a, ¿) from t /* ¿ */",
    "with x as (select ¿) select * from x where a = ¿",
    "select case when a = ¿ then ¿ else b end from t group by c having count(*) > ¿",
    "select a from t join u on t.a = u.a and u.b = ¿ where exists (select 1 from v where v.c = ¿)",
    "select a from t where (a, b) in ((¿, ¿), (¿, ¿)) union all select ¿",
];

fn filled(shape: &str, literals: &[String], count: usize) -> String {
    let mut next = literals.iter().cycle();
    let mut out = String::new();
    for c in shape.replace("/* ¿ */", "/* x */").chars() {
        match c {
            '¿' => out.push_str(next.next().unwrap()),
            '…' => {
                let list: Vec<&str> = next.by_ref().take(count).map(String::as_str).collect();
                out.push_str(&list.join(", "));
            }
            c => out.push(c),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the literals are and however many stand in a list, the id stays, and none of them is in the texts.
    #[test]
    fn literals_do_not_matter_and_do_not_remain(
        shape in 0..SHAPES.len(),
        postgres in proptest::collection::vec(literal(Postgresql), 8),
        mysql in proptest::collection::vec(literal(Mysql), 8),
        count in 2usize..6,
    ) {
        let plain: Vec<String> = (1..=8).map(|n| n.to_string()).collect();
        for (dialect, literals) in [(Postgresql, postgres), (Mysql, mysql)] {
            let sql = filled(SHAPES[shape], &literals, count);
            let (print, want) = (fingerprint(dialect, &sql), fingerprint(dialect, &filled(SHAPES[shape], &plain, 3)));
            prop_assert_eq!(&print.normalized_text, &want.normalized_text, "{}", sql);
            prop_assert_eq!(&fingerprint(dialect, &print.normalized_text).normalized_text, &want.normalized_text);
            let masked = mask_sql(dialect, &sql);
            for text in literals.iter().map(|l| l.trim_matches('\'').trim()).filter(|t| t.len() > 6) {
                prop_assert!(!masked.contains(text), "{} in {}", text, masked);
            }
            // what was masked on the way is the same statement; in PostgreSQL a mark can grow together with an operator
            if dialect == Postgresql {
                continue;
            }
            prop_assert_eq!(&fingerprint(dialect, &masked).normalized_text, &want.normalized_text, "{}", masked);
        }
    }

    /// Any text at all: no panic, and what was normalised normalises to itself.
    #[test]
    fn any_text_has_an_id(sql in "[ -~é\n]{0,120}") {
        for dialect in [Postgresql, Mysql] {
            let print = fingerprint(dialect, &sql);
            prop_assert_eq!(print.id.len(), 16);
            mask_sql(dialect, &sql);
        }
    }
}

/// Any row of words, literals and signs: what was normalised normalises to itself.
#[test]
fn normalising_is_idempotent() {
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..12_000 {
        let words = rng.usize(0..24);
        let sql: Vec<&str> = (0..words).map(|_| WORDS[rng.usize(..WORDS.len())]).collect();
        let sql = sql.join(" ");
        for dialect in [Postgresql, Mysql] {
            let once = fingerprint(dialect, &sql);
            let twice = fingerprint(dialect, &once.normalized_text);
            assert_eq!(once.normalized_text, twice.normalized_text, "{dialect:?}: {sql}");
        }
    }
}

#[rustfmt::skip]
const WORDS: [&str; 51] = [
    "select", "from", "where", "in", "values", "array", "a", "t", "\"A b\"", "\"user\"", "`order`", "`x y`", "1", "-", "+",
    "'x'", "null", "true", "is", "not", "(", ")", "(", ")", "[", "]", ",", ",", "t.a", "*", "=", "<>", "::", "int", "$1", "?",
    "set", "extract", "year", "uescape", "limit", ";", "@", "||", "->", "interval", "and", "/* c */", "0x1f", "value",
    "x'1'",
];
