//! Pairs of statements that must, and must not, have one id, and what holds of every text.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use Dialect::{Mysql, Postgresql};

/// Same id in the dialect (`None`: in both).
const EQUAL: &[(Option<Dialect>, &str, &str)] = &[
    // white space, case, comments, ends
    (None, "select 1", "SELECT   1"),
    (None, "select a from t", "select\n\ta\r\nfrom t ;"),
    (None, "select a from t", "Select A From T"),
    (None, "select a from t", "/* x */ select /* y */ a from t -- z"),
    (None, "select a from t", "select a from t;;"),
    (None, "select a,b from t", "select a , b from t"),
    (None, "select f(a) from t", "select f ( a ) from t"),
    (None, "select t.a from t", "select t . a from t"),
    (None, "select a from t where a=1", "select a from t where a = 1"),
    (None, "select a from t", "select /*+ index(t) */ a from t"),
    (Some(Mysql), "select a from t", "select a from t # done"),
    (Some(Postgresql), "select a from t", "select a from t /* a /* nested */ b */"),
    (Some(Mysql), "set names utf8", "/*!40101 SET NAMES utf8 */"),
    (Some(Mysql), "select a from t", "select /*!50000 a */ from t"),
    (Some(Mysql), "select a from t", "/*M!100100 select a from t */"),
    // literals
    (None, "select a from t where a = 1", "select a from t where a = 99"),
    (None, "select a from t where a = 1", "select a from t where a = 'x'"),
    (None, "select a from t where a = 1", "select a from t where a = 1.5e-7"),
    (None, "select a from t where a = 1", "select a from t where a = .5"),
    (None, "select a from t where a = 1", "select a from t where a = -1"),
    (None, "select a from t where a = 1", "select a from t where a = +1"),
    (None, "select a from t where a = 1", "select a from t where a = - 1"),
    (None, "select a from t where a = 1", "select a from t where a = null"),
    (None, "select a from t where a = 1", "select a from t where a = true"),
    (None, "select a from t where a = 1", "select a from t where a = FALSE"),
    (None, "select a from t where a = 'x'", "select a from t where a = 'it''s'"),
    (None, "select a from t where a = 'x'", "select a from t where a = ''"),
    (None, "select a from t where a = 'x'", "select a from t where a = '-- no comment'"),
    (None, "select a from t where a = 'x'", "select a from t where a = '/* no comment */'"),
    (None, "select a from t where a = 'x'", "select a from t where a = 'a;b'"),
    (None, "select a from t where a = 'x'", "select a from t where a = 'naïve – 数据'"),
    (None, "select a from t where a = 1", "select a from t where a = ?"),
    (None, "select a from t where a = x'ff'", "select a from t where a = b'01'"),
    (None, "select a from t where a = 0x1F", "select a from t where a = 5"),
    (None, "select a from t where a = 'x'", "select a from t where a = N'x'"),
    (Some(Postgresql), "select a from t where a = $1", "select a from t where a = 5"),
    (Some(Postgresql), "select a from t where a = $1", "select a from t where a = $17"),
    (Some(Postgresql), "select a from t where a = 'x'", r"select a from t where a = E'it\'s'"),
    (Some(Postgresql), "select a from t where a = 'x'", "select a from t where a = $$it's$$"),
    (Some(Postgresql), "select a from t where a = 'x'", "select a from t where a = $q$a $$ b$q$"),
    (Some(Postgresql), "select a from t where a = 'x'", r"select a from t where a = U&'\0061'"),
    (Some(Postgresql), r"select a from t where a = 'c:\' and b = 'x'", "select a from t where a = 'c' and b = 'y'"),
    (Some(Postgresql), "select interval '1 day'", "select interval '2 hours'"),
    (Some(Postgresql), "select a::text from t where b = '1'::int", "select a::text from t where b = '7'::int"),
    (Some(Postgresql), "select extract(year from c) from t", "select extract($1 from c) from t"),
    (Some(Mysql), "select a from t where a = 'x'", r#"select a from t where a = "it's""#),
    (Some(Mysql), "select a from t where a = 'x'", r"select a from t where a = 'it\'s'"),
    (Some(Mysql), "select a from t where a = 'x'", "select a from t where a = _utf8mb4'x'"),
    (Some(Mysql), "select 1 - 1", "select 1 --1"),
    // lists
    (None, "select a from t where a in (1)", "select a from t where a in (1, 2)"),
    (None, "select a from t where a in (1)", "select a from t where a in (1, 2, 3, 4, 5, 6, 7, 8)"),
    (None, "select a from t where a in (1)", "select a from t where a in ('x', 'y')"),
    (None, "select a from t where a in (1)", "select a from t where a in (-1, +2, null)"),
    (None, "select a from t where a in (1)", "select a from t where a in (...)"),
    (None, "select a from t where a in (1)", "SELECT A FROM T WHERE A IN( 1,2 )"),
    (None, "select a from t where a not in (1)", "select a from t where a not in (1, 2)"),
    (None, "select f(1, 2)", "select f(3, 4)"),
    (None, "select f(1, 2)", "select f(3, 4, 5)"),
    (None, "insert into t values (1, 2)", "insert into t values (3, 4)"),
    (None, "insert into t values (1, 2)", "insert into t values (1, 2), (3, 4)"),
    (None, "insert into t values (1, 2)", "insert into t values (1, null), (3, 4), ('x', 'y')"),
    (None, "insert into t values (1, 2)", "INSERT INTO t VALUES (...)"),
    (None, "insert into t (a) values (1)", "insert into t (a) values (1), (2), (3)"),
    (None, "insert into t values (1, now())", "insert into t values (2, now()), (3, now())"),
    (None, "insert into t values (1, now(), 'x')", "insert into t values (2, now(), 'y'), (3, now(), 'z')"),
    (Some(Mysql), "insert into t values (1, 2), (3, 4)", "INSERT INTO `t` VALUES (...) /* , ... */"),
    (Some(Mysql), "insert into t values (1), (3)", "INSERT INTO `t` VALUES (?) /* , ... */"),
    (Some(Mysql), "select a from t limit 5, 10", "SELECT `a` FROM `t` LIMIT ?, ..."),
    (Some(Postgresql), "select a from t where a in ($1)", "select a from t where a in ($1 /*, ... */)"),
    (Some(Postgresql), "select a from t where a in (1)", "select a from t where a in ('a'::text, 'b'::text)"),
    (
        Some(Postgresql),
        "select a from t where a in (1)",
        "select a from t where a in ('1'::numeric(10, 2), '2'::pg_catalog.int4)",
    ),
    (Some(Postgresql), "select array[1]", "select array[1, 2, 3]"),
    (
        Some(Postgresql),
        "select a from t where a = any(array[1, 2])",
        "select a from t where a = any(array[$1 /*, ... */])",
    ),
    // names
    (None, "select a from Orders", "select a from orders"),
    (Some(Mysql), "select a from orders", "select `a` from `orders`"),
    (Some(Mysql), "select a from `Orders`", "select a from orders"),
    (Some(Mysql), "select s.a from s.orders", "SELECT `s` . `a` FROM `s` . `orders`"),
    (Some(Mysql), "select schema()", "select database()"),
    (Some(Mysql), "select substr(a, 1, 2) from t", "select substring(a, 1, 2) from t"),
    (Some(Postgresql), "select a from orders", r#"select "a" from "orders""#),
    (Some(Postgresql), r#"select a from s.orders"#, r#"select a from "s"."orders""#),
    (Some(Postgresql), r#"select a from "Orders""#, r#"SELECT A FROM "Orders""#),
    // operators
    (None, "select a from t where a <> 1", "select a from t where a != 1"),
    (None, "select a from t where a between -1 and -2", "select a from t where a between 1 and 2"),
    (None, "select a from t limit 10", "select a from t limit 20"),
    (None, "select -1", "select 1"),
    (None, "select case when a = 1 then -1 else -2 end from t", "select case when a = 2 then 3 else 4 end from t"),
    (Some(Mysql), "create user x identified by 'secret'", "create user x identified by 'other'"),
    (Some(Postgresql), "alter role x password 'secret'", "alter role x password 'other'"),
];

/// Different ids in the dialect (`None`: in both).
const DIFFERENT: &[(Option<Dialect>, &str, &str)] = &[
    (None, "select a from t", "select b from t"),
    (None, "select a from t", "select a from u"),
    (None, "select a from t", "select a, b from t"),
    (None, "select a from t", "select distinct a from t"),
    (None, "select a from t", "select a from t where a = 1"),
    (None, "select a from t where a = 1", "select a from t where b = 1"),
    (None, "select a from t where a = 1", "select a from t where a > 1"),
    (None, "select a from t where a = 1", "select a from t where a in (1)"),
    (None, "select a from t where a in (1)", "select a from t where a not in (1)"),
    (None, "select a from t where a = 1", "select a from t where a = b"),
    (None, "select a from t where a is null", "select a from t where a is not null"),
    (None, "select a from t where a is true", "select a from t where a is false"),
    (None, "select a from t where a = 1 and b = 2", "select a from t where a = 1 or b = 2"),
    (None, "select a from t where a = 1", "select a from t where not a = 1"),
    (None, "select a from t where a in (1, b)", "select a from t where a in (1, 2)"),
    (None, "select a from t where a in (1, 2)", "select a from t where a in (select 1)"),
    (None, "select a from t order by a", "select a from t order by a desc"),
    (None, "select a from t order by a", "select a from t group by a"),
    (None, "select a from t limit 1", "select a from t"),
    (None, "select a from t limit 1", "select a from t limit 1 offset 2"),
    (None, "select a from t, u", "select a from t join u on true"),
    (None, "select a from t left join u on t.a = u.a", "select a from t join u on t.a = u.a"),
    (None, "select a from s.t", "select a from t"),
    (None, "select a from t1", "select a from t2"),
    (None, "select a from orders_2024", "select a from orders_2025"),
    (None, "select f(1)", "select g(1)"),
    (None, "select f(1)", "select f(1, 2)"),
    (None, "select f()", "select f(1)"),
    (None, "select a - 1 from t", "select a + 1 from t"),
    (None, "select a - 1 from t", "select a, -1 from t"),
    (None, "select count(*) from t", "select count(a) from t"),
    (None, "insert into t values (1)", "insert into t values (1, 2)"),
    (None, "insert into t (a) values (1)", "insert into t (b) values (1)"),
    (None, "insert into t (a) values (1)", "insert into t values (1)"),
    (None, "insert into t values (1, now())", "insert into t values (now(), 1)"),
    (None, "insert into t values (1)", "replace into t values (1)"),
    (None, "update t set a = 1", "update t set b = 1"),
    (None, "update t set a = 1", "update t set a = 1 where b = 2"),
    (None, "delete from t", "delete from u"),
    (None, "delete from t where a = 1", "select from t where a = 1"),
    (None, "select 1 union select 2", "select 1 union all select 2"),
    (None, "with x as (select 1) select * from x", "select * from x"),
    (None, "select a as b from t", "select a as c from t"),
    (None, "select 'a' from t", "select a from t"),
    (Some(Mysql), r#"select "a" from t"#, "select a from t"),
    (Some(Mysql), "select `a b` from t", "select a, b from t"),
    (Some(Mysql), "select /*!50000 a, */ b from t", "select b from t"),
    (Some(Mysql), "select @a", "select @b"),
    (Some(Mysql), "select a <=> 1 from t", "select a = 1 from t"),
    (Some(Postgresql), r#"select a from "Orders""#, "select a from orders"),
    (Some(Postgresql), r#"select "a b" from t"#, "select a from t"),
    (Some(Postgresql), "select a::text from t", "select a::int from t"),
    (Some(Postgresql), "select a->'k' from t", "select a->>'k' from t"),
    (Some(Postgresql), "select a @> '{}' from t", "select a <@ '{}' from t"),
    (Some(Postgresql), "select a from t for update", "select a from t for share"),
    (Some(Postgresql), "select a from only t", "select a from t"),
    (Some(Postgresql), "select array[1]", "select row(1)"),
    (Some(Postgresql), "select a[1] from t", "select a from t"),
];

fn dialects(only: Option<Dialect>) -> Vec<Dialect> {
    only.map_or_else(|| vec![Postgresql, Mysql], |d| vec![d])
}

#[test]
fn equal_pairs_have_one_id() {
    for (only, a, b) in EQUAL {
        for dialect in dialects(*only) {
            let (a, b) = (fingerprint(dialect, a), fingerprint(dialect, b));
            assert_eq!(a.normalized_text, b.normalized_text, "{dialect:?}");
            assert_eq!(a.id, b.id);
        }
    }
    assert!(EQUAL.len() + DIFFERENT.len() >= 120, "{} pairs", EQUAL.len() + DIFFERENT.len());
}

#[test]
fn different_pairs_have_two() {
    for (only, a, b) in DIFFERENT {
        for dialect in dialects(*only) {
            assert_ne!(fingerprint(dialect, a).id, fingerprint(dialect, b).id, "{dialect:?}: {a} | {b}");
        }
    }
}

#[test]
fn every_normalised_text_normalises_to_itself() {
    for (only, a, b) in EQUAL.iter().chain(DIFFERENT) {
        for dialect in dialects(*only) {
            for sql in [a, b] {
                let once = fingerprint(dialect, sql);
                let twice = fingerprint(dialect, &once.normalized_text);
                assert_eq!(once.normalized_text, twice.normalized_text, "{dialect:?}: {sql}");
                assert_eq!(once.id, twice.id);
            }
        }
    }
}

#[test]
fn ids_of_version_1_stay_as_they_are() {
    assert_eq!(FINGERPRINT_VERSION, 1);
    let print = fingerprint(Postgresql, "SELECT * FROM Orders o WHERE id IN (1,2) AND x = -5 -- c");
    assert_eq!(&*print.normalized_text, "select * from orders o where id in (...) and x = ?");
    assert_eq!(print.id.len(), 16);
    assert_eq!(&*print.id, format!("{:016x}", xxhash_rust::xxh3::xxh3_64(print.normalized_text.as_bytes())));
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

#[test]
fn masks_take_literals_and_comments_and_leave_the_rest() {
    let table = [
        (Postgresql, "SELECT * FROM T WHERE a = 'x' AND b=5 -- secret", "SELECT * FROM T WHERE a = ? AND b=?"),
        (Postgresql, "select $$secret$$, \"Name\" /* secret */ from t", "select ?, \"Name\"  from t"),
        (Postgresql, "select 'cut short", "select ?"),
        (Postgresql, "select a = $1", "select a = $1"),
        (Mysql, "select \"secret\", `a` from t # secret", "select ?, `a` from t"),
        (Mysql, "select /* cut short 'secret'", "select"),
    ];
    for (dialect, sql, want) in table {
        assert_eq!(mask_sql(dialect, sql), want);
    }
}

proptest! {
    /// Whatever the literals are, the id stays and none of them is in the texts.
    #[test]
    fn literals_do_not_matter_and_do_not_remain(text in "[a-zA-Z0-9 ;#*/é-]{3,20}", number in 1000u32.., list in proptest::collection::vec(1000u32.., 1..6)) {
        let list: Vec<String> = list.iter().map(u32::to_string).collect();
        let sql = format!("select secret_a from t where b = '{text}!' and c > {number} and d in ({})", list.join(", "));
        for dialect in [Postgresql, Mysql] {
            let print = fingerprint(dialect, &sql);
            prop_assert_eq!(&*print.normalized_text, "select secret_a from t where b = ? and c > ? and d in (...)");
            let masked = mask_sql(dialect, &sql);
            let escaped = format!("{text}!");
            prop_assert!(!masked.contains(&escaped) && !masked.contains(&number.to_string()), "{}", masked);
        }
    }

    /// Any text at all: no panic, and the normalised text normalises to itself where it was not cut.
    #[test]
    fn any_text_has_an_id(sql in "[ -~é\n]{0,120}") {
        for dialect in [Postgresql, Mysql] {
            let print = fingerprint(dialect, &sql);
            prop_assert_eq!(print.id.len(), 16);
            mask_sql(dialect, &sql);
        }
    }
}
