//! The error logs of MySQL and MariaDB: a moment, a thread, a level in brackets, then the message; or MySQL's JSON, an
//! object a line (MySQL reference manual, error log output format).
//!
//! Servers write InnoDB's report of a deadlock as several records: they are one here, from its first line to the line
//! that tells who was rolled back.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{
    record::{Level, Record},
    timestamp,
};

/// `2026-11-25T12:00:00.123456Z 5 [Warning] [MY-010055] [Server] …` (MySQL 8), without the last two in brackets (5.7),
/// `2026-11-25 12:00:00 5 [Warning] …` (MariaDB), `261125 12:00:00 mysqld_safe …`.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^(?P<moment>\d{4}-\d\d-\d\d[T ]\s?\d?\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?|\d{6}\s+\d?\d:\d\d:\d\d)\s+(?:0x[0-9a-f]+\s+)?(?:(?P<thread>\d+)\s+)?(?:\[(?P<level>System|Note|Warning|ERROR|Error)\]\s*)?(?:\[MY-(?P<code>\d+)\]\s*)?(?:\[(?P<part>[A-Za-z_ -]{1,40})\]\s*)?";
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"))
});

/// What lines without a level begin with, behind their time.
const WITHOUT_LEVEL: [&str; 6] = ["mysqld", "mariadbd", "InnoDB:", "WSREP", "/", "Server "];
/// First line of a report of a deadlock, and its last.
const DEADLOCK_BEGINS: &str = "ransactions deadlock detected";
const DEADLOCK_ENDS: &str = "*** WE ROLL BACK TRANSACTION";

/// Whether a record begins with this line. A line of a statement that begins with a time is none: it has no level.
pub fn begins_record(line: &str) -> bool {
    head(line).is_some()
}

/// The length of the time, level and codes that a record begins with.
fn head(line: &str) -> Option<usize> {
    if !line.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let captures = LINE.captures(line)?;
    let end = captures.get(0)?.end();
    let known = captures.name("level").is_some() || WITHOUT_LEVEL.iter().any(|w| line[end..].starts_with(w));
    known.then_some(end)
}

/// Whether a report of a deadlock begins in this line.
pub fn begins_deadlock(line: &str) -> bool {
    line.contains(DEADLOCK_BEGINS)
}

/// Whether this line, which would begin a record elsewhere, goes on with a report of a deadlock.
pub fn continues_deadlock(line: &str) -> bool {
    let rest = match head(line) {
        Some(end) => line[end..].trim_start_matches("InnoDB:").trim(),
        None => line.trim_start().strip_prefix('{').map_or("", |_| json_message_begin(line)),
    };
    rest.is_empty() || rest.starts_with("***")
}

/// Whether a report of a deadlock ends with this line.
pub fn ends_deadlock(line: &str) -> bool {
    line.contains(DEADLOCK_ENDS)
}

/// The first characters of the `msg` of a JSON line, without taking the line apart.
fn json_message_begin(line: &str) -> &str {
    let Some(at) = line.find("\"msg\"") else { return "?" };
    let rest = line[at + 5..].trim_start().trim_start_matches(':').trim_start().trim_start_matches('"');
    rest.trim_start_matches("InnoDB: ").trim_start_matches("\\n")
}

/// The lines of a report behind its first: their own heads and InnoDB's name are left out.
fn deadlock_lines(message: &str) -> String {
    let lines = message.lines().map(|line| {
        let line = head(line).map_or(line, |end| &line[end..]);
        line.strip_prefix("InnoDB: ").unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads a whole raw record.
pub fn parse(raw: &str) -> Record {
    let raw = raw.trim_end_matches(['\n', '\r']);
    let Some(captures) = LINE.captures(raw).filter(|_| head(raw).is_some()) else { return Record::unread(raw) };
    let group = |name: &str| captures.name(name).map(|m| m.as_str());
    let message = &raw[captures.get(0).map_or(0, |m| m.end())..];
    let message = if begins_deadlock(message) { deadlock_lines(message) } else { message.to_owned() };
    let component = group("part").map(str::to_owned).or_else(|| {
        let (word, _) = message.split_once(": ")?;
        let is_part = matches!(word, "InnoDB" | "WSREP" | "Aria" | "Slave SQL" | "Slave I/O" | "Semi-sync master");
        is_part.then(|| word.to_owned())
    });
    Record {
        ts_ms: group("moment").and_then(timestamp::parse),
        level: group("level").and_then(Level::of_mysql).unwrap_or_default(),
        pid: group("thread").and_then(|t| t.parse().ok()).filter(|t| *t != 0),
        code: group("code").map(|c| format!("MY-{c}")),
        component,
        message,
        ..Record::default()
    }
}

/// Reads a raw record of the JSON sink; several objects if they are one report.
pub fn parse_json(raw: &str) -> Record {
    let mut record: Option<Record> = None;
    for line in raw.lines().filter(|l| !l.trim().is_empty()) {
        let Ok(Value::Object(object)) = serde_json::from_str(line) else { return Record::unread(raw) };
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let message = text("msg").unwrap_or("");
        if let Some(record) = &mut record {
            record.message.push('\n');
            record.message.push_str(message.trim_start_matches("InnoDB: ").trim_matches('\n'));
            continue;
        }
        let priority = object.get("prio").and_then(Value::as_i64);
        let by_priority = match priority {
            Some(0) => Level::Info,
            Some(1) => Level::Error,
            Some(2) => Level::Warning,
            _ => Level::Notice,
        };
        record = Some(Record {
            ts_ms: text("time").and_then(timestamp::parse).or_else(|| object.get("ts").and_then(Value::as_i64)),
            level: text("label").and_then(Level::of_mysql).unwrap_or(by_priority),
            pid: object.get("thread").and_then(Value::as_i64).filter(|t| *t != 0),
            user: text("user").map(str::to_owned),
            client: text("host").map(str::to_owned),
            code: object.get("err_code").and_then(Value::as_i64).map(|c| format!("MY-{c:06}")),
            component: text("subsystem").map(str::to_owned),
            message: message.to_owned(),
            ..Record::default()
        });
    }
    record.unwrap_or_else(|| Record::unread(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_statement_is_no_record() {
        assert!(!begins_record("2026-11-25 12:00:00 secret');"));
        assert!(parse("2026-11-25 12:00:00 secret');").is_unread);
    }

    #[test]
    fn json_lines() {
        let raw = r#"{ "prio" : 2, "err_code" : 10055, "subsystem" : "Server", "msg" : "IP address could not be resolved", "time" : "2026-11-25T12:00:00.123456Z", "ts" : 1795608000123, "thread" : 5, "err_symbol" : "ER_DNS", "SQL_state" : "HY000", "label" : "Warning" }"#;
        let record = parse_json(raw);
        assert_eq!((record.ts_ms, record.level, record.pid), (Some(1_795_608_000_123), Level::Warning, Some(5)));
        assert_eq!((record.code.as_deref(), record.component.as_deref()), (Some("MY-010055"), Some("Server")));
        assert_eq!(record.message, "IP address could not be resolved");
        let part = r#"{ "prio" : 3, "msg" : "*** (1) TRANSACTION:\n", "thread" : 5 }"#;
        assert!(continues_deadlock(part) && !continues_deadlock(raw));
        assert_eq!(parse_json(&format!("{raw}\n{part}")).message, format!("{}\n*** (1) TRANSACTION:", record.message));
        assert!(parse_json("{ half").is_unread);
    }

    #[test]
    fn every_classic_form() {
        for (raw, level, pid, code, part, message) in [
            (
                "2026-11-25T12:00:00.123456Z 5 [Warning] [MY-010055] [Server] IP address could not be resolved",
                Level::Warning,
                Some(5),
                Some("MY-010055"),
                Some("Server"),
                "IP address could not be resolved",
            ),
            (
                "2026-11-25T12:00:00.123456Z 0 [Note] InnoDB: Buffer pool(s) load completed",
                Level::Notice,
                None,
                None,
                Some("InnoDB"),
                "InnoDB: Buffer pool(s) load completed",
            ),
            (
                "2026-11-25 12:00:00 31 [Warning] Aborted connection 31 to db: 'x'",
                Level::Warning,
                Some(31),
                None,
                None,
                "Aborted connection 31 to db: 'x'",
            ),
            (
                "2026-11-25  9:00:00 0 [ERROR] mariadbd: Out of memory",
                Level::Error,
                None,
                None,
                None,
                "mariadbd: Out of memory",
            ),
            (
                "261125 12:00:00 mysqld_safe Starting mariadbd",
                Level::Info,
                None,
                None,
                None,
                "mysqld_safe Starting mariadbd",
            ),
            (
                "261125 12:00:00 [ERROR] mysqld got signal 11 ;",
                Level::Error,
                None,
                None,
                None,
                "mysqld got signal 11 ;",
            ),
        ] {
            assert!(begins_record(raw), "{raw}");
            let record = parse(raw);
            assert!(record.ts_ms.is_some(), "{raw}");
            assert_eq!((record.level, record.pid), (level, pid), "{raw}");
            assert_eq!((record.code.as_deref(), record.component.as_deref()), (code, part), "{raw}");
            assert_eq!(record.message, message);
        }
        assert!(!begins_record("*** (1) TRANSACTION:") && !begins_record("42 rows"));
    }
}
