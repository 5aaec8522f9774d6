//! Every event table and its columns: the one list that the wire, the store, SQL and the pages agree on.
//!
//! Every table begins with `instance` and `ts`. A column may be added at the end of a table (older rows read as null);
//! it is never renamed, retyped or removed.

use crate::wire::Class;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Milliseconds since 1970-01-01 UTC.
    Timestamp,
    /// Signed 64-bit.
    Int,
    /// 64-bit IEEE.
    Float,
    /// True or false.
    Bool,
    /// UTF-8.
    Text,
    /// Anything else.
    Bytes,
}

/// One column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name, with its unit last.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it means.
    pub about: &'static str,
}

/// An event table. Its discriminant is its class on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum Table {
    /// Counters of each statement as deltas over an interval.
    StatementStats = 2,
    /// Single executions.
    StatementSamples = 3,
    /// The text behind each fingerprint.
    Statements = 4,
    /// Plans, once per change of shape.
    Plans = 5,
    /// Sessions as they were at a moment: waits and blockers.
    Activity = 6,
    /// Log records, classified and masked.
    Logs = 7,
    /// Tables, indexes, settings, targets, and their changes.
    Objects = 8,
    /// What was lost, when, and why.
    Gaps = 9,
    /// The ledger: every step of every alert.
    AlertEvents = 10,
}

const fn c(name: &'static str, kind: Kind, about: &'static str) -> Column {
    Column { name, kind, about }
}

use Kind::{Bool, Bytes, Float, Int, Text, Timestamp};

const INSTANCE: Column =
    c("instance", Text, "who it is about: the configured name, else the server's own id with its address");

const STATEMENT_STATS: &[Column] = &[
    INSTANCE,
    c("ts", Timestamp, "end of the interval"),
    c("interval_ms", Int, "length of the interval"),
    c("engine", Text, "postgresql, mysql or mariadb"),
    c("database", Text, "database (PostgreSQL) or schema (MySQL); null when the server has none"),
    c("user", Text, "role or account"),
    c("fingerprint", Text, "16 hex digits; joins statements.fingerprint"),
    c("toplevel", Bool, "false: ran inside a function"),
    c("calls", Int, "executions that ended in the interval"),
    c("total_ms", Float, "time spent in them"),
    c("max_ms", Float, "longest one the server remembers since its reset; not of this interval"),
    c("rows", Int, "rows returned or affected"),
    c("rows_examined", Int, "rows read to get there (MySQL)"),
    c("lock_ms", Float, "time waiting for locks (MySQL)"),
    c("errors", Int, "executions that failed (MySQL)"),
    c("no_index_used", Int, "executions without any index (MySQL)"),
    c("tmp_disk_tables", Int, "temporary tables on disk (MySQL)"),
    c("sort_rows", Int, "rows sorted (MySQL)"),
    c("blocks_hit", Int, "shared blocks found in cache"),
    c("blocks_read", Int, "shared blocks read"),
    c("blocks_dirtied", Int, "shared blocks dirtied"),
    c("blocks_written", Int, "shared blocks written"),
    c("temp_blocks_read", Int, "temporary blocks read"),
    c("temp_blocks_written", Int, "temporary blocks written"),
    c("io_read_ms", Float, "time reading blocks, where the server measures it"),
    c("io_write_ms", Float, "time writing blocks"),
    c("wal_bytes", Int, "WAL written"),
    c("latency_histogram", Bytes, "HdrHistogram V2 of microseconds, where the source has single executions"),
    c("quality", Text, "comma-separated marks: reset, evicted, truncated, lower_bound; null: none"),
];

const STATEMENT_SAMPLES: &[Column] = &[
    INSTANCE,
    c("ts", Timestamp, "end of the execution"),
    c("engine", Text, "postgresql, mysql or mariadb"),
    c("database", Text, "database or schema"),
    c("user", Text, "role or account"),
    c("application", Text, "application_name"),
    c("client", Text, "address"),
    c("pid", Int, "backend or connection id"),
    c("fingerprint", Text, "joins statements.fingerprint"),
    c("text", Text, "masked text"),
    c("duration_ms", Float, "how long it ran"),
    c("lock_ms", Float, "of that, waiting for locks"),
    c("rows", Int, "rows returned or affected"),
    c("rows_examined", Int, "rows read"),
    c("source", Text, "slow_log, auto_explain, activity, performance_schema, log_duration"),
    c("trace_parent", Text, "traceparent of a sqlcommenter comment"),
];

const STATEMENTS: &[Column] = &[
    INSTANCE,
    c("ts", Timestamp, "when this text was first seen"),
    c("engine", Text, "postgresql, mysql or mariadb"),
    c("database", Text, "database or schema"),
    c("fingerprint", Text, "16 hex digits"),
    c("fingerprint_version", Int, "version of the rules that made it"),
    c("native_id", Text, "queryid or DIGEST of the server"),
    c("text", Text, "normalised text, literals removed"),
    c("truncated", Bool, "the server gave only its beginning"),
    c("command", Text, "SELECT, INSERT …"),
    c("tables", Text, "JSON list of the tables it names"),
];

const PLANS: &[Column] = &[
    INSTANCE,
    c("ts", Timestamp, "when it was read"),
    c("engine", Text, "postgresql, mysql or mariadb"),
    c("database", Text, "database or schema"),
    c("fingerprint", Text, "joins statements.fingerprint"),
    c("plan_fingerprint", Text, "16 hex digits of the plan's shape, costs and literals left out"),
    c("previous_plan_fingerprint", Text, "what it was before; null: first seen"),
    c("plan_kind", Text, "generic, sample or auto_explain"),
    c("total_cost", Float, "the planner's own unit"),
    c("plan", Text, "EXPLAIN's JSON, literals masked"),
    c("summary", Text, "one line: the scans and joins from the top"),
];

const ACTIVITY: &[Column] = &[
    INSTANCE,
    c("ts", Timestamp, "when it was read"),
    c("engine", Text, "postgresql, mysql or mariadb"),
    c("pid", Int, "backend or connection id"),
    c("database", Text, "database or schema"),
    c("user", Text, "role or account"),
    c("application", Text, "application_name"),
    c("client", Text, "address"),
    c("backend", Text, "backend_type or command"),
    c("state", Text, "active, idle in transaction, …"),
    c("wait_class", Text, "wait_event_type"),
    c("wait", Text, "wait_event or state text"),
    c("fingerprint", Text, "joins statements.fingerprint"),
    c("text", Text, "masked text, running or last"),
    c("query_ms", Float, "since the statement began"),
    c("transaction_ms", Float, "since the transaction began"),
    c("state_ms", Float, "since the state changed"),
    c("blocked_by", Text, "JSON list of the pids it waits for; null: none"),
    c("root_blocker", Int, "pid at the head of its queue"),
    c("blocking", Int, "how many sessions wait for it, directly or not"),
    c("lock_mode", Text, "mode it waits for"),
    c("lock_object", Text, "relation or row it waits for"),
    c("row_locks", Int, "rows it has locked (MySQL)"),
];

const LOGS: &[Column] = &[
    INSTANCE,
    c("ts", Timestamp, "the record's own time"),
    c("stream", Text, "file or unit it was read from"),
    c("engine", Text, "postgresql, mysql, mariadb, or collector"),
    c("level", Text, "debug, info, notice, warning, error, fatal, panic"),
    c("class", Text, "what it is: lock_timeout, deadlock, auth_failed …; null: not classified"),
    c("body", Text, "masked text, continuation lines included"),
    c("pid", Int, "backend or connection id"),
    c("database", Text, "database or schema"),
    c("user", Text, "role or account"),
    c("application", Text, "application_name"),
    c("code", Text, "SQLSTATE or error number"),
    c("fingerprint", Text, "of the statement it names"),
    c("attributes", Text, "JSON of what the class extracted"),
];

const OBJECTS: &[Column] = &[
    INSTANCE,
    c("ts", Timestamp, "when it was seen or changed"),
    c("engine", Text, "postgresql, mysql or mariadb"),
    c("kind", Text, "target, setting, table, index, extension, finding …"),
    c("database", Text, "database or schema"),
    c("schema", Text, "schema (PostgreSQL)"),
    c("name", Text, "the object"),
    c("parent", Text, "table of an index or column"),
    c("change", Text, "seen, added, changed or removed"),
    c("value", Text, "setting's value or definition text"),
    c("previous", Text, "value before a change"),
    c("rows", Int, "estimated rows"),
    c("size_bytes", Int, "size on disk"),
    c("attributes", Text, "JSON of the rest"),
];

const GAPS: &[Column] = &[
    INSTANCE,
    c("ts", Timestamp, "when the loss was noticed"),
    c("collector", Text, "collector id"),
    c("class", Text, "what was lost: samples, logs …"),
    c("from_ts", Timestamp, "first lost"),
    c("to_ts", Timestamp, "last lost"),
    c("rows", Int, "how many, where known"),
    c("reason", Text, "spool_full, target_unreachable, truncated …"),
    c("detail", Text, "in words"),
];

const ALERT_EVENTS: &[Column] = &[
    INSTANCE,
    c("ts", Timestamp, "when it happened"),
    c("alert_id", Text, "one alert from pending to resolved"),
    c("fingerprint", Text, "16 hex digits of the alert's labels"),
    c("rule", Text, "alertname"),
    c("rule_group", Text, "group and file"),
    c("event", Text, "pending, firing, level, evidence, sent, failed, resolved …"),
    c("level", Text, "notice, warning or critical"),
    c("value", Float, "the expression's value"),
    c("reason", Text, "why, as a word"),
    c("labels", Text, "JSON object"),
    c("annotations", Text, "JSON object"),
    c("receiver", Text, "with sent and failed"),
    c("detail", Text, "JSON: evidence bundle, provider receipt …"),
];

impl Table {
    /// All tables, in wire order.
    pub const ALL: [Table; 9] = [
        Table::StatementStats,
        Table::StatementSamples,
        Table::Statements,
        Table::Plans,
        Table::Activity,
        Table::Logs,
        Table::Objects,
        Table::Gaps,
        Table::AlertEvents,
    ];

    /// The table's name in SQL and on disk.
    pub fn name(self) -> &'static str {
        match self {
            Table::StatementStats => "statement_stats",
            Table::StatementSamples => "statement_samples",
            Table::Statements => "statements",
            Table::Plans => "plans",
            Table::Activity => "activity",
            Table::Logs => "logs",
            Table::Objects => "objects",
            Table::Gaps => "gaps",
            Table::AlertEvents => "alert_events",
        }
    }

    /// The table of that name.
    pub fn from_name(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Its columns, in order; the first two are `instance` and `ts`.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Table::StatementStats => STATEMENT_STATS,
            Table::StatementSamples => STATEMENT_SAMPLES,
            Table::Statements => STATEMENTS,
            Table::Plans => PLANS,
            Table::Activity => ACTIVITY,
            Table::Logs => LOGS,
            Table::Objects => OBJECTS,
            Table::Gaps => GAPS,
            Table::AlertEvents => ALERT_EVENTS,
        }
    }

    /// Index of a column by name.
    pub fn column_index(self, name: &str) -> Option<usize> {
        self.columns().iter().position(|c| c.name == name)
    }

    /// Its class on the wire.
    pub fn class(self) -> Class {
        Class::try_from(self as i32).unwrap_or(Class::Unspecified)
    }

    /// The table of a class; `None` for samples and unspecified.
    pub fn of_class(class: Class) -> Option<Table> {
        Table::ALL.into_iter().find(|t| t.class() == class)
    }
}

/// A class' name in messages, metrics and spool files.
pub fn class_name(class: Class) -> &'static str {
    match Table::of_class(class) {
        Some(table) => table.name(),
        None if class == Class::Samples => "samples",
        None => "unspecified",
    }
}

/// Every class a collector may send, most important last: a full spool drops from the front.
pub const CLASSES_BY_IMPORTANCE: [Class; 9] = [
    Class::Objects,
    Class::StatementSamples,
    Class::Activity,
    Class::Logs,
    Class::Plans,
    Class::StatementStats,
    Class::Statements,
    Class::Samples,
    Class::Gaps,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_begins_alike_and_names_are_distinct() {
        for table in Table::ALL {
            let columns = table.columns();
            assert_eq!((columns[0].name, columns[0].kind), ("instance", Kind::Text));
            assert_eq!((columns[1].name, columns[1].kind), ("ts", Kind::Timestamp));
            for (i, column) in columns.iter().enumerate() {
                assert_eq!(table.column_index(column.name), Some(i), "{}.{}", table.name(), column.name);
            }
            assert_eq!(Table::of_class(table.class()), Some(table));
            assert_eq!(Table::from_name(table.name()), Some(table));
        }
    }
}
