//! Asks the servers for plans: EXPLAIN (FORMAT JSON), never ANALYZE, of what the parse tree allows.
//!
//! PostgreSQL: the generic plan of the parameterised text (16 and later by GENERIC_PLAN, before by PREPARE with
//! plan_cache_mode). MySQL and MariaDB: a text that really ran, with its literals, which stay here.

use std::{collections::HashMap, sync::Arc};

use super::{
    connection::Connection,
    explain::explainable,
    plan::{Plan, read},
    sql_tokens::{Dialect, TokenKind, tokens},
    trouble::Trouble,
};

/// Texts of running statements kept for EXPLAIN.
const SAMPLES_MAX: usize = 1_000;
/// Parameters of a prepared statement; more are not explained.
const PARAMETERS_MAX: usize = 500;

/// The newest text with literals of each fingerprint; it never leaves this process.
#[derive(Debug, Default)]
pub struct SampleTexts {
    texts: HashMap<Arc<str>, (Option<String>, String)>,
}

impl SampleTexts {
    /// Remembers a text and the schema it ran in.
    pub fn learn(&mut self, fingerprint: Arc<str>, schema: Option<String>, text: &str) {
        if self.texts.len() >= SAMPLES_MAX {
            self.texts.clear();
        }
        self.texts.insert(fingerprint, (schema, text.to_owned()));
    }

    /// Schema and text.
    pub fn get(&self, fingerprint: &str) -> Option<(Option<String>, String)> {
        self.texts.get(fingerprint).cloned()
    }
}

/// The generic plan of a text with `$1`…; `Ok(None)`: it can't be explained.
pub async fn postgres(connection: &mut Connection, version: i64, sql: &str) -> Result<Option<Plan>, Trouble> {
    let Ok(text) = explainable(Dialect::Postgresql, sql) else { return Ok(None) };
    let parameters = parameters(&text);
    if parameters > PARAMETERS_MAX {
        return Ok(None);
    }
    let answer = if parameters == 0 {
        connection.read(&format!("explain /* tidewatch */ (format json) {text}")).await
    } else if version >= 160_000 {
        connection.read(&format!("explain /* tidewatch */ (generic_plan, format json) {text}")).await
    } else {
        let nulls = vec!["null"; parameters].join(", ");
        let prepared = connection.read(&format!("prepare tidewatch_plan as {text}")).await;
        match prepared {
            Ok(_) => {
                // The session was opened with plan_cache_mode=force_generic_plan.
                let answer = connection
                    .read(&format!("explain /* tidewatch */ (format json) execute tidewatch_plan({nulls})"))
                    .await;
                connection.read("deallocate /* tidewatch */ tidewatch_plan").await?;
                answer
            }
            Err(trouble) => Err(trouble),
        }
    };
    finish(Dialect::Postgresql, answer.map(|a| joined(&a)))
}

/// The plan of a text that ran in a schema.
pub async fn mysql(connection: &mut Connection, schema: Option<&str>, sql: &str) -> Result<Option<Plan>, Trouble> {
    let Ok(text) = explainable(Dialect::Mysql, sql) else { return Ok(None) };
    if let Some(schema) = schema {
        let name = schema.replace('`', "``");
        if let Err(trouble) = connection.read(&format!("USE `{name}`")).await {
            return if trouble.connection_lost() { Err(trouble) } else { Ok(None) };
        }
    }
    let answer = connection.read(&format!("EXPLAIN FORMAT=JSON {text}")).await;
    finish(Dialect::Mysql, answer.map(|a| joined(&a)))
}

fn joined(reading: &super::reading::Reading) -> String {
    reading.rows.iter().filter_map(|r| r.first()?.clone()).collect::<Vec<_>>().join("\n")
}

fn finish(dialect: Dialect, answer: Result<String, Trouble>) -> Result<Option<Plan>, Trouble> {
    match answer {
        Ok(json) => Ok(read(dialect, &json)),
        Err(trouble) if trouble.connection_lost() => Err(trouble),
        Err(trouble) => {
            tracing::debug!(%trouble, "not explained");
            Ok(None)
        }
    }
}

/// The highest `$n`.
fn parameters(sql: &str) -> usize {
    tokens(Dialect::Postgresql, sql)
        .iter()
        .filter(|t| t.kind == TokenKind::Parameter)
        .filter_map(|t| t.text(sql).strip_prefix('$')?.parse().ok())
        .max()
        .unwrap_or(0)
}
