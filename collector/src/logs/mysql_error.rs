//! The error logs of MySQL and MariaDB: a moment, a thread, a level in brackets, then the message.

use std::sync::LazyLock;

use regex::Regex;

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

/// Whether a record begins with this line.
pub fn begins_record(line: &str) -> bool {
    line.as_bytes().first().is_some_and(u8::is_ascii_digit) && LINE.is_match(line)
}

/// Reads a whole raw record.
pub fn parse(raw: &str) -> Record {
    let raw = raw.trim_end_matches(['\n', '\r']);
    let Some(captures) = LINE.captures(raw) else {
        return Record { message: raw.into(), ..Record::default() };
    };
    let group = |name: &str| captures.name(name).map(|m| m.as_str());
    let message = raw[captures.get(0).map_or(0, |m| m.end())..].to_owned();
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

#[cfg(test)]
mod tests {
    use super::*;

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
