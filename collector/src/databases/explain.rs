//! Which statements may be explained, and which a template may send: decided on the parse tree, never on the first word.
//!
//! Allowed: exactly one SELECT, INSERT, UPDATE, DELETE or VALUES. Refused: anything else, data changes inside `with`,
//! `select … into`, executable comments, assignments, and functions whose call would act if a planner evaluated it.

use std::ops::ControlFlow;

use sqlparser::{
    ast::{Expr, Query, Select, SetExpr, Statement, Visit, Visitor},
    dialect::{Dialect as ParserDialect, MySqlDialect, PostgreSqlDialect},
    parser::Parser,
};

use super::sql_tokens::{Dialect, TokenKind, tokens};

/// Longest text looked at, bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of the parse tree.
const DEPTH_MAX: usize = 60;

/// Functions that act when called; a server might call one while it plans.
const ACTING_FUNCTIONS: &[&str] = &[
    "sleep",
    "benchmark",
    "get_lock",
    "release_lock",
    "release_all_locks",
    "load_file",
    "master_pos_wait",
    "master_gtid_wait",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "set_config",
    "pg_terminate_backend",
    "pg_cancel_backend",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_switch_wal",
    "pg_promote",
    "pg_notify",
    "pg_read_file",
    "pg_read_binary_file",
    "pg_ls_dir",
    "query_to_xml",
    "setval",
    "pg_stat_statements_reset",
    "pg_stat_file",
    "pg_export_snapshot",
    "pg_log_backend_memory_contexts",
    "pg_import_system_collations",
    "pg_wal_replay_pause",
    "pg_wal_replay_resume",
    "pg_logical_emit_message",
];
/// Begins of names of functions that act.
const ACTING_PREFIXES: &[&str] = &[
    "pg_advisory",
    "pg_try_advisory",
    "pg_stat_reset",
    "pg_create_",
    "pg_drop_",
    "pg_copy_",
    "pg_replication_origin_",
    "pg_replication_slot_advance",
    "pg_logical_slot_",
    "pg_backup_",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_file_",
    "dblink",
    "lo_",
    "wsrep_sync_wait_",
];

/// Why a statement is not explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not understood, cut short, or too long.
    #[error("not parsed: {0}")]
    NotParsed(String),
    /// Not one statement of a kind that is allowed.
    #[error("{0} is not allowed here")]
    Kind(String),
    /// A part of it would act.
    #[error("{0} could act")]
    Acts(String),
}

/// Checks a text; gives it back ready to stand behind EXPLAIN: without comments and without a last `;`.
pub fn explainable(dialect: Dialect, sql: &str) -> Result<String, Refusal> {
    if sql.len() > TEXT_BYTES_MAX {
        return Err(Refusal::NotParsed(format!("longer than {TEXT_BYTES_MAX} bytes")));
    }
    let text = without_comments(dialect, sql)?;
    let statement = parsed(dialect, &text)?;
    match &statement {
        Statement::Query(_) | Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {}
        other => return Err(kind_of(other)),
    }
    match statement.visit(&mut Guard { statements: 0, locks: true }) {
        ControlFlow::Continue(()) => Ok(text),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

/// Checks what a template wants to send: one SELECT, VALUES or SHOW that changes nothing, locks no row and calls nothing
/// that acts.
pub fn reads_only(dialect: Dialect, sql: &str) -> Result<(), Refusal> {
    if sql.len() > TEXT_BYTES_MAX {
        return Err(Refusal::NotParsed(format!("longer than {TEXT_BYTES_MAX} bytes")));
    }
    let text = without_comments(dialect, sql)?;
    if text.split_whitespace().next().is_some_and(|w| w.eq_ignore_ascii_case("show")) {
        return show_only(dialect, &text);
    }
    let statement = parsed(dialect, &text)?;
    if !matches!(statement, Statement::Query(_)) {
        return Err(kind_of(&statement));
    }
    match statement.visit(&mut Guard { statements: 0, locks: false }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

/// SHOW has more forms than parsers know, and none of them writes: one statement without a call that acts.
fn show_only(dialect: Dialect, text: &str) -> Result<(), Refusal> {
    let mut before = String::new();
    for token in tokens(dialect, text).iter().map(|t| t.text(text)) {
        if token == ";" {
            return Err(Refusal::Kind("2 statements".into()));
        }
        if token == "(" && acts(&before) {
            return Err(Refusal::Acts(format!("{before}()")));
        }
        before = token.trim_matches(['"', '`']).to_lowercase();
    }
    Ok(())
}

/// The one statement of a text.
fn parsed(dialect: Dialect, text: &str) -> Result<Statement, Refusal> {
    let parser: &dyn ParserDialect = match dialect {
        Dialect::Postgresql => &PostgreSqlDialect {},
        Dialect::Mysql => &MySqlDialect {},
    };
    let mut statements = Parser::new(parser)
        .with_recursion_limit(DEPTH_MAX)
        .try_with_sql(text)
        .and_then(|mut p| p.parse_statements())
        .map_err(|e| Refusal::NotParsed(e.to_string()))?;
    match (statements.pop(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (last, before) => Err(Refusal::Kind(format!("{} statements", before + usize::from(last.is_some())))),
    }
}

fn kind_of(statement: &Statement) -> Refusal {
    let word = statement.to_string();
    Refusal::Kind(word.split_whitespace().next().unwrap_or("this").to_uppercase())
}

/// Whether a function of this lower-case name does something when called.
fn acts(name: &str) -> bool {
    ACTING_FUNCTIONS.contains(&name) || ACTING_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// Comments out, so that nothing the parser skips reaches the server.
fn without_comments(dialect: Dialect, sql: &str) -> Result<String, Refusal> {
    if dialect == Dialect::Mysql && (sql.contains("/*!") || sql.contains("/*M!")) {
        return Err(Refusal::Acts("an executable comment".into()));
    }
    let mut text = String::with_capacity(sql.len());
    let mut last = 0;
    for token in tokens(dialect, sql) {
        match token.kind {
            TokenKind::Comment => {
                text.push_str(&sql[last..token.start]);
                text.push(' ');
                last = token.end;
            }
            TokenKind::ParameterList => return Err(Refusal::NotParsed("literals were taken out".into())),
            TokenKind::Symbol if dialect == Dialect::Mysql && token.text(sql) == ":=" => {
                return Err(Refusal::Acts("an assignment".into()));
            }
            _ => {}
        }
    }
    text.push_str(&sql[last..]);
    Ok(text.trim().trim_end_matches(';').trim_end().to_owned())
}

struct Guard {
    statements: usize,
    /// Whether rows may be locked.
    locks: bool,
}

impl Visitor for Guard {
    type Break = Refusal;

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<Refusal> {
        self.statements += 1;
        if self.statements > 1 {
            return ControlFlow::Break(Refusal::Acts("a data change inside another statement".into()));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        if !self.locks && !query.locks.is_empty() {
            return ControlFlow::Break(Refusal::Acts("a row lock".into()));
        }
        match &*query.body {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                ControlFlow::Break(Refusal::Acts("a data change behind with".into()))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        match select.into {
            Some(_) => ControlFlow::Break(Refusal::Acts("select into".into())),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        if let Expr::Function(function) = expr
            && let Some(last) = function.name.0.last()
        {
            let name = last.to_string().trim_matches(['"', '`']).to_lowercase();
            if acts(&name) {
                return ControlFlow::Break(Refusal::Acts(format!("{name}()")));
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_can_not_act_is_explained() {
        use Dialect::{Mysql, Postgresql};
        let allowed = [
            (Postgresql, "select * from t where a = $1 and b in ($2, $3);"),
            (Postgresql, "with x as (select 1) select * from x join t on true for update"),
            (Postgresql, "insert into t (a) values ($1) on conflict (a) do update set b = $2 returning a"),
            (Postgresql, "update t set a = $1 where b like 'x;y'"),
            (Postgresql, "delete from t using u where t.a = u.a -- drop table t"),
            (Mysql, "SELECT `a` FROM `t` WHERE b = 'x' LIMIT 10, 5"),
            (Mysql, "UPDATE t SET a = a + 1 WHERE id = 5"),
        ];
        for (dialect, sql) in allowed {
            let text = explainable(dialect, sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
            assert!(!text.ends_with(';') && !text.contains("--"), "{text}");
        }
        let refused = [
            (Postgresql, "drop table t", "DROP"),
            (Postgresql, "select 1; drop table t", "2 statements"),
            (Postgresql, "explain analyze select 1", "EXPLAIN"),
            (Postgresql, "with x as (delete from t returning *) select * from x", "data change"),
            (Postgresql, "with x as (select 1) insert into t select * from x", "data change"),
            (Postgresql, "select * into u from t", "select into"),
            (Postgresql, "select pg_terminate_backend(1)", "pg_terminate_backend"),
            (Postgresql, "select * from t where a = pg_catalog.set_config('a', 'b', false)", "set_config"),
            (Postgresql, "select 'cut short", "not parsed"),
            (Postgresql, "vacuum t", "VACUUM"),
            (Postgresql, "call p()", "CALL"),
            (Mysql, "select sleep(10)", "sleep"),
            (Mysql, "select 1 /*!50000 into outfile 'x' */", "executable"),
            (Mysql, "select @a := 1", "assignment"),
            (Mysql, "SELECT * FROM t WHERE a IN (...)", "not parsed"),
            (Mysql, "truncate table t", "TRUNCATE"),
        ];
        for (dialect, sql, want) in refused {
            let error = explainable(dialect, sql).expect_err(sql).to_string();
            assert!(error.contains(want), "{sql}: {error}");
        }
    }
    #[test]
    fn templates_send_only_what_reads() {
        use Dialect::{Mysql, Postgresql};
        for (dialect, sql) in [
            (Postgresql, "select /* tidewatch */ count(*) filter (where state = 'active') as n from pg_stat_activity"),
            (Postgresql, "values (1)"),
            (Postgresql, "SHOW POOLS;"),
            (Mysql, "SHOW ALL SLAVES STATUS"),
            (Mysql, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime')"),
        ] {
            reads_only(dialect, sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        for (dialect, sql, want) in [
            (Postgresql, "update t set a = 1", "UPDATE"),
            (Postgresql, "insert into t values (1)", "INSERT"),
            (Postgresql, "select * from t for update", "row lock"),
            (Postgresql, "select pg_stat_reset_shared('io')", "pg_stat_reset_shared"),
            (Postgresql, "select lo_unlink(5)", "lo_unlink"),
            (Postgresql, "with d as (delete from t returning 1) select * from d", "data change"),
            (Postgresql, "select 1; select 2", "2 statements"),
            (Postgresql, "", "0 statements"),
            (Mysql, "SHOW STATUS; DROP TABLE t", "2 statements"),
            (Mysql, "SHOW STATUS WHERE Variable_name = SLEEP(9)", "sleep"),
            (Mysql, "SELECT 1 /*! INTO OUTFILE 'x' */", "executable"),
            (Mysql, "SET GLOBAL x = 1", "SET"),
        ] {
            let error = reads_only(dialect, sql).expect_err(sql).to_string();
            assert!(error.contains(want), "{sql}: {error}");
        }
    }
}
