//! Reads pg_stat_statements: counters without texts each time, texts only when there are ids not seen before.
//!
//! The extension's columns, not the server's version, say what there is to read: the two differ after an upgrade.

use std::sync::Arc;

use super::{
    connection::{Connection, OwnStatements},
    fingerprint::{cut, fingerprint},
    reading::{Reading, Row},
    sql_tokens::Dialect,
    statements::{
        Key, Known, Ledger, Load, Observation, RAW_BYTES_MAX, STATEMENTS_MAX, Step, TEXT_BYTES_MAX, Texts, ViewState,
        loads,
    },
    trouble::{Class, Trouble},
};

/// Marks our statements in the view.
pub const MARK: &str = "/* tidewatch */";

/// What is kept between readings.
#[derive(Debug, Default)]
pub struct PostgresStatements {
    /// Counters of the last reading.
    pub ledger: Ledger,
    /// Texts by queryid.
    pub texts: Texts,
    columns: Option<View>,
}

#[derive(Clone, Debug)]
struct View {
    schema: String,
    columns: Vec<String>,
    info: bool,
}

/// What one reading gave.
#[derive(Debug)]
pub struct Loads {
    /// By database, user, fingerprint.
    pub loads: Vec<Load>,
    /// The deltas behind them.
    pub step: Step,
    /// Rows of other roles that we may not see.
    pub hidden: usize,
}

const FIND_SQL: &str = "select /* tidewatch */ n.nspname as schema, e.extversion as version,
  exists (select from pg_class c where c.relnamespace = n.oid and c.relname = 'pg_stat_statements_info')::int as info,
  (select setting like '%pg_stat_statements%' from pg_settings where name = 'shared_preload_libraries') as loaded
from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_stat_statements'";

impl PostgresStatements {
    /// Reads once. The connection must be to a database that has the extension.
    pub async fn read(
        &mut self,
        connection: &mut Connection,
        now_ms: i64,
        own: &OwnStatements,
    ) -> Result<Loads, Trouble> {
        let view = match &self.columns {
            Some(view) => view.clone(),
            None => self.columns.insert(find(connection).await?).clone(),
        };
        let answer = connection.read(&counters_sql(&view)).await;
        let answer = answer.inspect_err(|_| self.columns = None)?;
        let state = match view.info {
            true => {
                let sql = format!(
                    "select {MARK} dealloc, stats_reset::text as stats_reset from {}.pg_stat_statements_info",
                    view.schema
                );
                view_state(&connection.read(&sql).await?)
            }
            false => ViewState::default(),
        };
        let hidden = answer.iter().filter(|r| r.text("queryid").is_none()).count();
        let observations: Vec<Observation> = answer.iter().filter_map(observation).collect();
        if observations.iter().any(|o| o.key.native_id.as_deref().is_some_and(|id| self.texts.get(id).is_none())) {
            self.read_texts(connection, &view).await?;
        }
        let step = self.ledger.observe(now_ms, observations, state);
        let loads = loads(&step.deltas, &self.texts, |print| print.command == OUR_COMMAND || own.contains(&print.id));
        Ok(Loads { loads, step, hidden })
    }

    async fn read_texts(&mut self, connection: &mut Connection, view: &View) -> Result<(), Trouble> {
        let sql = format!(
            "select {MARK} distinct on (queryid) queryid, left(query, {TEXT_BYTES_MAX}) as query, \
             length(query) > {TEXT_BYTES_MAX} as truncated, query like '%{MARK}%' as ours \
             from {}.pg_stat_statements(true) where queryid is not null limit {STATEMENTS_MAX}",
            view.schema
        );
        for row in connection.read(&sql).await?.iter() {
            let (Some(id), Some(query)) = (row.text("queryid"), row.text("query")) else { continue };
            if self.texts.get(id).is_some() || query == "<insufficient privilege>" {
                continue;
            }
            let mut print = fingerprint(Dialect::Postgresql, cut(query, TEXT_BYTES_MAX));
            if row.truth("ours") == Some(true) {
                print.command = OUR_COMMAND.into();
            }
            let truncated = row.truth("truncated") == Some(true);
            let raw = (query.len() <= RAW_BYTES_MAX).then(|| Arc::from(query));
            let known = Known { fingerprint: Arc::new(print), truncated, raw };
            self.texts.learn(id, known);
        }
        Ok(())
    }
}

/// The command given to our own statements, by which they are left out.
pub const OUR_COMMAND: &str = "TIDEWATCH";

async fn find(connection: &mut Connection) -> Result<View, Trouble> {
    let found = connection.read(FIND_SQL).await?;
    let missing = |text: &str| Trouble::new(Class::MissingExtension, text);
    let row = found
        .first()
        .ok_or_else(|| missing("pg_stat_statements is not installed: no statement statistics from this instance"))?;
    if row.truth("loaded") == Some(false) {
        return Err(missing(
            "pg_stat_statements is installed but not in shared_preload_libraries: no statement statistics",
        ));
    }
    let schema = format!("\"{}\"", row.text("schema").unwrap_or("public").replace('"', "\"\""));
    let info = row.truth("info") == Some(true);
    let columns =
        connection.read(&format!("select {MARK} * from {schema}.pg_stat_statements(false) limit 0")).await?.columns;
    Ok(View { schema, columns, info })
}

/// Sums of several columns of which a version has some; null if it has none.
fn sum(view: &View, names: &[&str]) -> String {
    let there: Vec<String> =
        names.iter().filter(|n| view.columns.iter().any(|c| c == **n)).map(|n| format!("s.{n}")).collect();
    if there.is_empty() { "null".into() } else { there.join(" + ") }
}

fn counters_sql(view: &View) -> String {
    let s = |names: &[&str]| sum(view, names);
    let toplevel = if view.columns.iter().any(|c| c == "toplevel") { "s.toplevel" } else { "true" };
    format!(
        "select {MARK} s.queryid, d.datname, r.rolname, {toplevel} as toplevel, s.calls, {total} as total_ms, {max} as max_ms, \
         s.rows, s.shared_blks_hit, s.shared_blks_read, s.shared_blks_dirtied, s.shared_blks_written, s.temp_blks_read, \
         s.temp_blks_written, {read} as io_read_ms, {write} as io_write_ms, {wal} as wal_bytes, {since}::text as since \
         from {schema}.pg_stat_statements(false) s left join pg_catalog.pg_database d on d.oid = s.dbid \
         left join pg_catalog.pg_roles r on r.oid = s.userid limit {STATEMENTS_MAX}",
        total = s(&["total_exec_time", "total_time"]),
        max = if view.columns.iter().any(|c| c == "max_exec_time") { "s.max_exec_time" } else { "null" },
        read = s(&["blk_read_time", "shared_blk_read_time", "local_blk_read_time", "temp_blk_read_time"]),
        write = s(&["blk_write_time", "shared_blk_write_time", "local_blk_write_time", "temp_blk_write_time"]),
        wal = s(&["wal_bytes"]),
        since = s(&["stats_since"]),
        schema = view.schema,
    )
}

fn view_state(reading: &Reading) -> ViewState {
    let row = reading.first();
    ViewState {
        stats_reset: row.and_then(|r| r.text("stats_reset")).map(Arc::from),
        evictions: row.and_then(|r| r.number("dealloc")),
        started: None,
    }
}

fn observation(row: Row<'_>) -> Option<Observation> {
    let id = row.text("queryid")?;
    let n = |name| row.number(name);
    Some(Observation {
        key: Key {
            database: row.text("datname").map(Arc::from),
            user: row.text("rolname").map(Arc::from),
            native_id: Some(id.into()),
            toplevel: row.truth("toplevel").unwrap_or(true),
        },
        counters: [
            n("calls"),
            n("total_ms"),
            n("rows"),
            None,
            None,
            None,
            None,
            None,
            None,
            n("shared_blks_hit"),
            n("shared_blks_read"),
            n("shared_blks_dirtied"),
            n("shared_blks_written"),
            n("temp_blks_read"),
            n("temp_blks_written"),
            n("io_read_ms"),
            n("io_write_ms"),
            n("wal_bytes"),
        ],
        max_ms: n("max_ms"),
        since: row.text("since").map(Arc::from),
    })
}
