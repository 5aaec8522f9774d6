//! Single executions that a log tells of, as rows of `statement_samples`: PostgreSQL's `duration:` records and auto_explain,
//! and the slow log of MySQL and MariaDB (`slow_log`).

use std::borrow::Cow;

use proto::{EventsBuilder, Value};

use super::{mask, record::Record, row::Origin};
use crate::databases::{Dialect, fingerprint, plan};

/// One execution. Its text still holds its literals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Execution {
    /// When it ended, milliseconds; `None` if the record bears no time.
    pub ts_ms: Option<i64>,
    /// Database or schema.
    pub database: Option<String>,
    /// Role or account.
    pub user: Option<String>,
    /// application_name.
    pub application: Option<String>,
    /// Address of the client.
    pub client: Option<String>,
    /// Backend or connection id.
    pub pid: Option<i64>,
    /// The statement.
    pub text: String,
    /// How long it ran.
    pub duration_ms: f64,
    /// Of that, waiting for locks.
    pub lock_ms: Option<f64>,
    /// Rows returned or affected.
    pub rows: Option<i64>,
    /// Rows read.
    pub rows_examined: Option<i64>,
    /// slow_log, auto_explain or log_duration.
    pub source: &'static str,
}

/// The execution a PostgreSQL record tells of: one with both its time and its text.
pub fn of_record(record: &Record) -> Option<Execution> {
    let (duration_ms, rest) = duration(&record.message)?;
    if rest.starts_with("parse ") || rest.starts_with("bind ") {
        return None; // a part of the execution that follows
    }
    let (text, source) = match rest.strip_prefix("plan:") {
        Some(plan) => (query_text(plan)?, "auto_explain"),
        None => (Cow::Borrowed(statement(rest)?), "log_duration"),
    };
    Some(Execution {
        ts_ms: record.ts_ms,
        database: record.database.clone(),
        user: record.user.clone(),
        application: record.application.clone(),
        client: record.client.clone(),
        pid: record.pid,
        text: text.into_owned(),
        duration_ms,
        source,
        ..Execution::default()
    })
}

/// The statement of a PostgreSQL message that holds one: `statement: …`, `execute name: …`, with or without a duration
/// before it, or the plan of auto_explain.
pub fn statement_of_message(message: &str) -> Option<Cow<'_, str>> {
    let rest = duration(message).map_or(message, |(_, rest)| rest);
    match rest.strip_prefix("plan:") {
        Some(plan) => query_text(plan),
        None => statement(rest).map(Cow::Borrowed),
    }
}

/// `duration: 1.234 ms  …`.
fn duration(message: &str) -> Option<(f64, &str)> {
    let (number, rest) = message.strip_prefix("duration: ")?.split_once(" ms")?;
    Some((number.parse().ok()?, rest.trim_start()))
}

fn statement(text: &str) -> Option<&str> {
    if let Some(sql) = text.strip_prefix("statement: ") {
        return Some(sql);
    }
    ["execute ", "bind ", "parse "]
        .iter()
        .find_map(|word| text.strip_prefix(word)?.split_once(": ").map(|(_, sql)| sql))
}

/// auto_explain's `Query Text`, from its text or its JSON.
fn query_text(plan: &str) -> Option<Cow<'_, str>> {
    let plan = plan.trim_start();
    if plan.starts_with('{') {
        let value: serde_json::Value = serde_json::from_str(plan).ok()?;
        return value.get("Query Text")?.as_str().map(|t| Cow::Owned(t.to_owned()));
    }
    let text = plan.strip_prefix("Query Text: ")?;
    // The statement may have many lines; the plan begins with the first that bears a cost.
    let mut end = text.len();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if at > 0 && (line.contains("  (cost=") || line.starts_with("Query Parameters: ")) {
            end = at;
            break;
        }
        at += line.len();
    }
    Some(Cow::Borrowed(text[..end].trim_end()))
}

/// The message with the literals of a JSON plan taken out: JSON quotes what SQL's own masking takes for names.
pub fn without_plan_literals(message: &str) -> Option<String> {
    let (_, rest) = duration(message)?;
    let plan = rest.strip_prefix("plan:")?.trim_start();
    if !plan.starts_with('{') {
        return None;
    }
    let masked = plan::masked(Dialect::Postgresql, plan).unwrap_or_else(|| "?".into()); // cut: all of it may be a value
    Some(format!("{}{masked}", &message[..message.len() - plan.len()]))
}

/// Adds its row; without a time of its own it bears `fallback_ts_ms`.
pub fn add(builder: &mut EventsBuilder, origin: &Origin, execution: &Execution, fallback_ts_ms: i64) {
    let mask = origin.mask();
    let print = fingerprint(mask.dialect(), &execution.text);
    let text = mask::cut(mask.sql(&execution.text), mask::BODY_BYTES_MAX);
    let cells = [
        ("engine", Value::from(origin.engine.as_str())),
        ("database", execution.database.as_deref().into()),
        ("user", execution.user.as_deref().into()),
        ("application", execution.application.as_deref().into()),
        ("client", execution.client.as_deref().into()),
        ("pid", execution.pid.into()),
        ("fingerprint", print.id.into()),
        ("text", text.into()),
        ("duration_ms", execution.duration_ms.into()),
        ("lock_ms", execution.lock_ms.into()),
        ("rows", execution.rows.into()),
        ("rows_examined", execution.rows_examined.into()),
        ("source", execution.source.into()),
        ("trace_parent", print.trace_parent.into()),
    ];
    builder.row(&origin.instance, execution.ts_ms.unwrap_or(fallback_ts_ms), cells);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn statements_inside_messages() {
        let json = "duration: 2.5 ms  plan:\n{\n  \"Query Text\": \"select a\\nfrom t\",\n  \"Plan\": {\"Node Type\": \"Seq Scan\"}\n}";
        for (message, want) in [
            ("duration: 1.5 ms  statement: select 1", Some("select 1")),
            ("statement: select 2", Some("select 2")),
            ("duration: 1.5 ms  execute S_1: select 3", Some("select 3")),
            ("duration: 1.5 ms  execute <unnamed>: select 'a: b'", Some("select 'a: b'")),
            ("duration: 1.5 ms", None),
            ("checkpoint starting: time", None),
            (
                "duration: 2.5 ms  plan:\nQuery Text: select a\nfrom t\nSeq Scan on t  (cost=0.00..1.00 rows=1 width=4)\n  Filter: (a = 1)",
                Some("select a\nfrom t"),
            ),
            (
                "duration: 2.5 ms  plan:\nQuery Text: select $1\nQuery Parameters: $1 = '5'\nResult  (cost=0.00..0.01 rows=1 width=4)",
                Some("select $1"),
            ),
            (json, Some("select a\nfrom t")),
        ] {
            assert_eq!(statement_of_message(message).as_deref(), want, "{message}");
        }
        let record = Record { message: json.into(), pid: Some(7), ..Record::default() };
        let execution = of_record(&record).unwrap();
        assert_eq!((execution.duration_ms, execution.source, execution.pid), (2.5, "auto_explain", Some(7)));
        let secret = "duration: 1 ms  plan:\n{\"Query Text\": \"select 'hush'\", \"Plan\": {\"Filter\": \"(b = 'hush'::text)\"}}";
        let masked = without_plan_literals(secret).unwrap();
        assert!(!masked.contains("hush") && masked.starts_with("duration: 1 ms  plan:\n{"), "{masked}");
        assert!(!without_plan_literals(&secret[..secret.len() - 5]).unwrap().contains("hush"));
        assert_eq!(of_record(&Record { message: "statement: select 2".into(), ..Record::default() }), None);
    }
}
