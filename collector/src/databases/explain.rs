//! Which statements may be explained: decided on the parse tree, never on the first word.
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
    "pg_advisory_lock",
    "pg_advisory_xact_lock",
    "pg_try_advisory_lock",
    "pg_read_file",
    "pg_read_binary_file",
    "pg_ls_dir",
    "lo_import",
    "lo_export",
    "lo_unlink",
    "lo_create",
    "dblink",
    "dblink_exec",
    "dblink_connect",
    "query_to_xml",
    "setval",
    "pg_stat_reset",
    "pg_stat_statements_reset",
    "pg_create_restore_point",
];

/// Why a statement is not explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not understood, cut short, or too long.
    #[error("not parsed: {0}")]
    NotParsed(String),
    /// Not one statement of a kind that is allowed.
    #[error("{0} is not explained")]
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
    let parser: &dyn ParserDialect = match dialect {
        Dialect::Postgresql => &PostgreSqlDialect {},
        Dialect::Mysql => &MySqlDialect {},
    };
    let statements = Parser::new(parser)
        .with_recursion_limit(DEPTH_MAX)
        .try_with_sql(&text)
        .and_then(|mut p| p.parse_statements())
        .map_err(|e| Refusal::NotParsed(e.to_string()))?;
    let [statement] = &statements[..] else { return Err(Refusal::Kind(format!("{} statements", statements.len()))) };
    match statement {
        Statement::Query(_) | Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {}
        other => {
            let word = other.to_string();
            return Err(Refusal::Kind(word.split_whitespace().next().unwrap_or("this").to_uppercase()));
        }
    }
    match statement.visit(&mut Guard { statements: 0 }) {
        ControlFlow::Continue(()) => Ok(text),
        ControlFlow::Break(refusal) => Err(refusal),
    }
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
            if ACTING_FUNCTIONS.contains(&name.as_str())
                || name.starts_with("pg_advisory")
                || name.starts_with("pg_try_advisory")
            {
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
}
