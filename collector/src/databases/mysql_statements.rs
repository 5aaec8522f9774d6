//! Reads performance_schema's digests: key (schema, digest), both NULL rows included.
//!
//! A restart empties the table, so all it holds afterwards happened since; `performance_schema_digest_lost` tells of
//! statements that found no room of their own and stand in the row without a digest.

use std::sync::Arc;

use super::{
    connection::{Connection, OwnStatements},
    fingerprint::fingerprint,
    postgres_statements::Loads,
    reading::{Reading, Row},
    sql_tokens::Dialect,
    statements::{Key, Known, Ledger, Observation, STATEMENTS_MAX, Texts, ViewState, loads},
    trouble::{Class, Trouble},
};

/// Picoseconds of the server's timers in a millisecond.
const PICOSECONDS_PER_MS: f64 = 1e9;

/// What is kept between readings.
#[derive(Debug, Default)]
pub struct MysqlStatements {
    /// Counters of the last reading.
    pub ledger: Ledger,
    /// Texts by DIGEST.
    pub texts: Texts,
    /// Uptime in seconds and our clock at the last reading.
    last: Option<(f64, i64)>,
    /// Counts restarts seen.
    run: i64,
}

/// Everything but the text, which is the bulk of the table.
const COUNTERS_SQL: &str = "SELECT SCHEMA_NAME, DIGEST, COUNT_STAR, SUM_TIMER_WAIT, MAX_TIMER_WAIT, SUM_LOCK_TIME, SUM_ERRORS, \
    SUM_ROWS_AFFECTED, SUM_ROWS_SENT, SUM_ROWS_EXAMINED, SUM_CREATED_TMP_DISK_TABLES, SUM_SORT_ROWS, SUM_NO_INDEX_USED \
    FROM performance_schema.events_statements_summary_by_digest LIMIT 20000";

const STATE_SQL: &str = "SELECT @@performance_schema AS enabled, @@max_digest_length AS digest_length";
const STATUS_SQL: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime', 'Performance_schema_digest_lost')";
/// An uptime this much shorter than the time since the last reading means a restart in between.
const CLOCK_SLACK_MS: i64 = 2_000;

impl MysqlStatements {
    /// Reads once.
    pub async fn read(
        &mut self,
        connection: &mut Connection,
        now_ms: i64,
        own: &OwnStatements,
    ) -> Result<Loads, Trouble> {
        const { assert!(STATEMENTS_MAX == 20_000, "the limit stands in the query text") }
        let state = connection.read(STATE_SQL).await?;
        if state.first().and_then(|r| r.truth("enabled")) != Some(true) {
            let text = "performance_schema is off: no statement statistics from this instance";
            return Err(Trouble::new(Class::InstrumentationOff, text));
        }
        let digest_length = state.first().and_then(|r| r.int("digest_length")).unwrap_or(1024) as usize;
        let view = self.view_state(&connection.read(STATUS_SQL).await?, now_ms);
        let answer = connection.read(COUNTERS_SQL).await?;
        let observations: Vec<Observation> = answer.iter().map(observation).collect();
        let unseen: Vec<&str> = observations
            .iter()
            .filter_map(|o| o.key.native_id.as_deref())
            .filter(|id| self.texts.get(id).is_none() && id.bytes().all(|b| b.is_ascii_hexdigit()))
            .collect();
        for some in unseen.chunks(TEXTS_PER_QUERY) {
            let list: Vec<String> = some.iter().map(|id| format!("'{id}'")).collect();
            let sql = format!(
                "SELECT DIGEST, MAX(DIGEST_TEXT) AS DIGEST_TEXT FROM performance_schema.events_statements_summary_by_digest \
                 WHERE DIGEST IN ({}) GROUP BY DIGEST",
                list.join(",")
            );
            let texts = connection.read(&sql).await?;
            for row in texts.iter() {
                let (Some(id), Some(text)) = (row.text("DIGEST"), row.text("DIGEST_TEXT")) else { continue };
                let truncated = text.len() >= digest_length && text.ends_with("...");
                let known = Known { fingerprint: Arc::new(fingerprint(Dialect::Mysql, text)), truncated, raw: None };
                self.texts.learn(id, known);
            }
        }
        let step = self.ledger.observe(now_ms, observations, view);
        let loads = loads(&step.deltas, &self.texts, |print| own.contains(&print.id));
        Ok(Loads { loads, step, hidden: 0 })
    }

    /// A text of this digest that ran lately, and its schema, from the history of live sessions where the server keeps one.
    pub async fn sample(
        &self,
        connection: &mut Connection,
        digest: Option<&str>,
    ) -> Result<Option<(Option<String>, String)>, Trouble> {
        let Some(digest) = digest.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit())) else { return Ok(None) };
        let sql = format!(
            "SELECT CURRENT_SCHEMA AS db, SQL_TEXT AS text FROM performance_schema.events_statements_history \
             WHERE DIGEST = '{digest}' AND CHAR_LENGTH(SQL_TEXT) < @@performance_schema_max_sql_text_length LIMIT 1"
        );
        match connection.read(&sql).await {
            Ok(reading) => Ok(reading.first().and_then(|r| Some((r.string("db"), r.string("text")?)))),
            Err(trouble) if trouble.connection_lost() => Err(trouble),
            Err(_) => Ok(None),
        }
    }

    fn view_state(&mut self, status: &Reading, now_ms: i64) -> ViewState {
        let value = |name: &str| {
            status
                .iter()
                .find(|r| r.text("Variable_name").is_some_and(|n| n.eq_ignore_ascii_case(name)))
                .and_then(|r| r.number("Value"))
        };
        if let Some(uptime) = value("Uptime") {
            let restarted = |(before, read_ms): (f64, i64)| {
                uptime < before || (uptime * 1000.0) as i64 + CLOCK_SLACK_MS < now_ms - read_ms
            };
            self.run += i64::from(self.last.is_some_and(restarted));
            self.last = Some((uptime, now_ms));
        }
        ViewState { stats_reset: None, evictions: value("Performance_schema_digest_lost"), started: Some(self.run) }
    }
}

/// Digests whose texts one query asks for.
const TEXTS_PER_QUERY: usize = 500;

fn observation(row: Row<'_>) -> Observation {
    let n = |name| row.number(name);
    let ms = |name| row.number(name).map(|v| v / PICOSECONDS_PER_MS);
    let rows = n("SUM_ROWS_AFFECTED").zip(n("SUM_ROWS_SENT")).map(|(a, b)| a + b);
    Observation {
        key: Key {
            database: row.text("SCHEMA_NAME").map(Arc::from),
            user: None,
            native_id: row.text("DIGEST").map(Arc::from),
            toplevel: true,
        },
        counters: [
            n("COUNT_STAR"),
            ms("SUM_TIMER_WAIT"),
            rows,
            n("SUM_ROWS_EXAMINED"),
            ms("SUM_LOCK_TIME"),
            n("SUM_ERRORS"),
            n("SUM_NO_INDEX_USED"),
            n("SUM_CREATED_TMP_DISK_TABLES"),
            n("SUM_SORT_ROWS"),
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
        ],
        max_ms: ms("MAX_TIMER_WAIT"),
        since: None,
    }
}
